"""Rewrites a float TFLite graph into operators for which XNNPACK has int8 kernels.

Its HARD_SWISH computes in float alone: one in an int8 file ends the delegate's part of the graph, and runs in a kernel
of LiteRT's own. ADD and MUL have int8 kernels. h-swish(x) = x · ReLU6(x + 3) / 6, so 6 h-swish(x) is an ADD with a
fused ReLU6 and a MUL; the 1/6 goes into the weights that read the value. The same frees squeeze-and-excitation of the
product with 1/6 in its h-sigmoid.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.export.chain import same_is_symmetric
from hwnas.export.flatbuffer import AlignedBuffer, pack, unpack

__all__ = ["lower_activations", "row_groups", "split_depthwise"]

# Operators whose output is k times as large where an input is.
LINEAR = ("AVERAGE_POOL_2D", "MAX_POOL_2D", "MEAN", "MUL", "PAD", "RESHAPE")
TAPS = 25
WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


def lower_activations(content: bytes) -> bytes:
    """The same function as a graph without HARD_SWISH and without products with a positive scalar, where that can be.

    Tensors on the way may hold multiples of what they held before; inputs and outputs hold what they did.
    """
    graph = _Graph(content)
    for operator in list(graph.operators):
        kind = graph.kind(operator)
        if kind == "HARD_SWISH":
            graph.split_hard_swish(operator)
        elif kind == "MUL" and graph.activation(operator) == 0 and (factor := graph.scalar(operator)) is not None:
            graph.drop_product(operator, factor)
    graph.sweep()
    return pack(graph.model)


def split_depthwise(content: bytes) -> bytes:
    """The same function with depthwise convolutions of more than 25 taps as sums of ones that have fewer.

    XNNPACK's depthwise kernels hold up to 25 taps. A 7×7 convolution goes to a general one instead, which was seen to
    take 17 times a 5×5 one's time in float32, and 100 times in int8. Rows that lie symmetrically about the middle one
    are a dilated convolution of their own; see `row_groups`.
    """
    graph = _Graph(content)
    for operator in list(graph.operators):
        if graph.kind(operator) == "DEPTHWISE_CONV_2D":
            graph.split_rows(operator)
    graph.sweep()
    return pack(graph.model)


def row_groups(kernel: int) -> list[tuple[int, ...]]:
    """The rows of a square depthwise kernel in groups of up to 25 taps, equally spaced and symmetric, or [] for none.

    7: rows 0, 3, 6, then 1, 5, then 2, 4.
    """
    if kernel**2 <= TAPS or 2 * kernel > TAPS or kernel % 2 == 0:
        return []
    pairs = [(row, kernel - 1 - row) for row in range(kernel // 2)]
    middle = kernel // 2
    if 3 * kernel <= TAPS:
        return [(pairs[0][0], middle, pairs[0][1]), *pairs[1:]]
    return [*pairs, (middle,)]


class _Graph:
    """The one subgraph of a file, in the schema's object form."""

    def __init__(self, content: bytes) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self.schema, self.model = schema, unpack(content)
        self.graph = self.model.subgraphs[0]
        self._names = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
        self._constants: dict[float, int] = {}

    @property
    def operators(self) -> list[Any]:
        return list(self.graph.operators)

    def kind(self, operator: Any) -> str:
        return str(self._names[self.model.operatorCodes[operator.opcodeIndex].builtinCode])

    def activation(self, operator: Any) -> int:
        return int(getattr(operator.builtinOptions, "fusedActivationFunction", 0))

    def values(self, number: int) -> NDArray[np.float32] | None:
        """The float32 numbers of a constant tensor, or None for another."""
        tensor = self.graph.tensors[number]
        data = self.model.buffers[tensor.buffer].data
        if data is None or tensor.type != self.schema.TensorType.FLOAT32:
            return None
        shape = () if tensor.shape is None else tuple(tensor.shape)
        return np.frombuffer(data, dtype=np.float32).reshape(shape)

    def scalar(self, operator: Any) -> float | None:
        """The positive number that a product's second factor is, or None."""
        values = self.values(operator.inputs[1])
        return float(values.reshape(())) if values is not None and values.size == 1 and values.min() > 0 else None

    def split_hard_swish(self, operator: Any) -> None:
        """x → ADD(x, 3) with ReLU6 → MUL with x, six times h-swish."""
        value, output = int(operator.inputs[0]), int(operator.outputs[0])
        gate = self._tensor(f"{self._name(output)};gate", self.graph.tensors[output])
        options = self.schema.AddOptionsT()
        options.fusedActivationFunction = self.schema.ActivationFunctionType.RELU6
        place = self._place(operator)
        self.graph.operators[place : place + 1] = [
            self._operator("ADD", [value, self._scalar(3.0)], gate, options),
            self._operator("MUL", [value, gate], output, self.schema.MulOptionsT()),
        ]
        self._scale(output, 6.0)

    def drop_product(self, operator: Any, factor: float) -> None:
        """Whatever reads the product reads its first factor, and multiplies by `factor` itself."""
        value, output = int(operator.inputs[0]), int(operator.outputs[0])
        if output in self.graph.outputs or self.values(value) is not None:
            return
        readers = self._readers(output)
        if any(reader is not operator and value in reader.inputs for reader in self.graph.operators):
            return  # others read the factor itself
        del self.graph.operators[self._place(operator)]
        for reader in readers:
            reader.inputs = [value if int(number) == output else int(number) for number in reader.inputs]
        self._scale(value, 1 / factor)

    def split_rows(self, operator: Any) -> None:
        """One depthwise convolution for each of `row_groups`, and their sum."""
        schema, options = self.schema, operator.builtinOptions
        value, output = int(operator.inputs[0]), int(operator.outputs[0])
        weights = self.values(int(operator.inputs[1]))
        if weights is None or weights.shape[1] != weights.shape[2] or len(operator.inputs) != 3:
            return
        kernel = weights.shape[1]
        padded = options.padding == schema.Padding.VALID
        if (options.dilationHFactor, options.dilationWFactor) != (1, 1) or not (groups := row_groups(kernel)):
            return
        source = self._padded_source(value, kernel // 2) if padded else value
        if source is None or (not padded and not self._pads_evenly(operator, kernel)):
            return
        name, last = self._name(output), len(groups) - 1
        parts: list[Any] = []
        bias = int(operator.inputs[2])
        for rows in groups:
            read = value
            if padded and rows[0] > 0:
                read = self._pad(source, kernel // 2 - rows[0], kernel // 2, f"{name};rows{rows[0]}/padded", parts)
            chosen = self._constant(f"{name};rows{rows[0]}/weights", weights[:, list(rows)])
            mine = schema.DepthwiseConv2DOptionsT()
            mine.padding, mine.depthMultiplier = options.padding, options.depthMultiplier
            mine.strideH, mine.strideW = options.strideH, options.strideW
            mine.dilationHFactor = rows[1] - rows[0] if len(rows) > 1 else 1
            partial = self._tensor(f"{name};rows{rows[0]}", self.graph.tensors[output])
            parts.append(self._operator("DEPTHWISE_CONV_2D", [read, chosen, bias], partial, mine))
            bias = self._constant(f"{name};rows{rows[0]}/zeros", np.zeros(weights.shape[3], dtype=np.float32))
            if rows is groups[0]:
                total = partial
                continue
            final = rows is groups[last]
            added = output if final else self._tensor(f"{name};sum{rows[0]}", self.graph.tensors[output])
            addition = schema.AddOptionsT()
            addition.fusedActivationFunction = options.fusedActivationFunction if final else 0
            parts.append(self._operator("ADD", [total, partial], added, addition))
            total = added
        place = self._place(operator)
        self.graph.operators[place : place + 1] = parts

    def _padded_source(self, value: int, border: int) -> int | None:
        """What a PAD by `border` pixels on every side gives `value` from, or None."""
        writers = [one for one in self.graph.operators if value in one.outputs]
        if len(writers) != 1 or self.kind(writers[0]) != "PAD":
            return None
        amounts = self.model.buffers[self.graph.tensors[int(writers[0].inputs[1])].buffer].data
        expected = np.array([(0, 0), (border, border), (border, border), (0, 0)], dtype=np.int32)
        known = amounts is not None and len(amounts) == expected.nbytes
        if not known or not np.array_equal(np.frombuffer(amounts, dtype=np.int32), expected.ravel()):
            return None
        return int(writers[0].inputs[0])

    def _pads_evenly(self, operator: Any, kernel: int) -> bool:
        _, height, width, _ = self.graph.tensors[int(operator.inputs[0])].shape
        options = operator.builtinOptions
        return same_is_symmetric(height, kernel, options.strideH) and same_is_symmetric(width, kernel, options.strideW)

    def _pad(self, value: int, rows: int, columns: int, name: str, operators: list[Any]) -> int:
        like = self.graph.tensors[value]
        padded = self._tensor(name, like)
        batch, height, width, channels = like.shape
        self.graph.tensors[padded].shape = [batch, height + 2 * rows, width + 2 * columns, channels]
        amounts = np.array([(0, 0), (rows, rows), (columns, columns), (0, 0)], dtype=np.int32)
        constant = self._constant(f"{name}/amounts", amounts)
        operators.append(self._operator("PAD", [value, constant], padded, self.schema.PadOptionsT()))
        return padded

    def sweep(self) -> None:
        """Drop the tensors and buffers that nothing uses any more."""
        graph, model = self.graph, self.model
        used = {int(number) for one in graph.operators for number in (*one.inputs, *one.outputs) if number >= 0}
        kept = sorted(used | {int(number) for number in (*graph.inputs, *graph.outputs)})
        places = {old: new for new, old in enumerate(kept)} | {-1: -1}
        graph.tensors = [graph.tensors[old] for old in kept]
        for one in (*graph.operators, graph):
            one.inputs = [places[int(number)] for number in one.inputs]
            one.outputs = [places[int(number)] for number in one.outputs]
        for signature in model.signatureDefs or ():
            for entry in (*signature.inputs, *signature.outputs):
                entry.tensorIndex = places[entry.tensorIndex]
        entries = [*graph.tensors, *(model.metadata or ())]
        buffers = sorted({0, *(int(entry.buffer) for entry in entries)})
        for entry in entries:
            entry.buffer = buffers.index(entry.buffer)
        model.buffers = [model.buffers[old] for old in buffers]
        codes = sorted({one.opcodeIndex for one in graph.operators})
        for one in graph.operators:
            one.opcodeIndex = codes.index(one.opcodeIndex)
        model.operatorCodes = [model.operatorCodes[old] for old in codes]

    def _scale(self, number: int, factor: float) -> None:
        """Undo in its readers that the value `number` is `factor` times what it was."""
        left = []
        for reader in self._readers(number):
            kind, inputs = self.kind(reader), [int(one) for one in reader.inputs]
            unfused = self.activation(reader) == 0
            if kind in WEIGHTED and inputs[0] == number and inputs.count(number) == 1 and self._weights(inputs[1]):
                reader.inputs = [inputs[0], self._scaled_copy(inputs[1], 1 / factor), *inputs[2:]]
            elif kind in LINEAR and inputs.count(number) == 1 and unfused and not self._is_output(reader):
                self._scale(int(reader.outputs[0]), factor)
            else:
                left.append(reader)
        if left or number in self.graph.outputs:
            self._divide_for(number, factor, left)

    def _divide_for(self, number: int, factor: float, readers: list[Any]) -> None:
        """A product with 1 / factor, for readers that have no weights to hold it."""
        as_before = self._tensor(f"{self._name(number)};{len(self.graph.tensors)}", self.graph.tensors[number])
        product = self._operator("MUL", [number, self._scalar(1 / factor)], as_before, self.schema.MulOptionsT())
        writer = next(one for one in self.graph.operators if number in one.outputs)
        self.graph.operators.insert(self._place(writer) + 1, product)
        for reader in readers:
            reader.inputs = [as_before if int(one) == number else int(one) for one in reader.inputs]
        self.graph.outputs = [as_before if int(one) == number else int(one) for one in self.graph.outputs]
        for signature in self.model.signatureDefs or ():
            for entry in signature.outputs:
                if entry.tensorIndex == number:
                    entry.tensorIndex = as_before

    def _readers(self, number: int) -> list[Any]:
        return [one for one in self.graph.operators if number in one.inputs]

    def _is_output(self, operator: Any) -> bool:
        return any(number in self.graph.outputs for number in operator.outputs)

    def _place(self, operator: Any) -> int:
        return next(place for place, one in enumerate(self.graph.operators) if one is operator)

    def _weights(self, number: int) -> bool:
        return self.values(number) is not None

    def _name(self, number: int) -> str:
        return str(self.graph.tensors[number].name.decode())

    def _tensor(self, name: str, like: Any) -> int:
        """A new float tensor of the shape of `like`, without content."""
        tensor = self.schema.TensorT()
        tensor.name, tensor.shape, tensor.hasRank = name.encode(), like.shape, like.hasRank
        tensor.type, tensor.buffer = like.type, 0
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def _constant(self, name: str, values: NDArray[Any]) -> int:
        self.model.buffers.append(AlignedBuffer(np.ascontiguousarray(values).tobytes(), self.schema))
        tensor = self.schema.TensorT()
        tensor.name, tensor.shape, tensor.hasRank = name.encode(), list(values.shape), True
        tensor.type = getattr(self.schema.TensorType, values.dtype.name.upper())
        tensor.buffer = len(self.model.buffers) - 1
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def _scalar(self, value: float) -> int:
        if value not in self._constants:
            self._constants[value] = self._constant(f"constant/{value:g}", np.array(value, dtype=np.float32))
        return self._constants[value]

    def _scaled_copy(self, number: int, factor: float) -> int:
        values = self.values(number)
        assert values is not None  # noqa: S101
        if len(self._readers(number)) > 1:
            return self._constant(f"{self._name(number)};{len(self.graph.tensors)}", values * np.float32(factor))
        tensor = self.graph.tensors[number]
        scaled = AlignedBuffer((values * np.float32(factor)).tobytes(), self.schema)
        if sum(one.buffer == tensor.buffer for one in self.graph.tensors) > 1:
            self.model.buffers.append(scaled)
            tensor.buffer = len(self.model.buffers) - 1
        else:
            self.model.buffers[tensor.buffer] = scaled
        return number

    def _operator(self, kind: str, inputs: list[int], output: int, options: Any) -> Any:
        code = int(getattr(self.schema.BuiltinOperator, kind))
        known = [entry.builtinCode for entry in self.model.operatorCodes]
        if code not in known:
            entry = self.schema.OperatorCodeT(deprecatedBuiltinCode=code, builtinCode=code, version=1)
            self.model.operatorCodes.append(entry)
            known.append(code)
        operator = self.schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = known.index(code), inputs, [output]
        operator.builtinOptions = options
        operator.builtinOptionsType = getattr(self.schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        return operator
