"""An operator of a model file, as the rules of delegates ask about it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Node"]


@dataclass(frozen=True)
class Node:
    """One operator of a file. `type` is of the values that it computes on, `weights` of its constants ("" for none).

    `rank` is the largest among inputs and outputs; `batch` the images at a time, 0 where that is left open.
    """

    layer: str
    operator: str
    type: str
    weights: str = ""
    rank: int = 4
    batch: int = 1
    activation: str = "NONE"
    dilation: int = 1
