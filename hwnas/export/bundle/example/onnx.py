"""An ONNX file in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["load"]

# ---- copied into the bundle's run.py from here on ----


def load(path: str, threads: int) -> Callable[[list[NDArray[Any]]], list[NDArray[Any]]]:
    """A function from the inputs, such as one image [1, C, H, W], to the outputs, such as logits [1, classes]."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [source.name for source in session.get_inputs()]
    return lambda inputs: [np.asarray(given) for given in session.run(None, dict(zip(names, inputs, strict=True)))]
