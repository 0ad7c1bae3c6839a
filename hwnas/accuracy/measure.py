"""The accuracy of subnets with a supernet's weights. N subnets, G genes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from hwnas.accuracy.measure_config import MeasureConfig
from hwnas.accuracy.prepared import PreparedImages
from hwnas.data.load import ImageData
from hwnas.progress import Progress
from hwnas.spaces import Genotypes
from hwnas.supernet.single import TrainedNetwork
from hwnas.supernet.subnet import Subnet

__all__ = [
    "Accuracies",
    "Measured",
    "calibrate_subnet",
    "measure_accuracies",
    "measure_accuracy",
    "one_subnet_a_thread",
]

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
    return PreparedImages(data, config, supernet.device).calibrated(supernet, genotype)


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
    images = PreparedImages(data, config, device, int8)
    accuracies = np.full(len(genotypes), np.nan) if known is None else np.array(known, dtype=np.float64)
    balanced = np.full(len(genotypes), np.nan)
    pending = np.flatnonzero(np.isnan(accuracies))
    done = 0
    # Tracing a network, which simulating int8 begins with, changes how modules are called in every thread meanwhile.
    with one_subnet_a_thread(1 if int8 or device.type != "cpu" else torch.get_num_threads()) as pool:
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
def one_subnet_a_thread(threads: int) -> Iterator[ThreadPoolExecutor]:
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
