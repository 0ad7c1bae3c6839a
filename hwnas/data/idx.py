"""The IDX format of MNIST and its kin (LeCun): big-endian header, then bytes."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import DataError

__all__ = ["read_idx"]

_UNSIGNED_BYTE = 0x08


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """The array in an IDX file of unsigned bytes, gzipped where the name ends in `.gz`.

    Raises DataError, naming the file, where it can't be read, is cut short or too long, or is no such array.
    """
    remedy = "delete it and run again, or point data.root at a complete copy"
    try:
        raw = path.read_bytes()
        content = gzip.decompress(raw) if path.suffix == ".gz" else raw
    except EOFError as error:
        raise DataError(f"{path} is cut short ({len(raw)} bytes of gzip): {remedy}") from error
    except (OSError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error}): {remedy}") from error
    header = 4 + 4 * dimensions
    magic = bytes([0, 0, _UNSIGNED_BYTE, dimensions])
    if len(content) < header or content[:4] != magic:
        raise DataError(
            f"{path} is no IDX file of {dimensions}-dimensional unsigned bytes (it begins with"
            f" {content[:4].hex() or 'nothing'}, expected {magic.hex()}): {remedy}"
        )
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", dimensions, offset=4))
    if len(content) - header != math.prod(shape):
        raise DataError(
            f"{path} holds {len(content) - header} bytes where its header {shape} says {math.prod(shape)}: {remedy}"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
