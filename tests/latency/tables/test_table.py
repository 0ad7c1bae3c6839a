"""Latency tables as files: what is written is read, and nonsense is refused by file and row."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hwnas.errors import TableError
from hwnas.latency.tables.published_rows import import_table
from hwnas.latency.tables.table import LatencyTable, read_table, table_path, write_table


def test_what_is_written_is_read(table: LatencyTable, tmp_path: Path) -> None:
    path = write_table(table, table_path(tmp_path, "board", "onnxruntime-fp32-1t"))
    assert path == tmp_path / "board" / "onnxruntime-fp32-1t.csv"
    found = read_table(path)
    assert found.operators.operators == table.operators.operators
    assert found.operators.errors == table.operators.errors
    assert found.networks.archs == table.networks.archs
    for part in ("operators", "networks"):
        for key in ("median_ms", "p10_ms", "p90_ms", "samples"):
            np.testing.assert_array_equal(getattr(getattr(found, part), key), getattr(getattr(table, part), key))
    np.testing.assert_array_equal(found.operators.in_network_ms, table.operators.in_network_ms)
    np.testing.assert_array_equal(found.networks.held_out_ms, table.networks.held_out_ms)
    assert found.reference["latency_ms"] == 0.1
    assert {key: found.provenance[key] for key in table.provenance} == table.provenance


def test_a_rejected_operator_keeps_its_reason(table: LatencyTable, tmp_path: Path) -> None:
    rows = table.operators
    for column in (rows.median_ms, rows.p10_ms, rows.p90_ms, rows.in_network_ms):
        column[3] = np.nan
    rows.samples[3] = 0
    errors = (*rows.errors[:3], "no kernel, says the runtime", *rows.errors[4:])
    changed = LatencyTable(
        type(rows)(rows.operators, rows.median_ms, rows.p10_ms, rows.p90_ms, rows.samples, rows.in_network_ms, errors),
        table.networks,
        table.provenance,
    )
    found = read_table(write_table(changed, tmp_path / "t.csv")).operators
    assert found.errors[3] == "no kernel, says the runtime"
    assert np.isnan(found.median_ms[3])
    assert np.isnan(found.median_ms).sum() == 1


def _cell(row: int, column: str, value: str) -> Callable[[list[str]], list[str]]:
    def edit(lines: list[str]) -> list[str]:
        cells = lines[row - 1].split(",")
        cells[lines[0].split(",").index(column)] = value
        return [*lines[: row - 1], ",".join(cells), *lines[row:]]

    return edit


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (_cell(3, "median_ms", "nan"), "row 3: median_ms is 'nan'"),
        (_cell(4, "median_ms", "-0.5"), "row 4: median_ms is '-0.5'"),
        (_cell(4, "median_ms", "0"), "row 4: median_ms is '0'"),
        (_cell(4, "p90_ms", "inf"), "row 4: p90_ms is 'inf'"),
        (_cell(4, "in_network_ms", "fast"), "row 4: in_network_ms is 'fast'"),
        (_cell(4, "median_ms", ""), "row 4: median_ms is ''"),
        (_cell(5, "kind", "convolution"), "row 5: not an operator"),
        (_cell(5, "kernel", "3.5"), "row 5: not an operator"),
        (_cell(5, "se", "yes"), "row 5: not an operator"),
        (_cell(1, "median_ms", "mean_ms"), "row 1: unknown columns ['mean_ms'], missing ['median_ms']"),
        (lambda lines: [*lines[:4], lines[3], *lines[5:]], "stands in row 4 already"),
        (lambda lines: lines[:-1], "its provenance counts"),
        (lambda lines: [*lines[:-1], lines[-1][:-9]], "values, got"),
        (lambda lines: lines[:0], "row 1"),
    ],
)
def test_nonsense_is_refused_by_row(
    table: LatencyTable, tmp_path: Path, edit: Callable[[list[str]], list[str]], named: str
) -> None:
    path = write_table(table, tmp_path / "t.csv")
    path.write_text("".join(line + "\n" for line in edit(path.read_text().splitlines())))
    with pytest.raises(TableError) as caught:
        read_table(path)
    message = str(caught.value)
    assert named in message
    assert str(path) in message
    assert "hwnas profile" in message
    assert "\n" not in message


@pytest.mark.parametrize("suffix", [".csv", ".networks.csv"])
def test_a_table_may_have_been_through_an_editor(table: LatencyTable, tmp_path: Path, suffix: str) -> None:
    path = write_table(table, tmp_path / "t.csv")
    target = path.with_name(f"t{suffix}")
    target.write_bytes(b"\xef\xbb\xbf" + target.read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
    found = read_table(path)
    assert found.operators.operators == table.operators.operators
    np.testing.assert_array_equal(found.networks.median_ms, table.networks.median_ms)
    target.write_bytes(target.read_bytes() + b"\xff\r\n")
    with pytest.raises(TableError, match=r"not UTF-8 .*hwnas profile"):
        read_table(path)


@pytest.mark.parametrize("suffix", [".csv", ".networks.csv"])
@pytest.mark.parametrize("cut", [1, 3])
def test_a_file_that_ends_early_is_refused(table: LatencyTable, tmp_path: Path, suffix: str, cut: int) -> None:
    path = write_table(table, tmp_path / "t.csv")
    target = path.with_name(f"t{suffix}")
    # One byte less is a row that still parses; only the missing end of line gives it away.
    target.write_bytes(target.read_bytes()[:-cut])
    with pytest.raises(TableError, match="truncated"):
        read_table(path)


def test_a_network_that_occurs_twice_is_refused(table: LatencyTable, tmp_path: Path) -> None:
    path = write_table(table, tmp_path / "t.csv")
    networks = tmp_path / "t.networks.csv"
    lines = networks.read_text().splitlines(keepends=True)
    networks.write_text("".join([*lines[:2], lines[1], *lines[3:]]))
    with pytest.raises(TableError, match="row 3: this network stands in row 2"):
        read_table(path)


def test_tables_of_ones_own_and_of_others_are_told_apart(table: LatencyTable, tmp_path: Path) -> None:
    path = write_table(table, tmp_path / "t.csv")
    with pytest.raises(TableError, match=r"a table of hwnas's own: search with it as it is, latency\.path="):
        import_table(path, "csv", "board")
    path.with_suffix(".json").unlink()
    with pytest.raises(TableError, match=r"no such file: .*t\.json, .*hwnas import-table format=csv path="):
        read_table(path)


@pytest.mark.parametrize("content", ["{", "[]", "{}", None])
def test_a_missing_or_wrong_provenance_is_refused(table: LatencyTable, tmp_path: Path, content: str | None) -> None:
    path = write_table(table, tmp_path / "t.csv")
    provenance = tmp_path / "t.json"
    if content is None:
        provenance.unlink()
    else:
        provenance.write_text(content)
    with pytest.raises(TableError, match=r"t\.json"):
        read_table(path)


def test_a_reference_without_latency_is_refused(table: LatencyTable, tmp_path: Path) -> None:
    path = write_table(table, tmp_path / "t.csv")
    provenance = json.loads((tmp_path / "t.json").read_text())
    del provenance["reference"]["latency_ms"]
    (tmp_path / "t.json").write_text(json.dumps(provenance))
    with pytest.raises(TableError, match="reference lacks"):
        read_table(path)


def test_a_table_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"none\.json"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(TableError, match=r"\.csv"):
        read_table(tmp_path / "folder")
