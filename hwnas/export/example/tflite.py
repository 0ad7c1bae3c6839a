"""A TFLite file in LiteRT."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["load"]

# ---- copied into the bundle's run.py from here on ----


def load(path: str, threads: int) -> Callable[[NDArray[np.float32]], NDArray[Any]]:
    """A function from the input [1, H, W, C] to the logits [classes]."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=path, num_threads=threads)
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def run(image: NDArray[np.float32]) -> NDArray[Any]:
        interpreter.set_tensor(source, image)
        interpreter.invoke()
        return np.array(interpreter.get_tensor(target)[0])

    return run
