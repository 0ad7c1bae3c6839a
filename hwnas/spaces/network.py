"""The operators behind genotypes: which stand in a network, and what adds up over them.

Shapes: N architectures, G genes, S slots, O distinct operators.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import ArchError
from hwnas.operators import Operator
from hwnas.operators.wiring import IMAGE, Network, Step
from hwnas.spaces.elimination import Factor, minimise_sum
from hwnas.spaces.genes import Floats, Genotypes
from hwnas.spaces.slots import Slot, with_nothing

__all__ = ["SlotNetwork"]


class SlotNetwork(ABC):
    """Networks of `slots` that hold some of `operators`: a `Space`, to whoever measures."""

    slots: tuple[Slot, ...]
    operators: tuple[Operator, ...]

    @property
    @abstractmethod
    def cardinalities(self) -> NDArray[np.int64]:
        """The number of choices of each gene, `[G]`."""

    @abstractmethod
    def canonical(self, genotypes: Genotypes) -> Genotypes:
        """The same networks with every gene that has no effect set to 0, `[N, G]`."""

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
        return {step.name: step.operator for step in self.network_of(genotype).steps if step.operator is not None}

    def operators_of(self, genotype: Genotypes) -> Sequence[Operator]:
        """The operators of one genotype `[G]`, in the order in which they run; with what each reads, unless each reads
        the one before.
        """
        network = self.network_of(genotype)
        return list(network) if network.is_chain else network

    def network_of(self, genotype: Genotypes) -> Network:
        """The operators of one genotype `[G]` with what each reads; what leads nowhere is left out.

        Raises ArchError where nothing leads to an operator that is no edge.
        """
        ids = self.slot_operators(genotype[None])[0]
        steps: list[Step] = []
        given: dict[str, int | None] = {}
        before: int | None = IMAGE
        for slot, position in zip(self.slots, ids, strict=True):
            reads = [given[name] for name in slot.reads] if slot.reads else [before]
            read = tuple(one for one in reads if one is not None)
            if not read and slot.otherwise and (other := given[slot.otherwise]) is not None:
                read = (other,)
            operator = self.operators[position] if position >= 0 else None
            if slot.is_edge and (operator is None or not read):
                before = None
            elif operator is None and len(read) < 2:
                before = read[0] if read else None
            elif read:
                steps.append(Step(slot.name, operator, read, slot.join))
                before = len(steps) - 1
            else:
                raise ArchError(f"the network has nothing that leads to {slot.name}: {', '.join(slot.reads)} are empty")
            given[slot.name] = before
        return Network.used(steps)

    def sum_over_operators(self, genotypes: Genotypes, values: Floats) -> Floats:
        """The sum of `values` `[O]` over each network's operators, `[N]` (latency tables, MACs, parameters)."""
        strides, offsets, ids = self._places
        # Where in the slots' tables, laid end to end, each slot's value stands: one product of whole numbers, exact in
        # float64, instead of a look-up a slot.
        places = strides @ genotypes.T.astype(np.float64) + offsets
        total = np.zeros(len(genotypes))
        # Slot by slot: numpy's sum would add up a single network in another order than many.
        for column in with_nothing(values)[ids].take(places.astype(np.int64)):
            total += column
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
        computed first. Where slots read others than the one before: network by network, with what is still to be read.
        """
        if any(slot.is_wired for slot in self.slots):
            peaks = [self.network_of(genotype).peak_activations for genotype in genotypes]
            return np.array(peaks, dtype=np.int64) * bytes_per_value
        peak = np.zeros(len(genotypes))
        for slot, table in zip(self.slots, self._slot_tables(self._operator_peaks), strict=True):
            np.maximum(peak, table[self._columns(genotypes, slot)], out=peak)
        return peak.astype(np.int64) * bytes_per_value

    @cached_property
    def _places(self) -> tuple[Floats, Floats, NDArray[np.int64]]:
        """What of each gene's choice moves a slot's place `[S, G]`, where its table begins `[S, 1]`, and all tables'
        operators.
        """
        strides = np.zeros((len(self.slots), len(self.cardinalities)))
        for number, slot in enumerate(self.slots):
            strides[number, list(slot.genes)] = np.cumprod([1, *slot.operator_ids.shape[:0:-1]])[::-1]
        flat = [slot.operator_ids.ravel() for slot in self.slots]
        begins = np.cumsum([0, *map(len, flat)])[:-1].astype(np.float64)
        return strides, begins[:, None], np.concatenate(flat)

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
