"""Measured networks are distinct, spread, and not those that are left out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hwnas.errors import ConfigError
from hwnas.profiling.networks import nested_networks, networks_at_most, reference_network, spread_networks
from hwnas.spaces import OfaMbv3Config, OfaMbv3Space, make_space


def test_networks_are_distinct_and_spread_over_the_range() -> None:
    space = make_space(OfaMbv3Config())
    found = spread_networks(space, 60, np.random.default_rng(0))
    np.testing.assert_array_equal(found, space.canonical(found))
    assert len(space.unique(found)) == 60
    uniform = space.macs(space.sample(60, np.random.default_rng(0)))
    sizes = np.log(space.macs(found))
    assert np.ptp(sizes) > 1.4 * np.ptp(np.log(uniform))
    filled = np.histogram(sizes, bins=10)[0]
    assert filled.min() >= 3


def test_the_same_seed_gives_the_same_networks(space: OfaMbv3Space) -> None:
    first, second = (spread_networks(space, 10, np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_networks_that_are_left_out_do_not_come(space: OfaMbv3Space) -> None:
    known = spread_networks(space, 30, np.random.default_rng(0))
    found = spread_networks(space, 30, np.random.default_rng(0), without=known)
    assert len(space.unique(np.concatenate([known, found]))) == 60


def test_fewer_networks_are_the_first_of_more() -> None:
    space = make_space(OfaMbv3Config())
    many, few, none = (nested_networks(space, count, np.random.default_rng(0)) for count in (230, 100, 0))
    np.testing.assert_array_equal(many[:100], few)
    assert len(space.unique(many)) == 230
    assert none.shape == (0, len(space.genes))
    for block in (many[:100], many[100:200]):
        assert np.ptp(np.log(space.macs(block))) > 0.9 * np.ptp(np.log(space.macs(many)))


def test_too_small_a_space_is_refused(space: OfaMbv3Space) -> None:
    with pytest.raises(ConfigError, match=r"profiling\.networks"):
        spread_networks(space, 500, np.random.default_rng(0))


def test_the_reference_stands_in_the_middle(space: OfaMbv3Space) -> None:
    macs = space.macs(np.stack([space.extreme(False), reference_network(space), space.extreme(True)]))
    assert macs[0] < macs[1] <= macs[2]


def few(networks: int) -> OfaMbv3Space:
    """A space of so many networks, and many gene combinations more where depth leaves genes without effect."""
    config = OfaMbv3Config(kernel_sizes=(3,), expand_ratios=(4,), depths=(2,))
    return make_space(replace(config, resolution=tuple(range(128, 128 + 32 * networks, 32))))


@pytest.mark.parametrize("networks", [1, 2, 5, 7])
def test_a_small_space_gives_all_that_it_has(networks: int) -> None:
    found = nested_networks(few(networks), 30, np.random.default_rng(0))
    assert len(found) == len(few(networks).unique(found)) == networks == networks_at_most(few(networks), 30)
    assert len(nested_networks(few(networks), 1, np.random.default_rng(0))) == 1
    with pytest.raises(ConfigError, match=f"found 0 networks to measure beside {networks} known ones, expected 1"):
        spread_networks(few(networks), 1, np.random.default_rng(0), without=found)
