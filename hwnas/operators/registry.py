"""The kinds of operators that are known, by name: those of the package, and those that a user's file brings."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

from hwnas.errors import ConfigError, choices
from hwnas.user_code.imports import is_own
from hwnas.user_code.run import content_of, run_once

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform

    from hwnas.operators.operator import Field, Operator

else:

    def dataclass_transform(**_: bool) -> Callable[[Any], Any]:
        """What type checkers alone read; Python 3.10 has none."""
        return lambda function: function


__all__ = [
    "all_fields",
    "field_types",
    "kind_named",
    "kind_names",
    "operator_from_dict",
    "operator_from_text",
    "operator_kind",
]


@dataclass(frozen=True)
class _Fields:
    """What each field of a kind holds, in their order, and which have no default."""

    types: Mapping[str, type]
    needed: tuple[str, ...]


_KINDS: dict[str, type[Operator]] = {}
_FIELDS: dict[type[Operator], _Fields] = {}
_TYPES = (str, int, float, bool)

K = TypeVar("K", bound="Operator")


@dataclass_transform(frozen_default=True)
def operator_kind(name: str) -> Callable[[type[K]], type[K]]:
    """Make a subclass of `Operator` the frozen dataclass of the kind `name`, which tables and files know it by.

    Raises ConfigError for a name that another class has, and for a field that a table cannot hold.
    """

    def register(cls: type[K]) -> type[K]:
        made = dataclass(frozen=True)(cls)
        made.kind = name
        known = _KINDS.get(name)
        if known is not None and _origin(known) != _origin(made):
            raise ConfigError(
                f"two operator kinds are called {name!r}: {_origin(known)} and {_origin(made)}: give one another name"
            )
        hints = get_type_hints(made)
        for key in made.field_names():
            if hints[key] not in _TYPES:
                raise ConfigError(
                    f"operator kind {name!r}: field {key} is {getattr(hints[key], '__name__', hints[key])}, which no"
                    " table can hold: expected int, float, bool or str"
                )
        needed = tuple(field.name for field in fields(made) if field.default is MISSING)
        _KINDS[name], _FIELDS[made] = made, _Fields({key: hints[key] for key in made.field_names()}, needed)
        file = getattr(sys.modules.get(made.__module__), "__file__", None)
        if file is not None and is_own(file):

            def reduced(operator: K) -> tuple[Callable[..., Operator], tuple[str, dict[str, Field]]]:
                return _restored, (file, operator.to_dict())

            made.__reduce__ = reduced  # type: ignore[assignment, method-assign]
        return made

    return register


def kind_names() -> tuple[str, ...]:
    """The names of the kinds that are known."""
    return tuple(_KINDS)


def kind_named(name: str) -> type[Operator]:
    """The kind's class. Raises ValueError where there is none of that name."""
    if name not in _KINDS:
        raise ValueError(
            f"operator kind {name!r} unknown: {choices(name, _KINDS)}; one of your own is known once the file is read"
            " that defines it, such as space=FILE.py:make"
        )
    return _KINDS[name]


def field_types(kind: type[Operator]) -> Mapping[str, type]:
    """The fields of a kind in their order, and what each holds: str, int, float or bool."""
    return _FIELDS[kind].types


def operator_from_dict(values: Mapping[str, Any]) -> Operator:
    """The operator that `Operator.to_dict` gave; values of fields that its kind does not have are passed over.

    Raises ValueError for an unknown kind, for fields that lack a value, and for values that are none.
    """
    kind = kind_named(str(values.get("kind", "")))
    if missing := [name for name in _FIELDS[kind].needed if name not in values]:
        raise ValueError(f"{kind.kind} lacks {', '.join(missing)}")
    return kind(**{name: values[name] for name in _FIELDS[kind].types if name in values})


def all_fields() -> tuple[str, ...]:
    """The names of all fields of all kinds that are known."""
    return tuple(dict.fromkeys(name for kind in _KINDS.values() for name in kind.field_names()))


def operator_from_text(
    values: Mapping[str, str], parse: Mapping[type, Callable[[str], Field]], complete: bool = False
) -> Operator:
    """The operator whose `to_dict` was written as text, each cell as `parse` reads its field's type.

    Cells of fields that its kind does not have are passed over; an empty one stands for the default, unless all that
    its kind has must be there (`complete`). Raises ValueError, naming the field.
    """
    kind = kind_named(values.get("kind", ""))
    given: dict[str, Any] = {"kind": kind.kind}
    for name, hint in field_types(kind).items():
        text = values.get(name, "")
        if text == "" and not complete:
            continue
        try:
            given[name] = parse[hint](text)
        except ValueError as error:
            raise ValueError(f"{name} is {error}") from error
    return operator_from_dict(given)


def _restored(file: str, values: Mapping[str, Any]) -> Operator:
    """An operator of a kind of the user's own, in a process that has not run their file yet."""
    if values["kind"] not in _KINDS:
        run_once(file, content_of(Path(file)))
    return operator_from_dict(values)


def _origin(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
