"""Google's Edge TPU, for which edgetpu_compiler translates TFLite files of int8 throughout."""

from __future__ import annotations

from hwnas.export.preflight.rules import INT8, Delegate, Limit, Support

__all__ = ["DELEGATE"]

UNFUSED = Support(INT8, limits=(Limit("activation", "no fused activation here", ("NONE",)),))

DELEGATE = Delegate(
    name="edge_tpu",
    title="the Edge TPU",
    runtime="litert",
    sources=(
        # "Model requirements" and "Supported operations"; the table was read in the copy below.
        "https://coral.ai/docs/edgetpu/models-intro/",
        "https://github.com/dgist-datalab/Datalab_Intern/blob/master/Edge_TPU/convert_model_for_Edge_TPU.md",
        # HARD_SWISH stays on the CPU; the same net without it was three times as fast.
        "https://github.com/google-coral/edgetpu/issues/272",
    ),
    types=INT8,
    operators={
        **dict.fromkeys(
            ("ADD", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "LOGISTIC", "MAXIMUM", "MEAN", "MINIMUM", "MUL",
             "PAD", "QUANTIZE", "RELU", "RELU6", "RELU_N1_TO_1", "RESHAPE", "SUB", "TANH"),
            Support(INT8),
        ),
        # The two at a file's ends stay on the CPU: "it's okay if your TensorFlow Lite model uses float inputs/outputs"
        # (the first page, "Float input and output tensors"). In its midst they stand beside float operators alone, for
        # which the file is refused.
        "DEQUANTIZE": Support(INT8),
        **dict.fromkeys(("AVERAGE_POOL_2D", "CONCATENATION", "MAX_POOL_2D"), UNFUSED),
    },
    limits=(
        Limit("batch", "sizes that are constant", least=1),
        Limit("batch", "no more than three axes longer than 1, so one image at a time", most=1),
    ),
)  # fmt: skip
