"""Batch norm that no convolution comes before."""

from __future__ import annotations

from typing import ClassVar

from hwnas.operators.operator import Operator, check_activation
from hwnas.operators.registry import operator_kind

__all__ = ["NormAct"]


@operator_kind("norm_act")
class NormAct(Operator):
    """Batch norm and an activation, as at the end of networks whose last addition has none behind it."""

    keeps_channels: ClassVar[bool] = True
    activation: str = "relu"
    macs = 0

    def __post_init__(self) -> None:
        check_activation(self, self.activation)

    @property
    def out_height(self) -> int:
        return self.in_height

    @property
    def out_width(self) -> int:
        return self.in_width

    @property
    def parameters(self) -> int:
        return 2 * self.out_channels

    @property
    def norm_channels(self) -> int:
        return self.out_channels

    @property
    def peak_activations(self) -> int:
        return self.in_height * self.in_width * self.in_channels
