"""The operators of an exported file, with the types and sizes that rules ask about."""

from __future__ import annotations

from pathlib import Path

from hwnas.errors import ConfigError, ExportError, MissingExtraError, choices
from hwnas.export.formats import FORMATS, model_format
from hwnas.export.node import Node

__all__ = ["nodes_of_file"]


def nodes_of_file(path: Path) -> list[Node]:
    """The operators of a file in the order in which they stand, as its format's `read_operators` gives them.

    Raises ConfigError for a suffix of no format that can be read so, ExportError for a file that is missing or no
    model, MissingExtraError without the package that reads it.
    """
    readers = {one.suffix: (one, one.read_operators) for one in map(model_format, FORMATS) if one.read_operators}
    if path.suffix not in readers:
        raise ConfigError(f"no preflight for {path}: {choices(path.suffix, readers)}")
    if not path.is_file():
        raise ExportError(f"no such file: {path}; export it first")
    chosen, read = readers[path.suffix]
    try:
        return read(path)
    except ImportError as cause:
        package = chosen.packages[0].replace("_", "-")
        raise MissingExtraError(package, chosen.extra, "reading exported files") from cause
    except Exception as cause:  # parsers raise anything for bytes that are no model
        raise ExportError(f"{path} can't be read as a model ({type(cause).__name__}); export it again") from cause
