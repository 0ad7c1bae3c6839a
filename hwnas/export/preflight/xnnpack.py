"""LiteRT on the CPU: XNNPACK, and LiteRT's own kernels for what XNNPACK leaves."""

from __future__ import annotations

from hwnas.export.preflight.rules import FLOATS, INT8, Delegate, Limit, Support

__all__ = ["DELEGATE"]

BOTH = FLOATS | INT8
ACTIVATIONS = Limit("activation", "no fused activation but ReLUs", ("NONE", "RELU", "RELU6", "RELU_N1_TO_1"))
# int8 weights under float32 values: these are quantised on the fly ("dynamic range"); depthwise has no such kernel.
DENSE = Support(BOTH, {"float32": FLOATS | {"float16"} | INT8, "int8": INT8}, (ACTIVATIONS,))
DEPTHWISE = Support(BOTH, {"float32": FLOATS | {"float16"}, "int8": INT8}, (ACTIVATIONS,))

DELEGATE = Delegate(
    name="xnnpack",
    title="XNNPACK",
    runtime="litert",
    cpu=True,
    slow={(kind, "TRANSPOSE"): "it only moves values about, and the next operator waits" for kind in BOTH},
    sources=(
        # What each Visit…Node checks; read at commit f6745779.
        "https://github.com/google-ai-edge/LiteRT/blob/main/tflite/delegates/xnnpack/xnnpack_delegate.cc",
        "https://github.com/google-ai-edge/LiteRT/blob/main/tflite/delegates/xnnpack/README.md",
    ),
    operators={
        **dict.fromkeys(("CONV_2D", "FULLY_CONNECTED"), DENSE),
        "DEPTHWISE_CONV_2D": DEPTHWISE,
        **dict.fromkeys(("ADD", "MAX_POOL_2D", "MUL", "SUB"), Support(BOTH, limits=(ACTIVATIONS,))),
        **dict.fromkeys(
            ("CONCATENATION", "LOGISTIC", "MEAN", "PAD", "QUANTIZE", "RESHAPE", "SLICE", "TANH", "TRANSPOSE"),
            Support(BOTH),
        ),
        "DEQUANTIZE": Support(INT8 | {"float16"}),
        **dict.fromkeys(("AVERAGE_POOL_2D", "DIV"), Support(FLOATS, limits=(ACTIVATIONS,))),
        **dict.fromkeys(("HARD_SWISH", "MAXIMUM", "MINIMUM", "PRELU", "RELU", "RELU6", "SOFTMAX"), Support(FLOATS)),
    },
)
