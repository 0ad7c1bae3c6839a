"""Held-out accuracy of subnets while their supernet is trained."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hwnas.data.inputs import calibration_inputs, network_inputs
from hwnas.data.load import ImageData
from hwnas.progress import silent
from hwnas.spaces import Genotypes
from hwnas.supernet.evaluate import calibrated_subnet
from hwnas.supernet.fake_quantise import fake_quantised
from hwnas.supernet.fold import fold_batch_norm
from hwnas.supernet.layout import channels_last
from hwnas.supernet.single import SingleNetwork, TrainedNetwork
from hwnas.training.config import TrainingConfig

__all__ = ["held_out_accuracies"]

_BATCH = 500


def held_out_accuracies(
    network: TrainedNetwork,
    genotypes: Genotypes,
    data: ImageData,
    config: TrainingConfig,
    tell: Callable[[str], None] = silent,
) -> NDArray[np.float64]:
    """Of each of `genotypes` `[n, G]` as it would be deployed, BatchNorm calibrated on training images, `[n]`.

    A network that is trained as its int8 file computes is evaluated so.

    As many at once as the training has shards. `tell` is called with how far this is.
    """
    device = network.device
    threads = (torch.get_num_threads(),)
    found = np.full(len(genotypes), np.nan)
    calibration = data.train.first(config.calibration_images)
    for choice in np.unique(genotypes[:, -1]):
        rows = np.flatnonzero(genotypes[:, -1] == choice)
        resolution = network.space.resolutions[int(choice)]
        title = f"accuracy of {len(rows)} subnets at {resolution} pixels"
        tell(f"{title}: {len(calibration)} images for batch norm")
        ready = [images for images, _ in calibration_inputs(calibration, resolution, data, _BATCH, device)]
        with ThreadPoolExecutor(config.shards, initializer=torch.set_num_threads, initargs=threads) as pool:
            subnets = list(pool.map(partial(_deployed, network, ready), genotypes[rows]))
            right, seen = np.zeros(len(rows)), 0
            for images, labels in network_inputs(data.held_out, resolution, data.preprocessing, _BATCH, device):
                right += list(pool.map(partial(_count_right, images, labels), subnets))
                seen += len(labels)
                tell(f"{title}: {seen} of {len(data.held_out)} held-out images")
        found[rows] = right / seen
    return found


def _deployed(network: TrainedNetwork, calibration: list[Tensor], genotype: Genotypes) -> nn.Module:
    folded = channels_last(fold_batch_norm(calibrated_subnet(network, genotype, calibration)))
    if isinstance(network, SingleNetwork) and network.quantiser is not None:
        return fake_quantised(folded, calibration[:1])
    return folded


@torch.inference_mode()
def _count_right(images: Tensor, labels: Tensor, network: nn.Module) -> int:
    return int((network(images).argmax(dim=1) == labels).sum())
