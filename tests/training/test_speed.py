"""Seconds an image takes, measured on noise. How exact they are is nothing that a test can hold on a busy machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from hwnas.errors import ConfigError
from hwnas.spaces import Genotypes
from hwnas.supernet.build import build_supernet
from hwnas.training.config import PhaseConfig
from hwnas.training.phases import plan_phases
from hwnas.training.processes import Processes
from hwnas.training.speed import _Probe, measure_speed
from tests.training.tiny import bignas, make_space, progressive_shrinking


def test_every_phase_is_measured() -> None:
    config, threads = progressive_shrinking(), torch.get_num_threads()
    speed = measure_speed(config, make_space())
    assert len(speed.phases) == len(config.phases)
    assert all(seconds > 0 for seconds in (*speed.phases, speed.alone, speed.answer))
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    ("fixed_s", "each_s", "counts"),
    [
        (0.1, 0.01, [4, 16]),  # the second takes long enough to be told by
        (0.001, 1e-4, [4, 16, 30]),  # a whole batch does not
        (0.0, 0.2, [4]),  # the fewest do
    ],
)
def test_of_a_long_step_a_part_is_measured(fixed_s: float, each_s: float, counts: list[int]) -> None:
    config, space = replace(progressive_shrinking(), dropout=0.0), make_space()
    probe, seen = _Probe(config, build_supernet(space), Processes()), []
    (phase,) = plan_phases(config.phases[:1], space, 1)

    def seconds(draws: Sequence[Genotypes], images: Tensor) -> float:
        assert {int(genotypes[0, -1]) for genotypes in draws} == {1}
        seen.append(len(images))
        return fixed_s + each_s * len(images)

    assert probe._at(phase, 1, seconds) == pytest.approx((fixed_s + each_s * config.batch_size) / config.batch_size)
    assert seen == [count for count in counts for _ in range(2)]


def test_between_resolutions_seconds_follow_the_pixels() -> None:
    config, space = replace(progressive_shrinking(), dropout=0.0), make_space()
    probe = _Probe(config, build_supernet(space), Processes())
    (phase,) = plan_phases(config.phases[:1], space, 1)
    assert probe._mean(phase, lambda _, images: len(images) * images.shape[-1] ** 2) == (8**2 + 12**2) / 2


def test_in_place_teachers_and_shards() -> None:
    assert measure_speed(replace(bignas(), dropout=0.0, shards=2, accelerator="cpu"), make_space()).alone > 0


def test_foreign_phases_are_refused() -> None:
    wrong = replace(progressive_shrinking(), phases=(PhaseConfig("full", 1, 0.1, kernel_sizes=(9,)),))
    with pytest.raises(ConfigError, match="9"):
        measure_speed(wrong, make_space())
