"""Drawing by complexity."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hwnas.errors import ConfigError
from hwnas.spaces import Genotypes, OfaMbv3Config, OfaMbv3Space, Space
from hwnas.spaces.space import Floats
from hwnas.training.config import PhaseConfig
from hwnas.training.phases import PlannedPhase, plan_phases
from hwnas.training.samplers import Sampler, ShiftedSampler, draw_resolution, make_sampler


@pytest.fixture(scope="module")
def published() -> OfaMbv3Space:
    return OfaMbv3Space(OfaMbv3Config())


@pytest.fixture(scope="module")
def phase(published: OfaMbv3Space) -> PlannedPhase:
    config = PhaseConfig(
        "all", 1, 0.1, subnets_per_step=4, sampler="shifted", kernel_sizes=(3, 5, 7), depths=(2, 3, 4),
        expand_ratios=(3, 4, 6),
    )  # fmt: skip
    return plan_phases([config], published, 10)[0]


def draw(sampler: Sampler, steps: int) -> Genotypes:
    return np.concatenate([sampler.draw(np.random.default_rng(step)) for step in range(steps)])


def log_macs(space: Space, rows: Genotypes) -> Floats:
    rows = rows.copy()
    rows[:, -1] = 0
    return np.log(space.macs(rows))


def test_all_complexities_are_drawn_where_uniform_choices_miss_most(
    published: OfaMbv3Space, phase: PlannedPhase
) -> None:
    uniform = make_sampler(published, replace(phase, config=replace(phase.config, sampler="uniform")))
    low, high = log_macs(published, np.stack([phase.smallest, phase.largest]))
    edges = np.linspace(low, high, 9)
    by_complexity, by_choice = (
        np.histogram(log_macs(published, draw(sampler, 100)), edges)[0]
        for sampler in (make_sampler(published, phase), uniform)
    )
    assert by_complexity.min() > 0.25 * 400 / 8
    assert (by_choice == 0).sum() >= 3


def test_probability_moves_to_where_the_loss_still_falls(published: OfaMbv3Space, phase: PlannedPhase) -> None:
    sampler = ShiftedSampler(published, phase)
    assert sampler.probabilities == pytest.approx(np.full(8, 1 / 8))
    ends = np.stack([phase.smallest, phase.largest])
    for step in range(60):
        sampler.told(ends, np.array([2.0 - 0.02 * step, 1.0]))
    found = sampler.probabilities
    assert found.sum() == pytest.approx(1)
    assert found.argmax() == 0
    assert found[0] > 2 / 8
    assert found.min() >= sampler.FLOOR / 8
    again = ShiftedSampler(published, phase)
    again.restore(sampler.state())
    assert np.array_equal(again.probabilities, found)
    assert np.array_equal(draw(again, 3), draw(sampler, 3))


def test_subnets_stay_within_the_phase(published: OfaMbv3Space) -> None:
    config = PhaseConfig(
        "k", 1, 0.1, subnets_per_step=2, sampler="shifted", kernel_sizes=(3, 5), resolutions=(160, 192)
    )
    (phase,) = plan_phases([config], published, 10)
    archs = [published.arch(row).values for row in draw(ShiftedSampler(published, phase), 20)]
    assert {k for arch in archs for k in arch["ks"]} == {3, 5}
    assert {e for arch in archs for e in arch["e"]} == {6}
    assert {d for arch in archs for d in arch["d"]} == {4}
    assert {arch["r"] for arch in archs} == {160, 192}


def test_a_phase_opens_kinds_of_genes(published: OfaMbv3Space) -> None:
    some, every = plan_phases(
        [PhaseConfig("k", 1, 0.1, opens=("ks",)), PhaseConfig("a", 1, 0.1, opens=("all",))], published, 1
    )
    assert [len(own) for own in every.allowed] == [len(gene.choices) for gene in published.genes]
    for gene, own in zip(published.genes, some.allowed, strict=True):
        assert len(own) == (len(gene.choices) if gene.kind in ("ks", "r") else 1)
    assert every.reorders
    with pytest.raises(ConfigError, match="phase 'k': opens 'kernel': valid: all, ks, e, d, r"):
        plan_phases([PhaseConfig("k", 1, 0.1, opens=("kernel",))], published, 1)


@pytest.mark.parametrize("sampler", ["uniform", "sandwich", "shifted"])
def test_the_resolution_is_known_before_the_step(published: OfaMbv3Space, phase: PlannedPhase, sampler: str) -> None:
    own = make_sampler(published, replace(phase, config=replace(phase.config, sampler=sampler)))
    for step in range(20):
        known = draw_resolution(phase, np.random.default_rng(step))
        assert (own.draw(np.random.default_rng(step))[:, -1] == known).all()
