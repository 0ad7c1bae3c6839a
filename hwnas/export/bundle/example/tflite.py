"""A TFLite file in LiteRT."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["load"]

# ---- copied into the bundle's run.py from here on ----


def load(path: str, threads: int) -> Callable[[list[NDArray[Any]]], list[NDArray[Any]]]:
    """A function from the inputs, such as one image [1, H, W, C], to the outputs, such as logits [1, classes]."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=path, num_threads=threads)
    interpreter.allocate_tensors()
    sources, targets = interpreter.get_input_details(), interpreter.get_output_details()

    def run(inputs: list[NDArray[Any]]) -> list[NDArray[Any]]:
        for source, values in zip(sources, inputs, strict=True):
            interpreter.set_tensor(source["index"], values)
        interpreter.invoke()
        return [np.array(interpreter.get_tensor(target["index"])) for target in targets]

    return run
