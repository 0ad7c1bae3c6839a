"""What a file is, by how it begins, where weights are expected."""

from __future__ import annotations

import json
import re
import struct
import zipfile
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

__all__ = ["EMPTY", "OWN", "SUFFIXES", "describe_file", "is_foreign", "is_torch_file", "own_description"]

OWN = "hwnas"
"""The key of hwnas's own description in a safetensors file's header."""

EMPTY = "an empty file"

SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin", ".tar")
"""Of files that hold weights, as people call them."""

_TORCH = (b"PK\x03\x04", b"\x80\x02")
"""How torch's files begin: a zip archive, or a pickle of protocol 2 before torch 1.6."""

_STARTS = (
    (b"\x89HDF", "an HDF5 file, as Keras writes it"),
    (b"\x93NUMPY", "a numpy array"),
    (b"version https://git-lfs", "a pointer of Git LFS, not the file itself: git lfs pull"),
    (b"\x1f\x8b", "a gzip archive: unpack it"),
    (b"BZh", "a bzip2 archive: unpack it"),
    (b"7z\xbc\xaf", "a 7-zip archive: unpack it"),
    (b"\x80", "a pickle that torch.save did not write"),
    (b"<", "a web page or XML: download the file itself"),
    (b"{", "JSON"),
)


def is_torch_file(path: Path | str) -> bool:
    """Whether `path` begins like a file of `torch.save`."""
    try:
        with Path(path).open("rb") as file:
            return file.read(4).startswith(_TORCH)
    except OSError:
        return False


def own_description(path: Path | str) -> dict[str, Any] | None:
    """What hwnas wrote into the header of a safetensors file of its own, or None for any other file.

    Without a `kind` for its predictors, which have a `format`.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
        if header.get("format", "").startswith("hwnas "):
            return dict(header)
        description = json.loads(header[OWN])
    except (SafetensorError, OSError, ValueError, KeyError):
        return None
    return description if isinstance(description, dict) else None


def is_foreign(path: Path | str) -> bool:
    """Whether `path` is a safetensors file that can be read and that hwnas did not write."""
    try:
        with safe_open(path, framework="pt"):
            return own_description(path) is None
    except (SafetensorError, OSError):
        return False


def describe_file(path: Path) -> str:
    """`torch`, `safetensors`, or in words what `path` is instead; '' for what cannot be told."""
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError:
        return ""
    if not start:
        return EMPTY
    if start[5:9] == b"\0\0\0{":
        return "safetensors"
    if start[4:8] == b"TFL3":
        return "a TFLite model"
    if start[4:6] == b"ET" and start[6:8].isdigit():
        return "an ExecuTorch program"
    if start.startswith(b"PK"):
        return _describe_archive(path)
    if start.startswith(b"\x80\x02"):
        return "torch"
    if start[257:262] == b"ustar":
        return "a tar archive: unpack it"
    if path.suffix == ".onnx" or (start[:1] == b"\x08" and re.search(rb"\x12.?(pytorch|onnx|tf2onnx)", start[:64])):
        return "an ONNX model"
    known = next((what for begin, what in _STARTS if start.lstrip().startswith(begin)), "")
    return known or ("text" if re.fullmatch(rb"[\t\r\n -~]+", start) else "")


def _describe_archive(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, EOFError, struct.error):
        return ""
    if any(name.endswith("/constants.pkl") or "/code/" in name for name in names):
        return f"a TorchScript archive; save its weights: torch.save(torch.jit.load({path.name!r}).state_dict(), PATH)"
    if any(
        name.endswith(("serialized_exported_program.json", "/archive_format", "models/model.json")) for name in names
    ):
        return "a program of torch.export"
    if any(name.endswith("data.pkl") for name in names):
        return "torch"
    if names and all(name.endswith(".npy") for name in names):
        return "an archive of numpy arrays"
    weights = [name for name in names if name.endswith(SUFFIXES)]
    return "a zip archive" + (f": unpack it and give {weights[0]}" if weights else "")
