"""Operator chains as TFLite files, operator for operator as litert-torch writes the same network. No torch.

The flatbuffer is written from TFLite's schema. What litert-torch 0.10 was seen to do, and is done here: NHWC;
ReLU and ReLU6 fused, h-swish an operator of its own; padding SAME where TFLite's rule gives the symmetric padding of
torch, else a PAD before a VALID convolution; a convolution of one input channel is a depthwise one; the h-sigmoid of
squeeze-and-excitation is a ReLU6 in a convolution whose bias holds the +3, and a product with 1/6; a mean over 1×1
pixels vanishes. In int8 the operators run on quantised tensors, input and output among them.

And what `tflite.depthwise` and `tflite.activations` do after it: a large depthwise convolution is a sum of ones of
fewer taps; in int8 a h-swish is an ADD and a MUL, and the 1/6 of h-swish and h-sigmoid is in the weights that follow.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.errors import MissingExtraError
from hwnas.export.convolutions import row_groups
from hwnas.export.synthetic.chain import build_chain
from hwnas.export.synthetic.int8 import ACTIVATION_RANGES, SIGNED, Range
from hwnas.export.synthetic.tflite_tensors import ChainTensors
from hwnas.export.tflite.flatbuffer import HALF_PRECISION, attach_metadata, pack
from hwnas.export.tflite.writing import padding_amounts
from hwnas.files import write_bytes
from hwnas.operators import Operator
from hwnas.operators.graph import Affine

__all__ = ["write"]

SIGNATURE = b"serving_default"
SCHEMA_VERSION = 3


def write(
    operators: Sequence[Operator], path: Path | str, seed: int = 0, *, precision: str = "fp32", batch: int = 1
) -> Path:
    """Write the chain `operators` with random weights and return the path.

    The file takes `[batch, H, W, C]`, in precision `int8` as int8, else as float32; it has the signature
    `serving_default` with `args_0` and `output_0`. The same arguments give the same bytes. Raises ValueError where the
    operators don't fit onto each other, MissingExtraError without ai-edge-litert, StorageError where the file can't be
    written.
    """
    try:
        from ai_edge_litert import schema_py_generated as schema
    except ImportError as cause:
        raise MissingExtraError("ai-edge-litert", "litert", "writing TFLite files") from cause
    chain = ChainTensors(_empty(schema), batch, precision)
    builder = _Builder(chain)
    first = operators[0] if operators else None
    start = chain.image(first.in_height, first.in_width, first.in_channels) if first else ""
    output = build_chain(operators, builder, start, np.random.default_rng(seed))
    if output == start:  # nothing but a pool of one pixel; a file needs an operator
        output = builder.mean(start)
    model = _finished(chain, start, output)
    if precision == "fp16":
        attach_metadata(model, *HALF_PRECISION)
    return write_bytes(path, pack(model))


def _empty(schema: Any) -> Any:
    """A model of one subgraph with nothing in it."""
    return schema.ModelT(
        version=SCHEMA_VERSION,
        description=b"hwnas operator chain",
        operatorCodes=[],
        subgraphs=[schema.SubGraphT(name=b"main", tensors=[], operators=[])],
        buffers=[schema.BufferT()],  # by TFLite's convention the first buffer is empty
    )


def _finished(chain: ChainTensors, start: str, output: str) -> Any:
    """The model with its ends, and a signature that names them."""
    schema, model = chain.schema, chain.model
    chain.subgraph.inputs, chain.subgraph.outputs = [int(start)], [int(output)]
    signature = schema.SignatureDefT(
        signatureKey=SIGNATURE,
        subgraphIndex=0,
        inputs=[schema.TensorMapT(name=b"args_0", tensorIndex=int(start))],
        outputs=[schema.TensorMapT(name=b"output_0", tensorIndex=int(output))],
    )
    model.signatureDefs = [signature]
    return model


class _Builder:
    """Appends operators to `chain`; implements `GraphBuilder`."""

    def __init__(self, chain: ChainTensors) -> None:
        self.chain, self._schema = chain, chain.schema

    def convolution(
        self, value: str, affine: Affine, *, stride: int = 1, depthwise: bool = False, activation: str = "none"
    ) -> str:
        chain, schema = self.chain, self._schema
        channels, kernel = chain.shape(value)[2], affine.weight.shape[2]
        depthwise = depthwise or channels == 1
        if depthwise and (groups := row_groups(kernel)):
            return self._sum_of_rows(value, affine, groups, stride, activation)
        size = _strided(chain.shape(value), stride)
        padding = schema.Padding.SAME
        if kernel == 1:
            padding = schema.Padding.VALID
        elif not chain.same_fits(value, kernel, stride):
            value, padding = self._pad(value, (kernel // 2,) * 2, (kernel // 2,) * 2), schema.Padding.VALID
        options = schema.DepthwiseConv2DOptionsT() if depthwise else schema.Conv2DOptionsT()
        options.padding, options.strideH, options.strideW = padding, stride, stride
        options.fusedActivationFunction = self._fused(activation)
        if depthwise:
            options.depthMultiplier = affine.weight.shape[0] // channels
        # torch has [out, in, k, k]; TFLite [out, k, k, in], and [1, k, k, out] where depthwise.
        weight = affine.weight.transpose((1, 2, 3, 0) if depthwise else (0, 2, 3, 1))
        inputs = [int(value), *chain.weights(value, weight, affine.bias, 3 if depthwise else 0)]
        span = SIGNED if activation == "h_swish" else ACTIVATION_RANGES[activation]
        output = chain.image(*size, affine.weight.shape[0], span)
        chain.append("DEPTHWISE_CONV_2D" if depthwise else "CONV_2D", inputs, output, options)
        return self._hard_swish(output) if activation == "h_swish" else output

    def squeeze_excite(self, value: str, reduce: Affine, expand: Affine) -> str:
        chain = self.chain
        squeezed = self.convolution(self.pool(value), reduce, activation="relu")
        shifted = Affine(expand.weight, (0 if expand.bias is None else expand.bias) + np.float32(3))
        gate = self.convolution(squeezed, shifted, activation="relu6")
        if chain.int8:  # six times the gate that the network has
            output = self._six_times(value, chain.range(value))
        else:
            gate = self._scaled(gate, 1 / 6, SIGNED)
            output = chain.image(*chain.shape(value))
        chain.operators.append(chain.new_product(int(value), int(gate), int(output)))
        return output

    def add(self, first: str, second: str, activation: str = "none") -> str:
        chain = self.chain
        if (factor := chain.factor(first)) != 1.0:  # a sum has no weights to undo it in
            span = chain.range(first)
            first = self._scaled(first, 1 / factor, Range(span.low / factor, span.high / factor))
        output = chain.image(*chain.shape(first), ACTIVATION_RANGES[activation])
        chain.operators.append(chain.new_sum(int(first), int(second), int(output), self._fused(activation)))
        return output

    def max_pool(self, value: str, kernel: int, stride: int) -> str:
        same, size = self.chain.same_fits(value, kernel, stride), _strided(self.chain.shape(value), stride)
        padded = value if same else self._pad(value, (kernel // 2,) * 2, (kernel // 2,) * 2, lowest=True)
        return self._window("MAX_POOL_2D", padded, kernel, stride, size, same)

    def average_pool(self, value: str, stride: int) -> str:
        chain = self.chain
        height, width, _ = chain.shape(value)
        size = _strided((height, width), stride)
        missing = (size[0] * stride - height, size[1] * stride - width)
        if not any(missing):
            return self._window("AVERAGE_POOL_2D", value, stride, stride, size, False)
        padded = self._pad(value, (0, 0), missing)
        pooled = self._window("AVERAGE_POOL_2D", padded, stride, stride, size, False)
        output = chain.image(*chain.shape(pooled), chain.range(value))
        # Windows at the end hold padding, which the mean must not count.
        inside = [
            np.minimum(stride, total - stride * np.arange(n)) for total, n in zip((height, width), size, strict=True)
        ]
        factors = (stride**2 / np.outer(*inside)).astype(np.float32).reshape(1, *size, 1)
        chain.operators.append(chain.new_product(int(pooled), chain.per_pixel(factors), int(output)))
        return output

    def pool(self, value: str, flat: bool = False) -> str:
        return value if self.chain.shape(value)[:2] == (1, 1) and not flat else self.mean(value, flat)

    def mean(self, value: str, flat: bool = False) -> str:
        """As `pool`, of a single pixel too."""
        chain = self.chain
        channels, span = chain.shape(value)[2], chain.range(value)
        output = chain.matrix(channels, span) if flat else chain.image(1, 1, channels, span)
        chain.multiply(value, 1.0, output)
        axes = chain.shared("axes", np.array([1, 2], dtype=np.int32))
        chain.append("MEAN", [int(value), axes], output, self._schema.ReducerOptionsT(keepDims=not flat))
        return output

    def linear(self, value: str, affine: Affine) -> str:
        chain = self.chain
        inputs = [int(value), *chain.weights(value, affine.weight, affine.bias, None)]
        output = chain.matrix(affine.weight.shape[0])
        options = self._schema.FullyConnectedOptionsT(keepNumDims=chain.is_matrix(value))
        chain.append("FULLY_CONNECTED", inputs, output, options)
        return output

    # ---- parts of these -----------------------------------------------------------------------------------------

    def _hard_swish(self, value: str) -> str:
        chain = self.chain
        if not chain.int8:
            output = chain.image(*chain.shape(value), ACTIVATION_RANGES["h_swish"])
            chain.append("HARD_SWISH", [int(value)], output)
            return output
        gate = chain.image(*chain.shape(value), ACTIVATION_RANGES["relu6"])
        three, output = chain.scalar(3.0), self._six_times(value, ACTIVATION_RANGES["h_swish"])
        chain.operators += chain.new_six_h_swish(int(value), three, int(gate), int(output))
        return output

    def _six_times(self, value: str, span: Range) -> str:
        """A value of `value`'s shape that is six times what the network has there, which is in `span`."""
        output = self.chain.image(*self.chain.shape(value), Range(6.0 * span.low, 6.0 * span.high))
        self.chain.multiply(value, 6.0, output)
        return output

    def _scaled(self, value: str, by: float, span: Range) -> str:
        """`value` times a number, in `span`."""
        chain = self.chain
        output = chain.image(*chain.shape(value), span)
        chain.operators.append(chain.new_product(int(value), chain.scalar(by), int(output)))
        return output

    def _sum_of_rows(
        self, value: str, affine: Affine, groups: list[tuple[int, ...]], stride: int, activation: str
    ) -> str:
        """One depthwise convolution for each group of its kernel's rows, and their sum: see `split_depthwise`."""
        chain, padding = self.chain, self._schema.Padding
        out, kernel = affine.weight.shape[0], affine.weight.shape[2]
        size, times = _strided(chain.shape(value), stride), out // chain.shape(value)[2]
        same = chain.same_fits(value, kernel, stride)
        bias, total = affine.bias, ""
        for rows in groups:
            border, read = kernel // 2 - rows[0], value
            if not same:
                read = self._pad(value, (border, kernel // 2), (border, kernel // 2))
            weight = affine.weight[:, :, list(rows)].transpose(1, 2, 3, 0)
            partial = chain.image(*size, out)
            inputs = [int(read), *chain.weights(read, weight, bias, 3)]
            strides, border_kind = (stride, stride), padding.SAME if same else padding.VALID
            chain.operators.append(chain.new_rows(inputs, int(partial), rows, border_kind, strides, times))
            bias = None
            if total:
                last = rows is groups[-1]
                total = self.add(total, partial, activation if last and activation != "h_swish" else "none")
            else:
                total = partial
        return self._hard_swish(total) if activation == "h_swish" else total

    def _window(self, kind: str, value: str, kernel: int, stride: int, size: tuple[int, int], same: bool) -> str:
        chain, padding = self.chain, self._schema.Padding
        options = self._schema.Pool2DOptionsT(
            padding=padding.SAME if same else padding.VALID, strideH=stride, strideW=stride,
            filterHeight=kernel, filterWidth=kernel,
        )  # fmt: skip
        output = chain.image(*size, chain.shape(value)[2], chain.range(value))
        chain.append(kind, [int(value)], output, options)
        chain.multiply(value, 1.0, output)
        return output

    def _pad(self, value: str, before: tuple[int, int], after: tuple[int, int], lowest: bool = False) -> str:
        chain = self.chain
        height, width, channels = chain.shape(value)
        size = (height + before[0] + after[0], width + before[1] + after[1])
        output = chain.image(*size, channels, chain.range(value))
        inputs = [int(value), chain.shared(f"pad{before}{after}", padding_amounts(before, after))]
        if lowest:
            inputs.append(chain.lowest(chain.range(value)))
            chain.append("PADV2", inputs, output, self._schema.PadV2OptionsT())
        else:
            chain.append("PAD", inputs, output, self._schema.PadOptionsT())
        chain.multiply(value, 1.0, output)
        return output

    def _fused(self, activation: str) -> int:
        names = {"relu": "RELU", "relu6": "RELU6"}
        return int(getattr(self._schema.ActivationFunctionType, names.get(activation, "NONE")))


def _strided(size: Sequence[int], stride: int) -> tuple[int, int]:
    """Height and width after a stride."""
    return -(-size[0] // stride), -(-size[1] // stride)
