"""A TFLite file's graph, to be rewritten: what passes over it share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.export.tflite.flatbuffer import names_of, pack, unpack
from hwnas.export.tflite.writing import GraphWriter

__all__ = ["TfliteGraph"]


class TfliteGraph(GraphWriter):
    """The graph of a file's bytes. Rewrites change it in place; `packed` gives what it has become."""

    def __init__(self, content: bytes) -> None:
        super().__init__(unpack(content))
        self._kinds = names_of(self.schema.BuiltinOperator)
        self._scalars: dict[float, int] = {}

    def kind(self, operator: Any) -> str:
        """What an operator computes, by TFLite's name, such as `CONV_2D`."""
        return str(self._kinds[self.model.operatorCodes[operator.opcodeIndex].builtinCode])

    def activation(self, operator: Any) -> int:
        """The activation fused into an operator, by the schema's number; 0 is none."""
        return int(getattr(operator.builtinOptions, "fusedActivationFunction", 0))

    def name(self, number: int) -> str:
        """A tensor's name."""
        return str(self.tensors[number].name.decode())

    def values(self, number: int) -> NDArray[np.float32] | None:
        """The float32 numbers of a constant tensor, or None for another."""
        tensor = self.tensors[number]
        data = self.model.buffers[tensor.buffer].data
        if data is None or tensor.type != self.schema.TensorType.FLOAT32:
            return None
        shape = () if tensor.shape is None else tuple(tensor.shape)
        return np.frombuffer(data, dtype=np.float32).reshape(shape)

    def is_output(self, number: int) -> bool:
        """Whether the network gives this tensor back."""
        return number in self.subgraph.outputs

    def readers(self, number: int) -> list[Any]:
        """The operators that a tensor goes into."""
        return [one for one in self.operators if number in one.inputs]

    def writer(self, number: int) -> Any | None:
        """The operator that a tensor comes from; None for inputs and constants."""
        return next((one for one in self.operators if number in one.outputs), None)

    def replace(self, operator: Any, parts: list[Any]) -> None:
        """Put `parts`, in their order, where `operator` is."""
        place = next(place for place, one in enumerate(self.operators) if one is operator)
        self.operators[place : place + 1] = parts

    def give_back(self, number: int, instead_of: int) -> None:
        """Let the network give back one tensor instead of another."""
        self.subgraph.outputs = [number if int(one) == instead_of else int(one) for one in self.subgraph.outputs]
        for signature in self.model.signatureDefs or ():
            for entry in signature.outputs:
                if entry.tensorIndex == instead_of:
                    entry.tensorIndex = number

    def name_ends(self, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        """Names for the signature's inputs and outputs, in the network's order, and that order in the signature."""
        for signature in self.model.signatureDefs or ():
            signature.inputs = self._named(self.subgraph.inputs, inputs)
            signature.outputs = self._named(self.subgraph.outputs, outputs)

    def _named(self, numbers: Sequence[int], names: Sequence[str]) -> list[Any]:
        return [
            self.schema.TensorMapT(name=name.encode(), tensorIndex=int(number))
            for number, name in zip(numbers, names, strict=True)
        ]

    def add_tensor(self, name: str, like: int) -> int:
        """A new tensor of another's type and shape, without content."""
        model = self.tensors[like]
        return self.new_tensor(name, model.shape, model.type, has_rank=model.hasRank)

    def add_scalar(self, value: float) -> int:
        """The tensor that holds the float32 `value`, new unless there is one."""
        if value not in self._scalars:
            self._scalars[value] = self.add_constant(f"constant/{value:g}", np.array(value, dtype=np.float32))
        return self._scalars[value]

    def with_values(self, number: int, values: NDArray[np.float32]) -> int:
        """A tensor that holds `values` instead of a constant's own: the same, unless others read that one too."""
        if len(self.readers(number)) > 1:
            return self.add_constant(f"{self.name(number)};{len(self.tensors)}", values)
        self.tensors[number].buffer = self.store(values)  # the former may be another tensor's too
        return number

    def packed(self) -> bytes:
        """The file, without the tensors, buffers and kinds of operators that nothing uses any more."""
        self._sweep()
        return pack(self.model)

    def _sweep(self) -> None:
        graph, model = self.subgraph, self.model
        used = {int(number) for one in self.operators for number in (*one.inputs, *one.outputs) if number >= 0}
        kept = sorted(used | {int(number) for number in (*graph.inputs, *graph.outputs)})
        places = {old: new for new, old in enumerate(kept)} | {-1: -1}
        self.tensors[:] = [self.tensors[old] for old in kept]
        for one in (*self.operators, graph):
            one.inputs = [places[int(number)] for number in one.inputs]
            one.outputs = [places[int(number)] for number in one.outputs]
        for signature in model.signatureDefs or ():
            for entry in (*signature.inputs, *signature.outputs):
                entry.tensorIndex = places[entry.tensorIndex]
        entries = [*self.tensors, *(model.metadata or ())]
        buffers = sorted({0, *(int(entry.buffer) for entry in entries)})
        for entry in entries:
            entry.buffer = buffers.index(entry.buffer)
        model.buffers = [model.buffers[old] for old in buffers]
        codes = sorted({one.opcodeIndex for one in self.operators})
        for one in self.operators:
            one.opcodeIndex = codes.index(one.opcodeIndex)
        model.operatorCodes = [model.operatorCodes[old] for old in codes]
