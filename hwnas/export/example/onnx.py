"""An ONNX file in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["load"]

# ---- copied into the bundle's run.py from here on ----


def load(path: str, threads: int) -> Callable[[NDArray[np.float32]], NDArray[Any]]:
    """A function from the input [1, C, H, W] to the logits [classes]."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda image: np.asarray(session.run(None, {name: image})[0][0])
