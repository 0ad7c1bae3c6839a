"""The once-for-all ProxylessNAS space: inverted residual blocks with ReLU6 and without squeeze-and-excitation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hwnas.operators import Conv, GlobalPool, Linear, Operator
from hwnas.spaces.mobile import MobileConfig, MobileSpace

__all__ = ["OfaProxylessConfig", "OfaProxylessSpace"]


@dataclass(frozen=True)
class OfaProxylessConfig(MobileConfig):
    """See `MobileConfig`. The last stage always has one block. The last of `widths` is the 1×1 convolution's before
    pooling.
    """

    family = "ofa_proxyless"
    head_widths = 1
    stem_activation = "relu6"

    name: str = "ofa_proxyless"
    width_mult: float = 1.3
    resolution: tuple[int, ...] = (160, 176, 192, 208, 224)
    widths: tuple[int, ...] = (32, 16, 24, 40, 80, 96, 192, 320, 1280)
    strides: tuple[int, ...] = (1, 2, 2, 2, 1, 2, 1)

    @property
    def stage_styles(self) -> tuple[tuple[str, bool], ...]:
        return (("relu6", False),) * len(self.strides)

    @property
    def stage_depths(self) -> tuple[tuple[int, ...], ...]:
        return (*super().stage_depths, (1,))

    @property
    def elastic_stages(self) -> int:
        return len(self.strides) - 2

    def space(self) -> OfaProxylessSpace:
        return OfaProxylessSpace(self)


class OfaProxylessSpace(MobileSpace):
    """Elastic ProxylessNAS: see `MobileSpace`. An arch's `d` has the last stage's 1 too, as published."""

    settings: OfaProxylessConfig
    norm_eps = 1e-3

    def head(self, size: int, in_width: int) -> list[tuple[str, Operator]]:
        mix_width = self.settings.scaled_widths[-1]
        return [
            ("feature_mix", Conv(size, size, in_width, mix_width, activation="relu6")),
            ("pool", GlobalPool(size, size, mix_width, mix_width)),
            ("classifier", Linear(1, 1, mix_width, self.classes)),
        ]

    def to_published(self, values: dict[str, Any]) -> dict[str, Any]:
        return {**values, "d": [*values["d"], 1]}

    def from_published(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        depths = values.get("d")
        if isinstance(depths, (list, tuple)) and len(depths) == len(self.settings.stage_depths):
            return {**values, "d": depths[:-1]}  # the published code takes any number for the last stage
        return values
