"""A space that a file of the user's own makes."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from hwnas.errors import ConfigError
from hwnas.files import sha256_of_json
from hwnas.operators import Operator
from hwnas.spaces.settings import check_known
from hwnas.spaces.space import Space
from hwnas.user_code.imports import is_own
from hwnas.user_code.named import named, run_named, split_path
from hwnas.user_code.run import content_of
from hwnas.user_code.told import told

__all__ = ["FileSpaceConfig", "digests_of"]

_PLACES = "places"


@dataclass(frozen=True)
class FileSpaceConfig:
    """`file` is `path/to/file.py:name`: a function that takes `in_channels` and `classes`, and gives a space, such as a
    `PlacedSpace`. Both may be 0, "as the data set has".

    `name` is the space's own; empty: as the file says. `digests`: what its places, and the operators of each kind, were
    when the space was written to a file; None: as they are.
    """

    family: ClassVar[str] = "from_file"

    file: str = "???"
    in_channels: int = 0
    classes: int = 0
    name: str = ""
    digests: dict[str, str] | None = None

    @property
    def resolution(self) -> tuple[int, ...]:
        """The sizes of images that the space has."""
        return self._made().resolutions

    @property
    def stage_depths(self) -> tuple[tuple[int, ...], ...]:
        """None: the file's places have names of their own."""
        return ()

    def space(self) -> Space:
        """What the file makes. Raises ConfigError where it fails, and where a kind of operators has changed since."""
        check_known(self)
        space = self._made()
        now = digests_of(space)
        for part, before in (self.digests or {}).items():
            if now.get(part) != before:
                what = "its places are others" if part == _PLACES else f"operator kind {part!r} is another"
                raise ConfigError(
                    f"space={self.file}: {what} than when this was made: bring the file back as it was, or train and"
                    " measure again"
                )
        return space

    def _made(self) -> Space:
        content = content_of(Path(split_path("space", self.file)[0]))
        return _made(self.file, content, self.in_channels or 3, self.classes or 2)


def digests_of(space: Space) -> dict[str, str]:
    """What two spaces must have in common to be one: places with their genes, and each kind's operators and code."""
    kinds: dict[str, list[Any]] = {}
    for operator in space.operators:
        own = kinds.setdefault(operator.kind, [_classes_beside(type(operator))])
        own.append([operator.to_dict(), operator.macs, operator.parameters])
    genes = [[gene.name, list(gene.choices)] for gene in space.genes]
    slots = [[slot.name, list(slot.genes), slot.operator_ids.tolist()] for slot in space.slots]
    return {_PLACES: _short([genes, slots]), **{kind: _short(own) for kind, own in kinds.items()}}


def _short(value: Any) -> str:
    return sha256_of_json(value)[:16]


def _classes_beside(kind: type[Operator]) -> str:
    """The classes of the file that a kind of the user's own is in, without comments: its layers are among them."""
    try:
        file = inspect.getfile(kind)
    except (OSError, TypeError):
        return ""
    if not is_own(file):
        return ""
    return "".join(ast.dump(one) for one in ast.parse(Path(file).read_bytes()).body if isinstance(one, ast.ClassDef))


@lru_cache(maxsize=8)
def _made(path: str, content: str, in_channels: int, classes: int) -> Space:
    make = named("space", path, run_named("space", path, content))
    if not callable(make):
        raise ConfigError(f"space={path}: expected a function of in_channels and classes, got {make!r:.80}")
    _check_arguments(path, make)
    try:
        space = make(in_channels=in_channels, classes=classes)
    except ConfigError as error:
        raise ConfigError(f"space={path}: {error}") from error
    except (Exception, SystemExit) as error:  # the user's own code
        raise ConfigError(f"space={path}: making it failed with {told(error)}") from error
    if not isinstance(space, Space):
        raise ConfigError(f"space={path}: expected a space (hwnas.spaces.Space), got {type(space).__name__}")
    # What files and other processes know it by is the file that made it, as that was then.
    settings = FileSpaceConfig(path, in_channels, classes, space.name)
    named_by = {key: getattr(settings, key) for key in ("family", "file", "in_channels", "classes", "name")}
    described = {**named_by, "digests": digests_of(space)}
    own = {"settings": settings, "config": lambda _: dict(described), "__reduce__": lambda _: (settings.space, ())}
    space.__class__ = type(type(space).__name__, (type(space),), own)
    return space


def _check_arguments(path: str, make: Callable[..., Any]) -> None:
    try:
        inspect.signature(make).bind(in_channels=1, classes=1)
    except ValueError:  # built in, and silent about what it takes
        return
    except TypeError as error:
        name = split_path("space", path)[1]
        raise ConfigError(
            f"space={path}: {name} is called with in_channels and classes ({error}): expected def {name}(in_channels,"
            " classes)"
        ) from error
