"""Latency data from CSV files: what is read, and what is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hwnas.errors import ConfigError, DataError, HwnasError
from hwnas.latency.dataset import load_latency_data
from hwnas.latency.dataset_config import LatencyDataConfig
from hwnas.latency.methods import METHODS, make_method
from hwnas.latency.protocol import run_protocol
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
    from hwnas.latency.help import HelpMethod
    from hwnas.latency.help_training import HelpConfig

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
        (lambda path: cell(path, 3, 7, "nan"), "dev1 are no positive numbers, such as nan in lines 3"),
        (lambda path: cell(path, 9, 11, "0"), "dev5 are no positive numbers, such as 0.0 in lines 9"),
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
    np.testing.assert_array_equal(load_latency_data(config_of(path)).latency_ms, expected.latency_ms)


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
