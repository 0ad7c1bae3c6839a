"""ONNX Runtime's CPU provider, which runs every operator of the standard, some of them in another precision."""

from __future__ import annotations

from hwnas.export.preflight.rules import Delegate

__all__ = ["DELEGATE"]

OPERATORS = (
    "Add",
    "Clip",
    "Conv",
    "Gemm",
    "GlobalAveragePool",
    "HardSigmoid",
    "HardSwish",
    "MaxPool",
    "AveragePool",
    "Mul",
    "ReduceMean",
    "Relu",
)
IN_FLOAT = "it has no int8 kernel, and computes in float32 between a DequantizeLinear and a QuantizeLinear"
APART = "it has no int8 kernel: at best it is an addition and a multiplication, where float32 has it in the convolution"
WITH_CASTS = "it has no float16 kernel, and computes in float32 between two Casts"

DELEGATE = Delegate(
    name="onnxruntime_cpu",
    title="ONNX Runtime's CPU provider",
    runtime="onnxruntime",
    cpu=True,
    sources=(
        # Those that have a quantised form; the others are computed in float32.
        "https://github.com/microsoft/onnxruntime/blob/main/onnxruntime/python/tools/quantization/registry.py",
        # Where kernels exist. The Casts around others were seen in the graph that 1.31 optimises on x86-64.
        "https://github.com/microsoft/onnxruntime/blob/main/docs/OperatorKernels.md",
    ),
    operators={},
    any_operator=True,
    slow={
        ("int8", "HardSwish"): APART,
        **{("int8", name): IN_FLOAT for name in ("HardSigmoid", "ReduceMean")},
        **{("float16", name): WITH_CASTS for name in OPERATORS},
    },
)
