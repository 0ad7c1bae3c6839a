"""The layer of `hwnas.operators.identity`."""

from __future__ import annotations

from torch import nn

from hwnas.operators import Identity

__all__ = ["static"]


def static(operator: Identity) -> nn.Module:  # noqa: ARG001
    """The plain module."""
    return nn.Identity()
