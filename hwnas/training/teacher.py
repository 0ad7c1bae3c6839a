"""The network that later phases distil from."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hwnas.data.inputs import calibration_inputs
from hwnas.data.load import ImageData
from hwnas.supernet.evaluate import calibrated_subnet
from hwnas.supernet.fold import fold_batch_norm
from hwnas.supernet.layout import channels_last
from hwnas.supernet.single import SingleNetwork, TrainedNetwork

__all__ = ["Teacher"]

_BATCH = 500


class Teacher:
    """The frozen largest network, BatchNorm calibrated and folded at each resolution: the cheapest exact form of it.

    A single network is taught by itself, not quantised, at its own resolution.
    """

    def __init__(
        self, supernet: TrainedNetwork, data: ImageData, calibration_images: int, device: torch.device
    ) -> None:
        self._networks: dict[int, nn.Module] = {}
        space, calibration = supernet.space, data.train.first(calibration_images)
        largest, resolutions = space.extreme(largest=True), space.resolutions
        if isinstance(supernet, SingleNetwork):
            largest, resolutions = supernet.genotype, (resolutions[int(supernet.genotype[-1])],)
        for resolution in resolutions:
            inputs = calibration_inputs(calibration, resolution, data, _BATCH, device)
            subnet = calibrated_subnet(supernet, largest, (images for images, _ in inputs))
            self._networks[resolution] = channels_last(fold_batch_norm(subnet))

    @torch.no_grad()
    def soft_labels(self, images: Tensor) -> Tensor:
        """Class probabilities `[B, K]` of images `[B, C, r, r]`."""
        logits: Tensor = self._networks[images.shape[-1]](images)
        return logits.float().softmax(dim=1)
