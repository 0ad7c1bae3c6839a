"""Which files are the user's own, and which of them a file imports, read off its text.

What is imported only as a function runs is there too.
"""

from __future__ import annotations

import ast
import sysconfig
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

__all__ = ["imported_files", "is_own", "package_of", "roots_of"]

_INSTALLED = ("site-packages", "dist-packages")


@lru_cache(maxsize=4096)
def is_own(file: str) -> bool:
    """Whether a file is the user's own: neither Python's, nor an installed package's, nor hwnas's."""
    path = Path(file).resolve()
    libraries = [Path(sysconfig.get_path(kind)).resolve() for kind in ("stdlib", "platstdlib")]
    libraries.append(Path(__file__).resolve().parents[__name__.count(".") - 1])  # hwnas, wherever this module lies
    installed = any(part in _INSTALLED for part in path.parts)
    return path.is_file() and not installed and not any(path.is_relative_to(folder) for folder in libraries)


def package_of(path: Path) -> str | None:
    """The dotted name of a file that is a module of a package and says so: by a relative import."""
    if not (path.parent / "__init__.py").is_file() or not _imports_relatively(path):
        return None
    resolved = path.resolve()
    return ".".join(resolved.relative_to(_top(resolved)).with_suffix("").parts)


def _imports_relatively(path: Path) -> bool:
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return False
    return any(isinstance(node, ast.ImportFrom) and node.level for node in ast.walk(tree))


def _top(path: Path) -> Path:
    """The folder that a package is imported from, for a file in it."""
    folder = path.parent
    while (folder / "__init__.py").is_file() and folder != folder.parent:
        folder = folder.parent
    return folder


def roots_of(path: Path) -> list[Path]:
    """Where the file's imports are looked for first."""
    resolved = path.resolve()
    return list(dict.fromkeys([resolved.parent, _top(resolved)]))


def imported_files(path: Path, roots: Sequence[Path]) -> list[Path]:
    """`path` and all files below `roots` that it imports, or that these import, in the order of finding them.

    Folders are resolved. A file that can't be parsed imports nothing.
    """
    found: dict[Path, None] = {}
    pending = [path.resolve()]
    while pending:
        file = pending.pop()
        if file in found:
            continue
        found[file] = None
        for base, parts in _imports(file):
            for folder in roots if base is None else [base]:
                pending += _files_of(folder, parts)
    return list(found)


def _imports(file: Path) -> Iterator[tuple[Path | None, list[str]]]:
    """For each import, the folder that it is relative to, or None, and the parts of the name."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield None, alias.name.split(".")
        elif isinstance(node, ast.ImportFrom):
            base = file.parents[node.level - 1] if 0 < node.level <= len(file.parents) else None
            parts = node.module.split(".") if node.module else []
            for alias in node.names:
                yield base, [*parts, alias.name]
        elif isinstance(node, ast.Call) and _name_of(node.func) in ("import_module", "__import__") and node.args:
            given = node.args[0]
            if isinstance(given, ast.Constant) and isinstance(given.value, str):
                name = given.value.lstrip(".")
                yield (file.parent if name != given.value else None), name.split(".")


def _name_of(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _files_of(folder: Path, parts: Sequence[str]) -> list[Path]:
    """The files below `folder` that importing the dotted name runs: packages on the way, and the module itself."""
    files, place = [], folder
    if (folder / "__init__.py").is_file() and parts:
        files.append(folder / "__init__.py")
    for part in parts:
        if part == "*":
            break
        candidates = (place / part / "__init__.py", place / f"{part}.py")
        files += [candidate.resolve() for candidate in candidates if candidate.is_file()][:1]
        place = place / part
    return files
