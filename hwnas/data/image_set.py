"""Labelled images, in memory or decoded when they are asked for: one interface.

Shapes: N images of the set, B of a batch, C channels, H = W = stored image size. Images are uint8, labels int64.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from hwnas.data.decode import RandomCrop

__all__ = ["ImageSet", "LabelledImages", "Origins", "slices"]

Origins = NDArray[np.bytes_] | NDArray[np.int64]
"""Where each image is from: the path of its file, or its number in the file that the set was read of."""


class LabelledImages(ABC):
    """Images and their labels `[N]`. Read in batches, a set of any size is served."""

    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def class_counts(self, classes: int) -> tuple[int, ...]:
        """How many images there are of each of so many classes, by label; those that turn out to be broken count."""
        return tuple(self.labels.bincount(minlength=classes).tolist())

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int, int]:
        """Of an image: `(C, H, W)`."""

    @property
    @abstractmethod
    def workers(self) -> int | None:
        """How many processes should prepare batches ahead of their use, on the CPU; 0 prepares them there as well, but
        when they are used; None where there is nothing to wait for, on the device that uses them.
        """

    @abstractmethod
    def first(self, count: int) -> LabelledImages:
        """The first `count` images, or all where there are fewer."""

    @abstractmethod
    def subset(self, rows: NDArray[np.int64]) -> LabelledImages:
        """The images at `rows` `[n]`, in that order; none is copied or decoded."""

    @abstractmethod
    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Images `[B, C, H, W]` and labels `[B]` at `indices` `[B]`.

        Always `B`: where images that can't be decoded are passed over, the next that can stands in, with its label.
        """

    @abstractmethod
    def crops(self, indices: Tensor, seeds: Sequence[int], crop: RandomCrop, size: int) -> tuple[Tensor, Tensor]:
        """As `batch`, but of each image a random rectangle, drawn with its own of `seeds` `[B]`, resized:
        `[B, C, size, size]`.
        """

    @abstractmethod
    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """All images and labels in order, `size` at a time; no last batch of one (see `slices`).

        Where images that can't be decoded are passed over, they are missing from their batch.
        """

    @abstractmethod
    def in_memory(self) -> ImageSet:
        """All images decoded, and kept so. Raises DataError where they need more memory than is allowed."""

    @property
    @abstractmethod
    def passed_over(self) -> dict[str, str]:
        """Files that could not be decoded, and why, as far as they were met."""

    @abstractmethod
    def pass_over(self, found: dict[str, str]) -> None:
        """Take up such files that a worker process met, and tell the log of new ones."""

    @property
    @abstractmethod
    def fits_memory(self) -> bool:
        """Whether `in_memory` gives all images."""

    @property
    @abstractmethod
    def origins(self) -> Origins:
        """Where each image that `batches` gives is from, in that order; what is passed over is known after a pass."""


class ImageSet(LabelledImages):
    """Decoded images `stored` `[M, C, H, W]`, in memory or mapped from a file, and labels `[N]` of those at `rows`
    `[N]`; of all in order without. `of`: where the N are from (None: their numbers here).
    """

    def __init__(
        self,
        stored: Tensor,
        labels: Tensor,
        of: Origins | None = None,
        *,
        rows: Tensor | None = None,
        workers: int | None = None,
    ) -> None:
        self._stored, self.labels, self._of, self._rows, self._workers = stored, labels, of, rows, workers

    @property
    def images(self) -> Tensor:
        """All of them, `[N, C, H, W]`: a copy where they are some of the stored ones."""
        return self._stored if self._rows is None else self._stored[self._rows]

    @property
    def shape(self) -> tuple[int, int, int]:
        channels, height, width = self._stored.shape[1:]
        return channels, height, width

    @property
    def workers(self) -> int | None:
        return self._workers

    @property
    def fits_memory(self) -> bool:
        return True

    @property
    def origins(self) -> Origins:
        return np.arange(len(self)) if self._of is None else self._of

    def first(self, count: int) -> ImageSet:
        return self.subset(np.arange(min(count, len(self))))

    def subset(self, rows: NDArray[np.int64]) -> ImageSet:
        indices = torch.from_numpy(rows)
        return ImageSet(
            self._stored, self.labels[indices], self.origins[rows], rows=self._places(indices), workers=self._workers
        )

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        return self._stored[self._places(indices)], self.labels[indices]

    def _places(self, indices: Tensor) -> Tensor:
        return indices if self._rows is None else self._rows[indices]

    def crops(self, indices: Tensor, seeds: Sequence[int], crop: RandomCrop, size: int) -> tuple[Tensor, Tensor]:
        cut = []
        for place, seed in zip(self._places(indices).tolist(), seeds, strict=True):
            image = self._stored[place]
            left, top, right, bottom = crop.box(image.shape[2], image.shape[1], np.random.default_rng(seed))
            # In bytes, as Pillow: 0.1 ms for an image of 160×160 on one core, in floats 0.25.
            part = image[None, :, top:bottom, left:right]
            cut.append(F.interpolate(part, (size, size), mode="bilinear", antialias=True))
        return torch.cat(cut), self.labels[indices]

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        for part in slices(len(self), size):
            yield self._stored[part if self._rows is None else self._rows[part]], self.labels[part]

    def in_memory(self) -> ImageSet:
        return self

    @property
    def passed_over(self) -> dict[str, str]:
        return {}

    def pass_over(self, found: dict[str, str]) -> None:
        """Nothing is met here: images in memory are decoded."""


def slices(count: int, size: int) -> list[slice]:
    """`count` in order, `size` at a time. A last one alone joins those before it: batch norm has no variance of one."""
    starts = list(range(0, count, size))
    if len(starts) > 1 and count - starts[-1] == 1:
        starts.pop()
    return [slice(start, end) for start, end in zip(starts, [*starts, count][1:], strict=True)]
