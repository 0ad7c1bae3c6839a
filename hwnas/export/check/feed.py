"""What networks and files are fed to be compared: prepared images, or noise where there are none."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from hwnas.data.image_set import ImageSet, LabelledImages, slices
from hwnas.data.inputs import network_inputs
from hwnas.data.preprocess import Preprocessing
from hwnas.export.signature import Port

__all__ = ["Batch", "Feed", "NoiseFeed", "PixelFeed", "noise_images"]

Batch = tuple[list[Tensor], Tensor]
"""The inputs `[B, …]` in the network's order, and labels `[B]`."""

_NOISE_BYTES = 512 * 2**20


class Feed(ABC):
    """Inputs in batches, always the same. Where they are not `real`, the labels mean nothing."""

    real: bool

    @abstractmethod
    def __len__(self) -> int:
        """How many there are."""

    @abstractmethod
    def batches(self, size: int, count: int | None = None) -> Iterator[Batch]:
        """All of them or the first `count`, in order, about `size` at a time."""

    def first(self, count: int = 1) -> list[Tensor]:
        """The inputs `[count, …]` of the first few."""
        for inputs, _ in self.batches(count, count):
            return [values[:count] for values in inputs]
        return []


class PixelFeed(Feed):
    """Images prepared at `resolution`, `[B, C, r, r]`, channels last in memory where networks are not `foreign`: these
    may count on torch's order. Raises DataError where they don't fit the preprocessing.
    """

    def __init__(
        self,
        images: LabelledImages,
        resolution: int,
        preprocessing: Preprocessing,
        real: bool = True,
        foreign: bool = False,
    ) -> None:
        self.images, self.resolution, self.preprocessing = images, resolution, preprocessing
        self.real, self.foreign = real, foreign

    def __len__(self) -> int:
        return len(self.images)

    def batches(self, size: int, count: int | None = None) -> Iterator[Batch]:
        images = self.images if count is None else self.images.first(count)
        for inputs, labels in network_inputs(images, self.resolution, self.preprocessing, size):
            yield [inputs.contiguous() if self.foreign else inputs], labels


class NoiseFeed(Feed):
    """Normal noise, and integers over their range. With `preprocessing`, as if of evenly distributed random pixels.

    Fewer than `count` where they would fill the memory, but four.
    """

    real = False

    def __init__(self, ports: Sequence[Port], count: int, preprocessing: Preprocessing | None = None) -> None:
        self.ports, self.preprocessing = ports, preprocessing
        one = sum(4 * int(np.prod(port.shape)) for port in ports)
        self.count = min(count, max(4, _NOISE_BYTES // one))

    def __len__(self) -> int:
        return self.count

    def batches(self, size: int, count: int | None = None) -> Iterator[Batch]:
        for part in slices(min(count or self.count, self.count), size):
            numbers = range(part.start, part.stop)
            yield [self._values(place, numbers) for place in range(len(self.ports))], torch.zeros(len(numbers)).long()

    def _values(self, place: int, numbers: range) -> Tensor:
        return torch.cat([self._one(self.ports[place], np.random.default_rng((number, place))) for number in numbers])

    def _one(self, port: Port, rng: np.random.Generator) -> Tensor:
        if port.dtype != "float32":
            return torch.from_numpy(rng.integers(0, port.high, port.shape).astype(port.dtype))
        if self.preprocessing is None:
            return torch.from_numpy(rng.standard_normal(port.shape, dtype=np.float32))
        pixels = rng.integers(0, 256, port.shape).astype(np.float32) / 255
        known = self.preprocessing
        mean, std = (np.array(values, dtype=np.float32).reshape(1, -1, 1, 1) for values in (known.mean, known.std))
        return torch.from_numpy((pixels - mean) / std)


def noise_images(count: int, channels: int, size: int) -> ImageSet:
    """`count` images of evenly distributed random pixels, always the same: for parity where there are no real ones."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (count, channels, size, size), generator=generator, dtype=torch.uint8)
    return ImageSet(pixels, torch.zeros(count, dtype=torch.int64))
