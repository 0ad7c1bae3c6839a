"""The accuracy of subnets with a supernet's weights. N subnets, G genes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

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
from hwnas.progress import Progress
from hwnas.spaces import Genotypes
from hwnas.supernet.evaluate import calibrated_subnet, right_by_class
from hwnas.supernet.fake_quantise import fake_quantised
from hwnas.supernet.fold import fold_batch_norm
from hwnas.supernet.layout import batches_of, channels_last
from hwnas.supernet.single import TrainedNetwork
from hwnas.supernet.subnet import Subnet

__all__ = ["Accuracies", "Measured", "calibrate_subnet", "measure_accuracies", "measure_accuracy"]

_PREPARED_AT_ONCE = 1000
_STREAMED_SUBNETS = 32  # that share one pass over images which can't be kept; as many subnets are in memory at once

Measured = Callable[[int, float], None]
"""Called with a subnet's row and its accuracy as soon as it is known, so that a caller can keep it."""


class Accuracies(NamedTuple):
    """Of each subnet `[N]`: the share of all images that it gets right, and the mean of its classes' shares."""

    accuracy: NDArray[np.float64]
    balanced: NDArray[np.float64]


def calibrate_subnet(supernet: TrainedNetwork, genotype: Genotypes, data: ImageData, config: MeasureConfig) -> Subnet:
    """The network of `genotype` `[G]` exactly as `measure_accuracy` evaluates it: what to export.

    A plain module in eval mode, channels last, BatchNorm calibrated but not folded.
    """
    return _Images(data, config, supernet.device).calibrated(supernet, genotype)


def measure_accuracy(
    supernet: TrainedNetwork,
    genotypes: Genotypes,
    data: ImageData,
    split: str,
    config: MeasureConfig,
    progress: Progress,
    known: NDArray[np.float64] | None = None,
    measured: Measured | None = None,
    int8: bool = False,
) -> NDArray[np.float64]:
    """The share of correctly classified images of `split` for each of `genotypes` `[N, G]`, `[N]`.

    Each subnet is extracted, its BatchNorm calibrated at its own resolution, and folded; weights are not touched. With
    `int8` it is then computed as its int8 file would be (see `hwnas.supernet.fake_quantise`).
    `known` `[N]` holds accuracies of an interrupted call, NaN where there is none: those are taken over. On a CPU
    several subnets are evaluated at once, unless as int8. A split too large for memory is read once for every group of
    subnets, which are then told together.

    Raises DataError for a split that doesn't exist, ArchError for foreign genotypes.
    """
    return measure_accuracies(supernet, genotypes, data, split, config, progress, known, measured, int8).accuracy


def measure_accuracies(
    supernet: TrainedNetwork,
    genotypes: Genotypes,
    data: ImageData,
    split: str,
    config: MeasureConfig,
    progress: Progress,
    known: NDArray[np.float64] | None = None,
    measured: Measured | None = None,
    int8: bool = False,
) -> Accuracies:
    """As `measure_accuracy`, and the balanced accuracies beside; of rows that are `known` they are NaN."""
    genotypes = supernet.space.check(genotypes)
    data.split(split)
    device = supernet.device
    images = _Images(data, config, device, int8)
    accuracies = np.full(len(genotypes), np.nan) if known is None else np.array(known, dtype=np.float64)
    balanced = np.full(len(genotypes), np.nan)
    pending = np.flatnonzero(np.isnan(accuracies))
    done = 0
    # Tracing a network, which simulating int8 begins with, changes how modules are called in every thread meanwhile.
    with _one_subnet_a_thread(1 if int8 or device.type != "cpu" else torch.get_num_threads()) as pool:
        for choice in np.unique(genotypes[pending, -1]):
            images.prepare_for(supernet.space.resolutions[int(choice)], split)
            rows = pending[genotypes[pending, -1] == choice]
            for row, right in images.right(supernet, genotypes, rows, split, pool):
                accuracies[row], balanced[row], done = right.accuracy, right.balanced, done + 1
                if measured is not None:
                    measured(row, right.accuracy)
                progress(done / len(pending), f"{done} of {len(pending)} subnets, last {right.accuracy:.4f}")
    return Accuracies(accuracies, balanced)


@contextmanager
def _one_subnet_a_thread(threads: int) -> Iterator[ThreadPoolExecutor]:
    """As many threads as given, one inside each operator: small networks gain nothing from more, and never wait."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, before // threads))
    inner = (torch.get_num_threads(),)
    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=inner)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)  # after Ctrl-C, what is under way ends and the rest is dropped
        torch.set_num_threads(before)


class _Images:
    """Prepared images of the resolution last asked for: one resolution in memory at a time."""

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
        if self._streams(split, resolution):
            for start in range(0, len(rows), _STREAMED_SUBNETS):
                group = rows[start : start + _STREAMED_SUBNETS]
                subnets = list(pool.map(lambda row: self._deployed(supernet, genotypes[row]), group))
                yield from zip(group.tolist(), self._streamed(subnets, resolution, split, pool), strict=True)
            return
        work = {pool.submit(self._evaluate, supernet, genotypes[row], split): int(row) for row in rows}
        for future in as_completed(work):
            yield work[future], future.result()

    def prepare_for(self, resolution: int, split: str) -> None:
        """Before several threads ask: they only read then."""
        self._get("calibration", resolution)
        if not self._streams(split, resolution):
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

    def _streams(self, split: str, resolution: int) -> bool:
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
            self._prepared[name, resolution] = tuple(_joined(parts) for parts in zip(*batches, strict=True))  # type: ignore[assignment]
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
