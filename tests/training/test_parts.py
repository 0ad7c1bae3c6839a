"""Configs, phases, samplers, batches, loss and checkpoints, each alone."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from hwnas.data.load import ImageData
from hwnas.errors import CheckpointError, ConfigError
from hwnas.spaces import OfaMbv3Config, OfaMbv3Space
from hwnas.supernet.supernet import Supernet
from hwnas.training.batches import Batches
from hwnas.training.checkpoint import load_supernet, save_supernet, write_checkpoint
from hwnas.training.config import PhaseConfig, TrainingConfig
from hwnas.training.loss import distilled_loss
from hwnas.training.optimiser import make_optimiser
from hwnas.training.phases import plan_phases
from hwnas.training.processes import Processes
from hwnas.training.randomness import numpy_generator, torch_generator
from hwnas.training.samplers import make_sampler


def test_the_published_schedule_is_the_default_and_fits_the_published_space() -> None:
    plan = plan_phases(TrainingConfig().phases, OfaMbv3Space(OfaMbv3Config()), steps_per_epoch=10)
    assert [phase.start for phase in plan] == [0, 1850, 3100, 3350, 4600, 4850]
    assert [phase.reorders for phase in plan] == [False, False, False, False, True, True]
    assert [phase.settled["e"] for phase in plan][-2:] == [(6,), (4, 6)]


def test_learning_rate_warms_up_then_falls_to_zero(space: OfaMbv3Space) -> None:
    (phase,) = plan_phases([PhaseConfig("full", 10, 0.4, warmup_epochs=2)], space, steps_per_epoch=5)
    rates = [phase.learning_rate(step) for step in range(phase.end + 1)]
    assert rates[:10] == pytest.approx([0.04 * (step + 1) for step in range(10)])
    assert rates[10] == pytest.approx(0.4)
    assert rates[30] == pytest.approx(0.2)
    assert rates[50] == pytest.approx(0, abs=1e-12)
    assert all(one >= other for one, other in pairwise(rates[10:]))


def test_subnets_come_from_the_phase_alone_and_share_a_resolution(config: TrainingConfig, space: OfaMbv3Space) -> None:
    plan = plan_phases(config.phases, space, 3)
    arches: dict[str, list[dict[str, Any]]] = {phase.config.name: [] for phase in plan}
    for phase in plan:
        for step in range(60):
            drawn = make_sampler(space, phase).draw(numpy_generator(0, 3, step))
            assert len(drawn) == phase.config.subnets_per_step
            assert len(set(drawn[:, -1])) == 1
            assert np.array_equal(drawn, space.canonical(drawn))
            arches[phase.config.name] += [space.arch(row).values for row in drawn]
    seen = {
        name: [{value for arch in rows for value in arch[key]} for key in ("ks", "e", "d")]
        for name, rows in arches.items()
    }
    assert seen["full"] == [{5}, {3}, {2}]
    assert seen["kernel"] == [{3, 5}, {3}, {2}]
    assert [seen["depth"][0], seen["depth"][2]] == [{3, 5}, {1, 2}]
    assert seen["expand"] == [{3, 5}, {2, 3}, {1, 2}]
    assert {arch["r"] for arch in arches["full"]} == {8, 12}


def test_the_sandwich_starts_with_the_largest_and_the_smallest(config: TrainingConfig, space: OfaMbv3Space) -> None:
    phase = plan_phases(config.phases, space, 3)[-1]
    drawn = make_sampler(space, phase).draw(numpy_generator(0, 3, 5))
    assert np.array_equal(drawn[0][:-1], space.extreme(True)[:-1])
    assert np.array_equal(drawn[1][:-1], space.extreme(False)[:-1])


def test_batches_depend_on_the_step_alone_and_cover_an_epoch(data: ImageData) -> None:
    batches = Batches(data, 40, 2, Processes())
    assert batches.steps_per_epoch == 2
    late = batches(5, 8)
    again = Batches(data, 40, 2, Processes())(5, 8)
    assert torch.equal(late[0], again[0])
    assert torch.equal(late[1], again[1])
    assert late[0].shape == (40, 1, 8, 8)
    assert not torch.equal(batches(0, 12)[0], batches(2, 12)[0])
    plain = Batches(replace(data, augment=replace(data.augment, flip=False, crop_padding=0)), 45, 0, Processes())
    images = torch.cat([plain(step, 12)[0] for step in range(2)])
    assert len(torch.unique(images.flatten(1), dim=0)) == 90


def test_generators_of_different_purposes_differ() -> None:
    draws = {float(torch.rand((), generator=torch_generator(0, p, s))) for p in range(5) for s in range(5)}
    assert len(draws) == 25


def test_the_loss_written_out() -> None:
    logits, labels = torch.randn(4, 3), torch.tensor([0, 1, 2, 1])
    teacher = torch.randn(4, 3).softmax(1)
    smooth = F.one_hot(labels, 3) * 0.9 + 0.1 / 3
    log = logits.log_softmax(1)
    expected = -(smooth * log).sum(1).mean() - 2 * (teacher * log).sum(1).mean()
    torch.testing.assert_close(distilled_loss(logits, labels, teacher, 0.1, 2.0), expected)
    torch.testing.assert_close(distilled_loss(logits, labels, None, 0.0, 2.0), F.cross_entropy(logits, labels))


def test_batch_norm_and_biases_are_not_decayed(space: OfaMbv3Space) -> None:
    network = Supernet(space)
    decayed, spared = make_optimiser(network, TrainingConfig(), PhaseConfig("p", 1, 0.1)).param_groups
    names = {parameter: name for name, parameter in network.named_parameters()}
    assert decayed["weight_decay"] > 0
    assert spared["weight_decay"] == 0
    assert all(names[p].endswith("bias") or ".norm." in names[p] for p in spared["params"])
    assert not any(names[p].endswith("bias") or ".norm." in names[p] for p in decayed["params"])
    assert len(decayed["params"]) + len(spared["params"]) == len(names)


def test_a_supernet_of_another_space_names_the_field(space: OfaMbv3Space, tmp_path: Path) -> None:
    path = save_supernet(tmp_path / "supernet.safetensors", Supernet(space), {"classes": ["a", "b", "c"]})
    other = OfaMbv3Space(replace(space.settings, widths=(8, 8, 8, 24, 16, 16)))
    with pytest.raises(CheckpointError, match=r"another space: space\.widths\[3\]: expected 24, found 16"):
        load_supernet(path, other.config())
    loaded, metadata = load_supernet(path, space.config())
    assert metadata["classes"] == ["a", "b", "c"]
    assert loaded.space.config() == space.config()


def test_broken_checkpoints(space: OfaMbv3Space, tmp_path: Path) -> None:
    path = save_supernet(tmp_path / "supernet.safetensors", Supernet(space), {})
    whole = path.read_bytes()
    for kept in (0, 5, 500, len(whole) - 1):
        path.write_bytes(whole[:kept])
        with pytest.raises(CheckpointError, match="truncated") as caught:
            load_supernet(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        load_supernet(tmp_path / "none.safetensors")
    write_checkpoint(path, {"x": torch.zeros(1)}, {"kind": "training state"})
    with pytest.raises(CheckpointError, match="'training state'"):
        load_supernet(path)
    write_checkpoint(path, {"x": torch.zeros(1)}, {"kind": "supernet", "space": space.config()})
    with pytest.raises(CheckpointError, match="does not fit") as caught:
        load_supernet(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"batch_size": 1},
        {"momentum": 1.0},
        {"weight_decay": -1.0},
        {"precision": "half"},
        {"accelerator": "gpus"},
        {"phases": ()},
        {"phases": (PhaseConfig("a", 1, 1), PhaseConfig("a", 1, 1))},
        {"checkpoint_every": 0},
    ],
)
def test_wrong_training_values(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="training"):
        TrainingConfig(**change)


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 0},
        {"warmup_epochs": 1.0},
        {"learning_rate": -0.1},
        {"sampler": "random"},
        {"sampler": "sandwich"},
        {"subnets_per_step": 0},
    ],
)
def test_wrong_phase_values(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="training phase 'p'"):
        PhaseConfig(**{"name": "p", "epochs": 1, "learning_rate": 0.1, **change})


def test_configs_import_without_torch() -> None:
    code = "import sys, hwnas.training.config, hwnas.accuracy.measure_config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
