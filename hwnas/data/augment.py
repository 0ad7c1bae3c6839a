"""Augmentation in batches, by kornia. Shapes: B images, C channels, H = W."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hwnas.data.colours import grey
from hwnas.data.config import AugmentConfig
from hwnas.data.rand_augment import RandAugment
from hwnas.errors import MissingExtraError

__all__ = ["Augmentation"]


class Augmentation:
    """Changes training images at random: call it on stored uint8 images, before `prepare`.

    Every draw comes from the generator that is handed in; torch's global generators are left as they were. Random crops
    of a share of the area are not made here, but where images are decoded (`LabelledImages.crops`), and images are
    mixed where their labels are (`hwnas.data.mixing`).
    """

    def __init__(self, config: AugmentConfig, image_size: int) -> None:
        try:
            import kornia.augmentation as K
        except ImportError as error:
            raise MissingExtraError("kornia", "train", "augmentation") from error
        size = (image_size, image_size)
        steps: list[nn.Module] = []
        if config.crop_padding:
            # Slicing copies pixels; the default resamples them, blurs, and was no faster (2.1 against 2.1–3.2 ms for
            # 256 × 1 × 32 × 32 on 2 cores).
            steps.append(K.RandomCrop(size, padding=config.crop_padding, cropping_mode="slice", p=1.0))
        if config.brightness or config.contrast or config.saturation:
            steps.append(_Colours(config.brightness, config.contrast, config.saturation))
        if config.erase_probability:
            steps.append(K.RandomErasing(p=config.erase_probability, scale=(0.02, 0.2)))
        self._flip, self._steps = config.flip, steps
        self._rand = RandAugment(config.rand_operations, config.rand_magnitude) if config.rand_operations else None

    def __call__(self, images: Tensor, generator: torch.Generator, of: int | None = None, start: int = 0) -> Tensor:
        """uint8 `[B, C, H, W]` to the same, one draw an image. `crop_padding` needs the size given at construction.

        The images may be a part, from `start` on, of a batch of `of`: each gets the draw of its place in the batch.
        """
        part = slice(start, start + len(images))
        whole = len(images) if of is None else of
        if self._flip:
            # Bytes, rather than kornia's floats: 1.2 ms an image of 224×224 less.
            flipped = torch.rand(whole, generator=generator)[part] < 0.5
            images = torch.where(flipped.view(-1, 1, 1, 1).to(images.device), images.flip(-1), images)
        if self._rand is not None:
            chosen, directions = self._rand.draw(whole, generator)
            images = self._rand(images, chosen[part], directions[part])
        if not self._steps:
            return images
        seed = int(torch.randint(2**62, (), generator=generator))
        # kornia draws from torch's global CPU generator.
        with torch.random.fork_rng(devices=()), torch.no_grad():
            torch.default_generator.manual_seed(seed)
            changed = images.to(torch.float32)
            if whole != len(images):  # kornia draws for as many images as it is given, whatever they show
                padded = changed.new_zeros(whole, *changed.shape[1:])
                padded[part] = changed
                changed = padded
            for step in self._steps:
                changed = step(changed)
            changed = changed[part] if whole != len(images) else changed
        return changed.to(images.dtype)  # whole numbers: the colours round, nothing else interpolates


class _Colours(nn.Module):
    """Brightness, contrast and saturation of `[B, C, H, W]`, 0 to 255, each by a factor within 1 ± its strength.

    As torchvision has them: blended with black, with the image's mean grey, and with its grey. kornia's saturation goes
    through HSV and takes several times as long (4.8 ms for an image of 224×224 on one core).
    """

    def __init__(self, brightness: float, contrast: float, saturation: float) -> None:
        super().__init__()
        self._strengths = (brightness, contrast, saturation)

    def forward(self, images: Tensor) -> Tensor:
        """Of one channel, the saturation stays as it is."""
        brightness, contrast, saturation = (
            1 + strength * (2 * torch.rand(len(images), 1, 1, 1).to(images.device) - 1) for strength in self._strengths
        )
        if self._strengths[0]:
            images = (images * brightness).clamp_(0, 255)
        if self._strengths[1]:
            mean = grey(images).mean(dim=(2, 3), keepdim=True)
            images = (images * contrast).add_(mean * (1 - contrast)).clamp_(0, 255)
        if self._strengths[2] and images.shape[1] == 3:
            plain = grey(images).mul_(1 - saturation)
            images = (images * saturation).add_(plain).clamp_(0, 255)
        return images.round()
