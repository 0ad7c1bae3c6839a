"""Files that name classes for people."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hwnas.data.class_names import class_names, shared_names
from hwnas.errors import DataError

FOLDERS = ("n01", "n02", "ñandú")
NAMES = ("tench, fish", "hen", "Ñandú")


def written(folder: Path, content: bytes) -> str:
    path = folder / "names"
    path.write_bytes(content)
    return str(path)


LINES = "n01 tench, fish  \r\n\r\nn02\then\nñandú   Ñandú\nn99 of no folder\nalone\n"


@pytest.mark.parametrize(
    "content",
    [
        LINES.encode(),
        LINES.encode("utf-8-sig"),
        json.dumps(dict(zip(FOLDERS, NAMES, strict=True))).encode("utf-8-sig"),
        ("\n " + json.dumps({"n01": " tench, fish ", "n02": "hen", "n\u0303andu\u0301": "Ñandú", "_": None})).encode(),
    ],
)
def test_names_are_read(tmp_path: Path, content: bytes) -> None:
    assert class_names(FOLDERS, written(tmp_path, content)) == NAMES


def test_folders_with_spaces_end_at_a_tab(tmp_path: Path) -> None:
    assert class_names(("hot dog", "bun"), written(tmp_path, b"hot dog\tHot Dog\nbun\ta bun\n")) == ("Hot Dog", "a bun")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            "n01 café\n".encode("latin-1"),
            r"expected text in UTF-8, got byte 0xe9 at position 7: save the file as UTF-8",
        ),
        ("n01 a\n".encode("utf-16"), r"expected text in UTF-8, got byte 0xff at position 0"),
        (b'["a", "b", "c"]', r"cannot be read \(it holds a list\): expected a JSON object"),
        (b'{"n01": ["tench"], "n02": "b"}', r"n01 is named \['tench'\], no text on one line"),
        (b'{"n01": 3}', r"n01 is named 3, no text on one line"),
        (b'{"n01": "a\\nb"}', r"n01 is named 'a\\nb', no text on one line"),
        (b'{"n01": "a", "n01": "b"}', r"names n01 twice, 'a' and 'b': remove one"),
        (b"n01 a\nn01 b\n", r"names n01 twice, 'a' and 'b': remove one"),
        (b'{"n01": "a", ', r"cannot be read \(.*\): expected a JSON object"),
        (b"n01 a\nn02 b\n", "names no class for ñandú: add a line"),
        (b'{"n01": " ", "n02": "b"}', "names no class for n01, ñandú"),
        (b"", "names no class for n01, n02"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path: Path, content: bytes, says: str) -> None:
    with pytest.raises(DataError, match=says) as caught:
        class_names(FOLDERS, written(tmp_path, content))
    assert "\n" not in str(caught.value)


def test_a_name_of_several_folders_is_said() -> None:
    assert shared_names(("n1", "n2", "n3"), ("crane", "hen", "crane")) == ("classes n1, n3 are all called 'crane'",)
    assert shared_names(("n1", "n2"), ("crane", "hen")) == ()
