"""CSV files as spreadsheets and people write them."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from hwnas.csv_files import CsvFile, read_csv
from hwnas.errors import TableError

PLAIN = b"name,ms\nconv,1.2345\npool,2\n"


def read(path: Path, content: bytes, closed: bool = False) -> CsvFile:
    path.write_bytes(content)
    return read_csv(path, TableError, "write it again", closed)


@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        b"\xef\xbb\xbf" + PLAIN,
        b" name ,\tms\n conv , 1.2345\npool\xc2\xa0,2 \n",
        b'"name", "ms"\n"conv", "1.2345"\n"pool","2"',
        b"\nname,ms\n\nconv,1.2345\n \npool,2\n,\n\n",
        b"name,ms,\nconv,1.2345,\npool,2,\n",
        b",name,ms\n0,conv,1.2345\n1,pool,2\n",
        PLAIN.replace(b"\n", b"\r\n"),
        PLAIN.replace(b"\n", b"\r"),
        b"name;ms\nconv;1,2345\npool;2\n",
        b"name\tms\nconv\t1,2345\npool\t2\n",
        b"name\tms\nconv\t1.2345\npool\t2\n",
        b"sep=;\nname;ms\nconv;1,2345\npool;2\n",
        "name\tms\r\nconv\t1,2345\r\npool\t2\r\n".encode("utf-16"),
        gzip.compress(PLAIN, mtime=0),
    ],
)
def test_what_is_the_same_is_read_as_the_same(tmp_path: Path, content: bytes) -> None:
    table = read(tmp_path / "a.csv", content)
    assert table.columns == ("name", "ms")
    assert [row.values["name"] for row in table.rows] == ["conv", "pool"]
    assert [table.number(row.values["ms"]) for row in table.rows] == [1.2345, 2.0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"name,ms\nconv,1\npool,1,2345\n", "row 3: expected 2 values, got 3: is a decimal comma among them"),
        (b"name,ms,mj\nconv,1,2\n\npool,1\n", "row 4: expected 3 values, got 2"),
        (b"name,ms\nconv\n", "row 2: expected 2 values, got 1"),
        (b"name,ms\nconv,1\ncaf\xe9,2\n", "row 3: not UTF-8 (byte 0xe9)"),
        (b"", "row 1: the file is empty"),
        (b"\xef\xbb\xbf\n \n", "row 1: the file is empty"),
        (b"name,ms\n", "expected at least one row"),
        (b"name,ms,ms\nconv,1,2\n", "row 1: column 'ms' stands there twice"),
        (b"name,,ms\nconv,1,2\n", "row 1: column 2 has no name"),
        (b'name,ms\nconv,1\n"pool,2\nlinear,3\n', "row 3: not a complete CSV row"),
        (b'name,ms\n"co"nv,1\n', "row 2: not a complete CSV row"),
        (b"name;ms,mj\nconv;1,2\n", "row 1: a comma or a semicolon may separate"),
        (b"PK\x03\x04 sheet", "save it as CSV"),
        (b"<!DOCTYPE html>\n<html>", "like a web page"),
        (b"name,ms\n\0,1\n", "no text file"),
        (gzip.compress(PLAIN, mtime=0)[:-9], "not a complete CSV file"),
    ],
)
def test_what_is_wrong_is_said_with_its_row(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.csv"
    with pytest.raises(TableError) as caught:
        read(path, content)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert str(caught.value).endswith("; write it again")
    assert "\n" not in str(caught.value)


def test_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    for path, message in ((tmp_path / "none.csv", "no such file"), (tmp_path, "not a complete CSV file")):
        with pytest.raises(TableError, match=message):
            read_csv(path, TableError, "write it again")


def test_rows_are_numbered_as_lines_of_the_file(tmp_path: Path) -> None:
    table = read(tmp_path / "a.csv", b'\nname,ms\n\n"two\nlines",1\npool,2\n')
    assert [row.line for row in table.rows] == [4, 6]
    assert table.rows[1].place == f"{tmp_path / 'a.csv'}, row 6"


def test_a_file_that_a_program_closes_is_truncated_without_its_last_end_of_line(tmp_path: Path) -> None:
    assert len(read(tmp_path / "a.csv", PLAIN, closed=True).rows) == 2
    with pytest.raises(TableError, match="row 3: the file is truncated"):
        read(tmp_path / "a.csv", PLAIN[:-1], closed=True)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (PLAIN, "1,5"),  # columns are separated by commas
        (b"name\tms\nconv\t1,234\n", "1,234"),  # with tabs, one thousand or one and a bit
        (b"name;ms\nconv;1,5\npool;1.5\n", "1,5"),  # one of the two is no decimal mark
        (PLAIN, "1_2345"),
        (PLAIN, "1.5 ms"),
        (PLAIN, ""),
        (PLAIN, "0x10"),
        (PLAIN, "١"),
    ],
)
def test_only_numbers_are_numbers(tmp_path: Path, content: bytes, text: str) -> None:
    table = read(tmp_path / "a.csv", content)
    with pytest.raises(ValueError, match="expected a number"):
        table.number(text)


def test_whole_numbers_may_have_been_written_as_floats(tmp_path: Path) -> None:
    table = read(tmp_path / "a.csv", PLAIN)
    assert table.whole_number("3.0") == 3
    for text in ("3.5", "nan", "inf"):
        with pytest.raises(ValueError, match="expected a whole number"):
            table.whole_number(text)
