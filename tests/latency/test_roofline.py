"""The roofline is the larger of arithmetic and bytes, kernel by kernel, and only from facts that are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hwnas.devices.profile import load_profile, profile_names
from hwnas.errors import DeviceError
from hwnas.latency.roofline import RooflineEstimator
from hwnas.operators import GlobalPool, Linear, MBConv
from hwnas.spaces import OfaMbv3Config, OfaMbv3Space, make_space

FAST = 1e9


@pytest.fixture(scope="module")
def space() -> OfaMbv3Space:
    made = make_space(OfaMbv3Config(resolution=(160, 192)))
    assert isinstance(made, OfaMbv3Space)
    return made


def test_the_kernels_do_all_the_operators_arithmetic(space: OfaMbv3Space) -> None:
    for operator in space.operators:
        assert sum(macs for macs, _ in operator.kernels) == operator.macs
        assert all(moved > 0 for _, moved in operator.kernels)


def test_with_free_memory_arithmetic_counts_alone(space: OfaMbv3Space) -> None:
    profile = replace(load_profile("raspberry_pi_5"), bandwidth_gb_s=FAST)
    genotypes = space.sample(20, np.random.default_rng(0))
    expected = space.macs(genotypes) / (profile.peak_gmacs or 0) / 1e6
    np.testing.assert_allclose(RooflineEstimator(profile, space).latency_ms(genotypes), expected, rtol=1e-6)
    four = RooflineEstimator(profile, space, threads=4).latency_ms(genotypes)
    np.testing.assert_allclose(four, expected / 4, rtol=1e-6)


def test_with_free_arithmetic_bytes_count_alone() -> None:
    pool = GlobalPool(4, 4, 24, 24)
    assert list(pool.kernels) == [(0, 4 * 4 * 24 + 24)]
    linear = Linear(1, 1, 1280, 1000)
    assert list(linear.kernels) == [(1280 * 1000, 1280 + 1000 + 1280 * 1000 + 1000)]


def test_the_fastest_network_is_the_smallest_sum(space: OfaMbv3Space) -> None:
    estimator = RooflineEstimator(load_profile("raspberry_pi_5"), space)
    fastest, latency_ms = estimator.fastest()
    assert estimator.latency_ms(fastest[None])[0] == pytest.approx(latency_ms)
    assert (estimator.latency_ms(space.sample(200, np.random.default_rng(1))) >= latency_ms).all()
    found = estimator.estimate(space.sample(3, np.random.default_rng(1)))
    assert found.std_ms is None
    assert found.covered.all()


def test_a_device_without_the_facts_is_refused(space: OfaMbv3Space) -> None:
    with pytest.raises(DeviceError, match="lacks peak_gmacs and bandwidth_gb_s"):
        RooflineEstimator(load_profile("local"), space)
    with pytest.raises(DeviceError, match=r"has 4 cores, got profiling\.threads=5"):
        RooflineEstimator(load_profile("raspberry_pi_5"), space, threads=5)
    able = [name for name in profile_names() if load_profile(name).peak_gmacs and load_profile(name).bandwidth_gb_s]
    assert len(able) >= 5


def test_a_kernel_takes_the_longer_of_arithmetic_and_bytes(space: OfaMbv3Space) -> None:
    """Of 10^9 multiplications and bytes a second: a block of three kernels by hand, 8×8×4 to 4×4×6, 12 in between."""
    block = MBConv(8, 8, 4, 6, mid_channels=12, kernel=3, stride=2, activation="relu")
    kernels = list(block.kernels)
    widen, depthwise, narrow = (64 * 4 * 12, 16 * 12 * 9, 16 * 12 * 6)
    assert [macs for macs, _ in kernels] == [widen, depthwise, narrow]
    moved = [64 * 4 + 64 * 12 + 4 * 12 + 12, 64 * 12 + 16 * 12 + 9 * 12 + 12, 16 * 12 + 12 * 6 + 6 + 16 * 6]
    assert [numbers for _, numbers in kernels] == moved
    profile = replace(load_profile("raspberry_pi_5"), peak_gmacs=1.0, bandwidth_gb_s=1.0)
    estimator = RooflineEstimator(profile, space)
    genotype = space.extreme(False)
    expected = sum(
        max(macs, 4 * numbers) / 1e6 for operator in space.operators_of(genotype) for macs, numbers in operator.kernels
    )
    assert estimator.latency_ms(genotype[None])[0] == pytest.approx(expected)
    slow = RooflineEstimator(replace(profile, peak_gmacs=FAST), space)
    bytes_moved = sum(4 * n for operator in space.operators_of(genotype) for _, n in operator.kernels)
    assert slow.latency_ms(genotype[None])[0] == pytest.approx(bytes_moved / 1e6, rel=1e-6)


def test_factors_add_up_to_the_estimate(space: OfaMbv3Space) -> None:
    estimator = RooflineEstimator(load_profile("raspberry_pi_5"), space)
    genotypes = space.sample(30, np.random.default_rng(0))
    total = sum(table[tuple(genotypes[:, gene] for gene in genes)] for genes, table in estimator.factors)
    np.testing.assert_allclose(total, estimator.latency_ms(genotypes))
    assert estimator.missing == ()


def test_squeeze_and_excitation_and_a_residual_are_moved_too() -> None:
    plain = MBConv(4, 4, 8, 8, mid_channels=16, kernel=3, residual=True, activation="relu")
    without = replace(plain, residual=False)
    assert list(plain.kernels)[-1][1] - list(without.kernels)[-1][1] == 4 * 4 * 8
    excited = list(replace(plain, se=True).kernels)
    weights = 2 * 16 * replace(plain, se=True).se_channels
    assert len(excited) == 4
    assert excited[2] == (weights, 3 * 16 * 16 + weights)
