"""Gradients of a step; threads that share a step's work."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hwnas.data.load import ImageData
from hwnas.errors import ConfigError
from hwnas.progress import no_progress
from hwnas.spaces import Genotypes, OfaMbv3Space
from hwnas.supernet.build import build_supernet
from hwnas.supernet.single import TrainedNetwork
from hwnas.supernet.supernet import Supernet
from hwnas.training.config import TrainingConfig
from hwnas.training.engine import train
from hwnas.training.gradients import Gradients
from hwnas.training.loss import LossRule, distilled_loss


def loss(
    network: TrainedNetwork, genotype: Genotypes, images: Tensor, labels: Tensor, soft_labels: Tensor | None
) -> Tensor:
    return distilled_loss(network(images, genotype), labels, soft_labels, 0.0, 1.0)


def soften(images: Tensor) -> Tensor:
    return torch.full((len(images), 3), 1 / 3)


def test_gradients_are_the_shards_mean_of_the_subnets_sum(space: OfaMbv3Space) -> None:
    network = build_supernet(space, generator=torch.Generator().manual_seed(0)).train()
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(12, 1, 12, 12, generator=generator)
    labels = torch.arange(12) % 3
    genotypes = np.stack([space.extreme(True), space.extreme(False)])
    replica = Supernet(space)
    replica.load_state_dict(network.state_dict())
    total = 0.0
    for part in (slice(0, 4), slice(4, 8), slice(8, 12)):
        for genotype in genotypes:
            value = loss(replica.train(), genotype, images[part], labels[part], soften(images[part]))
            (value / 3).backward()
            total += float(value.detach()) / 6
    running = Supernet(space)
    running.load_state_dict(network.state_dict())
    with torch.no_grad():
        for genotype in genotypes:
            running.train()(images[:4], genotype)

    found = Gradients(network, 3)(genotypes, images, labels, LossRule(0.0, 1.0, soften))

    assert found.losses.mean() == pytest.approx(total, rel=1e-5)
    for ours, theirs in zip(network.parameters(), replica.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-5, rtol=1e-4)
    # The first shard, and no other, moves the running statistics.
    mean = "layers.stem.norm.running_mean"
    torch.testing.assert_close(network.get_buffer(mean), running.get_buffer(mean))


class StopError(Exception):
    pass


def stop_halfway(share: float, status: str) -> None:
    if share > 0.5:
        raise StopError


def test_an_interrupted_run_ends_with_the_same_weights(
    config: TrainingConfig, space: OfaMbv3Space, data: ImageData, tmp_path: Path
) -> None:
    sharded = replace(config, shards=2, dropout=0.0, checkpoint_every=2, log_every=1)
    whole = train(sharded, space, data, tmp_path / "whole", 0, no_progress)
    with pytest.raises(StopError):
        train(sharded, space, data, tmp_path / "cut", 0, stop_halfway)
    resumed = train(sharded, space, data, tmp_path / "cut", 0, no_progress)
    state = resumed.supernet.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in whole.supernet.state_dict().items())


def test_the_number_of_threads_is_put_back(
    config: TrainingConfig, space: OfaMbv3Space, data: ImageData, tmp_path: Path
) -> None:
    before = torch.get_num_threads()
    one_phase = replace(config, phases=config.phases[:1], shards=2, dropout=0.0)
    train(one_phase, space, data, tmp_path, 0, no_progress)
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    "change",
    [
        {"shards": 0},
        {"shards": 3},
        {"shards": 32},
        {"dropout": 0.1},
        {"accelerator": "cuda"},
    ],
)
def test_wrong_shards(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"training\.shards"):
        TrainingConfig(**{"shards": 2, "batch_size": 32, "accelerator": "cpu", **change})
