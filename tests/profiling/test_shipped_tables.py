"""The tables that are shipped: whole, of the spaces that they say, and with the same networks in every setting."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from hwnas.devices.profile import load_profile
from hwnas.files import packaged
from hwnas.latency.tables.lookup import TableEstimator
from hwnas.latency.tables.table import LatencyTable, read_table
from hwnas.profiling.onboard import known_devices
from hwnas.spaces import OfaMbv3Config, make_space, space_from_dict

FOLDER = packaged("latency_tables")
FILES = sorted(path for path in FOLDER.glob("*/*/*.csv") if not path.stem.endswith(".networks"))
NETWORKS = {"onnxruntime": 300, "litert": 300, "tvm": 100}
"""Of `ofa_mbv3`, by runtime."""


def _setting(table: LatencyTable) -> str:
    return "{runtime}-{precision}-{threads}t".format_map(table.provenance)


SETTINGS = {
    f"{runtime}-{threads}t"
    for runtime in ("onnxruntime-fp32", "onnxruntime-int8", "litert-fp32", "litert-int8", "tvm-fp32")
    for threads in (1, 2)
}


@pytest.mark.parametrize("space", ["ofa_mbv3", "ofa_mbv3_32"])
def test_every_setting_is_there(space: str) -> None:
    assert {path.stem for path in FILES if path.parts[-3] == space} == SETTINGS


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_table_is_whole_and_says_what_it_is_of(path: Path) -> None:
    table = read_table(path)
    facts = table.provenance
    (config,) = facts["spaces"]
    space = space_from_dict(config)
    assert (space.name, facts["device"], _setting(table)) == (path.parts[-3], path.parts[-2], path.stem)
    load_profile(facts["device"]).check_runtime(facts["runtime"], facts["precision"])
    assert set(table.operators.operators) == set(space.operators)
    assert TableEstimator(table, space).missing == ()
    assert facts["noise"]["mape_test_retest_networks"] > 0
    assert facts["correction"]["mape_corrected"] < 0.08
    assert facts["machine"]["soc"] != ""
    if space.name == "ofa_mbv3":
        assert len(table.networks.archs) >= NETWORKS[facts["runtime"]]


def test_a_space_of_fewer_resolutions_learns_from_them() -> None:
    space = make_space(OfaMbv3Config(name="ofa_mbv3", resolution=(224,)))
    names, genotypes, latency_ms = known_devices(FOLDER, space)
    assert len(names) >= 4
    assert latency_ms.shape == (len(genotypes), len(names))
    assert len(genotypes) >= 30
    assert (latency_ms[~np.isnan(latency_ms)] > 0).all()
    assert (np.isnan(latency_ms).any(axis=0) == ["tvm" in name for name in names]).all()


def test_all_settings_measured_the_same_networks() -> None:
    for space in {path.parts[-3] for path in FILES}:
        archs = [read_table(path).networks.archs for path in FILES if path.parts[-3] == space]
        for first, second in pairwise(sorted(archs, key=len)):
            assert second[: len(first)] == first
