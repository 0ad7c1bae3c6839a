"""The once-for-all MobileNetV3 space. The published one is the default; small ones differ only in their config."""

from __future__ import annotations

from dataclasses import dataclass

from hwnas.operators import Conv, GlobalPool, Linear, Operator
from hwnas.spaces.mobile import MobileConfig, MobileSpace

__all__ = ["OfaMbv3Config", "OfaMbv3Space"]


@dataclass(frozen=True)
class OfaMbv3Config(MobileConfig):
    """See `MobileConfig`. The last two `widths` are of the 1×1 convolutions before and after pooling. `activations`
    and `se` (squeeze-and-excitation): first block, then each stage.
    """

    family = "ofa_mbv3"
    head_widths = 2
    stem_activation = "h_swish"

    name: str = "ofa_mbv3"
    width_mult: float = 1.0
    resolution: tuple[int, ...] = (160, 176, 192, 208, 224)
    widths: tuple[int, ...] = (16, 16, 24, 40, 80, 112, 160, 960, 1280)
    strides: tuple[int, ...] = (1, 2, 2, 2, 1, 2)
    activations: tuple[str, ...] = ("relu", "relu", "relu", "h_swish", "h_swish", "h_swish")
    se: tuple[bool, ...] = (False, False, True, False, True, True)

    def __post_init__(self) -> None:
        self.check_lengths(activations=len(self.strides), se=len(self.strides))
        super().__post_init__()

    @property
    def stage_styles(self) -> tuple[tuple[str, bool], ...]:
        return tuple(zip(self.activations, self.se, strict=True))

    def space(self) -> OfaMbv3Space:
        return OfaMbv3Space(self)


class OfaMbv3Space(MobileSpace):
    """Elastic MobileNetV3: see `MobileSpace`."""

    settings: OfaMbv3Config

    def head(self, size: int, in_width: int) -> list[tuple[str, Operator]]:
        *_, expand_width, mix_width = self.settings.scaled_widths
        return [
            ("final_expand", Conv(size, size, in_width, expand_width, activation="h_swish")),
            ("pool", GlobalPool(size, size, expand_width, expand_width)),
            ("feature_mix", Conv(1, 1, expand_width, mix_width, activation="h_swish", norm=False)),
            ("classifier", Linear(1, 1, mix_width, self.classes)),
        ]
