"""A space of a user's own: genes with named values, known from a table of measurements alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import ArchError, ConfigError, choices
from hwnas.spaces.arch import Arch
from hwnas.spaces.genes import Floats, Gene, Genotypes
from hwnas.spaces.space import Space

__all__ = ["CategoricalSpace"]


class CategoricalSpace(Space):
    """One gene a column; `values` are each gene's values as text, in the order of their choice index.

    Every gene counts as having an effect. The space knows no operators, and so neither MACs nor parameters.
    """

    slots = ()
    operators = ()

    def __init__(self, name: str, values: Mapping[str, Sequence[str]]) -> None:
        if not values:
            raise ConfigError(f"space {name}: expected at least one gene, got none")
        for gene, own in values.items():
            if not own or len(set(own)) != len(own):
                raise ConfigError(f"space {name}: gene {gene}: expected distinct values, got {list(own)}")
        self.name = name
        self.values = {gene: tuple(own) for gene, own in values.items()}
        self.genes = tuple(Gene(gene, tuple(range(len(own))), gene) for gene, own in self.values.items())
        self._index = [{value: position for position, value in enumerate(own)} for own in self.values.values()]

    @classmethod
    def from_columns(cls, name: str, columns: Mapping[str, Sequence[str]]) -> CategoricalSpace:
        """The space whose genes have the values that stand in `columns`: numbers in rising order, else sorted text."""
        return cls(name, {gene: sorted(set(own), key=_rank) for gene, own in columns.items()})

    def config(self) -> dict[str, Any]:
        return {"name": self.name, "values": {gene: list(own) for gene, own in self.values.items()}}

    def active(self, genotypes: Genotypes) -> NDArray[np.bool_]:
        return np.ones(genotypes.shape, dtype=bool)

    @property
    def choice_values(self) -> tuple[tuple[object, ...], ...]:
        return tuple(self.values.values())

    @property
    def numeric_genes(self) -> dict[int, Floats]:
        # Whole numbers from 0 on without a gap are codes: no more is said by 4 than by 2.
        found = {}
        for column, named in enumerate(self.values.values()):
            try:
                values = np.array([float(value) for value in named])
            except ValueError:
                continue
            if len(values) > 1 and np.isfinite(values).all() and not np.array_equal(values, np.arange(len(values))):
                found[column] = values
        return found

    def arch(self, genotype: Genotypes) -> Arch:
        pairs = zip(self.values.items(), genotype, strict=True)
        return Arch(self.name, {gene: own[int(choice)] for (gene, own), choice in pairs})

    def genotype(self, arch: Arch | Mapping[str, Any]) -> Genotypes:
        given = arch.to_dict() if isinstance(arch, Arch) else arch
        if not isinstance(given, Mapping):
            raise ArchError(f"arch of space {self.name}: expected a mapping of genes to values, got {given!r}")
        if "space" in given and "space" not in self.values and given["space"] != self.name:
            raise ArchError(f"arch is of space {given['space']!r}, expected {self.name!r}")
        row = np.zeros(len(self.genes), dtype=np.int64)
        for column, (gene, own) in enumerate(self.values.items()):
            if gene not in given:
                raise ArchError(
                    f"arch of space {self.name}: gene {gene!r} is missing; expected {', '.join(self.values)}"
                )
            value = str(given[gene])
            if value not in self._index[column]:
                raise ArchError(f"arch of space {self.name}: gene {gene} is {value!r}; {choices(value, own)}")
            row[column] = self._index[column][value]
        return row

    def macs(self, genotypes: Genotypes) -> NDArray[np.int64]:
        """Raises ArchError: a user-defined space knows no operators."""
        raise ArchError(self._unknown("MACs", genotypes))

    def parameters(self, genotypes: Genotypes) -> NDArray[np.int64]:
        """Raises ArchError: a user-defined space knows no operators."""
        raise ArchError(self._unknown("parameters", genotypes))

    def _unknown(self, what: str, genotypes: Genotypes) -> str:
        return f"space {self.name} is known by its genes alone: the {what} of {len(genotypes)} networks are unknown"


def _rank(value: str) -> tuple[int, float, str]:
    try:
        return (0, float(value), value)
    except ValueError:
        return (1, 0.0, value)
