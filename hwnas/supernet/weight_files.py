"""What a file of weights holds, read without running anything that is in it.

Safetensors files, and those of `torch.save` with `weights_only`. Plain data that people save beside their weights
(`args`, `hyper_parameters`, numbers of numpy) is stood in for by something inert: no type is imported for it.
"""

from __future__ import annotations

import pickletools
import re
import struct
import warnings
import zipfile
import zlib
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from hwnas.errors import CheckpointError
from hwnas.supernet.file_kinds import EMPTY, SUFFIXES, describe_file

__all__ = ["read_weights"]

EXPECTED = "expected a safetensors file, or what torch.save(model.state_dict(), PATH) wrote"

_PLAIN = re.compile(
    r"(argparse\.Namespace|types\.SimpleNamespace|typing\.\w+|decimal\.Decimal|fractions\.Fraction|uuid\.UUID"
    r"|(numpy|omegaconf|datetime|pathlib|ml_collections|torch\.torch_version)\..+|_codecs\.encode"
    r"|copyreg\._reconstructor|builtins\.(object|int|float|complex|str|bytes|bytearray|bool|list|tuple|set|frozenset"
    r"|slice|range)|mmengine\.logging\.history_buffer\.HistoryBuffer"
    r"|(pytorch_lightning\.callbacks|lightning\.pytorch\.callbacks|torch\.optim|torch\.nn\.modules\.loss)\..+)"
)
_MAPPINGS = re.compile(
    r"(builtins\.dict|collections\.(defaultdict|Counter)|easydict\.EasyDict|munch\.Munch|addict\..+\.Dict|yacs\.config"
    r"\.CfgNode|box\..+\.Box|(pytorch_lightning|lightning|lightning_fabric)\..+\.AttributeDict)"
)
_LISTS = re.compile(r"collections\.deque")


class _Inert:
    """In the place of a value that nobody asks for: takes whatever it is made of, and forgets it."""

    def __new__(cls, *_: Any, **__: Any) -> _Inert:
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass


class _Mapping:
    """In the place of a type that behaves like a dict: a plain one, since its values may be weights."""

    def __new__(cls, *_: Any) -> OrderedDict[Any, Any]:  # type: ignore[misc]
        return OrderedDict()


class _List:
    """In the place of a type that behaves like a list."""

    def __new__(cls, *_: Any) -> list[Any]:  # type: ignore[misc]
        return []


def read_weights(path: Path | str) -> Any:
    """What a safetensors file (names to tensors) or a file of `torch.save` holds, on the CPU.

    Raises CheckpointError where it is missing, truncated, another kind of file, which is named, or cannot be read
    without running code: a pickled module, or an object of a type that is no plain data.
    """
    path = Path(path)
    if path.is_dir():
        inside = [file.name for file in sorted(path.iterdir()) if file.suffix in SUFFIXES]
        raise CheckpointError(
            f"{path} is no state dict: a folder, {EXPECTED}"
            + (f"; {', '.join(inside[:4])} in it may be what is meant" if inside else "")
        )
    if not path.is_file():
        raise CheckpointError(f"no such checkpoint: {path}")
    if (what := describe_file(path)) == EMPTY:
        raise CheckpointError(f"{path} is no state dict: it is truncated or no file of weights ({what}); {EXPECTED}")
    if what not in ("", "torch", "safetensors"):
        raise CheckpointError(f"{path} is no state dict: it is {what}; {EXPECTED}")
    try:
        if what == "safetensors":
            with safe_open(path, framework="pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        return _read_torch(path)
    except Exception as error:  # a file that is torn or made up lets anything out of torch
        raise CheckpointError(_refused(path, error) or _unreadable(path, error)) from error


def _read_torch(path: Path) -> Any:
    kinds = ((_MAPPINGS, _Mapping), (_LISTS, _List), (_PLAIN, _Inert))
    plain: list[Any] = [(kind, name) for name in _globals(path) for names, kind in kinds if names.fullmatch(name)]
    with warnings.catch_warnings(), torch.serialization.safe_globals(plain):
        warnings.simplefilter("ignore")
        return torch.load(path, map_location="cpu", weights_only=True)


def _globals(path: Path) -> list[str]:
    """The types and functions that a file of `torch.save` names, in the order in which it does."""
    found: dict[str, None] = {}
    try:
        for stream in _pickles(path):
            for operation, argument, _ in pickletools.genops(stream):
                if operation.name == "GLOBAL":
                    module, _, name = str(argument).partition(" ")
                    module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
                    found[f"{module}.{name}"] = None
    except (OSError, ValueError, LookupError, RuntimeError, EOFError, zlib.error, struct.error, zipfile.BadZipFile):
        pass  # torch says what is wrong with it
    return list(found)


def _pickles(path: Path) -> Iterator[Any]:
    """The pickles in a file of `torch.save`, as streams or bytes."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            yield from (archive.read(name) for name in archive.namelist() if name.endswith("data.pkl"))
    else:
        with path.open("rb") as file:
            yield from [file] * 5  # a number, a version, the system, the object, the names of its storages


def _refused(path: Path, error: Exception) -> str:
    """The message where a type stands in the way, or ''."""
    named = re.search(r"GLOBAL (\S+)", str(error))
    source = "persistent_load" in str(error)  # before torch 1.6 a module's source code went with it
    if named is None and not source:
        return ""
    types = _globals(path)
    modules = [
        name for name in types if name.startswith("torch.nn.modules.") and (source or not _PLAIN.fullmatch(name))
    ]
    kind = next((name for name in types if named and name.endswith(named[1])), named[1] if named else "a module")
    if modules:
        known = ("torch.", "collections.", "builtins.")
        own = [name for name in types if not name.startswith(known) and not _PLAIN.fullmatch(name)]
        return (
            f"{path} is no state dict and no file of weights alone: a whole pickled module"
            f" ({(own or modules)[0]}), which can't be read without running code; where its code is, write"
            " torch.save(model.state_dict(), PATH) and give that"
        )
    return (
        f"{path} is no state dict and no file of weights alone: it holds an object of {kind}, which can't be read"
        " without running code; where its code is, write torch.save(checkpoint['state_dict'], PATH), or what its"
        " weights are called there, and give that"
    )


def _unreadable(path: Path, error: Exception) -> str:
    text = " ".join(str(error).split())
    found = re.search(r"WeightsUnpickler error: (.+?)(?: Check the documentation|$)", text)
    reason = (found[1] if found else text).split(". ")[0][:150]
    if reason.startswith("Unsupported operand") and zipfile.is_zipfile(path):
        reason = "of another pickle protocol than torch.save takes by itself"
    elif not reason or reason.isdigit():
        reason = type(error).__name__
    return f"{path} is no state dict: it is truncated or no file of weights ({reason}); download or write it again"
