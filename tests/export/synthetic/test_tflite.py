"""Chains as TFLite files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hwnas.export.synthetic import tflite as synthetic_tflite
from hwnas.operators import MBConv
from tests.export.tflite.conftest import run


def test_synthetic_large_kernels_compute_the_same_as_one_convolution(tmp_path: Path) -> None:
    operator = MBConv(12, 12, 8, 8, mid_channels=16, kernel=7, stride=2, activation="h_swish", se=True)
    path = synthetic_tflite.write([operator], tmp_path / "x.tflite")
    image = np.random.default_rng(0).standard_normal((1, 12, 12, 8)).astype(np.float32)
    import onnxruntime

    from hwnas.export.synthetic import onnx as synthetic_onnx

    session = onnxruntime.InferenceSession(
        synthetic_onnx.write([operator], tmp_path / "x.onnx"), providers=["CPUExecutionProvider"]
    )
    expected = session.run(None, {"input": image.transpose(0, 3, 1, 2)})[0].transpose(0, 2, 3, 1)
    np.testing.assert_allclose(run(path.read_bytes(), image), expected, atol=1e-4)
