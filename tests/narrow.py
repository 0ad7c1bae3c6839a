"""What a test knows of a value, said to the type checker: each fails where the test is wrong about it."""

from __future__ import annotations

from typing import TypeVar

from torch import Tensor

from hwnas.data.image_set import ImageSet, LabelledImages

__all__ = ["images_of", "present"]

T = TypeVar("T")


def present(value: T | None) -> T:
    """`value`, which is there."""
    assert value is not None
    return value


def images_of(part: LabelledImages) -> Tensor:
    """The images `[N, C, H, W]` of a part that is in memory."""
    assert isinstance(part, ImageSet)
    return part.images
