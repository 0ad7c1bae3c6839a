"""An ExecuTorch program in ExecuTorch's runtime for Python."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["load"]

# ---- copied into the bundle's run.py from here on ----


def load(path: str, threads: int) -> Callable[[list[NDArray[Any]]], list[NDArray[Any]]]:  # noqa: ARG001 (its own)
    """A function from the inputs, such as one image [1, C, H, W], to the outputs, such as logits [1, classes].

    This runtime needs torch too.
    """
    import torch
    from executorch.runtime import Runtime

    program = Runtime.get().load_program(Path(path).read_bytes())  # its methods live as long as it does

    def run(inputs: list[NDArray[Any]]) -> list[NDArray[Any]]:
        given = program.load_method("forward").execute([torch.from_numpy(np.ascontiguousarray(one)) for one in inputs])
        return [np.array(one.numpy()) for one in given]

    return run
