"""An ExecuTorch program in ExecuTorch's runtime for Python."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["load"]

# ---- copied into the bundle's run.py from here on ----


def load(path: str, threads: int) -> Callable[[NDArray[np.float32]], NDArray[Any]]:  # noqa: ARG001 (the runtime's own)
    """A function from the input [1, C, H, W] to the logits [classes]. This runtime needs torch too."""
    import torch
    from executorch.runtime import Runtime

    program = Runtime.get().load_program(Path(path).read_bytes())  # its methods live as long as it does
    return lambda image: np.asarray(program.load_method("forward").execute([torch.from_numpy(image)])[0].numpy()[0])
