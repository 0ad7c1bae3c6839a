"""Two images of a batch in one: mixup and CutMix. Shapes: B images, C channels, H = W = r, K classes."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from hwnas.data.config import AugmentConfig

__all__ = ["Mixing"]

_Box = tuple[int, int, int, int]


class Mixing:
    """Mixes each image of a batch with its neighbour: the first with the second and the second with the first, the
    third with the fourth, and so on. The order of a batch is random already, and a process that takes a part of it
    needs no image beyond the pairs of its own. The last of an odd number stays as it is.

    Of each image its own share is drawn: a and b become one image that is mostly a, another that is mostly b or not.
    """

    def __init__(self, config: AugmentConfig, classes: int) -> None:
        self._mixup, self._cutmix, self._classes = config.mixup, config.cutmix, classes

    @property
    def is_on(self) -> bool:
        """Whether anything is mixed, and labels are shares."""
        return bool(self._mixup or self._cutmix)

    @staticmethod
    def widened(part: slice, of: int) -> slice:
        """`part` of a batch of `of` with the partners of all its images."""
        return slice(part.start - part.start % 2, min(part.stop + part.stop % 2, of))

    def __call__(
        self, images: Tensor, labels: Tensor, rng: np.random.Generator, of: int | None = None, start: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Network inputs `[B, C, r, r]` and labels `[B]` to mixed images and the shares of classes `[B, K]`, float32.

        The images may be a part, from an even `start` on, of a batch of `of`: each gets the draw of its place. CutMix's
        shares are those of the pixels, to the last one.
        """
        count, size = len(images), images.shape[-1]
        boxes, shares = self._draw(count if of is None else of, size, rng)
        # The last one of an odd batch has itself for a partner.
        partners = (torch.arange(count) ^ 1).clamp(max=count - 1)
        mixed = images.clone()
        own = np.ones(count)
        for place in range(count):
            box, share = boxes[start + place], shares[start + place]
            other = images[int(partners[place])]
            if int(partners[place]) == place:
                continue
            if box is None:
                own[place] = share
                mixed[place].mul_(share).add_(other, alpha=1 - share)
            else:
                left, top, right, bottom = box
                own[place] = 1 - (right - left) * (bottom - top) / size**2
                mixed[place, :, top:bottom, left:right] = other[:, top:bottom, left:right]
        weights = torch.from_numpy(own).to(images.device, torch.float32)[:, None]
        ours = F.one_hot(labels, self._classes).to(torch.float32)
        return mixed, weights * ours + (1 - weights) * ours[partners.to(labels.device)]

    def _draw(self, count: int, size: int, rng: np.random.Generator) -> tuple[list[_Box | None], NDArray[np.float64]]:
        """Of each of `count` images: the rectangle that is pasted, or None where it is blended, and its own share."""
        pasted = rng.random(count) < (0.5 if self._mixup else 1.0) if self._cutmix else np.zeros(count, dtype=bool)
        drawn = {alpha: rng.beta(alpha, alpha, count) for alpha in (self._mixup, self._cutmix) if alpha}
        shares = np.where(pasted, drawn.get(self._cutmix, 1.0), drawn.get(self._mixup, 1.0))
        middles = rng.random((count, 2))
        boxes: list[_Box | None] = [
            _box(float(share), middle, size) if paste else None
            for share, middle, paste in zip(shares, middles, pasted, strict=True)
        ]
        return boxes, shares


def _box(share: float, middle: NDArray[np.float64], size: int) -> _Box:
    """Left, top, right, bottom of what leaves `share`, about a middle anywhere; cut off at the edges, as published."""
    half = math.sqrt(1 - share) * size / 2
    x, y = middle * size
    left, top, right, bottom = (round(min(max(end, 0), size)) for end in (x - half, y - half, x + half, y + half))
    return left, top, right, bottom
