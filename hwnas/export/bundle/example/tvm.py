"""A library that TVM compiled, in its Relax virtual machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["load"]

# ---- copied into the bundle's run.py from here on ----


def load(path: str, threads: int) -> Callable[[list[NDArray[Any]]], list[NDArray[Any]]]:
    """A function from the inputs, such as one image [1, C, H, W], to the outputs, such as logits [1, classes].

    The library is for one kind of processor.
    """
    import os

    os.environ["TVM_NUM_THREADS"] = str(threads)
    import tvm
    from tvm import relax

    machine = relax.VirtualMachine(tvm.runtime.load_module(path), tvm.cpu())

    def run(inputs: list[NDArray[Any]]) -> list[NDArray[Any]]:
        found = machine["main"](*(tvm.runtime.tensor(np.ascontiguousarray(values)) for values in inputs))
        return [np.asarray(one.numpy()) for one in ([found] if hasattr(found, "numpy") else found)]

    return run
