"""Measured accuracies on disk: what is gone on with, and what is said of files that are not as they were written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hwnas.errors import StorageError
from hwnas.pipeline.store.labels import Labels
from hwnas.spaces import OfaMbv3Config, make_space

SPACE = make_space(OfaMbv3Config())
ROWS = SPACE.sample(4, np.random.default_rng(0))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    labels = Labels(tmp_path / "accuracies.csv", SPACE, ROWS)
    for row in (0, 2, 3):
        labels.add(row, 0.5 + row / 8)
    labels.write()
    return tmp_path / "accuracies.csv"


@pytest.mark.parametrize("form", ["as written", "spreadsheet"])
def test_what_was_measured_is_known(path: Path, form: str) -> None:
    if form == "spreadsheet":
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n") + b",\r\n")
    np.testing.assert_array_equal(Labels(path, SPACE, ROWS).known, [0.5, np.nan, 0.75, 0.875])
    assert np.isnan(Labels(path.with_name("none.csv"), SPACE, ROWS).known).all()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",0.875\n", ",0.8", "row 4: the file is truncated"),
        (",0.875\n", "\n", "row 4: expected 2 values, got 1"),
        (",0.875", ",0,875", "row 4: expected 2 values, got 3"),
        (",0.875", ",high", "row 4: accuracy is 'high'"),
        (",0.875", ",nan", "row 4: accuracy is 'nan'"),
        (",0.875", ",87.5", "row 4: accuracy is '87.5', expected a number from 0 to 1"),
        ("arch,accuracy", "network,accuracy", "row 1: expected columns arch, accuracy, got network, accuracy"),
    ],
)
def test_a_file_that_was_torn_or_edited_is_named(path: Path, old: str, new: str, message: str) -> None:
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(StorageError) as caught:
        Labels(path, SPACE, ROWS)
    assert message in str(caught.value)
    assert "accuracies.csv" in str(caught.value)
    assert "delete it" in str(caught.value)


def test_a_network_stands_there_once(path: Path) -> None:
    path.write_text(path.read_text() + path.read_text().splitlines()[1] + "\n")
    with pytest.raises(StorageError, match="row 5: this network stands in an earlier row"):
        Labels(path, SPACE, ROWS)
