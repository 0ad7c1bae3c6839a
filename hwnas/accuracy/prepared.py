"""What subnets get right on images that are prepared once a resolution. N subnets, G genes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hwnas.accuracy.measure_config import MeasureConfig
from hwnas.data.by_class import RightByClass
from hwnas.data.image_set import LabelledImages
from hwnas.data.inputs import calibration_inputs, network_inputs
from hwnas.data.load import ImageData
from hwnas.errors import DataError
from hwnas.spaces import Genotypes
from hwnas.supernet.evaluate import calibrated_subnet, right_by_class
from hwnas.supernet.fake_quantise import fake_quantised
from hwnas.supernet.fold import fold_batch_norm
from hwnas.supernet.layout import batches_of, channels_last
from hwnas.supernet.single import TrainedNetwork
from hwnas.supernet.subnet import Subnet

__all__ = ["STREAMED_SUBNETS", "PreparedImages"]

_PREPARED_AT_ONCE = 1000
STREAMED_SUBNETS = 32
"""Subnets that share one pass over images which can't be kept; as many are in memory at once."""


class PreparedImages:
    """Prepared images of the resolution last asked for, one resolution in memory at a time, and what subnets get right
    on them. With `int8` subnets compute what their int8 files would.
    """

    def __init__(self, data: ImageData, config: MeasureConfig, device: torch.device, int8: bool = False) -> None:
        self._data, self._config, self._device, self._int8 = data, config, device, int8
        self._parts: dict[str, LabelledImages] = {}
        self._prepared: dict[tuple[str, int], tuple[Tensor, Tensor]] = {}

    @staticmethod
    def resolution(supernet: TrainedNetwork, genotype: Genotypes) -> int:
        return supernet.space.resolutions[int(genotype[-1])]

    def calibrated(self, supernet: TrainedNetwork, genotype: Genotypes) -> Subnet:
        images, _ = self._get("calibration", self.resolution(supernet, genotype))
        return calibrated_subnet(supernet, genotype, batches_of(images, self._config.calibration_batch))

    def right(
        self,
        supernet: TrainedNetwork,
        genotypes: Genotypes,
        rows: NDArray[np.int64],
        split: str,
        pool: ThreadPoolExecutor,
    ) -> Iterator[tuple[int, RightByClass]]:
        """Each of `rows` and what its subnet gets right, as they get known."""
        resolution = self.resolution(supernet, genotypes[rows[0]])
        if self.streams(split, resolution):
            for start in range(0, len(rows), STREAMED_SUBNETS):
                group = rows[start : start + STREAMED_SUBNETS]
                subnets = list(pool.map(lambda row: self._deployed(supernet, genotypes[row]), group))
                yield from zip(group.tolist(), self._streamed(subnets, resolution, split, pool), strict=True)
            return
        work = {pool.submit(self._evaluate, supernet, genotypes[row], split): int(row) for row in rows}
        for future in as_completed(work):
            yield work[future], future.result()

    def prepare_for(self, resolution: int, split: str) -> None:
        """Before several threads ask: they only read then."""
        self._get("calibration", resolution)
        if not self.streams(split, resolution):
            self._get(split, resolution)

    def _deployed(self, supernet: TrainedNetwork, genotype: Genotypes) -> nn.Module:
        folded = channels_last(fold_batch_norm(self.calibrated(supernet, genotype)))
        if not self._int8:
            return folded
        images, _ = self._get("calibration", self.resolution(supernet, genotype))
        with torch.inference_mode():
            chosen = images[: self._config.range_images]
            return fake_quantised(folded, batches_of(chosen, self._config.calibration_batch))

    def _evaluate(self, supernet: TrainedNetwork, genotype: Genotypes, split: str) -> RightByClass:
        images, labels = self._get(split, self.resolution(supernet, genotype))
        return right_by_class(self._deployed(supernet, genotype), images, labels, self._config.batch_size)

    def _streamed(
        self, subnets: list[nn.Module], resolution: int, split: str, pool: ThreadPoolExecutor
    ) -> list[RightByClass]:
        """One pass over the images for all of `subnets`."""
        right: list[RightByClass] = []
        for images, labels in self._inputs(split, resolution, self._config.batch_size):
            found = list(pool.map(partial(right_by_class, images=images, labels=labels), subnets))
            right = [one + more for one, more in zip(right, found, strict=True)] if right else found
        if not right:
            raise DataError(f"{split}: expected at least one image that can be decoded, got none")
        return right

    def streams(self, split: str, resolution: int) -> bool:
        """Whether the split's images, as floats, are too many to be kept."""
        part = self._part(split)
        floats_mib = len(part) * part.shape[0] * resolution**2 * 4 / 2**20
        return not part.fits_memory or floats_mib > self._config.memory_limit_mib

    def _get(self, name: str, resolution: int) -> tuple[Tensor, Tensor]:
        if (name, resolution) not in self._prepared:
            self._prepared = {key: kept for key, kept in self._prepared.items() if key[1] == resolution}
            batches = list(self._inputs(name, resolution, _PREPARED_AT_ONCE))
            if not batches:
                raise DataError(f"{name}: expected at least one image that can be decoded, got none")
            images, labels = ([batch[part] for batch in batches] for part in (0, 1))
            self._prepared[name, resolution] = _joined(images), _joined(labels)
        return self._prepared[name, resolution]

    def _inputs(self, name: str, resolution: int, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        if name == "calibration":
            return calibration_inputs(self._part(name), resolution, self._data, size, self._device)
        return network_inputs(self._part(name), resolution, self._data.preprocessing, size, self._device)

    def _part(self, name: str) -> LabelledImages:
        if name not in self._parts:  # kept, since images decoded lazily may keep what they have decoded
            if name == "calibration":
                self._parts[name] = self._data.calibration.first(self._config.calibration_images)
            else:
                part = self._data.split(name)
                self._parts[name] = part.first(self._config.images) if self._config.images else part
        return self._parts[name]


def _joined(parts: Sequence[Tensor]) -> Tensor:
    if len(parts) == 1:
        return parts[0]
    layout = torch.channels_last if parts[0].ndim == 4 else torch.contiguous_format
    return torch.cat(list(parts)).contiguous(memory_format=layout)
