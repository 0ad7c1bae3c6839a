"""How many images of each class were put into it. K classes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["RightByClass"]


@dataclass(frozen=True)
class RightByClass:
    """`right` of so many `images` of each class, both int64 `[K]` on the CPU; those of batches add up."""

    right: Tensor
    images: Tensor

    @classmethod
    def count(cls, predicted: Tensor, labels: Tensor, classes: int) -> RightByClass:
        """Of `labels` and what was `predicted` for them, int64 `[B]`, on any device. `classes`: K, at least."""
        images = torch.bincount(labels, minlength=classes)
        return cls(torch.bincount(labels[predicted == labels], minlength=len(images)).cpu(), images.cpu())

    def __add__(self, other: RightByClass) -> RightByClass:
        return RightByClass(self.right + other.right, self.images + other.images)

    @property
    def accuracy(self) -> float:
        """The share of all images; NaN without any."""
        return _share(int(self.right.sum()), int(self.images.sum()))

    @property
    def balanced(self) -> float:
        """The mean over the classes that have images of each one's share: small ones count as much. NaN without any."""
        there = self.images > 0
        return float((self.right[there] / self.images[there].double()).mean())


def _share(right: int, images: int) -> float:
    return right / images if images else float("nan")
