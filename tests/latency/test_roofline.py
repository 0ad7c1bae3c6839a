"""The roofline is the larger of arithmetic and bytes, kernel by kernel, and only from facts that are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hwnas.devices.profile import load_profile, profile_names
from hwnas.errors import DeviceError
from hwnas.latency.roofline import RooflineEstimator, operator_kernels
from hwnas.spaces import OfaMbv3Config, OfaMbv3Space, Operator, make_space

FAST = 1e9


@pytest.fixture(scope="module")
def space() -> OfaMbv3Space:
    made = make_space(OfaMbv3Config(resolution=(160, 192)))
    assert isinstance(made, OfaMbv3Space)
    return made


def test_the_kernels_do_all_the_operators_arithmetic(space: OfaMbv3Space) -> None:
    for operator in space.operators:
        assert sum(macs for macs, _ in operator_kernels(operator)) == operator.macs
        assert all(moved > 0 for _, moved in operator_kernels(operator))


def test_with_free_memory_arithmetic_counts_alone(space: OfaMbv3Space) -> None:
    profile = replace(load_profile("raspberry_pi_5"), bandwidth_gb_s=FAST)
    genotypes = space.sample(20, np.random.default_rng(0))
    expected = space.macs(genotypes) / (profile.peak_gmacs or 0) / 1e6
    np.testing.assert_allclose(RooflineEstimator(profile, space).latency_ms(genotypes), expected, rtol=1e-6)
    four = RooflineEstimator(profile, space, threads=4).latency_ms(genotypes)
    np.testing.assert_allclose(four, expected / 4, rtol=1e-6)


def test_with_free_arithmetic_bytes_count_alone() -> None:
    pool = Operator("pool", 4, 4, 24, 24)
    assert list(operator_kernels(pool)) == [(0, 4 * 4 * 24 + 24)]
    linear = Operator("linear", 1, 1, 1280, 1000)
    assert list(operator_kernels(linear)) == [(1280 * 1000, 1280 + 1000 + 1280 * 1000 + 1000)]


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
