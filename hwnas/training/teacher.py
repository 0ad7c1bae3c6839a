"""The network that later phases distil from."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hwnas.data.load import ImageData
from hwnas.data.preprocess import prepare
from hwnas.supernet.evaluate import calibrated_subnet
from hwnas.supernet.fold import fold_batch_norm
from hwnas.supernet.layout import batches_of, channels_last
from hwnas.supernet.supernet import Supernet

__all__ = ["Teacher"]


class Teacher:
    """The frozen largest network, BatchNorm calibrated and folded at each resolution: the cheapest exact form of it."""

    def __init__(self, supernet: Supernet, data: ImageData, calibration_images: int, device: torch.device) -> None:
        self._networks: dict[int, nn.Module] = {}
        largest = supernet.space.extreme(largest=True)
        for resolution in supernet.space.resolutions:
            images = prepare(data.train.first(calibration_images).images, resolution, data.preprocessing)
            batches = batches_of(images.to(device).contiguous(memory_format=torch.channels_last), 500)
            subnet = calibrated_subnet(supernet, largest, batches)
            self._networks[resolution] = channels_last(fold_batch_norm(subnet))

    @torch.no_grad()
    def soft_labels(self, images: Tensor) -> Tensor:
        """Class probabilities `[B, K]` of images `[B, C, r, r]`."""
        logits: Tensor = self._networks[images.shape[-1]](images)
        return logits.softmax(dim=1)
