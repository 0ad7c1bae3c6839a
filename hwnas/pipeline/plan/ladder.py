"""Spaces for photographs of any size, from the cheapest to the dearest to train: what a plan chooses among.

All are once-for-all's MobileNetV3 space (Cai et al., ICLR 2020), narrower and on smaller images. R: the largest
resolution.
"""

from __future__ import annotations

from dataclasses import replace

from hwnas.spaces.ofa_mbv3 import OfaMbv3Config

__all__ = ["ladder"]

_RUNGS = ((48, 0.35), (64, 0.35), (64, 0.5))
_PHOTO_RUNGS = ((96, 0.25), (96, 0.35), (96, 0.5), (128, 0.35), (128, 0.5), (160, 0.5), (160, 0.75), (192, 0.75),
                (224, 0.75), (224, 1.0))  # fmt: skip
"""R and width. Pixels come before width: in photographs, what tells classes apart is often small. Images of fewer than
96 pixels are halved once less often, which makes their networks as dear as those of 96.
"""

_SMALL = 40  # pixels; what is as small keeps more of them, in the spaces of CIFAR-10's and Fashion-MNIST's experiments
_STRIDES = ((96, (1, 2, 2, 2, 1, 2)), (0, (1, 1, 2, 2, 1, 2)))
"""From R on, the strides of the first block and the stages, so that 3×3 to 7×7 pixels are left at the end."""


def ladder(shorter_side: int, channels: int) -> list[OfaMbv3Config]:
    """Spaces for images of `channels` whose shorter side is mostly `shorter_side` pixels, which are not enlarged.

    Classes and channels are 0, the data's.
    """
    if shorter_side <= _SMALL:
        return [_small(channels)]
    rungs = _RUNGS if shorter_side < _PHOTO_RUNGS[0][0] else _PHOTO_RUNGS
    fitting = [rung for rung in rungs if rung[0] <= shorter_side] or [rungs[0]]
    return [_space(pixels, width) for pixels, width in fitting]


def _resolutions_up_to(largest: int) -> tuple[int, ...]:
    """Three resolutions of networks, `largest` the last."""
    step = 16 if largest >= 96 else 8
    return (largest - 2 * step, largest - step, largest)


def _space(pixels: int, width: float) -> OfaMbv3Config:
    strides = next(strides for least, strides in _STRIDES if pixels >= least)
    name = f"ofa_mbv3_{pixels}_w{width:g}"
    return replace(
        OfaMbv3Config(in_channels=0, classes=0), name=name, width_mult=width, strides=strides,
        resolution=_resolutions_up_to(pixels),
    )  # fmt: skip


def _small(channels: int) -> OfaMbv3Config:
    """As `conf/space/ofa_mbv3_32.yaml`, and for colours `ofa_mbv3_cifar10.yaml`, whose smallest net is larger."""
    colour = channels > 1
    return OfaMbv3Config(
        name="ofa_mbv3_cifar10" if colour else "ofa_mbv3_32",
        resolution=(28, 32) if colour else (20, 32),
        widths=(16, 16, 24, 40, 64, 160, 160),
        strides=(1, 2, 2, 1),
        activations=("relu", "relu", "relu", "h_swish"),
        se=(False, False, True, True),
        depths=(2, 3) if colour else (1, 2, 3),
        expand_ratios=(3, 4, 6) if colour else (2, 3, 4),
        in_channels=0,
        classes=0,
    )
