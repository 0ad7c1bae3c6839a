"""Image files decoded each time they are asked for: for sets larger than memory."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hwnas.data.ahead import MadeAhead
from hwnas.data.config import ImageFolderConfig
from hwnas.data.decode import RandomCrop, decode, decode_crop, undecodable
from hwnas.data.decode_all import StoredImages, decode_to_memory
from hwnas.data.image_set import ImageSet, LabelledImages, Origins, slices
from hwnas.errors import DataError
from hwnas.progress import no_progress

__all__ = ["BrokenImages", "LazyImageSet", "needed_mib"]

_MIB = 1 << 20
_REPLACEMENTS = 64
_AHEAD_FROM = 64  # pixels a side of stored images whose batches are made ahead
_log = logging.getLogger(__name__)

Pixels = NDArray[np.uint8]


class BrokenImages:
    """Images that can't be decoded and were passed over: path to reason. Each is told to the log once."""

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}
        self._told: set[str] = set()

    def tell(self, found: dict[str, str]) -> None:
        """Take up what was found, here or by a worker."""
        for path in found.keys() - self._told:
            self._told.add(path)
            _log.warning("passed over (%d so far): %s", len(self._told), found[path])
        self.reasons.update(found)


@dataclass(frozen=True)
class LazyImageSet(LabelledImages):
    """Image files `paths` `[N]` (bytes: numpy holds a million of them in one piece, which workers share) and their
    labels `[N]`. `broken` is what was passed over with `config.skip_broken`.
    """

    paths: NDArray[np.bytes_]
    labels: Tensor
    config: ImageFolderConfig
    broken: BrokenImages = field(default_factory=BrokenImages)

    @property
    def shape(self) -> tuple[int, int, int]:
        return 3, self.config.image_size, self.config.image_size

    @property
    def workers(self) -> int:
        return self.config.worker_count

    @property
    def fits_memory(self) -> bool:
        return needed_mib(len(self), self.config) <= self.config.memory_limit_mib

    def first(self, count: int) -> LazyImageSet:
        return self.subset(np.arange(min(count, len(self))))

    def subset(self, rows: NDArray[np.int64]) -> LazyImageSet:
        return replace(self, paths=self.paths[rows], labels=self.labels[rows])

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        return self._replaced(indices, lambda _, path: self._centre(path))

    def crops(self, indices: Tensor, seeds: Sequence[int], crop: RandomCrop, size: int) -> tuple[Tensor, Tensor]:
        return self._replaced(
            indices, lambda place, path: decode_crop(path, size, crop, np.random.default_rng(seeds[place]))
        )

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        if self.fits_memory:
            yield from self._kept.batches(size)
            return
        parts = slices(len(self), size)

        def make(number: int) -> tuple[Pixels, NDArray[np.int64], dict[str, str]]:
            part = parts[number]
            return *self._centres(np.arange(part.start, part.stop)), self.broken.reasons

        ahead = MadeAhead(make, self.workers, len(parts))
        try:
            for number in range(len(parts)):
                images, labels, broken = ahead(number)
                self.broken.tell(broken)
                yield torch.from_numpy(images), torch.from_numpy(labels)
        finally:
            ahead.close()

    def in_memory(self) -> ImageSet:
        if not self.fits_memory:
            raise DataError(
                f"{self.config.root}: {len(self)} images of {self.config.image_size}×{self.config.image_size} need"
                f" {needed_mib(len(self), self.config):.0f} MiB of memory, more than"
                f" data.memory_limit_mib={self.config.memory_limit_mib}: raise it, lower data.image_size, use fewer"
                " images, or set data.in_memory=false"
            )
        return self._kept

    @property
    def passed_over(self) -> dict[str, str]:
        return self.broken.reasons

    @property
    def origins(self) -> Origins:
        broken = [os.fsencode(path) for path in self.broken.reasons]
        return self.paths[~np.isin(self.paths, np.array(broken))] if broken else self.paths

    def pass_over(self, found: dict[str, str]) -> None:
        self.broken.tell(found)

    def kept(self, stored: StoredImages, rows: NDArray[np.int64] | None = None) -> ImageSet:
        """The images at `rows`, or all, as they are `stored`, but for broken ones, of which the log is told."""
        self.broken.tell(
            {self._path(row): str(undecodable(self._path(row), why)) for row, why in stored.broken.items()}
        )
        rows = np.arange(len(self)) if rows is None else rows
        rows = rows[~np.isin(rows, list(stored.broken))] if stored.broken else rows
        good = torch.from_numpy(rows)
        # What changes small images costs less than what it takes to fetch them from another process.
        workers = self.workers if self.config.image_size >= _AHEAD_FROM else None
        return ImageSet(stored.pixels, self.labels[good], self.paths[rows], rows=good, workers=workers)

    @cached_property
    def _kept(self) -> ImageSet:
        return self.kept(decode_to_memory(self.paths, self.config, no_progress))

    def _centres(self, rows: NDArray[np.int64]) -> tuple[Pixels, NDArray[np.int64]]:
        found = [(row, image) for row in rows.tolist() if (image := self._try(row, self._centre)) is not None]
        images = np.stack([image for _, image in found]) if found else np.empty((0, *self.shape), dtype=np.uint8)
        return images, self.labels.numpy()[[row for row, _ in found]]

    def _replaced(self, indices: Tensor, decoded: Callable[[int, str], Pixels]) -> tuple[Tensor, Tensor]:
        images, rows = [], []
        for place, index in enumerate(indices.tolist()):
            # The next one that can be decoded depends on the files alone: the same for any number of workers, and
            # after a resumption.
            for row in range(index, index + _REPLACEMENTS):
                image = self._try(row % len(self), lambda path, place=place: decoded(place, path))  # type: ignore[misc]
                if image is not None:
                    images.append(image)
                    rows.append(row % len(self))
                    break
            else:
                raise DataError(
                    f"{_REPLACEMENTS} images in a row cannot be decoded, from {self._path(index)} on: mend the tree"
                )
        return torch.from_numpy(np.stack(images)), self.labels[rows]

    def _try(self, row: int, decoded: Callable[[str], Pixels]) -> Pixels | None:
        path = self._path(row)
        try:
            return decoded(path)
        except DataError as error:
            if not self.config.skip_broken:
                raise
            self.broken.reasons[path] = str(error)
            return None

    def _centre(self, path: str) -> Pixels:
        return decode(path, self.config.image_size, self.config.crop_pct)

    def _path(self, row: int) -> str:
        return os.fsdecode(bytes(self.paths[row]))


def needed_mib(images: int, config: ImageFolderConfig) -> float:
    """Memory that so many decoded images take."""
    return images * 3 * config.image_size**2 / _MIB
