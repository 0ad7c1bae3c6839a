"""A subnet as it would be deployed: BatchNorm calibrated and folded; and its accuracy. N images, of any size."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from hwnas.spaces import Genotypes
from hwnas.supernet.calibrate import calibrate_batch_norm
from hwnas.supernet.extract import extract
from hwnas.supernet.layout import batches_of, channels_last
from hwnas.supernet.single import TrainedNetwork
from hwnas.supernet.subnet import Subnet

__all__ = ["accuracy_of", "calibrated_subnet"]


def calibrated_subnet(supernet: TrainedNetwork, genotype: Genotypes, batches: Iterable[Tensor]) -> Subnet:
    """`extract` with its BatchNorm calibrated on `batches` (images at the subnet's resolution), in eval mode."""
    subnet = channels_last(extract(supernet, genotype))
    calibrate_batch_norm(subnet, batches)
    subnet.eval()
    return subnet


def accuracy_of(network: nn.Module, images: Tensor, labels: Tensor, batch_size: int = 500) -> float:
    """The share of `images` `[N, C, H, W]` that `network`, in eval mode, puts into their class of `labels` `[N]`."""
    correct = 0
    with torch.inference_mode():
        for part, expected in zip(batches_of(images, batch_size), batches_of(labels, batch_size), strict=True):
            correct += int((network(part).argmax(dim=1) == expected).sum())
    return correct / len(labels)
