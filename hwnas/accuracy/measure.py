"""The accuracy of subnets with a supernet's weights. N subnets, G genes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hwnas.accuracy.measure_config import MeasureConfig
from hwnas.data.load import ImageData, ImageSet
from hwnas.data.preprocess import prepare
from hwnas.progress import Progress
from hwnas.spaces import Genotypes
from hwnas.supernet.evaluate import accuracy_of, calibrated_subnet
from hwnas.supernet.fold import fold_batch_norm
from hwnas.supernet.layout import batches_of, channels_last
from hwnas.supernet.single import TrainedNetwork
from hwnas.supernet.subnet import Subnet

__all__ = ["Measured", "calibrate_subnet", "measure_accuracy"]

Measured = Callable[[int, float], None]
"""Called with a subnet's row and its accuracy as soon as it is known, so that a caller can keep it."""


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
) -> NDArray[np.float64]:
    """The share of correctly classified images of `split` for each of `genotypes` `[N, G]`, `[N]`.

    Each subnet is extracted, its BatchNorm calibrated at its own resolution, and folded; weights are not touched.
    `known` `[N]` holds accuracies of an interrupted call, NaN where there is none: those are taken over. On a CPU
    several subnets are evaluated at once. Raises DataError for a split that doesn't exist, ArchError for foreign
    genotypes.
    """
    genotypes = supernet.space.check(genotypes)
    data.split(split)
    device = supernet.device
    images = _Images(data, config, device)
    accuracies = np.full(len(genotypes), np.nan) if known is None else np.array(known, dtype=np.float64)
    pending = np.flatnonzero(np.isnan(accuracies))
    done = 0
    with _one_subnet_a_thread(torch.get_num_threads() if device.type == "cpu" else 1) as pool:
        for choice in np.unique(genotypes[pending, -1]):
            images.prepare_for(supernet.space.resolutions[int(choice)], split)
            rows = pending[genotypes[pending, -1] == choice]
            work = {pool.submit(images.evaluate, supernet, genotypes[row], split): int(row) for row in rows}
            for future in as_completed(work):
                row, done = work[future], done + 1
                accuracies[row] = future.result()
                if measured is not None:
                    measured(row, float(accuracies[row]))
                progress(done / len(pending), f"{done} of {len(pending)} subnets, last {accuracies[row]:.4f}")
    return accuracies


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

    def __init__(self, data: ImageData, config: MeasureConfig, device: torch.device) -> None:
        self._data, self._config, self._device = data, config, device
        self._prepared: dict[tuple[str, int], Tensor] = {}

    @staticmethod
    def resolution(supernet: TrainedNetwork, genotype: Genotypes) -> int:
        return supernet.space.resolutions[int(genotype[-1])]

    def calibrated(self, supernet: TrainedNetwork, genotype: Genotypes) -> Subnet:
        images = self._get("calibration", self.resolution(supernet, genotype))
        return calibrated_subnet(supernet, genotype, batches_of(images, self._config.calibration_batch))

    def evaluate(self, supernet: TrainedNetwork, genotype: Genotypes, split: str) -> float:
        folded = channels_last(fold_batch_norm(self.calibrated(supernet, genotype)))
        labels = self._part(split).labels.to(self._device)
        images = self._get(split, self.resolution(supernet, genotype))
        return accuracy_of(folded, images, labels, self._config.batch_size)

    def prepare_for(self, resolution: int, split: str) -> None:
        """Before several threads ask: they only read then."""
        self._get("calibration", resolution)
        self._get(split, resolution)

    def _get(self, name: str, resolution: int) -> Tensor:
        if (name, resolution) not in self._prepared:
            self._prepared = {key: kept for key, kept in self._prepared.items() if key[1] == resolution}
            images = prepare(self._part(name).images, resolution, self._data.preprocessing)
            ready = images.to(self._device).contiguous(memory_format=torch.channels_last)
            self._prepared[name, resolution] = ready
        return self._prepared[name, resolution]

    def _part(self, name: str) -> ImageSet:
        if name == "calibration":
            return self._data.held_out.first(self._config.calibration_images)
        part = self._data.split(name)
        return part.first(self._config.images) if self._config.images else part
