"""One network alone, fine-tuning, and starting from a checkpoint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from hwnas.data.load import ImageData
from hwnas.errors import ArchError, CheckpointError, ConfigError
from hwnas.progress import no_progress
from hwnas.spaces import Genotypes, OfaMbv3Space
from hwnas.supernet.build import build_subnet, build_supernet
from hwnas.supernet.extract import extract
from hwnas.supernet.single import SingleNetwork
from hwnas.supernet.subnet import Subnet
from hwnas.training.checkpoint import load_supernet, save_supernet
from hwnas.training.config import PhaseConfig, TrainingConfig
from hwnas.training.engine import train
from hwnas.training.networks import make_network
from hwnas.training.randomness import INITIALISATION, torch_generator


@pytest.fixture(scope="module")
def single(config: TrainingConfig) -> TrainingConfig:
    return replace(config, network="subnet", phases=(PhaseConfig("single", 2, 0.05, teacher="none"),), dropout=0.0)


@pytest.fixture(scope="module")
def finetune(single: TrainingConfig) -> TrainingConfig:
    return replace(single, start="checkpoint")


@pytest.fixture(scope="module")
def arch(space: OfaMbv3Space) -> Genotypes:
    return space.genotype({"ks": [3, 5, 3, 3], "e": [2, 3, 2, 2], "d": [1, 2], "r": 8})


@pytest.fixture(scope="module")
def checkpoint(space: OfaMbv3Space, tmp_path_factory: pytest.TempPathFactory) -> Path:
    supernet = build_supernet(space, generator=torch.Generator().manual_seed(5))
    return save_supernet(tmp_path_factory.mktemp("supernet") / "supernet.safetensors", supernet, {})


def test_an_arch_is_trained_as_the_plain_network_that_it_is(
    single: TrainingConfig, space: OfaMbv3Space, data: ImageData, arch: Genotypes, tmp_path: Path
) -> None:
    result = train(single, space, data, tmp_path, 0, no_progress, arch)
    assert result.path.name == "subnet.safetensors"
    subnet = extract(result.supernet, arch)
    assert isinstance(subnet, Subnet)
    fresh = build_subnet(space, arch, 0.0, torch_generator(0, INITIALISATION))
    assert subnet.state_dict().keys() == fresh.state_dict().keys()
    assert all(
        a.shape == b.shape for a, b in zip(subnet.state_dict().values(), fresh.state_dict().values(), strict=True)
    )
    assert not torch.equal(subnet.get_parameter("stem.conv.weight"), fresh.get_parameter("stem.conv.weight"))
    loaded, metadata = load_supernet(result.path, space.config())
    assert isinstance(loaded, SingleNetwork)
    assert metadata["arch"] == space.arch(arch).to_dict()
    images = torch.randn(4, 1, 8, 8)
    torch.testing.assert_close(loaded(images, arch), result.supernet(images, arch))


def test_a_single_step_is_the_textbooks(
    single: TrainingConfig, space: OfaMbv3Space, data: ImageData, arch: Genotypes, tmp_path: Path
) -> None:
    # One step of Nesterov SGD without weight decay: p - lr (g + m g), on the images that the run draws.
    from hwnas.training.batches import Batches
    from hwnas.training.processes import Processes

    one = replace(
        single, phases=(PhaseConfig("one", 1 / 3, 0.1, teacher="none"),), weight_decay=0.0, label_smoothing=0.0
    )
    result = train(one, space, data, tmp_path, 0, no_progress, arch)
    network = build_subnet(space, arch, 0.0, torch_generator(0, INITIALISATION)).train()
    images, labels = Batches(data, 30, 0, Processes())(0, 8)
    gradients = torch.autograd.grad(F.cross_entropy(network(images), labels), list(network.parameters()))
    trained = extract(result.supernet, arch)
    for before, gradient, after in zip(network.parameters(), gradients, trained.parameters(), strict=True):
        torch.testing.assert_close(after, before - 0.1 * 1.9 * gradient, atol=1e-5, rtol=1e-4)


def test_without_an_arch_it_is_the_largest(single: TrainingConfig, space: OfaMbv3Space) -> None:
    network = make_network(single, space, 0, None, None)
    assert isinstance(network, SingleNetwork)
    assert np.array_equal(network.genotype, space.extreme(True))


def test_fine_tuning_starts_from_the_extracted_weights(
    finetune: TrainingConfig, space: OfaMbv3Space, data: ImageData, arch: Genotypes, checkpoint: Path, tmp_path: Path
) -> None:
    network = make_network(finetune, space, 0, arch, checkpoint)
    supernet, _ = load_supernet(checkpoint)
    images = torch.randn(4, 1, 8, 8)
    torch.testing.assert_close(network.eval()(images, arch), supernet(images, arch))
    result = train(finetune, space, data, tmp_path, 0, no_progress, arch, checkpoint)
    assert [row["event"] for row in result.history][-1] == "phase_end"
    # What was fine-tuned can be fine-tuned on, and then its arch is known.
    again = make_network(finetune, space, 0, None, result.path)
    assert isinstance(again, SingleNetwork)
    assert np.array_equal(again.genotype, arch)
    with pytest.raises(ArchError, match="holds one network"):
        make_network(finetune, space, 0, space.extreme(True), result.path)


def test_a_supernet_goes_on_from_a_checkpoint(config: TrainingConfig, space: OfaMbv3Space, checkpoint: Path) -> None:
    network = make_network(replace(config, start="checkpoint"), space, 0, None, checkpoint)
    supernet, _ = load_supernet(checkpoint)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), supernet.parameters(), strict=True))


def test_what_does_not_go_together(
    config: TrainingConfig,
    single: TrainingConfig,
    finetune: TrainingConfig,
    space: OfaMbv3Space,
    arch: Genotypes,
    checkpoint: Path,
    tmp_path: Path,
) -> None:
    with pytest.raises(ConfigError, match="start=checkpoint: expected checkpoint=PATH"):
        make_network(finetune, space, 0, arch, None)
    with pytest.raises(ConfigError, match=r"start=fresh: expected .* none with start=fresh"):
        make_network(replace(single, start="fresh"), space, 0, arch, checkpoint)
    with pytest.raises(ConfigError, match="supernet trains all archs"):
        make_network(config, space, 0, arch, None)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        make_network(finetune, space, 0, arch, tmp_path / "none.safetensors")
