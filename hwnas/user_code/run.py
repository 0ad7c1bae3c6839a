"""Code of the user's own: run as `python file.py` would run it, known by its files, and forgotten before the next.

What lies beside the code is found by the code alone: a `types.py` or an `onnx.py` there is nothing to torch.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import CodeType, FrameType, ModuleType

from hwnas.user_code.imports import imported_files, is_own, package_of, roots_of

__all__ = ["content_of", "import_named", "loaded_files", "note_files", "run_file", "run_once"]

_NEVER_HIDDEN = (*sys.stdlib_module_names, "hwnas", "torch", "numpy", "__main__")
"""What is imported all the time, meanwhile too: a file by such a name is found only where Python's own is not."""


def run_file(path: Path) -> ModuleType:
    """The module that the file makes. Raises whatever its code does."""
    name, package = f"hwnas_user_{path.stem}", package_of(path)
    if package is not None:
        return _start(roots_of(path), imported_files(path, roots_of(path)), lambda _: importlib.import_module(package))

    def run(code: _OwnCode) -> ModuleType:
        spec = code.own(spec_from_file_location(name, path.resolve()))
        if spec is None or spec.loader is None:
            raise ImportError(f"{path} is no Python file")
        made = module_from_spec(spec)
        sys.modules[name] = made  # dataclasses and torch look a class's module up there
        spec.loader.exec_module(made)
        return made

    return _start(roots_of(path), imported_files(path, roots_of(path)), run)


@lru_cache(maxsize=32)
def run_once(file: str, content: str) -> ModuleType:  # noqa: ARG001 (what makes it another)
    """As `run_file`, once for each `content` of a file: classes that were made twice would not be the same."""
    return run_file(Path(file))


def content_of(file: Path) -> str:
    """What tells one content of a file from another; empty where there is none."""
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""


def import_named(name: str, folder: Path) -> ModuleType:
    """The module `name`, of `folder` or installed. Raises whatever its code does."""
    return _start([folder.resolve()], (), lambda _: importlib.import_module(name))


def loaded_files() -> list[Path]:
    """The user's own files that the last of these calls has loaded, until now."""
    code = _last_code()
    return sorted(code.files) if code is not None else []


def note_files(files: Iterable[Path]) -> None:
    """Take `files` for loaded ones: what the code has read."""
    if (code := _last_code()) is not None:
        code.files.update(file.resolve() for file in files)


class _Source(SourceFileLoader):
    """Reads a file anew each time: bytecode is told from its source by seconds alone, and edits come faster."""

    def get_code(self, fullname: str) -> CodeType | None:  # noqa: ARG002
        return self.source_to_code(self.get_data(self.path), self.path)


class _OwnCode(MetaPathFinder):
    """Finds the user's modules for the user's code; `files` and `names` are of what it found."""

    def __init__(self, roots: Sequence[Path]) -> None:
        self.roots = [str(root) for root in roots]
        self.files: set[Path] = set()
        self.names: set[str] = set()
        self.kept: dict[str, ModuleType] = {}
        self.last = _ForAnyone(self)

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        return self.found(fullname, path) if self._asks(sys._getframe(1)) else None

    def _asks(self, frame: FrameType | None) -> bool:
        """Whether the import that is under way stands in the user's code, or is this file's."""
        while frame is not None and _is_import_machinery(frame.f_code.co_filename):
            frame = frame.f_back
        file = "" if frame is None else frame.f_code.co_filename
        return file == __file__ or (is_own(file) and Path(file).resolve() in self.files)

    def found(self, name: str, path: Sequence[str] | None) -> ModuleSpec | None:
        """A module of the user's own, or None for any other."""
        if name in self.kept:
            return ModuleSpec(name, _Kept(self.kept[name]), origin=self.kept[name].__file__)
        spec = PathFinder.find_spec(name, self.roots if path is None else path)
        if path is None and (spec is None or spec.origin is None):  # a folder without __init__.py gives way to a module
            other = PathFinder.find_spec(name)
            spec = other if other is not None and (spec is None or other.origin is not None) else spec
        return self.own(spec)

    def own(self, spec: ModuleSpec | None) -> ModuleSpec | None:
        """`spec`, noted down and read from its source; None for what is not the user's own."""
        if spec is None or (spec.origin is None and not _is_namespace_of(spec, self.roots)):
            return None
        if spec.origin is None:
            self.names.add(spec.name)
            return spec
        if not is_own(spec.origin):
            return None
        self.names.add(spec.name)
        self.files.add(Path(spec.origin).resolve())
        if not spec.origin.endswith(".py"):
            return spec
        return spec_from_file_location(
            spec.name, spec.origin, loader=_Source(spec.name, spec.origin),
            submodule_search_locations=spec.submodule_search_locations,
        )  # fmt: skip


class _Kept(Loader):
    """Gives a module back that was loaded before."""

    def __init__(self, module: ModuleType) -> None:
        self.module, self.spec = module, module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:  # noqa: ARG002
        return self.module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec


class _ForAnyone(MetaPathFinder):
    """The same, asked last, for whoever imports by a name that the user's code gave it: pickle, Hydra."""

    def __init__(self, code: _OwnCode) -> None:
        self.code = code

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        return self.code.found(fullname, path) if path is None else None


def _last_code() -> _OwnCode | None:
    """The code that was started last: it finds its modules until the next start, and is where Python asks it."""
    return next((finder for finder in sys.meta_path if isinstance(finder, _OwnCode)), None)


def _start(roots: Sequence[Path], files: Iterable[Path], load: Callable[[_OwnCode], ModuleType]) -> ModuleType:
    """What `load` gives, with the user's modules found; they stay so until the next start, for imports in `forward`."""
    if (former := _last_code()) is not None:
        _forget(former)
    importlib.invalidate_caches()
    code = _OwnCode(roots)
    sys.meta_path.insert(0, code)
    sys.meta_path.append(code.last)
    hidden, before = _hide_namesakes(code, files), list(sys.path)
    try:
        return load(code)
    finally:
        # Where the code has put folders on the path, its own later imports look there, and nothing else's.
        code.roots += [folder for folder in sys.path if folder not in before]
        sys.path[:] = before
        _make_way(code)
        sys.modules.update(hidden)


def _forget(code: _OwnCode) -> None:
    for finder in (code, code.last):
        if finder in sys.meta_path:
            sys.meta_path.remove(finder)
    for name in code.names:
        file = getattr(sys.modules.get(name), "__file__", None)
        if file is None or Path(file).resolve() in code.files:  # another may have the name since
            sys.modules.pop(name, None)


def _hide_namesakes(code: _OwnCode, files: Iterable[Path]) -> dict[str, ModuleType]:
    """Take other modules by the names of `files` out of the way, such as an installed `utils`; Python's own stay."""
    hidden = {}
    for root in map(Path, code.roots):
        for file in files:
            name = file.relative_to(root).parts[0].removesuffix(".py") if file.is_relative_to(root) else ""
            other = sys.modules.get(name)
            theirs = getattr(other, "__file__", None)
            if other is None or name in _NEVER_HIDDEN or not theirs:
                continue
            if Path(theirs).resolve() not in (root / f"{name}.py", root / name / "__init__.py"):
                for key in [key for key in sys.modules if _below(key, name)]:
                    hidden[key] = sys.modules.pop(key)
    return hidden


def _make_way(code: _OwnCode) -> None:
    """Keep the user's modules that have the name of another aside, for the user's own imports alone."""
    for name in sorted(code.names):
        top = name.partition(".")[0]
        if top in sys.modules and (top in sys.stdlib_module_names or _is_installed(top)):
            code.kept |= {key: module for key, module in sys.modules.items() if key in code.names and _below(key, top)}
    for name in code.kept:
        sys.modules.pop(name, None)


def _is_installed(name: str) -> bool:
    other = PathFinder.find_spec(name)
    return other is not None and other.origin is not None and not is_own(other.origin)


def _below(name: str, top: str) -> bool:
    return name == top or name.startswith(f"{top}.")


def _is_namespace_of(spec: ModuleSpec, roots: Sequence[str]) -> bool:
    places = [os.path.realpath(place) for place in spec.submodule_search_locations or ()]
    return any(place.startswith(os.path.realpath(root)) for place in places for root in roots)


def _is_import_machinery(file: str) -> bool:
    return file.startswith("<frozen importlib") or file == importlib.__file__
