"""A subnet as it would be deployed: BatchNorm calibrated and folded; and its accuracy. N images, of any size."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from hwnas.data.by_class import RightByClass
from hwnas.spaces import Genotypes
from hwnas.supernet.calibrate import calibrate_batch_norm
from hwnas.supernet.extract import extract
from hwnas.supernet.layout import batches_of, channels_last
from hwnas.supernet.single import TrainedNetwork
from hwnas.supernet.subnet import Subnet

__all__ = ["calibrated_subnet", "right_by_class"]


def calibrated_subnet(supernet: TrainedNetwork, genotype: Genotypes, batches: Iterable[Tensor]) -> Subnet:
    """`extract` with its BatchNorm calibrated on `batches` (images at the subnet's resolution), in eval mode."""
    subnet = channels_last(extract(supernet, genotype))
    calibrate_batch_norm(subnet, batches)
    subnet.eval()
    return subnet


def right_by_class(network: nn.Module, images: Tensor, labels: Tensor, batch_size: int = 500) -> RightByClass:
    """How many of `images` `[N, C, H, W]` `network`, in eval mode, puts into their class of `labels` `[N]`."""
    with torch.inference_mode():
        logits = [network(part) for part in batches_of(images, batch_size)]
        predicted = torch.cat([part.argmax(dim=1) for part in logits])
    return RightByClass.count(predicted, labels, logits[0].shape[1])
