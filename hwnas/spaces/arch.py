"""The readable form of one architecture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Arch"]


@dataclass(frozen=True)
class Arch:
    """A network's choices under the field's own keys, and the name of the space that they are of.

    For once-for-all spaces: `ks` and `e` one entry a block, `d` one entry a stage, `r` the input resolution.
    """

    space: str
    values: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able: `{"space": …, **values}`."""
        return {"space": self.space, **self.values}
