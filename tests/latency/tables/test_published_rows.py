"""Published tables brought into our format."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from hwnas.errors import TableError
from hwnas.latency.tables.lookup import TableEstimator
from hwnas.latency.tables.ofa_table import operator_key
from hwnas.latency.tables.published_rows import import_table
from hwnas.latency.tables.table import read_table, write_table
from hwnas.operators import Conv, GlobalPool, Linear, MBConv
from hwnas.spaces import OfaMbv3Config, make_space


@pytest.mark.parametrize(("number", "total_ms"), [(0, 29.97), (1, 39.91)])
def test_published_networks_keep_their_sums(reference_data: Path, tmp_path: Path, number: int, total_ms: float) -> None:
    network = json.loads((reference_data / "ofa" / "note10_specialised_nets.json").read_text())[number]
    folder, resolution = reference_data / "ofa", network["r"]
    for path, device, resolutions, tolerance in (
        (folder, "", tuple(range(160, 225, 4)), 0.04),
        (folder / f"note10_w12_{resolution}.yaml", "note10", (resolution,), 0.005),
    ):
        table = read_table(write_table(import_table(path, "ofa", device), tmp_path / "published.csv"))
        assert table.provenance["device"] == "note10"
        space = make_space(OfaMbv3Config(width_mult=1.2, resolution=resolutions))
        estimator = TableEstimator(table, space)
        assert estimator.missing == ()
        genotype = space.genotype({key: network[key] for key in ("ks", "e", "d", "r")})
        assert estimator.latency_ms(genotype[None])[0] == pytest.approx(total_ms, abs=tolerance)


def test_keys_are_read_as_they_are_written(tmp_path: Path) -> None:
    space = make_space(OfaMbv3Config(resolution=(160, 224)))
    for resolution in (160, 224):
        own = make_space(OfaMbv3Config(resolution=(resolution,))).operators
        rows = {operator_key(operator): {"count": 5, "mean": 1 + n, "std": 0.1} for n, operator in enumerate(own)}
        (tmp_path / f"phone_w10_{resolution}.yaml").write_text(yaml.safe_dump(rows))
    table = import_table(tmp_path, "ofa", "other")
    assert table.provenance["device"] == "other"
    assert set(table.operators.operators) == set(space.operators)
    # The classifier stands in both files, last.
    counts = [len(make_space(OfaMbv3Config(resolution=(resolution,))).operators) for resolution in (160, 224)]
    place = table.operators.operators.index(space.operators_of(space.extreme(True))[-1])
    mean = np.mean(counts)
    assert table.operators.in_network_ms[place] == mean
    assert table.operators.samples[place] == 10
    assert table.operators.p10_ms[place] < mean < table.operators.p90_ms[place]


PROXYLESS = {
    "Conv-input:224x224x3-output:112x112x32": {"count": 9, "mean": 2.0, "var": 0.04},
    "expanded_conv-input:112x112x32-output:112x112x16-expand:1-kernel:3-stride:1-idskip:0": {"mean": 3.0, "var": 0.0},
    "expanded_conv-input:28x28x32-output:28x28x32-expand:6-kernel:5-stride:1-idskip:1": {"mean": 1.5, "var": 0.01},
    "Conv_1-input:7x7x320-output:7x7x1280": {"mean": 1.0, "var": 0.01},
    "Logits-input:7x7x1280-output:1000": {"mean": 0.7, "var": 0.01},
}


def test_a_spread_that_is_not_known_is_left_out(tmp_path: Path) -> None:
    rows = {**PROXYLESS, "Conv_1-input:7x7x320-output:7x7x1280": {"mean": 4.2, "var": float("nan")}}
    (tmp_path / "mobile.yaml").write_text(yaml.safe_dump(rows))
    table = import_table(tmp_path / "mobile.yaml", "proxyless", "pixel1")
    place = table.operators.operators.index(Conv(7, 7, 320, 1280, activation="relu6"))
    for found in (table.operators.median_ms, table.operators.p10_ms, table.operators.p90_ms):
        assert found[place] == 4.2
    assert read_table(write_table(table, tmp_path / "t.csv")).operators.median_ms[place] == 4.2


def test_a_spread_that_one_file_knows_is_that_of_both(tmp_path: Path) -> None:
    for resolution, std in ((160, 0.1), (224, float("nan"))):
        own = make_space(OfaMbv3Config(resolution=(resolution,))).operators
        rows = {operator_key(operator): {"count": 5, "mean": resolution / 160, "std": std} for operator in own}
        (tmp_path / f"{resolution}_lookup_table.yaml").write_text(yaml.safe_dump(rows))
    table = import_table(tmp_path, "ofa", "board").operators
    place = table.operators.index(Linear(1, 1, 1280, 1000))
    assert table.median_ms[place] == pytest.approx(1.2)
    assert table.p90_ms[place] == pytest.approx(1.2 + 0.12816)


def test_older_tables_have_ratios_and_variances(tmp_path: Path) -> None:
    path = tmp_path / "mobile.yaml"
    path.write_text(yaml.safe_dump(PROXYLESS))
    table = read_table(write_table(import_table(path, "proxyless", "pixel1"), tmp_path / "published.csv"))
    rows = dict(zip(table.operators.operators, table.operators.in_network_ms, strict=True))
    assert rows == {
        Conv(224, 224, 3, 32, kernel=3, stride=2, activation="relu6"): 2.0,
        MBConv(112, 112, 32, 16, mid_channels=32, kernel=3, activation="relu6"): 3.0,
        MBConv(28, 28, 32, 32, mid_channels=192, kernel=5, residual=True, activation="relu6"): 1.5,
        Conv(7, 7, 320, 1280, activation="relu6"): 1.0,
        Linear(1, 1, 1280, 1000): 0.7,
        GlobalPool(7, 7, 1280, 1280): 0.0,  # measured within the classifier
    }
    stem = table.operators.operators.index(Conv(224, 224, 3, 32, kernel=3, stride=2, activation="relu6"))
    assert table.operators.p90_ms[stem] == pytest.approx(2 + 1.2816 * 0.2)


CSV = """kind,in_height,in_width,in_channels,out_channels,mid_channels,kernel,stride,residual,se,activation,norm,latency_ms,energy_mj
conv,32,32,3,16,0,3,2,false,false,h_swish,true,0.5,2.5
linear,1,1,16,10,,,,,,,,0.1,0.25
"""  # noqa: E501 - one row


def test_csv_rows_may_hold_energy_and_leave_defaults_out(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(CSV)
    table = read_table(write_table(import_table(path, "csv", "board"), tmp_path / "out.csv"))
    assert table.operators.operators == (
        Conv(32, 32, 3, 16, kernel=3, stride=2, activation="h_swish"), Linear(1, 1, 16, 10)
    )  # fmt: skip
    assert table.operators.in_network_ms.tolist() == [0.5, 0.1]
    assert table.operators.energy_mj is not None
    assert table.operators.energy_mj.tolist() == [2.5, 0.25]
    without = "\n".join(line.rsplit(",", 1)[0] for line in CSV.strip().splitlines())
    path.write_text(without + "\n")
    assert import_table(path, "csv", "board").operators.energy_mj is None


def test_energy_is_summed_over_operators(tmp_path: Path) -> None:
    space = make_space(OfaMbv3Config())
    written = [{**one.to_dict(), "latency_ms": 1.0, "energy_mj": one.macs / 1e6 + 1} for one in space.operators]
    path = tmp_path / "mine.csv"
    pd.DataFrame(written).to_csv(path, index=False)
    estimator = TableEstimator(import_table(path, "csv", "board"), space)
    assert estimator.operator_energy_mj is not None
    rows = space.sample(5, np.random.default_rng(0))
    blocks = (space.slot_operators(rows) >= 0).sum(axis=1)
    found = space.sum_over_operators(rows, estimator.operator_energy_mj)
    assert found == pytest.approx(space.macs(rows) / 1e6 + blocks)


@pytest.mark.parametrize(
    ("kind", "content", "message"),
    [
        ("proxyless", "a: [", "not a readable YAML"),
        ("proxyless", "- 1", "expected a mapping"),
        ("proxyless", "Conv-input:2x2x3: {mean: 1}", "no operator of this format"),
        ("proxyless", "Conv-input:4x4x3-output:2x2x8: {mean: -1}", "mean is -1.0"),
        ("proxyless", "Conv-input:4x4x3-output:2x2x8: {mean: .nan}", "mean is nan"),
        ("proxyless", "Conv-input:4x4x3-output:2x2x8: 3", "expected count, mean"),
        ("proxyless", "expanded_conv-input:4x4x8-output:4x4x8-expand:6-kernel:3-stride:1-idskip:1-se:0-hs:1: {mean: 1}",
         "no operator of this format"),
        ("csv", "kind,latency\nconv,1\n", "unknown columns ['latency']"),
        ("csv", CSV.replace("0.5,", "-1,"), "row 2: latency_ms is -1.0"),
        ("csv", CSV.replace("0.5,", "fast,"), "row 2: not an operator with its latency"),
        ("csv", CSV.replace("conv,32", "pond,32"), "row 2: not an operator"),
        ("csv", CSV.replace("0.1,0.25", "1,2345,0.25"), "row 3: expected 14 values, got 15: is a decimal comma"),
        ("csv", CSV.replace(",0.1,0.25", ",0.1"), "row 3: expected 14 values, got 13"),
        ("csv", CSV.replace("linear,1,1,16,10,,,,,,,,0.1,0.25", "linear"), "row 3: expected 14 values, got 1"),
        ("csv", CSV.replace("0.5,", "nan,"), "row 2: latency_ms is nan, expected a positive number"),
        ("csv", CSV.replace("0.5,", "0,"), "row 2: latency_ms is 0.0, expected a positive number"),
        ("csv", CSV.replace("0.5,", "1e999,"), "row 2: latency_ms is inf, expected a positive number"),
        ("csv", CSV.replace("0.5,", "1_000,"), "row 2: not an operator with its latency (latency_ms is '1_000'"),
        ("csv", CSV.replace("0.5,", ","), "row 2: not an operator with its latency (latency_ms is ''"),
        ("csv", CSV.replace("conv,32", "conv,-32"), "row 2: not an operator: in_height is -32"),
        ("csv", CSV.replace("conv,32", "conv,3.5"), "row 2: not an operator with its latency (in_height is '3.5'"),
        ("csv", CSV.replace("false,false", "maybe,false"), "(residual is 'maybe', expected true or false"),
        ("csv", "", "row 1: the file is empty"),
        ("csv", CSV.splitlines()[0], "expected at least one row"),
        ("csv", CSV + CSV.splitlines()[1] + "\n", "row 4: conv 32x32x3->16 k3s2 h_swish stands there twice"),
        ("csv", CSV.replace(",0.25", ","), "for some operators only"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(tmp_path: Path, kind: str, content: str, message: str) -> None:
    path = tmp_path / "table"
    path.write_text(content)
    with pytest.raises(TableError) as caught:
        import_table(path, kind, "board")
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_device_is_needed(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(CSV)
    with pytest.raises(TableError, match="give device=NAME"):
        import_table(path, "csv", "")
    with pytest.raises(TableError, match="no such file"):
        import_table(tmp_path / "none", "csv", "board")
