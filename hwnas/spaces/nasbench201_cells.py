"""NAS-Bench-201's cells (Dong and Yang, ICLR 2020): their strings, and the ways through them.

Shapes: N architectures. Edges are in the order of the published strings: 0→1, 0→2, 1→2, 0→3, 1→3, 2→3.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import ArchError, choices
from hwnas.spaces.arch import Arch
from hwnas.spaces.genes import Genotypes

__all__ = ["EDGES", "OUTPUT", "flow", "row_of", "text_of"]

EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""The nodes that each joins: 0 is the cell's input."""

OUTPUT = 3
"""The node of the cell's output."""

_FORM = "|op~0|+|op~0|op~1|+|op~0|op~1|op~2|"


def text_of(row: Genotypes, operators: Sequence[str]) -> str:
    """The published string of a cell's six choices, of `operators`."""
    named = [f"{operators[int(op)]}~{source}" for op, (source, _) in zip(row, EDGES, strict=True)]
    nodes = [named[:1], named[1:3], named[3:]]
    return "+".join("|" + "|".join(node) + "|" for node in nodes)


def row_of(arch: Arch | Mapping[str, Any] | str, operators: Sequence[str], space: str) -> Genotypes:
    """The six choices, of `operators`, of an arch or of a cell's string alone. Raises ArchError for anything else."""
    values: Any = arch.to_dict() if isinstance(arch, Arch) else arch
    if isinstance(values, Mapping):
        if values.get("space", space) != space:
            raise ArchError(f"arch is of space {values['space']!r}, expected {space!r}")
        values = values.get("cell")
    if not isinstance(values, str):
        raise ArchError(f"arch of space {space}: expected a cell such as {_FORM}, got {values!r}")
    if not re.fullmatch(r"\|[^|~]+~0\|\+\|[^|~]+~0\|[^|~]+~1\|\+\|[^|~]+~0\|[^|~]+~1\|[^|~]+~2\|", values):
        raise ArchError(f"arch of space {space}: expected a cell of the form {_FORM}, got {values!r}")
    found = re.findall(r"\|?([^|~+]+)~\d", values)
    for name in found:
        if name not in operators:
            raise ArchError(f"arch of space {space}: operator {name!r} unknown; {choices(name, operators)}")
    return np.array([operators.index(name) for name in found], dtype=np.int64)


def flow(genotypes: Genotypes) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Which edges are not `none` `[N, 6]`, which nodes the output depends on, and which on the input, `[N, 4]`."""
    joined = genotypes != 0
    needed = np.zeros((len(genotypes), OUTPUT + 1), dtype=bool)
    reached = np.zeros_like(needed)
    needed[:, OUTPUT] = reached[:, 0] = True
    for edge, (source, target) in enumerate(EDGES):
        reached[:, target] |= reached[:, source] & joined[:, edge]
    for edge, (source, target) in reversed(list(enumerate(EDGES))):
        needed[:, source] |= needed[:, target] & joined[:, edge]
    return joined, needed, reached
