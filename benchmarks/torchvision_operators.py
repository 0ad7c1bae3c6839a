"""The package ofa and torchvision's own models import torchvision, whose wheels hold compiled operators for another
build of torch than the CPU's. Their declarations are enough for the Python part to import.
"""

from __future__ import annotations

import torch
from torch import library as operators

__all__ = ["declare_torchvision_operators"]

_LIBRARY = operators.Library("torchvision", "FRAGMENT")


def declare_torchvision_operators() -> None:
    """Call before the first import of torchvision. Those that are there already are left alone."""
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            _LIBRARY.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
