"""What may be built, as numbers. No torch in here."""

from __future__ import annotations

from typing import Any

from hwnas.spaces.arch import Arch
from hwnas.spaces.ofa_mbv3 import OfaMbv3Config, OfaMbv3Space, config_from_dict
from hwnas.spaces.operators import Operator, make_divisible
from hwnas.spaces.space import Gene, Genotypes, Slot, Space

__all__ = [
    "Arch",
    "Gene",
    "Genotypes",
    "OfaMbv3Config",
    "OfaMbv3Space",
    "Operator",
    "Slot",
    "Space",
    "make_divisible",
    "make_space",
    "space_from_dict",
]


def make_space(config: OfaMbv3Config) -> OfaMbv3Space:
    """The space that `config` describes."""
    return OfaMbv3Space(config)


def space_from_dict(values: dict[str, Any]) -> OfaMbv3Space:
    """The space whose `Space.config()` was written to a checkpoint, table or result."""
    return make_space(config_from_dict(values))
