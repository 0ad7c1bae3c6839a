"""Published tables under the names that public repositories have them by."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from hwnas.errors import TableError
from hwnas.latency.tables.ofa_table import OfaTableEstimator, operator_key
from hwnas.latency.tables.published_files import device_folder, find_tables
from hwnas.latency.tables.published_rows import import_table, source_files
from hwnas.spaces import OfaMbv3Config, make_space

SPACE = make_space(OfaMbv3Config(width_mult=1.2, resolution=(160, 224)))


def write(folder: Path, name: str, resolutions: tuple[int, ...] = (160, 224), offset: float = 1.0) -> Path:
    """A folder of tables, `name` with each resolution for its braces."""
    folder.mkdir(parents=True, exist_ok=True)
    for resolution in resolutions:
        keys = [operator_key(operator) for operator in make_space(
            OfaMbv3Config(width_mult=1.2, resolution=(resolution,))).operators]  # fmt: skip
        rows = {key: {"count": 3, "mean": offset + number / 1000, "std": 0.1} for number, key in enumerate(keys)}
        (folder / name.format(resolution)).write_text(yaml.safe_dump(rows))
    return folder


@pytest.mark.parametrize(
    ("folder", "name", "device"),
    [
        ("latency_table@note10", "{}_lookup_table.yaml", "note10"),
        ("lookup_table@Pixel-4_XL", "{}.yml", "Pixel-4_XL"),
        ("rv1126-latency-table", "{}_lookup_table.yaml", ""),
        ("tables", "note10_w12_{}.yaml", "note10"),
        ("tables", "note10_w1.2_{}.YAML", "note10"),
        ("tables", "note10_{}_lookup_table.yml", "note10"),
        ("tables", "note10-{}.yaml", "note10"),
        ("tables", "{}_note10.yaml", "note10"),
        ("tables", "lookup_table_{}.yaml", ""),
        ("tables", "lut{}px.yaml", ""),
    ],
)
def test_files_are_found_by_their_resolution(tmp_path: Path, folder: str, name: str, device: str) -> None:
    path = write(tmp_path / folder, name)
    (path / "._160_lookup_table.yaml").write_bytes(b"\0\5\x16\7")
    (path / "notes_160.yaml").write_text("lr: 0.1\n")
    (path / "README.md").write_text("tables\n")
    found = find_tables(path)
    assert found.device == device
    assert found.files == {resolution: path / name.format(resolution) for resolution in (160, 224)}
    estimator = OfaTableEstimator(path, SPACE)
    assert (estimator.device, estimator.missing) == (device, ())
    assert source_files(path, "ofa") == list(found.files.values())
    table = import_table(path, "ofa", "" if device else "board")
    assert table.provenance["device"] == (device or "board")
    assert set(table.operators.operators) == set(SPACE.operators)


def test_what_is_in_a_file_says_its_resolution(tmp_path: Path) -> None:
    path = write(tmp_path, "part-{}.yaml")
    (path / "part-160.yaml").rename(path / "lut-a.yaml")
    (path / "part-224.yaml").rename(path / "lut-b.yaml")
    assert find_tables(path).files == {160: path / "lut-a.yaml", 224: path / "lut-b.yaml"}
    both = tmp_path / "both"
    both.mkdir()
    rows = [yaml.safe_load((path / f"lut-{name}.yaml").read_text()) for name in "ab"]
    (both / "mobile_lut.yaml").write_text(yaml.safe_dump(rows[1] | rows[0]))
    assert find_tables(both).files == dict.fromkeys((160, 224), both / "mobile_lut.yaml")
    assert OfaTableEstimator(both, SPACE).missing == ()
    assert (import_table(both, "ofa", "board").operators.samples == 3).all()  # each row once


def test_one_file_is_taken_by_itself(tmp_path: Path) -> None:
    path = write(tmp_path / "latency_table@note10", "{}_lookup_table.yaml") / "160_lookup_table.yaml"
    assert find_tables(path).files == {160: path}
    assert import_table(path, "ofa", "").provenance["device"] == "note10"
    one = make_space(OfaMbv3Config(width_mult=1.2, resolution=(160,)))
    assert OfaTableEstimator(path, one).device == "note10"
    with pytest.raises(TableError, match=r"no table for resolution 224; set space\.resolution to some of 160"):
        OfaTableEstimator(path, SPACE)


def test_a_name_that_says_another_resolution_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "{}_lookup_table.yaml")
    (path / "160_lookup_table.yaml").rename(path / "192_lookup_table.yaml")
    with pytest.raises(TableError, match=r"192_lookup_table\.yaml: its name says 192 pixels.* is of 160: rename it"):
        find_tables(path)


def test_two_tables_of_one_resolution_are_refused(tmp_path: Path) -> None:
    write(write(tmp_path, "{}_lookup_table.yaml"), "{}.yml", (160,))
    with pytest.raises(TableError, match=r"160\.yml and 160_lookup_table\.yaml are both of resolution 160: keep one"):
        find_tables(tmp_path)
    for file in tmp_path.iterdir():
        file.unlink()
    write(write(tmp_path, "{}_lookup_table.yaml", (224,)), "note10_w12_{}.yaml", (160,))
    with pytest.raises(TableError, match=r"several settings \(224_lookup_table\.yaml, note10_w12\)"):
        find_tables(tmp_path)


def test_what_is_there_instead_is_said(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"looked for YAML files .*224_lookup_table\.yaml.*; the folder is empty"):
        find_tables(tmp_path)
    (tmp_path / "table.csv").write_text("a,b\n")
    with pytest.raises(TableError, match=r"no YAML file is there, but table\.csv"):
        find_tables(tmp_path)
    (tmp_path / "config.yaml").write_text("lr: 0.1\n")
    with pytest.raises(TableError, match=r"config\.yaml there hold none of them"):
        find_tables(tmp_path)
    with pytest.raises(TableError, match="this file holds none of them"):
        find_tables(tmp_path / "config.yaml")
    write(tmp_path / "latency_table@note10", "{}_lookup_table.yaml")
    with pytest.raises(TableError, match="they are in its folders latency_table@note10: give the path of one"):
        find_tables(tmp_path)
    with pytest.raises(TableError, match="no such file or folder"):
        find_tables(tmp_path / "nothing")
    with pytest.raises(TableError, match="a folder: expected a CSV file"):
        source_files(tmp_path, "csv")


def test_each_device_has_its_folder(tmp_path: Path) -> None:
    write(tmp_path / "latency_table@note10", "{}_lookup_table.yaml")
    write(tmp_path / "rv1126-latency-table", "{}_lookup_table.yaml")
    write(tmp_path / "pixel", "pixel_w12_{}.yaml")
    assert device_folder(tmp_path, "note10").name == "latency_table@note10"
    assert device_folder(tmp_path, "rv1126").name == "rv1126-latency-table"
    assert device_folder(tmp_path, "pixel").name == "pixel"
    assert device_folder(tmp_path / "latency_table@note10", "note10").name == "latency_table@note10"
    assert device_folder(tmp_path / "pixel", "pixel").name == "pixel"
    with pytest.raises(TableError, match=r"found none at .*note1 nor at .*latency_table@note1; did you mean"):
        device_folder(tmp_path, "note1")
    write(tmp_path / "note10_lut", "{}_lookup_table.yaml")
    with pytest.raises(TableError, match=r"latency_table@note10 and note10_lut in .* are both of note10"):
        device_folder(tmp_path, "note10")
