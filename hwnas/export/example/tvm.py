"""A library that TVM compiled, in its Relax virtual machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["load"]

# ---- copied into the bundle's run.py from here on ----


def load(path: str, threads: int) -> Callable[[NDArray[np.float32]], NDArray[Any]]:
    """A function from the input [1, C, H, W] to the logits [classes]. The library is for one kind of processor."""
    import os

    os.environ["TVM_NUM_THREADS"] = str(threads)
    import tvm
    from tvm import relax

    machine = relax.VirtualMachine(tvm.runtime.load_module(path), tvm.cpu())

    def run(image: NDArray[np.float32]) -> NDArray[Any]:
        found = machine["main"](tvm.runtime.tensor(image))
        return np.asarray((found if hasattr(found, "numpy") else found[0]).numpy()[0])

    return run
