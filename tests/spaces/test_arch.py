"""Archs as people and publications write them."""

from __future__ import annotations

import ast
import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.errors import ArchError
from hwnas.spaces import OfaMbv3Config, OfaMbv3Space, make_space

# DyNAS-T's measurements of the public supernet (Apache-2.0): arch, parameters, MACs.
PUBLISHED = [
    (
        {
            "ks": [5, 7, 5, 5, 3, 3, 3, 7, 5, 5, 3, 7, 7, 3, 3, 3, 5, 5, 5, 5],
            "e": [4, 3, 4, 4, 4, 6, 3, 4, 4, 3, 4, 3, 3, 6, 6, 6, 4, 3, 4, 4],
            "d": [2, 3, 2, 4, 3],
            "r": [224],
        },
        5_029_656,
        255_502_624,
    ),
    (
        {
            "ks": [5, 5, 5, 5, 3, 7, 7, 7, 7, 5, 7, 3, 3, 3, 5, 5, 5, 7, 5, 5],
            "e": [4, 3, 6, 3, 6, 6, 3, 3, 6, 4, 4, 6, 3, 4, 3, 6, 4, 4, 3, 4],
            "d": [3, 3, 3, 4, 3],
            "r": [224],
        },
        4_761_632,
        297_261_792,
    ),
    (
        {
            "ks": [7, 3, 3, 7, 5, 3, 3, 3, 7, 3, 7, 7, 7, 3, 7, 5, 3, 3, 3, 3],
            "e": [3, 6, 6, 3, 6, 3, 6, 6, 6, 6, 4, 3, 4, 6, 4, 3, 3, 6, 4, 4],
            "d": [3, 2, 2, 3, 2],
            "r": [224],
        },
        4_536_768,
        244_945_104,
    ),
]


def valid_arch() -> dict[str, Any]:
    return {"ks": [3] * 20, "e": [4] * 20, "d": [3] * 5, "r": 192}


@pytest.mark.parametrize(("arch", "parameters", "macs"), PUBLISHED)
def test_published_networks_have_the_published_macs_and_parameters(
    full_space: OfaMbv3Space, arch: dict[str, Any], parameters: int, macs: int
) -> None:
    row = full_space.genotype(arch)[None]
    assert full_space.macs(row)[0] == macs
    assert full_space.parameters(row)[0] == parameters


def test_every_published_label_has_its_macs_and_parameters(full_space: OfaMbv3Space, reference_data: Path) -> None:
    files = sorted((reference_data / "dynast").glob("*.csv"))
    if not files:
        pytest.skip(f"no dynast/*.csv in {reference_data}")
    records = [record for file in files for record in csv.DictReader(file.read_text().splitlines())]
    rows = np.stack([full_space.genotype(ast.literal_eval(record["Sub-network"])) for record in records])
    assert len(rows) > 1800
    assert np.array_equal(full_space.macs(rows), [int(record["MACs"]) for record in records])
    assert np.array_equal(full_space.parameters(rows), [int(record["Model Parameters"]) for record in records])


def test_specialised_networks_are_read(reference_data: Path) -> None:
    file = reference_data / "ofa" / "note10_specialised_nets.json"
    if not file.is_file():
        pytest.skip(f"no {file}")
    space = make_space(OfaMbv3Config(width_mult=1.2, resolution=tuple(range(160, 228, 4))))
    for published in json.loads(file.read_text()):
        arch = {key: published[key] for key in ("ks", "e", "d", "r")}
        row = space.genotype(arch)
        read = space.arch(row).values
        assert (read["d"], read["r"]) == (arch["d"], arch["r"])
        for stage, depth in enumerate(arch["d"]):
            kept = slice(4 * stage, 4 * stage + depth)
            assert (read["ks"][kept], read["e"][kept]) == (arch["ks"][kept], arch["e"][kept])


@pytest.mark.parametrize("resolution", [[224], (224,), 224, None])
def test_resolution_may_be_a_list_of_one_or_absent(full_space: OfaMbv3Space, resolution: object) -> None:
    arch = valid_arch()
    if resolution is None:
        del arch["r"]
    else:
        arch["r"] = resolution
    assert full_space.arch(full_space.genotype(arch)).values["r"] == 224


def test_blocks_past_the_depth_may_hold_anything(full_space: OfaMbv3Space) -> None:
    arch, other = valid_arch(), valid_arch()
    other["ks"][3], other["e"][3] = 0, 0
    assert np.array_equal(full_space.genotype(arch), full_space.genotype(other))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ks": [3] * 19}, "expected 'ks' as a list of 20"),
        ({"e": None}, "expected 'e' as a list of 20"),
        ({"d": 3}, "expected 'd' as a list of 5"),
        ({"ks": [9] + [3] * 19}, "ks0 is 9, valid: 3, 5, 7"),
        ({"e": [4] * 16 + [5] + [4] * 3}, "e16 is 5, valid: 3, 4, 6"),
        ({"d": [3, 3, 1, 3, 3]}, "d2 is 1, valid: 2, 3, 4"),
        ({"d": [3, 3, "x", 3, 3]}, "d2 is 'x'"),
        ({"d": [3, 3, None, 3, 3]}, "d2 is None"),
        ({"r": 225}, "r is 225, valid: 160, 176"),
        ({"r": [192, 224]}, "r is"),
        ({"space": "ofa_proxyless"}, "arch is of space 'ofa_proxyless', expected 'ofa_mbv3'"),
        ({"ks": "3" * 20}, "ks0 is '3'"),
    ],
)
def test_bad_archs_are_refused_with_the_valid_choices(
    full_space: OfaMbv3Space, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ArchError, match=message) as caught:
        full_space.genotype({**valid_arch(), **change})
    assert "\n" not in str(caught.value)


def test_arch_is_json(full_space: OfaMbv3Space) -> None:
    arch = full_space.arch(full_space.extreme(largest=True)).to_dict()
    assert json.loads(json.dumps(arch)) == {
        "space": "ofa_mbv3", "ks": [7] * 20, "e": [6] * 20, "d": [4] * 5, "r": 224,
    }  # fmt: skip


scalars = st.none() | st.booleans() | st.integers(-10, 300) | st.floats() | st.text(max_size=3)
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(key=st.sampled_from(["ks", "e", "d", "r"]), value=json_values, place=st.none() | st.integers(0, 4))
def test_any_json_is_an_arch_or_an_arch_error(
    full_space: OfaMbv3Space, key: str, value: object, place: int | None
) -> None:
    arch = valid_arch()
    if place is None or key == "r":
        arch[key] = value
    else:
        arch[key][place] = value
    try:
        row = full_space.genotype(arch)
    except ArchError:
        return  # anything else would fail the test
    assert np.array_equal(full_space.canonical(full_space.check(row[None]))[0], row)
