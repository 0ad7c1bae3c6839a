"""The readable form of one architecture: genes gathered by kind, under the field's own keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hwnas.errors import ArchError
from hwnas.spaces.genes import Gene

__all__ = ["Arch", "gather", "spread"]


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


def gather(genes: Sequence[Gene], values: Sequence[Any]) -> dict[str, Any]:
    """One value a gene, as one entry a kind: a list for numbered genes (`ks0`, `ks1`, …), else the value itself."""
    gathered: dict[str, Any] = {}
    for gene, value in zip(genes, values, strict=True):
        if gene.name == gene.kind:
            gathered[gene.kind] = value
        else:
            gathered.setdefault(gene.kind, []).append(value)
    return gathered


def spread(space: str, genes: Sequence[Gene], values: Mapping[str, Any]) -> list[Any]:
    """Undo `gather`: one value a gene, whatever it is. A lone value may also be a list of one, as once-for-all writes.

    Raises ArchError where a kind is missing or of another length.
    """
    expected = gather(genes, [gene.name for gene in genes])
    given: dict[str, list[Any]] = {}
    for kind, names in expected.items():
        found = values.get(kind)
        if isinstance(names, str):
            given[kind] = list(found) if isinstance(found, (list, tuple)) and len(found) == 1 else [found]
        elif not isinstance(found, Sequence) or len(found) != len(names):
            raise ArchError(f"arch of space {space}: expected {kind!r} as a list of {len(names)}, got {found!r}")
        else:
            given[kind] = list(found)
    return [given[gene.kind].pop(0) for gene in genes]
