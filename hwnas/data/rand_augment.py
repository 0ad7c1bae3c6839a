"""RandAugment (Cubuk et al., 2020) on stored images. Shapes: B images, C channels, H = W; uint8.

kornia has it too, but draws one sequence of operations for a whole batch, and resamples or sorts in floats: 2.9 ms for
an image of 160×160 on one core, up to 7 ms (sharpness) for a single operation. What changes pixels by their value is a
table of 256 values a channel here.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from hwnas.data.colours import grey

__all__ = ["OPERATIONS", "RandAugment"]

MOST = 30
"""The largest magnitude."""


class RandAugment:
    """`operations` of the fourteen, drawn for each image alone, one after another, all of strength `magnitude` of 30.

    Their ranges are torchvision's: at 30 a shear of .3, a translation of 45 % of the width, a rotation by 30°, colours,
    contrast, brightness and sharpness by factors of .1 or 1.9, four bits of each pixel left, all of them inverted. What
    has a direction gets a random one. Black comes in from outside.
    """

    def __init__(self, operations: int, magnitude: int) -> None:
        self._count, self._share = operations, magnitude / MOST

    def draw(self, images: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """For so many images: numbers of operations and directions, 1 or -1, both `[images, operations]`."""
        shape = (images, self._count)
        chosen = torch.randint(len(OPERATIONS), shape, generator=generator)
        return chosen, 2 * torch.randint(2, shape, generator=generator) - 1

    def __call__(self, images: Tensor, chosen: Tensor, directions: Tensor) -> Tensor:
        """`[B, C, H, W]` to the same, by what was drawn for them."""
        changed = images.clone()
        for place in range(self._count):
            for number, operation in enumerate(OPERATIONS.values()):
                rows = (chosen[:, place] == number).nonzero()[:, 0]
                if operation is None or not len(rows):
                    continue
                rows_there = rows.to(images.device)
                strengths = (self._share * directions[rows, place]).to(images.device)
                changed[rows_there] = operation(changed[rows_there], strengths)
        return changed


# ---- by position ------------------------------------------------------------------------------------------------


def _shear_x(images: Tensor, strengths: Tensor) -> Tensor:
    return _moved(images, x_of_y=0.3 * strengths)


def _shear_y(images: Tensor, strengths: Tensor) -> Tensor:
    return _moved(images, y_of_x=0.3 * strengths)


def _translate_x(images: Tensor, strengths: Tensor) -> Tensor:
    return _shifted(images, strengths, -1)


def _translate_y(images: Tensor, strengths: Tensor) -> Tensor:
    return _shifted(images, strengths, -2)


def _rotate(images: Tensor, strengths: Tensor) -> Tensor:
    angles = math.radians(30) * strengths
    cosine, sine = angles.cos(), angles.sin()
    return _moved(images, x_of_x=cosine, x_of_y=-sine, y_of_x=sine, y_of_y=cosine)


def _shifted(images: Tensor, strengths: Tensor, dim: int) -> Tensor:
    """By whole pixels: nothing is resampled. All of one strength, either way."""
    pixels = round(150 / 331 * images.shape[dim] * float(strengths.abs().max()))
    if not pixels:
        return images
    moved = torch.zeros_like(images)
    forwards = strengths > 0
    kept = images.shape[dim] - pixels
    moved[forwards] = F.pad(images[forwards].narrow(dim, 0, kept), _padding(dim, pixels, 0))
    moved[~forwards] = F.pad(images[~forwards].narrow(dim, pixels, kept), _padding(dim, 0, pixels))
    return moved


def _padding(dim: int, before: int, after: int) -> list[int]:
    return [before, after] if dim == -1 else [0, 0, before, after]


def _moved(
    images: Tensor,
    x_of_x: Tensor | None = None,
    x_of_y: Tensor | None = None,
    y_of_x: Tensor | None = None,
    y_of_y: Tensor | None = None,
) -> Tensor:
    """A pixel shows what lies at (x_of_x · x + x_of_y · y, y_of_x · x + y_of_y · y), x and y from the middle."""
    matrices = torch.zeros(len(images), 2, 3, device=images.device)
    matrices[:, 0, 0] = 1 if x_of_x is None else x_of_x
    matrices[:, 1, 1] = 1 if y_of_y is None else y_of_y
    if x_of_y is not None:
        matrices[:, 0, 1] = x_of_y
    if y_of_x is not None:
        matrices[:, 1, 0] = y_of_x
    grid = F.affine_grid(matrices, list(images.shape), align_corners=False)
    found = F.grid_sample(images.to(torch.float32), grid, mode="bilinear", align_corners=False)
    return _as_bytes(found)


# ---- by value ---------------------------------------------------------------------------------------------------


def _autocontrast(images: Tensor, strengths: Tensor) -> Tensor:  # noqa: ARG001
    """Each channel's darkest becomes black, its lightest white."""
    pixels = images.flatten(2)
    low, high = (end(dim=2, keepdim=True).to(torch.float32) for end in (pixels.amin, pixels.amax))
    values = _values(images).expand(*low.shape[:2], 256)
    stretched = (values - low) * 255 / (high - low).clamp(min=1)
    return _by_table(images, torch.where(high > low, stretched, values))


def _equalize(images: Tensor, strengths: Tensor) -> Tensor:  # noqa: ARG001
    """Each channel's values become equally frequent, as Pillow does it."""
    planes = images.flatten(0, 1).flatten(1).to(torch.int64)
    offsets = 256 * torch.arange(len(planes), device=images.device)
    counts = torch.bincount((planes + offsets[:, None]).flatten(), minlength=256 * len(planes)).view(-1, 256)
    highest = 255 - (counts > 0).flip(1).to(torch.uint8).argmax(dim=1, keepdim=True)
    step = (counts.sum(dim=1, keepdim=True) - counts.gather(1, highest)) // 255
    before = counts.cumsum(dim=1) - counts
    table = ((before + step // 2) // step.clamp(min=1)).clamp(max=255)
    table = torch.where(step > 0, table, torch.arange(256, device=images.device))
    return _by_table(images, table.view(*images.shape[:2], 256))


def _solarize(images: Tensor, strengths: Tensor) -> Tensor:
    """What is lighter than a threshold is inverted."""
    threshold = 255 * (1 - float(strengths.abs().max()))
    return torch.where(images >= threshold, 255 - images, images)


def _posterize(images: Tensor, strengths: Tensor) -> Tensor:
    lost = round(4 * float(strengths.abs().max()))
    return images.bitwise_and(256 - 2**lost)


def _brightness(images: Tensor, strengths: Tensor) -> Tensor:
    return _by_table(images, _values(images) * _factors(strengths).view(-1, 1, 1))


def _contrast(images: Tensor, strengths: Tensor) -> Tensor:
    means = grey(images.to(torch.float32).mean(dim=(2, 3), keepdim=True)).flatten(2)
    factors = _factors(strengths).view(-1, 1, 1)
    return _by_table(images, _values(images) * factors + means * (1 - factors))


def _by_table(images: Tensor, table: Tensor) -> Tensor:
    """`table`, `[B, C or 1, 256]`: what each value becomes; it is rounded and clipped."""
    table = _as_bytes(table.to(torch.float32)).expand(*images.shape[:2], 256)
    return table.gather(2, images.flatten(2).to(torch.int64)).view(images.shape)


def _values(images: Tensor) -> Tensor:
    return torch.arange(256, dtype=torch.float32, device=images.device).view(1, 1, 256)


# ---- blends -----------------------------------------------------------------------------------------------------


def _colour(images: Tensor, strengths: Tensor) -> Tensor:
    """Saturation; of other than three channels it stays."""
    if images.shape[1] != 3:
        return images
    floats = images.to(torch.float32)
    return _blend(grey(floats), floats, strengths)


def _sharpness(images: Tensor, strengths: Tensor) -> Tensor:
    """Away from, or towards, the image smoothed by Pillow's kernel; the outermost pixels stay."""
    if images.shape[-1] < 3:
        return images
    floats = images.to(torch.float32)
    # Sums along rows and columns: a third of the time of a convolution.
    rows = floats[..., :-2, :] + floats[..., 1:-1, :] + floats[..., 2:, :]
    smooth = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    smooth.add_(floats[..., 1:-1, 1:-1], alpha=4).div_(13)
    changed = images.clone()
    changed[..., 1:-1, 1:-1] = _blend(smooth, floats[..., 1:-1, 1:-1], strengths)
    return changed


def _blend(plain: Tensor, images: Tensor, strengths: Tensor) -> Tensor:
    factors = _factors(strengths).view(-1, 1, 1, 1)
    return _as_bytes(images * factors + plain * (1 - factors))


def _factors(strengths: Tensor) -> Tensor:
    return 1 + 0.9 * strengths


def _as_bytes(floats: Tensor) -> Tensor:
    return floats.round().clamp(0, 255).to(torch.uint8)


OPERATIONS: dict[str, Callable[[Tensor, Tensor], Tensor] | None] = {
    "identity": None,
    "shear_x": _shear_x,
    "shear_y": _shear_y,
    "translate_x": _translate_x,
    "translate_y": _translate_y,
    "rotate": _rotate,
    "brightness": _brightness,
    "colour": _colour,
    "contrast": _contrast,
    "sharpness": _sharpness,
    "posterize": _posterize,
    "solarize": _solarize,
    "autocontrast": _autocontrast,
    "equalize": _equalize,
}
"""By name: of images and strengths `[B]`, -1 to 1 of the range."""
