"""LiteRT's GPU delegate (OpenCL, OpenGL ES, Metal), which computes in floating point whatever the file holds."""

from __future__ import annotations

from hwnas.export.preflight.rules import FLOATS, INT8, Delegate, Limit, Support

__all__ = ["DELEGATE"]

ANY = Support(FLOATS | INT8)
COMPUTED_IN_FLOAT = "the GPU delegate computes int8 files in floating point"

DELEGATE = Delegate(
    name="gpu",
    title="the GPU delegate",
    runtime="litert",
    sources=(
        # CheckGpuDelegateCompatibility: the operators, and what they may be; read at commit f6745779.
        "https://github.com/google-ai-edge/LiteRT/blob/main/tflite/tools/versioning/gpu_compatibility.cc",
        # "The delegate does accept 8-bit quantized models, but the calculation will be performed in floating point".
        "https://github.com/tensorflow/tensorflow/blob/master/tensorflow/lite/g3doc/performance/gpu.md",
    ),
    operators={
        **dict.fromkeys(
            (
                "ADD", "AVERAGE_POOL_2D", "CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D", "DIV", "FULLY_CONNECTED",
                "HARD_SWISH", "LOGISTIC", "MAXIMUM", "MAX_POOL_2D", "MEAN", "MINIMUM", "MUL", "PAD", "PADV2", "PRELU",
                "QUANTIZE", "RELU", "RELU6", "RELU_N1_TO_1", "RESHAPE", "SOFTMAX", "SUB", "TANH", "TRANSPOSE",
            ),
            ANY,
        ),
        "DEQUANTIZE": Support(INT8 | {"float16"}),
    },
    limits=(Limit("activation", "no fused activation but ReLUs, TANH and SIGMOID",
                  ("NONE", "RELU", "RELU6", "RELU_N1_TO_1", "TANH", "SIGMOID")),),
    slow=dict.fromkeys(
        (("int8", "CONV_2D"), ("int8", "DEPTHWISE_CONV_2D"), ("int8", "FULLY_CONNECTED")), COMPUTED_IN_FLOAT
    ),
)  # fmt: skip
