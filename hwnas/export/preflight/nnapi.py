"""LiteRT's NNAPI delegate on Android 11 (NNAPI 1.3) and newer; NNAPI itself is deprecated since Android 15."""

from __future__ import annotations

from hwnas.export.preflight.rules import FLOATS, INT8, Delegate, Limit, Support

__all__ = ["DELEGATE"]

ANY = Support(FLOATS | INT8)
RANK = Limit("rank", "at most four axes", most=4)

DELEGATE = Delegate(
    name="nnapi",
    title="the NNAPI delegate",
    runtime="litert",
    sources=(
        # NNAPIDelegateKernel::Validate; read at commit f6745779.
        "https://github.com/google-ai-edge/LiteRT/blob/main/tflite/delegates/nnapi/nnapi_delegate.cc",
        # "With the release of Android 15, NNAPI will be deprecated"; as quoted by the second page.
        "https://developer.android.com/ndk/guides/neuralnetworks/migration-guide",
        "https://meetonfriday.com",
    ),
    operators={
        **dict.fromkeys(
            ("AVERAGE_POOL_2D", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "HARD_SWISH", "LOGISTIC",
             "MAX_POOL_2D", "MEAN", "PAD", "PADV2", "QUANTIZE", "RELU", "RELU6", "RELU_N1_TO_1"),
            ANY,
        ),
        # Of float16 weights: GetSupportedOpsWithFp16WeightRemapping.
        "DEQUANTIZE": Support(INT8 | {"float16"}),
        **dict.fromkeys(("ADD", "MUL", "RESHAPE", "SOFTMAX"), Support(FLOATS | INT8, limits=(RANK,))),
    },
)  # fmt: skip
