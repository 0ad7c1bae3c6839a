"""Subnets measured by an executor's workers: the accuracies are those that one process measures. N subnets, G genes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hwnas.accuracy.measure import Measured, one_subnet_a_thread
from hwnas.accuracy.measure_config import MeasureConfig
from hwnas.accuracy.prepared import STREAMED_SUBNETS, PreparedImages
from hwnas.data.load import ImageData
from hwnas.executors.executor import Executor
from hwnas.progress import Progress
from hwnas.spaces import Genotypes, Space
from hwnas.supernet.single import TrainedNetwork

__all__ = ["Load", "measure_sharded"]

Load = Callable[[], tuple[TrainedNetwork, ImageData]]
"""The weights and the images, for each worker to load itself. Picklable."""


def measure_sharded(
    executor: Executor,
    load: Load,
    space: Space,
    data: ImageData,
    genotypes: Genotypes,
    split: str,
    config: MeasureConfig,
    progress: Progress,
    known: NDArray[np.float64],
    measured: Measured,
    int8: bool = False,
) -> NDArray[np.float64]:
    """As `hwnas.accuracy.measure.measure_accuracy`, which computes the same to the last bit.

    `data` are the images that `load` loads too. Raises, beside what that raises, ExecutorError.
    """
    genotypes = space.check(genotypes)
    data.split(split)
    accuracies = np.array(known, dtype=np.float64)
    pending_rows = np.flatnonzero(np.isnan(accuracies))
    images = PreparedImages(data, config, torch.device("cpu"), int8)
    groups = [
        group
        for choice in np.unique(genotypes[pending_rows, -1])
        for group in _groups(
            pending_rows[genotypes[pending_rows, -1] == choice],
            images.streams(split, space.resolutions[int(choice)]),
            executor.workers,
        )
    ]
    done, pending = 0, len(pending_rows)
    shard = _Shard(load, split, config, int8)
    for number, found in executor.each("evaluate", shard, (genotypes[rows] for rows in groups), _one_thread):
        for row, accuracy in zip(groups[number].tolist(), found, strict=True):
            accuracies[row], done = accuracy, done + 1
            measured(row, accuracy)
        progress(done / pending, f"{done} of {pending} subnets, last {found[-1]:.4f}")
    return accuracies


class _Shard:
    """Measures groups of subnets `[n, G]` of one resolution, in the process that calls it."""

    def __init__(self, load: Load, split: str, config: MeasureConfig, int8: bool) -> None:
        self._load, self._split, self._config, self._int8 = load, split, config, int8
        self._loaded: tuple[TrainedNetwork, PreparedImages] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_loaded": None}

    def __call__(self, group: Genotypes) -> list[float]:
        """The share of images that each of `group` gets right."""
        if self._loaded is None:
            supernet, data = self._load()
            self._loaded = supernet, PreparedImages(data, self._config, supernet.device, self._int8)
        supernet, images = self._loaded
        with one_subnet_a_thread(1) as pool:
            images.prepare_for(images.resolution(supernet, group[0]), self._split)
            right = dict(images.right(supernet, group, np.arange(len(group)), self._split, pool))
        return [right[row].accuracy for row in range(len(group))]


def _groups(rows: NDArray[np.int64], streamed: bool, workers: int) -> list[NDArray[np.int64]]:
    """`rows` of one resolution, by those that are measured together.

    One each, so that a kill costs little, unless the images are read anew for every group.
    """
    size = min(STREAMED_SUBNETS, -(-len(rows) // workers)) if streamed else 1
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _one_thread() -> None:
    torch.set_num_threads(1)  # inside each operator, as where threads share the subnets
