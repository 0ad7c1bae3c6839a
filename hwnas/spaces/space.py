"""What may be built, as numbers: genotype arrays, and what a space says of its genes.

Shapes: N architectures, G genes. A genotype array is `[N, G]` of choice indices.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import ArchError
from hwnas.spaces.arch import Arch, gather, spread
from hwnas.spaces.cells import Cell
from hwnas.spaces.genes import Floats, Gene, GeneGroups, Genotypes
from hwnas.spaces.network import SlotNetwork
from hwnas.spaces.slots import Slot
from hwnas.spaces.words import BlockGenes

__all__ = ["Floats", "Gene", "Genotypes", "Slot", "Space"]


class Space(SlotNetwork):
    """A search space. Subclasses set the attributes below, and say which genes have an effect.

    `genes` end in the resolution's, whose choices are `resolutions`; images have `in_channels`. A network is its
    slots' operators, one after the other; BatchNorm has `norm_eps`. Everything here works on whole genotype arrays. A
    genotype is canonical when each gene without effect is 0.
    """

    name: str
    genes: tuple[Gene, ...]
    in_channels: int
    classes: int
    resolutions: tuple[int, ...]
    norm_eps: float = 1e-5
    archs_are_text: ClassVar[bool] = False
    """Whether an arch is published as a string of its own, and not as a mapping."""

    # ---- what a subclass says -----------------------------------------------------------------------------------

    @abstractmethod
    def active(self, genotypes: Genotypes) -> NDArray[np.bool_]:
        """Which genes have an effect on the network, `[N, G]`."""

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """What defines the space, JSON-able: two spaces are the same exactly when these are equal."""

    def to_published(self, values: dict[str, Any]) -> dict[str, Any]:
        """An arch's values by kind, of genes, as they are written: for spaces whose published form differs."""
        return values

    def from_published(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Undo `to_published`. Values that can't be undone stay, and are refused as no choice of their gene."""
        return values

    @property
    def blocks(self) -> BlockGenes | None:
        """Which genes are those of elastic blocks that all choose a kernel and an expansion; None where none are."""
        return None

    @property
    def cell(self) -> Cell | None:
        """The cell that all networks repeat, for spaces of cells."""
        return None

    @property
    def choice_values(self) -> tuple[tuple[object, ...], ...]:
        """What each gene's choices are, a tuple a gene: genes with equal ones decide about the same kind of thing."""
        return tuple(gene.choices for gene in self.genes)

    @property
    def numeric_genes(self) -> dict[int, Floats]:
        """By column, the values of genes that are plain numbers, such as widths, where no operators tell more."""
        return {}

    # ---- archs --------------------------------------------------------------------------------------------------

    def arch(self, genotype: Genotypes) -> Arch:
        """The readable form of one genotype `[G]`."""
        chosen = [gene.choices[int(choice)] for gene, choice in zip(self.genes, genotype, strict=True)]
        return Arch(self.name, self.to_published(gather(self.genes, chosen)))

    def genotype(self, arch: Arch | Mapping[str, Any]) -> Genotypes:
        """The canonical genotype `[G]` of an arch, at the largest resolution if it names none.

        Genes without effect may hold anything: published archs have arbitrary values, often 0, for blocks past a
        stage's depth. Raises ArchError where the arch is not of this space.
        """
        values: Any = arch.to_dict() if isinstance(arch, Arch) else arch
        kinds = list(dict.fromkeys(gene.kind for gene in self.genes))
        if not isinstance(values, Mapping):
            raise ArchError(f"arch of space {self.name}: expected a mapping with {', '.join(kinds)}, got {values!r}")
        if "space" in values and values["space"] != self.name:
            raise ArchError(f"arch is of space {values['space']!r}, expected {self.name!r}")
        values = self.from_published({"r": self.resolutions[-1], **values})
        chosen = spread(self.name, self.genes, values)
        row = np.array(
            [gene.choices.index(v) if v in gene.choices else -1 for gene, v in zip(self.genes, chosen, strict=True)]
        )
        for column in np.flatnonzero((row < 0) & self.active(np.maximum(row, 0)[None])[0]):
            gene, valid = self.genes[column], ", ".join(map(str, self.genes[column].choices))
            raise ArchError(f"arch of space {self.name}: {gene.name} is {chosen[column]!r}, valid: {valid}")
        return np.asarray(self.canonical(np.maximum(row, 0)[None])[0])

    # ---- genotypes ----------------------------------------------------------------------------------------------

    @cached_property
    def cardinalities(self) -> NDArray[np.int64]:
        """The number of choices of each gene, `[G]`."""
        return np.array([len(gene.choices) for gene in self.genes], dtype=np.int64)

    @cached_property
    def groups(self) -> GeneGroups:
        """Which genes are redrawn together."""
        return GeneGroups.of(self.genes)

    @cached_property
    def slots_of_gene(self) -> NDArray[np.int64]:
        """How many slots depend on each gene, `[G]`."""
        users = np.bincount([gene for slot in self.slots for gene in slot.genes], minlength=len(self.genes))
        return np.asarray(users)

    @property
    def shared_genes(self) -> NDArray[np.bool_]:
        """Which genes several slots depend on, `[G]`: resolution and depths, a network's shape."""
        return np.asarray(self.slots_of_gene > 1)

    @cached_property
    def gene_index(self) -> dict[str, int]:
        """Gene name to column."""
        return {gene.name: column for column, gene in enumerate(self.genes)}

    def check(self, genotypes: Genotypes) -> Genotypes:
        """`genotypes` as int64 `[N, G]`, or ArchError naming the first gene that is out of range."""
        array = np.asarray(genotypes)
        if not np.issubdtype(array.dtype, np.integer):
            raise ArchError(f"space {self.name}: expected genotypes of whole numbers, got {array.dtype}")
        array = array.astype(np.int64)
        if array.ndim != 2 or array.shape[1] != len(self.genes):
            raise ArchError(f"space {self.name}: expected genotypes [N, {len(self.genes)}], got shape {array.shape}")
        wrong = np.argwhere((array < 0) | (array >= self.cardinalities))
        if len(wrong):
            row, column = wrong[0]
            gene = self.genes[column]
            raise ArchError(
                f"space {self.name}: gene {gene.name} of row {row} is choice {array[row, column]},"
                f" expected 0 to {len(gene.choices) - 1}"
            )
        return array

    def canonical(self, genotypes: Genotypes) -> Genotypes:
        """The same networks with every gene that has no effect set to 0, `[N, G]`."""
        return np.where(self.active(genotypes), genotypes, 0)

    def sample(self, count: int, rng: np.random.Generator) -> Genotypes:
        """`count` canonical genotypes, each gene drawn uniformly and independently, as once-for-all draws subnets."""
        return self.canonical(rng.integers(0, self.cardinalities, size=(count, len(self.genes))))

    def mutate(self, genotypes: Genotypes, probability: float, rng: np.random.Generator) -> Genotypes:
        """Each gene group redrawn with `probability`, `[N, G]`, canonical."""
        redraw = rng.random((len(genotypes), len(self.groups))) < probability
        fresh = rng.integers(0, self.cardinalities, size=genotypes.shape)
        return self.canonical(np.where(redraw[:, self.groups.of_gene], fresh, genotypes))

    def crossover(self, first: Genotypes, second: Genotypes, rng: np.random.Generator) -> Genotypes:
        """Each gene from either parent with equal probability, `[N, G]`, canonical."""
        return self.canonical(np.where(rng.random(first.shape) < 0.5, first, second))

    def unique(self, genotypes: Genotypes) -> Genotypes:
        """The distinct networks among `genotypes`, in the order in which they first occur."""
        canonical = self.canonical(genotypes)
        _, first = np.unique(canonical, axis=0, return_index=True)
        return canonical[np.sort(first)]

    def extreme(self, largest: bool) -> Genotypes:
        """The genotype `[G]` of every gene's last choice, or of every gene's first: choices stand in rising order."""
        row = self.cardinalities - 1 if largest else np.zeros_like(self.cardinalities)
        return np.asarray(self.canonical(row[None])[0])

    def neighbours(self, genotype: Genotypes) -> Genotypes:
        """`genotype` `[G]` with one gene at each of its choices, gene by gene, canonical, `[sum(cardinalities), G]`.

        Not distinct: each gene's own choice gives `genotype` itself.
        """
        columns = np.repeat(np.arange(len(self.genes)), self.cardinalities)
        rows = np.tile(genotype, (len(columns), 1))
        rows[np.arange(len(columns)), columns] = np.concatenate([np.arange(count) for count in self.cardinalities])
        return self.canonical(rows)

    def features(self, genotypes: Genotypes) -> Floats:
        """One-hot over every gene's choices, all zeros for a gene without effect, `[N, sum(cardinalities)]`."""
        offsets = np.concatenate([[0], np.cumsum(self.cardinalities)[:-1]])
        encoded = np.zeros((len(genotypes), int(self.cardinalities.sum())))
        np.put_along_axis(encoded, genotypes + offsets, self.active(genotypes).astype(float), axis=1)
        return encoded

    @property
    def size(self) -> int:
        """The number of gene combinations (networks that differ only in genes without effect counted each)."""
        return int(np.prod(self.cardinalities.astype(object)))

    def every(self, most: int) -> Genotypes | None:
        """All distinct networks, canonical, `[N, G]`; None where there are more than `most` gene combinations."""
        if self.size > most:
            return None
        left, columns = np.arange(self.size), []
        for choices in self.cardinalities:
            columns.append(left % choices)
            left = left // choices
        return self.unique(np.stack(columns, axis=1))
