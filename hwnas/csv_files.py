"""CSV files as people and spreadsheets write them, read strictly: every row has as many values as there are columns.

Byte-order marks and spaces around names and values are stripped, rows without a value passed over. Lines end as on
any system; columns are separated by commas, semicolons or tabs, whichever splits the header; the file may be gzipped.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwnas.errors import HwnasError

__all__ = ["CsvFile", "CsvRow", "read_csv"]

_SEPARATORS = {",": "a comma", ";": "a semicolon", "\t": "a tab"}
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?(?:nan|inf|infinity)", re.IGNORECASE)
_WITH_COMMA = re.compile(r"[+-]?[0-9]*,[0-9]+(?:[eE][+-]?[0-9]+)?")
_WITH_POINT = re.compile(r"[+-]?[0-9]*\.[0-9]+(?:[eE][+-]?[0-9]+)?")
_IN_THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2},[0-9]{3}")
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)  # a first line that spreadsheets understand


@dataclass(frozen=True)
class CsvRow:
    """One row, by the names of the columns. `line`: where in the file it starts; `place`: file and line, for messages.

    The values are as in the file, without the spaces around them.
    """

    place: str
    line: int
    values: dict[str, str]


@dataclass(frozen=True)
class CsvFile:
    """The columns in their order, and the rows. `decimal_comma`: numbers have a comma where others have a point."""

    columns: tuple[str, ...]
    rows: tuple[CsvRow, ...]
    decimal_comma: bool = False

    def number(self, text: str) -> float:
        """What a value says, which may be NaN or infinite. Raises ValueError for anything else than a number."""
        with_comma = _WITH_COMMA.fullmatch(text)
        plain = text.replace(",", ".") if with_comma and self.decimal_comma else text
        if not _NUMBER.fullmatch(plain):
            hint = " with a decimal point" if with_comma else ""
            raise ValueError(f"{text!r}, expected a number{hint}")
        return float(plain)

    def whole_number(self, text: str) -> int:
        """As `number`; raises ValueError for fractions, too. A whole number may be written 3.0."""
        value = self.number(text)
        if not value.is_integer():
            raise ValueError(f"{text!r}, expected a whole number")
        return int(value)


def read_csv(
    path: Path | str, error: type[HwnasError], remedy: str, closed: bool = False, rows_needed: bool = True
) -> CsvFile:
    """The CSV file at `path`: its first row that isn't blank names the columns, and one or more follow
    (none at all without `rows_needed`).

    `closed`: it is of a program that ends every line, so that a file which ends within one is truncated.

    Raises `error`, one line that names file and row and ends with `remedy`, for a file that is missing, empty, torn or
    no text in UTF-8, for columns without a name or with the same one, and for rows of another width.
    """
    path = Path(path)
    try:
        return _parse(path, _text(path), closed, rows_needed)
    except FileNotFoundError as cause:
        raise error(f"no such file: {path}; {remedy}") from cause
    except _FormatError as cause:
        raise error(f"{path}{cause}; {remedy}") from cause
    except (OSError, EOFError, zlib.error) as cause:
        reason = getattr(cause, "strerror", None) or cause
        raise error(f"{path} is not a complete CSV file ({reason}); {remedy}") from cause


class _FormatError(Exception):
    """What follows the path in a message."""


def _text(path: Path) -> str:
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    marks = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
    encoding = marks.get(content[:2], "utf-8-sig")
    if content[:4] == b"PK\x03\x04":
        raise _FormatError(" is a spreadsheet or another zip archive, expected text: save it as CSV")
    if content.lstrip()[:1] == b"<":
        raise _FormatError(" begins like a web page, expected a CSV file: download the file itself")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        found = f"byte 0x{content[error.start]:02x}" if encoding == "utf-8-sig" else error.reason
        raise _FormatError(f", row {line}: not UTF-8 ({found}): save it as CSV with encoding UTF-8") from error
    if "\0" in text:
        raise _FormatError(" is no text file, expected a CSV file in UTF-8")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _parse(path: Path, text: str, closed: bool, rows_needed: bool) -> CsvFile:
    if not text.strip("\ufeff \t\r\n,;"):
        raise _FormatError(", row 1: the file is empty, expected the names of the columns and rows below them")
    separator, (header, *lines) = _split(text)
    if closed and not text.endswith("\n"):
        raise _FormatError(f", row {(lines or [header])[-1][0]}: the file is truncated")
    width = len(header[1])
    for line, fields in lines:
        if len(fields) != width:
            hint = ": is a decimal comma among them? numbers take a point" if len(fields) > width else ""
            raise _FormatError(f", row {line}: expected {width} values, got {len(fields)}{hint}")
    columns = _columns(header, lines)
    rows = tuple(
        CsvRow(f"{path}, row {line}", line, {name: fields[place] for place, name in columns}) for line, fields in lines
    )
    if rows_needed and not rows:
        raise _FormatError(": expected at least one row below the names of the columns, got none")
    return CsvFile(tuple(name for _, name in columns), rows, _has_decimal_commas(separator, lines))


def _columns(header: tuple[int, list[str]], lines: list[tuple[int, list[str]]]) -> list[tuple[int, str]]:
    """Places and names, without a first column that only counts the rows and last ones that hold nothing."""
    line, names = header
    columns = list(enumerate(names))
    while columns and not columns[-1][1] and not any(fields[columns[-1][0]] for _, fields in lines):
        columns.pop()
    if not columns[0][1] and [fields[0] for _, fields in lines] == [str(number) for number in range(len(lines))]:
        del columns[0]
    for place, name in columns:
        if not name:
            raise _FormatError(f", row {line}: column {place + 1} has no name")
        if names.count(name) > 1:
            raise _FormatError(f", row {line}: column {name!r} stands there twice")
    return columns


def _split(text: str) -> tuple[str, list[tuple[int, list[str]]]]:
    """The separator that fits, and header and rows in it with the lines where they start."""
    first, _, rest = text.partition("\n")
    if (said := _SEPARATOR_LINE.fullmatch(first)) is not None:
        return said[1], [(line + 1, fields) for line, fields in _rows(rest, said[1])]
    widths = {separator: _header_width(text, separator) for separator in _SEPARATORS}
    candidates = [separator for separator, width in widths.items() if width > 1] or [","]
    if len(candidates) > 1:
        candidates = [separator for separator in candidates if _is_even(text, separator)] or candidates
    most = max(widths[separator] for separator in candidates)
    best = [separator for separator in candidates if widths[separator] == most]
    if len(best) > 1 and "\t" in best:
        best.remove("\t")  # it aligns what something else separates
    if len(best) > 1:
        named = " or ".join(_SEPARATORS[separator] for separator in best)
        raise _FormatError(f", row 1: {named} may separate the columns: expected a comma, and names without either")
    return best[0], _rows(text, best[0])


def _header_width(text: str, separator: str) -> int:
    try:
        return len(next((fields for fields in _reader(text, separator) if any(fields)), []))
    except csv.Error:
        return 0


def _is_even(text: str, separator: str) -> bool:
    try:
        return len({len(fields) for _, fields in _rows(text, separator)}) == 1
    except _FormatError:
        return False


def _rows(text: str, separator: str) -> list[tuple[int, list[str]]]:
    found, start = [], 1
    reader = _reader(text, separator)
    try:
        for row in reader:
            fields = [value.strip("\ufeff \t\xa0") for value in row]
            if any(fields):
                found.append((start, fields))
            start = reader.line_num + 1
    except csv.Error as error:
        raise _FormatError(f", row {start}: not a complete CSV row ({error}): is a quote not closed?") from error
    return found


def _reader(text: str, separator: str) -> Any:
    return csv.reader(io.StringIO(text), delimiter=separator, skipinitialspace=True, strict=True)


def _has_decimal_commas(separator: str, lines: list[tuple[int, list[str]]]) -> bool:
    """Whether numbers have commas for points: where commas separate nothing else, and no number has a point.

    With tabs, which go with either mark, 1,234 alone says nothing: it may be one thousand.
    """
    values = [value for _, fields in lines for value in fields]
    commas = [value for value in values if _WITH_COMMA.fullmatch(value)]
    if separator == "," or not commas or any(_WITH_POINT.fullmatch(value) for value in values):
        return False
    return separator == ";" or not all(_IN_THOUSANDS.fullmatch(value) for value in commas)
