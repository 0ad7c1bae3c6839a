"""Training batches as a function of the step alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hwnas.data.ahead import MadeAhead
from hwnas.data.augment import Augmentation
from hwnas.data.decode import RandomCrop
from hwnas.data.load import ImageData
from hwnas.data.mixing import Mixing
from hwnas.data.preprocess import prepare
from hwnas.errors import ConfigError
from hwnas.training.processes import Processes
from hwnas.training.randomness import AUGMENTATION, MIXING, ORDER, numpy_generator, torch_generator

__all__ = ["Batches"]

_Made = tuple[NDArray[np.uint8], NDArray[np.int64], dict[str, str]]


class Batches:
    """The training images of a data set, shuffled anew each epoch; an incomplete last batch is left out.

    A process gets its share of each batch, the same images as if there were one process alone. Photographs are cut and
    augmented by worker processes ahead of the step, and decoded where that isn't done yet. With `resolution_at`, the
    resolution of a step known beforehand, these cut random crops in the size that the network takes; without, in the
    data set's image size, and `prepare` resizes them. Images are mixed last, in that resolution; where a
    process's share ends between the two of a pair, it prepares the other as well.
    """

    def __init__(
        self,
        data: ImageData,
        batch_size: int,
        seed: int,
        processes: Processes,
        resolution_at: Callable[[int], int] | None = None,
    ) -> None:
        if batch_size > len(data.train):
            raise ConfigError(
                f"training.batch_size: expected at most the {len(data.train)} training images, got {batch_size}"
            )
        self._data, self._seed, self.batch_size = data, seed, batch_size
        self._resolution_at = resolution_at
        self._mine, self._device = processes.share(batch_size), processes.device
        augment = data.augment
        self._mixing = Mixing(augment, len(data.classes))
        self._needed = self._mixing.widened(self._mine, batch_size) if self._mixing.is_on else self._mine
        self._crop = RandomCrop(augment.crop_scale, augment.crop_ratio) if augment.crop_scale else None
        self._augment = Augmentation(augment, data.image_size)
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)
        self._ahead = MadeAhead(self._make, data.train.workers or 0)

    @property
    def steps_per_epoch(self) -> int:
        return len(self._data.train) // self.batch_size

    def __call__(self, step: int, resolution: int) -> tuple[Tensor, Tensor]:
        """Augmented, normalised images `[B, C, r, r]`, channels last, and labels `[B]`, on the process's device.

        Where images are mixed, labels are shares of the classes `[B, K]`.

        Raises DataError for images that can't be decoded and for a worker that died.
        """
        if self._data.train.workers:
            pixels, numbers, broken = self._ahead(step)
            self._data.train.pass_over(broken)
            images, labels = torch.from_numpy(pixels).to(self._device), torch.from_numpy(numbers).to(self._device)
        else:
            # The same pixels as from workers, whatever the device.
            made_on = self._device if self._data.train.workers is None else torch.device("cpu")
            images, labels = (tensor.to(self._device) for tensor in self._augmented(step, made_on))
            self._data.train.pass_over(self._data.train.passed_over)
        prepared = prepare(images, resolution, self._data.preprocessing)
        if self._mixing.is_on:
            rng = numpy_generator(self._seed, MIXING, step)
            prepared, labels = self._mixing(prepared, labels, rng, self.batch_size, self._needed.start)
            mine = slice(self._mine.start - self._needed.start, self._mine.stop - self._needed.start)
            prepared, labels = prepared[mine], labels[mine]
        return prepared.contiguous(memory_format=torch.channels_last), labels

    def close(self) -> None:
        """End the worker processes; a further call starts new ones."""
        self._ahead.close()

    def _make(self, step: int) -> _Made:
        images, labels = self._augmented(step, torch.device("cpu"))
        return images.numpy(), labels.numpy(), self._data.train.passed_over

    def _augmented(self, step: int, device: torch.device) -> tuple[Tensor, Tensor]:
        epoch, place = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            order = numpy_generator(self._seed, ORDER, epoch).permutation(len(self._data.train))
            self._epoch, self._order = epoch, torch.from_numpy(order)
        indices = self._order[place * self.batch_size : (place + 1) * self.batch_size][self._needed]
        if self._crop is None:
            images, labels = self._data.train.batch(indices)
        else:
            size = self._data.image_size if self._resolution_at is None else self._resolution_at(step)
            seeds = numpy_generator(self._seed, AUGMENTATION, step).integers(2**63, size=self.batch_size)[self._needed]
            images, labels = self._data.train.crops(indices, seeds.tolist(), self._crop, size)
        generator = torch_generator(self._seed, AUGMENTATION, step)
        return self._augment(images.to(device), generator, self.batch_size, self._needed.start), labels.to(device)
