"""Training batches as a function of the step alone."""

from __future__ import annotations

import torch
from torch import Tensor

from hwnas.data.augment import Augmentation
from hwnas.data.load import ImageData
from hwnas.data.preprocess import prepare
from hwnas.errors import ConfigError
from hwnas.training.processes import Processes
from hwnas.training.randomness import AUGMENTATION, ORDER, numpy_generator, torch_generator

__all__ = ["Batches"]


class Batches:
    """The training images of a data set, shuffled anew each epoch; an incomplete last batch is left out.

    A process gets its share of each batch, the same images as if there were one process alone.
    """

    def __init__(self, data: ImageData, batch_size: int, seed: int, processes: Processes) -> None:
        if batch_size > len(data.train):
            raise ConfigError(
                f"training.batch_size: expected at most the {len(data.train)} training images, got {batch_size}"
            )
        self._data, self._seed, self.batch_size, self._processes = data, seed, batch_size, processes
        self._augment = Augmentation(data.augment, data.image_size)
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)

    @property
    def steps_per_epoch(self) -> int:
        return len(self._data.train) // self.batch_size

    def __call__(self, step: int, resolution: int) -> tuple[Tensor, Tensor]:
        """Augmented, normalised images `[B, C, r, r]`, channels last, and labels `[B]`, on the process's device."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            order = numpy_generator(self._seed, ORDER, epoch).permutation(len(self._data.train))
            self._epoch, self._order = epoch, torch.from_numpy(order)
        indices = self._order[place * self.batch_size : (place + 1) * self.batch_size]
        share = self._processes.share(self.batch_size)
        images, labels = (part.to(self._processes.device) for part in self._data.train.batch(indices[share]))
        images = self._augmented(images, share, torch_generator(self._seed, AUGMENTATION, step))
        prepared = prepare(images, resolution, self._data.preprocessing)
        return prepared.contiguous(memory_format=torch.channels_last), labels

    def _augmented(self, images: Tensor, share: slice, generator: torch.Generator) -> Tensor:
        if len(images) == self.batch_size:
            return self._augment(images, generator)
        # What is drawn for an image depends on its place in the whole batch, so the others' places stay, empty.
        whole = images.new_zeros((self.batch_size, *images.shape[1:]))
        whole[share] = images
        return self._augment(whole, generator)[share]
