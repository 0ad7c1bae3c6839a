"""Configs of spaces."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hwnas.errors import ConfigError
from hwnas.spaces import OfaMbv3Config, OfaProxylessConfig, Space, make_space, space_from_dict


def test_a_space_comes_back_from_its_config(space: Space) -> None:
    again = space_from_dict(json.loads(json.dumps(space.config())))
    assert again.config() == space.config()
    assert again.operators == space.operators
    assert again.genes == space.genes


def test_widths_are_the_published_ones() -> None:
    assert OfaMbv3Config().scaled_widths == (16, 16, 24, 40, 80, 112, 160, 960, 1280)
    assert OfaMbv3Config(width_mult=1.2).scaled_widths == (24, 24, 32, 48, 96, 136, 192, 1152, 1536)


@pytest.mark.parametrize(
    "change",
    [
        {"widths": (16, 16, 24)},
        {"strides": (1, 2, 2)},
        {"strides": (1, 2, 3, 2, 1, 2)},
        {"stem_stride": 0},
        {"activations": ("relu", "relu", "relu", "gelu", "h_swish", "h_swish")},
        {"kernel_sizes": (3, 4)},
        {"kernel_sizes": (5, 3)},
        {"kernel_sizes": ()},
        {"expand_ratios": (0, 3)},
        {"depths": (2, 2)},
        {"resolution": ()},
        {"resolution": (224, 160)},
        {"width_mult": 0.0},
        {"classes": -1},
        {"largest_depths": (4, 4, 4, 4)},
        {"largest_depths": (4, 4, 4, 4, 5)},
        {"largest_depths": (2, 2, 2, 2, 2), "largest_kernels": (7,) * 20},
        {"largest_expands": (5,) * 20},
    ],
)
def test_bad_configs_are_refused_in_one_line(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="space") as caught:
        OfaMbv3Config(**change)
    assert "\n" not in str(caught.value)


def test_a_config_without_the_data_sets_numbers_makes_no_space() -> None:
    with pytest.raises(ConfigError, match="data set's numbers"):
        make_space(OfaMbv3Config(classes=0))


@pytest.mark.parametrize("change", [{"rooms": 3}, {"name": None}])
def test_stored_configs_with_unknown_or_missing_keys_are_refused(space: Space, change: dict[str, Any]) -> None:
    values = space.config()
    for key, value in change.items():
        if value is None:
            del values[key]
        else:
            values[key] = value
    with pytest.raises(ConfigError, match=r"missing|unknown"):
        space_from_dict(values)


def test_spaces_need_no_torch() -> None:
    code = "import sys, hwnas.spaces; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    "config", [OfaMbv3Config(), OfaProxylessConfig(), OfaProxylessConfig(largest_depths=(2, 3, 4, 4, 2))]
)
def test_a_bounded_space_s_largest_network_is_the_one_that_bounds_it(
    config: OfaMbv3Config | OfaProxylessConfig,
) -> None:
    space = make_space(config)
    rng = np.random.default_rng(0)
    drawn = space.sample(1, rng)[0]
    within = make_space(replace(config, **space.bounds(drawn)))
    largest = within.extreme(largest=True)
    drawn[-1] = len(space.resolutions) - 1
    assert within.operators_of(largest) == space.operators_of(drawn)
    assert within.arch(largest).to_dict()["d"] == space.arch(drawn).to_dict()["d"]
    assert within.macs(within.sample(50, rng)).max() <= space.macs(drawn[None])[0]
    assert within.bounds(largest) == space.bounds(drawn)


def test_bounds_stand_in_a_space_s_description_only_where_they_are_given() -> None:
    assert "largest_depths" not in make_space(OfaMbv3Config()).config()
    assert make_space(OfaMbv3Config(largest_depths=(2, 3, 3, 4, 2))).config()["largest_depths"] == [2, 3, 3, 4, 2]


def test_a_bounded_space_has_no_choice_beyond_its_bounds() -> None:
    space = make_space(OfaMbv3Config(largest_depths=(2, 3, 2, 2, 2), largest_kernels=(3, 5, *(7,) * 9)))
    choices = {gene.name: gene.choices for gene in space.genes}
    assert (choices["ks0"], choices["ks1"], choices["ks2"]) == ((3,), (3, 5), (3, 5, 7))
    assert (choices["d0"], choices["d1"]) == ((2,), (2, 3))
    assert sum(name.startswith("ks") for name in choices) == 11
