"""From stored images to network inputs: one definition, for training, evaluation, parity and deployment.

Shapes: N images, C channels, H = W = stored image size, r = resolution.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hwnas.errors import DataError

__all__ = ["Preprocessing", "prepare"]

_RULE = 1  # raised when what the steps compute changes
_STEPS = (
    "1. images: uint8, 0 to 255, S×S pixels (S: image_size), channels in the order of mean; a photograph is turned"
    " upright, and its centre square, of side crop_pct times the shorter side, resized to S×S (same filter as below,"
    " rounded). "
    "2. Where S differs from the input's r: resize, separably along height and width, by the triangle"
    " filter (Pillow's BILINEAR; antialiased): with f = S / r and w = max(f, 1), output i is the sum over j of"
    " k(i, j) * input j, k(i, j) = max(0, 1 - |j + 0.5 - (i + 0.5) * f| / w), divided by the sum of k(i, j) over j."
    " Not rounded to whole numbers. "
    "3. x = (images.astype(numpy.float32) / 255 - mean) / std, a channel each. "
    "4. Layout NCHW for ONNX and torch; x.transpose(0, 2, 3, 1) where the model's input is NHWC."
)


@dataclass(frozen=True)
class Preprocessing:
    """Mean and standard deviation of each channel, in units of the full range (0 black, 1 white).

    `image_size` is the size in which the data set's images are stored, 0 for unknown; `prepare` takes any. `crop_pct`
    is the share of a photograph's shorter side that the stored centre shows.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    image_size: int = 0
    crop_pct: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", tuple(float(value) for value in self.mean))
        object.__setattr__(self, "std", tuple(float(value) for value in self.std))
        if not self.mean or len(self.mean) != len(self.std) or min(self.std) <= 0:
            raise DataError(
                f"preprocessing: expected mean and std > 0 for each channel, got mean {self.mean}, std {self.std}"
            )

    def to_dict(self) -> dict[str, Any]:
        """For manifests and checkpoints: the numbers, and `steps`, which numpy alone can follow."""
        return {
            "rule": _RULE,
            "mean": list(self.mean),
            "std": list(self.std),
            "image_size": self.image_size,
            "crop_pct": self.crop_pct,
            "scale": 255,
            "resize": {"filter": "bilinear", "antialias": True, "align_corners": False},
            "steps": _STEPS,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocessing:
        """What `to_dict` wrote. Raises DataError for anything else."""
        if values.get("rule") != _RULE or not {"mean", "std"} <= values.keys():
            raise DataError(
                f"preprocessing: expected rule {_RULE} with mean and std, got rule {values.get('rule')!r}: the file is"
                " of another version of hwnas; write it again with this one"
            )
        size, crop_pct = int(values.get("image_size", 0)), float(values.get("crop_pct", 1.0))
        return cls(tuple(values["mean"]), tuple(values["std"]), size, crop_pct)


def prepare(images: Tensor, resolution: int, preprocessing: Preprocessing) -> Tensor:
    """uint8 `[N, C, H, W]` to normalised float32 `[N, C, r, r]`, on the device of `images`.

    Resized with the triangle filter, antialiased, as Pillow's BILINEAR does but not rounded; unchanged where r = H.
    Antialiased because several resolutions are shrunk from one stored size, and point sampling would make fine
    texture depend on which. Raises DataError for another type or number of channels.
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != len(preprocessing.mean):
        raise DataError(
            f"prepare: expected uint8 images [N, {len(preprocessing.mean)}, H, W],"
            f" got {images.dtype} {tuple(images.shape)}"
        )
    prepared = images.to(torch.float32)
    if images.shape[-2:] != (resolution, resolution):
        prepared = F.interpolate(prepared, (resolution, resolution), mode="bilinear", antialias=True)
    mean, std = (
        torch.tensor(values, dtype=torch.float32, device=images.device).view(1, -1, 1, 1)
        for values in (preprocessing.mean, preprocessing.std)
    )
    return prepared.div_(255).sub_(mean).div_(std)
