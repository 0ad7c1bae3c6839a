"""The correction finds in-network costs behind noisy networks, on data made by a known law."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from hwnas.latency.tables.correction import NO_SLOWDOWN, Correction, Slowdown, cross_validate, fit_correction
from hwnas.spaces import OfaMbv3Space
from hwnas.spaces.space import Floats

NOISE = 0.01


def law(
    space: OfaMbv3Space, rng: np.random.Generator, slowdown: Slowdown, count: int = 120
) -> tuple[Floats, Floats, NDArray[np.int64], NDArray[np.int64], Floats, Floats]:
    """Networks whose operators cost 1.15 times what they do alone, blocks with SE 1.3 times, less a call's cost."""
    isolated = np.array([0.002 + 1e-7 * operator.macs for operator in space.operators]) * rng.uniform(0.8, 1.25)
    isolated *= rng.lognormal(0, 0.1, len(isolated))
    se = np.array([bool(operator.traits["se"]) for operator in space.operators])
    true = (isolated - 0.001) * np.where(se, 1.3, 1.15) * rng.lognormal(0, 0.03, len(isolated))
    genotypes = space.sample(count, rng)
    counts, parameters = space.operator_counts(genotypes), space.parameters(genotypes)
    exact = (counts @ true) * slowdown.factor(parameters)
    return isolated, true, counts, parameters, exact, exact * (1 + NOISE * rng.standard_normal(count))


@pytest.mark.parametrize("gain", [0.0, 0.6])
def test_held_out_networks_are_predicted_to_the_noise(space: OfaMbv3Space, gain: float) -> None:
    rng = np.random.default_rng(3)
    slowdown = Slowdown(gain, threshold=25000.0, width=0.25)
    isolated, _, counts, parameters, exact, measured = law(space, rng, slowdown)
    predicted = cross_validate(space.operators, isolated, counts, parameters, measured, 5, rng)
    raw = np.abs(counts @ isolated / exact - 1).mean()
    corrected = np.abs(predicted / exact - 1).mean()
    assert raw > 0.04
    assert corrected < 0.015


def test_the_slowdown_is_recovered_and_not_made_up(space: OfaMbv3Space) -> None:
    rng = np.random.default_rng(3)
    isolated, _, counts, parameters, _, measured = law(space, rng, Slowdown(0.6, 25000.0, 0.25), count=200)
    found = fit_correction(space.operators, isolated, counts, parameters, measured).slowdown
    largest, smallest = parameters.max(), parameters.min()
    expected = Slowdown(0.6, 25000.0, 0.25)
    ratio = found.factor(np.array([largest])) / found.factor(np.array([smallest]))
    assert ratio[0] == pytest.approx(
        (expected.factor(np.array([largest])) / expected.factor(np.array([smallest])))[0], rel=0.15
    )
    isolated, _, counts, parameters, _, measured = law(space, rng, Slowdown(0.0, 25000.0, 0.25), count=200)
    found = fit_correction(space.operators, isolated, counts, parameters, measured).slowdown
    assert np.ptp(found.factor(parameters)) < 0.1


def test_costs_are_nearer_the_truth_than_alone_and_never_negative(space: OfaMbv3Space) -> None:
    rng = np.random.default_rng(4)
    isolated, true, counts, parameters, _, measured = law(space, rng, Slowdown(0.0, 1.0, 1.0))
    found = fit_correction(space.operators, isolated, counts, parameters, measured)
    in_network = found.operator_ms * found.slowdown.factor(parameters).mean()
    assert np.abs(in_network - true).mean() < 0.6 * np.abs(isolated - true).mean()
    # Networks that take next to nothing would have operators cost less than that.
    cheap = fit_correction(space.operators, isolated, counts, parameters, 0.05 * measured).operator_ms
    assert (cheap >= 0).all()
    np.testing.assert_allclose(counts @ cheap, 0.05 * measured, rtol=0.5)


def test_it_is_deterministic(space: OfaMbv3Space) -> None:
    isolated, _, counts, parameters, _, measured = law(space, np.random.default_rng(5), Slowdown(0.3, 25000.0, 0.3), 60)
    first, second = (fit_correction(space.operators, isolated, counts, parameters, measured) for _ in range(2))
    np.testing.assert_array_equal(first.operator_ms, second.operator_ms)
    assert first.slowdown == second.slowdown


def test_operators_that_cost_nothing_in_a_network_come_out_as_nothing(space: OfaMbv3Space) -> None:
    """Every third operator is fused away. Least squares alone would have it below nothing: the others stay right."""
    rng = np.random.default_rng(6)
    isolated = rng.uniform(0.005, 0.02, len(space.operators))
    true = np.where(np.arange(len(isolated)) % 3 == 0, 0.0, isolated)
    genotypes = space.sample(300, rng)
    counts, parameters = space.operator_counts(genotypes), space.parameters(genotypes)
    exact = counts @ true
    measured = exact * (1 + 0.002 * rng.standard_normal(300))
    found = fit_correction(space.operators, isolated, counts, parameters, measured)
    assert (found.operator_ms >= 0).all()
    predicted = found.predict(counts.astype(np.float64), parameters.astype(np.float64))
    assert predicted == pytest.approx(exact, rel=0.03)
    assert found.noise == pytest.approx(0.002, rel=1.5)


def test_a_slowdown_by_hand() -> None:
    slowdown = Slowdown(0.5, 1000.0, 0.5)
    step = np.exp(0.5)
    factors = slowdown.factor(np.array([1000.0, 1000 * step, 1000 / step, 1e-9, 1e12]))
    assert factors == pytest.approx([1.25, 1 + 0.5 / (1 + np.exp(-1)), 1 + 0.5 / (1 + np.exp(1)), 1.0, 1.5], abs=1e-4)
    correction = Correction(np.array([1.0, 2.0]), slowdown, 0.1)
    assert correction.predict(np.array([[2.0, 1.0]]), np.array([1000])) == pytest.approx([4 * 1.25])
    assert NO_SLOWDOWN.factor(np.array([5, 10**9])).tolist() == [1.0, 1.0]


def test_a_network_that_is_held_out_teaches_its_own_prediction_nothing(space: OfaMbv3Space) -> None:
    isolated, _, counts, parameters, _, measured = law(space, np.random.default_rng(5), Slowdown(0.0, 1.0, 1.0), 40)
    one = cross_validate(space.operators, isolated, counts, parameters, measured, 4, np.random.default_rng(1))
    fold = np.random.default_rng(1).permutation(40) % 4
    own = np.flatnonzero(fold == 3)[0]  # of the last fold, whose fit starts where the others ended
    first = np.flatnonzero(fold == 0)[0]
    changed = measured.copy()
    changed[first] *= 1.5
    other = cross_validate(space.operators, isolated, counts, parameters, changed, 4, np.random.default_rng(1))
    assert other[first] == one[first]
    assert other[own] != one[own]
