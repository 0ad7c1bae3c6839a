"""Seconds an image takes, measured on noise. How exact they are is nothing that a test can hold on a busy machine."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from hwnas.errors import ConfigError
from hwnas.training.config import PhaseConfig
from hwnas.training.speed import measure_speed
from tests.training.tiny import ALL, bignas, make_space, progressive_shrinking


def test_every_phase_is_measured() -> None:
    config, threads = progressive_shrinking(), torch.get_num_threads()
    speed = measure_speed(config, make_space())
    assert len(speed.phases) == len(config.phases)
    assert all(0 < seconds < 0.1 for seconds in (*speed.phases, speed.alone, speed.answer))
    assert torch.get_num_threads() == threads


def test_a_step_of_many_subnets_takes_longer() -> None:
    one, many = (
        PhaseConfig("one", 1, 0.1, teacher="none", **ALL),
        PhaseConfig("many", 1, 0.1, subnets_per_step=16, teacher="none", **ALL),
    )
    speed = measure_speed(replace(progressive_shrinking(), phases=(one, many)), make_space())
    assert 4 < speed.phases[1] / speed.phases[0] < 64
    assert speed.answer < speed.alone < speed.phases[1]


def test_in_place_teachers_and_shards() -> None:
    assert measure_speed(replace(bignas(), dropout=0.0, shards=2, accelerator="cpu"), make_space()).alone > 0


def test_foreign_phases_are_refused() -> None:
    wrong = replace(progressive_shrinking(), phases=(PhaseConfig("full", 1, 0.1, kernel_sizes=(9,)),))
    with pytest.raises(ConfigError, match="9"):
        measure_speed(wrong, make_space())
