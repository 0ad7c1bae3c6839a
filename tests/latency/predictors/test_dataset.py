"""Latency data from CSV files: what is read, and what is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hwnas.errors import ConfigError, DataError, HwnasError
from hwnas.latency.predictors.dataset import load_latency_data
from hwnas.latency.predictors.dataset_config import LatencyDataConfig
from hwnas.latency.predictors.protocol import run_protocol
from hwnas.latency.predictors.registry import METHODS, make_method
from hwnas.progress import no_progress
from tests.latency.families import cell_devices

GENES = ("a", "b", "c", "d", "e", "f")


def write(path: Path, genotypes: np.ndarray, latency_ms: np.ndarray) -> Path:
    names = [*GENES, *(f"dev{d}" for d in range(latency_ms.shape[1]))]
    rows = [",".join([*map(str, g), *map(repr, ms.tolist())]) for g, ms in zip(genotypes, latency_ms, strict=True)]
    path.write_text("\n".join([",".join(names), *rows]) + "\n")
    return path


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Only devices that run dead code: a space known by its columns does not know what is dead.
    genotypes, latency_ms = cell_devices(devices=9, rows=260, seed=3)
    return write(tmp_path_factory.mktemp("data") / "mine.csv", genotypes, latency_ms[:, [0, 1, 3, 4, 6, 7]])


def config_of(file: Path, **changes: object) -> LatencyDataConfig:
    settings: dict[str, object] = {
        "path": str(file), "genes": GENES, "train_devices": ("dev0", "dev1", "dev2", "dev3", "dev4"),
        "test_devices": ("dev5",), "pool": 160, "test": (160, 260), "trim": 0.1,
    }  # fmt: skip
    return LatencyDataConfig(**(settings | changes))  # type: ignore[arg-type]


def test_a_table_of_ones_own_needs_no_code(table: Path) -> None:
    data = load_latency_data(config_of(table))
    assert data.space.cardinalities.tolist() == [5] * 6
    rows = data.test_rows("dev5")
    assert len(rows) == 80
    assert rows.min() >= 160
    trimmed = np.sort(data.column("dev5")[160:260])[10:-10]
    np.testing.assert_array_equal(np.sort(data.column("dev5")[rows]), trimmed)


@pytest.mark.parametrize("name", ["fewshot", "nearest_device", "forest"])
def test_methods_see_what_they_may_and_rank_a_new_device(table: Path, name: str) -> None:
    if name == "forest":
        pytest.importorskip("sklearn")
    result = run_protocol(load_latency_data(config_of(table)), make_method(name), 10, 2, 0, False, no_progress)
    for trial in result.trials:
        assert trial.measurements_used == 10
        assert len(set(trial.rows)) == 10
        assert max(trial.rows) < 160
    values = result.to_dict()
    assert values["measurements_used"] == 10
    assert values["mean_spearman"] > {"fewshot": 0.95, "nearest_device": 0.75, "forest": 0.2}[name]
    assert values["ci95"][0] <= values["mean_spearman"] <= values["ci95"][1]
    assert set(values["per_device"]) == {"dev5"}
    assert (values["interval_coverage"] is None) == (name != "fewshot")


def test_help_learns_and_keeps_to_its_measurements(table: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from hwnas.latency.help.method import HelpMethod
    from hwnas.latency.help.training import HelpConfig

    data = load_latency_data(config_of(table))
    short = HelpConfig(episodes=120, devices=4, query=60, learning_rate=3e-3)
    method = HelpMethod(published=False, config=short)
    values = run_protocol(data, method, 10, 1, 0, False, no_progress).to_dict()
    assert values["measurements_used"] == 10
    assert values["mean_spearman"] > 0.75
    again = HelpMethod(published=False, file=method.save(tmp_path / "help.safetensors"))
    read = run_protocol(data, again, 10, 1, 0, False, no_progress).to_dict()
    assert read["per_device"]["dev5"]["spearman"] > 0.75
    published = HelpMethod(published=True, config=HelpConfig(episodes=2, devices=4, query=20))
    values = run_protocol(data, published, 10, 1, 0, True, no_progress).to_dict()
    assert values["measurements_used"] == 20
    assert json.loads(json.dumps(values)) == values


def test_one_training_device_falls_back_and_says_so(table: Path) -> None:
    data = load_latency_data(config_of(table, train_devices=("dev0",)))
    result = run_protocol(data, make_method("fewshot"), 15, 1, 0, False, no_progress).to_dict()
    assert "architecture's features alone" in result["notes"][0]
    assert result["mean_spearman"] > 0.8


def test_methods_say_what_they_need(table: Path) -> None:
    data = load_latency_data(config_of(table))
    with pytest.raises(DataError, match="at least 3"):
        run_protocol(data, make_method("fewshot"), 2, 1, 0, False, no_progress)
    with pytest.raises(DataError, match="pool has 160"):
        run_protocol(data, make_method("fewshot"), 161, 1, 0, False, no_progress)
    with pytest.raises(ConfigError, match="no operators to count"):
        run_protocol(data, make_method("macs"), 5, 1, 0, False, no_progress)
    with pytest.raises(ConfigError, match="did you mean 'fewshot'"):
        make_method("fewshots")
    assert set(METHODS) >= {"fewshot", "help", "macs", "parameters", "forest", "nearest_device"}


def cell(path: Path, line: int, column: int, value: str) -> None:
    lines = path.read_text().splitlines()
    parts = lines[line - 1].split(",")
    parts[column] = value
    lines[line - 1] = ",".join(parts)
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: cell(path, 4, 6, "fast"), "line 4: latency on dev0 is 'fast'"),
        (lambda path: cell(path, 5, 2, ""), "line 5: gene c has no value"),
        (lambda path: cell(path, 1, 11, "dev6"), "no column for device 'dev5'; did you mean"),
        (lambda path: cell(path, 1, 0, "z"), "no column for gene 'a'"),
        (lambda path: cell(path, 1, 0, "b"), "column 'b' stands there twice"),
        (lambda path: path.write_text(path.read_text() + "1,2\n"), "expected 12 values, got 2"),
        (lambda path: path.write_text(path.read_text() + path.read_text().splitlines()[4] + "\n"), "same network"),
        (lambda path: cell(path, 7, 6, "1,2345"), "row 7: expected 12 values, got 13: is a decimal comma"),
        (lambda path: cell(path, 7, 6, "'1"), 'line 7: latency on dev0 is "\'1", expected a number of ms'),
        (lambda path: cell(path, 7, 6, "1_2"), "line 7: latency on dev0 is '1_2', expected a number of ms"),
        (lambda path: path.write_bytes(path.read_bytes().replace(b"dev0", b"d\xe9v0")), "row 1: not UTF-8"),
        (lambda path: path.write_text("a,b\n"), "at least one row"),
        (lambda path: path.write_bytes(b"\x1f\x8b\x08torn"), "not a complete CSV"),
        (lambda path: path.unlink(), "no such file"),
    ],
)
def test_bad_tables_are_named(table: Path, tmp_path: Path, spoil: object, message: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(table.read_text())
    spoil(path)  # type: ignore[operator]
    with pytest.raises(DataError, match=message) as caught:
        load_latency_data(config_of(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", ["spreadsheet", "pandas", "blank lines"])
def test_a_table_may_have_been_through_a_spreadsheet(table: Path, tmp_path: Path, form: str) -> None:
    expected, path, lines = load_latency_data(config_of(table)), tmp_path / "own.csv", table.read_text().splitlines()
    if form == "spreadsheet":
        text = "\r\n".join(line.replace(",", ";").replace(".", ",") for line in lines)
        path.write_bytes(text.encode("utf-8-sig"))
    elif form == "pandas":
        path.write_text("".join(f"{number - 1 if number else ''},{line}\n" for number, line in enumerate(lines)))
    else:
        path.write_text("\n\n".join(line.replace(",", " , ") for line in lines) + "\n,\n\n")
    np.testing.assert_array_equal(load_latency_data(config_of(path)).measured, expected.measured)


def test_a_constant_device_teaches_nothing(table: Path, tmp_path: Path) -> None:
    path = tmp_path / "constant.csv"
    path.write_text(table.read_text())
    for line in range(2, 262):
        cell(path, line, 6, "4.0")
    with pytest.raises(DataError, match=r"every latency on dev0 is 4\.0 ms"):
        load_latency_data(config_of(path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test": (100, 260)}, "overlaps the pool"),
        ({"test": (160, 999)}, "within the file's 260;"),
        ({"trim": 0.5}, "below 0.5"),
        ({"test_devices": ("dev0",)}, "dev0 is among"),
        ({"test_devices": ()}, "at least one column"),
        ({"values": {"a": ["0"]}}, "'b' is missing"),
        ({"path": None}, "data.path=FILE.csv"),
        ({"values": {gene: ["0", "1", "2", "3"] for gene in GENES}}, r"gene \w is '4'; .*valid: 0, 1, 2, 3"),
    ],
)
def test_splits_that_cannot_be(table: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(HwnasError, match=message):
        load_latency_data(config_of(table, **changes))


def test_an_unknown_operator_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cells.csv"
    path.write_text("arch,x,y\n|conv~0|+|none~0|none~1|+|none~0|none~1|none~2|,1.0,2.0\n")
    with pytest.raises(DataError, match=r"line 2: .*operator 'conv' unknown"):
        load_latency_data(LatencyDataConfig(path=str(path), train_devices=("x",), test_devices=("y",)))


def edited(table: Path, path: Path, changes: dict[tuple[int, str], str], header: dict[str, str] | None = None) -> Path:
    """The table with other texts in some cells, by row of the data and column, and other names of columns."""
    lines = [line.split(",") for line in table.read_text().splitlines()]
    for (row, column), text in changes.items():
        lines[row + 1][lines[0].index(column)] = text
    lines[0] = [(header or {}).get(name, name) for name in lines[0]]
    path.write_text("\n".join(map(",".join, lines)) + "\n")
    return path


def test_devices_may_have_measured_different_rows(table: Path, tmp_path: Path) -> None:
    holes = {(row, f"dev{row % 5}"): "" for row in range(150)} | {(row, "dev5"): "" for row in range(100, 190)}
    data = load_latency_data(config_of(edited(table, tmp_path / "holes.csv", holes)))
    assert np.isnan(data.train_pool).sum() == 150
    assert data.notes[0] == "dev0: 30 of 260 rows left out: 30 empty"
    assert data.test_rows("dev5").min() >= 190
    result = run_protocol(data, make_method("fewshot"), 10, 1, 0, False, no_progress)
    assert all(row < 100 for trial in result.trials for row in trial.rows)
    assert result.to_dict()["mean_spearman"] > 0.9
    assert data.notes[0] in result.to_dict()["notes"]
    with pytest.raises(DataError, match="latency=help needs every row on every training device, and 150"):
        run_protocol(data, make_method("help"), 10, 1, 0, False, no_progress)


def test_failed_measurements_are_named_and_left_out(table: Path, tmp_path: Path) -> None:
    failures = {(2, "dev5"): "0", (7, "dev5"): "-1", (8, "dev5"): "-1", (9, "dev5"): "nan", (200, "dev5"): "failed"}
    data = load_latency_data(config_of(edited(table, tmp_path / "failed.csv", failures)))
    assert data.notes == (
        "dev5: 5 of 260 rows left out: 1 failed (0) in lines 4; 2 failed (-1) in lines 9, 10; 1 failed (nan) in lines"
        " 11; 1 failed (failed) in lines 202",
    )
    assert np.flatnonzero(np.isnan(data.column("dev5"))).tolist() == [2, 7, 8, 9, 200]
    assert not {2, 7, 8, 9, 200} & set(data.test_rows("dev5"))


def test_another_quantity_has_a_unit_and_its_own_columns(table: Path, tmp_path: Path) -> None:
    names = {f"dev{number}": f"dev{number}_energy" for number in range(6)}
    path = edited(table, tmp_path / "energy.csv", {}, names)
    data = load_latency_data(config_of(path, quantity="energy", unit="mJ"))
    assert (data.quantity, data.unit) == ("energy", "mJ")
    np.testing.assert_array_equal(data.measured, load_latency_data(config_of(table)).measured)
    with pytest.raises(ConfigError, match=r"data\.quantity=energy: in which unit is it\? give data\.unit="):
        config_of(path, quantity="energy")
    bad = edited(table, tmp_path / "bad.csv", {(3, "dev5"): "x"}, names)
    with pytest.raises(DataError, match=r"energy on dev5 is 'x', expected a number of mJ"):
        load_latency_data(config_of(bad, quantity="energy", unit="mJ"))
    devices = {"train_devices": tuple(names.values())[:5], "test_devices": ("dev5_energy",)}
    with pytest.raises(DataError, match=r"'dev0_energy' reads like an energy, not a latency"):
        load_latency_data(config_of(path, **devices))


def test_too_few_rows_of_a_device(table: Path, tmp_path: Path) -> None:
    rows = {(row, "dev0"): "" for row in range(5, 260)} | {(row, "dev1"): "" for row in range(160)}
    with pytest.raises(DataError, match="device 'dev1' has a latency for none of the first 160 rows"):
        load_latency_data(config_of(edited(table, tmp_path / "none.csv", rows)))
    few = {place: text for place, text in rows.items() if place[1] == "dev0"}
    data = load_latency_data(config_of(edited(table, tmp_path / "few.csv", few)))
    assert data.train_devices == ("dev1", "dev2", "dev3", "dev4")
    assert "dev0: teaches nothing, since it has 5 of the pool's rows, and 10 are needed" in data.notes
    all_failed = edited(table, tmp_path / "all.csv", {(row, "dev5"): "0" for row in range(260)})
    with pytest.raises(
        DataError, match=r"no row has a latency on dev5: 260 failed \(0\) in lines 2, 3, 4, 5, 6 and 255"
    ):
        load_latency_data(config_of(all_failed))
    early = edited(table, tmp_path / "early.csv", {(row, "dev5"): "" for row in range(6, 160)})
    with pytest.raises(DataError, match="dev5 has 6 values among the pool's rows"):
        run_protocol(load_latency_data(config_of(early)), make_method("fewshot"), 10, 1, 0, False, no_progress)


def test_a_numeric_gene_with_a_word_in_it(table: Path, tmp_path: Path) -> None:
    path = edited(table, tmp_path / "word.csv", {(4, "b"): "wide"})
    with pytest.raises(DataError, match=r"line 6: gene b is 'wide', expected a number: it is one of data\.numeric"):
        load_latency_data(config_of(path, numeric=("a", "b")))
    with pytest.raises(ConfigError, match=r"data\.numeric: 'z' is none of data\.genes"):
        config_of(path, numeric=("z",))
