"""Layers that have more parts while they are trained than when they are deployed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

__all__ = ["Fusible", "fuse"]


class Fusible(ABC):
    """A torch module, or a part of one, that a smaller one stands for once it is trained: a base class beside
    `nn.Module`.

    It is trained, and its BatchNorm calibrated, as it is. Where a network is evaluated, measured or exported, `fused`
    takes its place; an operator's costs are those of the fused layer.
    """

    @abstractmethod
    def fused(self) -> Any:
        """The `nn.Module` that computes in evaluation mode what this one does, with weights of its own."""


def fuse(module: Any) -> Any:
    """`module` (an `nn.Module`) with `fused` in the place of each `Fusible`: in place, or what stands for itself."""
    if isinstance(module, Fusible):
        return module.fused()
    for name, child in list(module._modules.items()):
        if child is not None:
            setattr(module, name, fuse(child))
    return module
