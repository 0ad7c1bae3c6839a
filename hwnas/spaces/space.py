"""What may be built, as numbers: genotype arrays, and the operators behind them.

Shapes: N architectures, G genes, S slots, O distinct operators. A genotype array is `[N, G]` of choice indices.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import ArchError
from hwnas.spaces.arch import Arch, gather, spread
from hwnas.spaces.cells import Cell
from hwnas.spaces.elimination import Factor, minimise_sum
from hwnas.spaces.genes import Floats, Gene, GeneGroups, Genotypes
from hwnas.spaces.operators import Operator
from hwnas.spaces.slots import Slot, with_nothing
from hwnas.spaces.words import BlockGenes

__all__ = ["Floats", "Gene", "Genotypes", "Slot", "Space"]


class Space(ABC):
    """A search space. Subclasses set the attributes below, and say which genes have an effect.

    `genes` end in the resolution's, whose choices are `resolutions`; images have `in_channels`. A network is its
    slots' operators, one after the other; BatchNorm has `norm_eps`. Everything here works on whole genotype arrays. A
    genotype is canonical when each gene without effect is 0.
    """

    name: str
    genes: tuple[Gene, ...]
    slots: tuple[Slot, ...]
    operators: tuple[Operator, ...]
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

    # ---- operators ----------------------------------------------------------------------------------------------

    @cached_property
    def operator_index(self) -> dict[Operator, int]:
        """Operator to its position in `operators`."""
        return {operator: position for position, operator in enumerate(self.operators)}

    def slot_operators(self, genotypes: Genotypes) -> NDArray[np.int64]:
        """Which operator stands in each slot, `[N, S]`, -1 for none."""
        return np.stack([slot.operator_ids[self._columns(genotypes, slot)] for slot in self.slots], axis=1)

    def operator_counts(self, genotypes: Genotypes) -> NDArray[np.int64]:
        """How often each network holds each operator, `[N, O]`."""
        ids = self.slot_operators(genotypes)
        rows = np.arange(len(genotypes))[:, None] * (len(self.operators) + 1)
        flat = np.bincount((rows + ids + 1).ravel(), minlength=len(genotypes) * (len(self.operators) + 1))
        return flat.reshape(len(genotypes), -1)[:, 1:]

    def named_operators(self, genotype: Genotypes) -> dict[str, Operator]:
        """The operators of one genotype `[G]` by their slots, in the order in which they run."""
        ids = self.slot_operators(genotype[None])[0]
        return {
            slot.name: self.operators[position] for slot, position in zip(self.slots, ids, strict=True) if position >= 0
        }

    def operators_of(self, genotype: Genotypes) -> list[Operator]:
        """The operators of one genotype `[G]`, in the order in which they run."""
        return list(self.named_operators(genotype).values())

    def sum_over_operators(self, genotypes: Genotypes, values: Floats) -> Floats:
        """The sum of `values` `[O]` over each network's operators, `[N]` (latency tables, MACs, parameters)."""
        total = np.zeros(len(genotypes))
        for slot, table in zip(self.slots, self._slot_tables(values), strict=True):
            total += table[self._columns(genotypes, slot)]
        return total

    def factors(self, values: Floats) -> tuple[Factor, ...]:
        """Each slot's genes and what stands there of `values` `[O]`: tables that add up to `sum_over_operators`."""
        return tuple((slot.genes, table) for slot, table in zip(self.slots, self._slot_tables(values), strict=True))

    def minimise_over_operators(self, values: Floats) -> tuple[Genotypes, float]:
        """The canonical genotype `[G]` with the smallest `sum_over_operators`, and that sum. Exact."""
        row, total = minimise_sum(self.cardinalities, self.factors(values))
        return self.canonical(row[None])[0], total

    def macs(self, genotypes: Genotypes) -> NDArray[np.int64]:
        """Multiply-accumulates of one inference at batch 1, `[N]`."""
        return self._whole_sums(genotypes, self._operator_macs)

    def parameters(self, genotypes: Genotypes) -> NDArray[np.int64]:
        """Trainable parameters, `[N]`."""
        return self._whole_sums(genotypes, self._operator_parameters)

    def peak_activation_bytes(self, genotypes: Genotypes, bytes_per_value: int = 4) -> NDArray[np.int64]:
        """The most memory that activations take at once in one inference at batch 1, `[N]`, without weights.

        Counted as a runtime has it that fuses BatchNorm, activations and additions into the layer before: a running
        layer's input and output, and what a residual addition still needs. A bottleneck's projected shortcut is
        computed first.
        """
        peak = np.zeros(len(genotypes))
        for slot, table in zip(self.slots, self._slot_tables(self._operator_peaks), strict=True):
            np.maximum(peak, table[self._columns(genotypes, slot)], out=peak)
        return peak.astype(np.int64) * bytes_per_value

    # ---- helpers ------------------------------------------------------------------------------------------------

    @cached_property
    def _operator_macs(self) -> Floats:
        return np.array([operator.macs for operator in self.operators], dtype=np.float64)

    @cached_property
    def _operator_parameters(self) -> Floats:
        return np.array([operator.parameters for operator in self.operators], dtype=np.float64)

    @cached_property
    def _operator_peaks(self) -> Floats:
        return np.array([operator.peak_activations for operator in self.operators], dtype=np.float64)

    def _whole_sums(self, genotypes: Genotypes, values: Floats) -> NDArray[np.int64]:
        # Whole numbers below 2^53 add up exactly in float64.
        return self.sum_over_operators(genotypes, values).astype(np.int64)

    @staticmethod
    def _columns(genotypes: Genotypes, slot: Slot) -> tuple[NDArray[np.int64], ...]:
        return tuple(genotypes[:, column] for column in slot.genes)

    def _slot_tables(self, values: Floats) -> Sequence[Floats]:
        padded = with_nothing(values)
        return [padded[slot.operator_ids] for slot in self.slots]
