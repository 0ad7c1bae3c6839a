"""Augmentation in batches, by kornia. Shapes: B images, C channels, H = W."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hwnas.data.config import AugmentConfig
from hwnas.errors import MissingExtraError

__all__ = ["Augmentation"]


class Augmentation:
    """Changes training images at random: call it on stored uint8 images, before `prepare`.

    Every draw comes from the generator that is handed in; torch's global generators are left as they were.
    """

    def __init__(self, config: AugmentConfig, image_size: int) -> None:
        try:
            import kornia.augmentation as K
        except ImportError as error:
            raise MissingExtraError("kornia", "train", "augmentation") from error
        size = (image_size, image_size)
        steps: list[nn.Module] = []
        if config.flip:
            steps.append(K.RandomHorizontalFlip(p=0.5))
        if config.crop_padding:
            # Slicing copies pixels; the default resamples them, blurs, and was no faster (2.1 against 2.1–3.2 ms for
            # 256 × 1 × 32 × 32 on 2 cores).
            steps.append(K.RandomCrop(size, padding=config.crop_padding, cropping_mode="slice", p=1.0))
        if config.erase_probability:
            steps.append(K.RandomErasing(p=config.erase_probability, scale=(0.02, 0.2)))
        self._steps = steps

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """uint8 `[B, C, H, W]`, of the size given at construction, to the same, one draw an image."""
        if not self._steps:
            return images
        seed = int(torch.randint(2**62, (), generator=generator))
        # kornia draws from torch's global CPU generator.
        with torch.random.fork_rng(devices=()), torch.no_grad():
            torch.default_generator.manual_seed(seed)
            changed = images.to(torch.float32)
            for step in self._steps:
                changed = step(changed)
        return changed.to(images.dtype)  # whole numbers: nothing here interpolates
