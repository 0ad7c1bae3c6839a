"""What elastic layers have in common: one set of weights, of which a call uses the part that an operator needs.

Shapes: B images, C channels, H × W pixels. The operator is an argument of each call; no layer remembers it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, Generic, TypeVar

from torch import Tensor, nn

from hwnas.operators import Operator
from hwnas.supernet.layers.blocks import ConvBlock, Startable

__all__ = ["ElasticLayer", "SharedLayer", "largest"]

O = TypeVar("O", bound=Operator)  # noqa: E741 (an operator)


class ElasticLayer(nn.Module, Generic[O]):
    """What stands in a place where one of several operators may be chosen."""

    @abstractmethod
    def forward(self, x: Tensor, operator: O) -> Tensor:
        """`[B, C, H, W]` through the weights that `operator` needs."""

    @abstractmethod
    def state_of(self, operator: O) -> Mapping[str, Tensor]:
        """The weights of `operator` by their names in its static layer: the leading part of each of these."""

    @property
    def consumers(self) -> list[nn.Conv2d | nn.Linear] | None:
        """What reads the layer's input channels: axis 1 of the weights. None: these stay in their order."""
        return None

    @property
    def producers(self) -> Sequence[ConvBlock | nn.BatchNorm2d] | None:
        """What writes the layer's output channels: axis 0 of the weights, and BatchNorm. None: these stay."""
        return None

    @property
    def carriers(self) -> list[ConvBlock]:
        """Depthwise blocks that pass the layer's input channels on, one by one, before anything reads them together."""
        return []

    def sort_inside(self, used: Sequence[O]) -> None:
        """Sort inner channels by importance, where fewer than all may be used. None crosses a width of `used`."""


class SharedLayer(ElasticLayer[O]):
    """One whose operators share weights: `full` is the static layer of the largest, `operator`.

    An operator's weights are the leading part of each of its tensors, but for what `weights_of` says otherwise.
    """

    full: nn.Module

    def __init__(self, operators: Sequence[O], static: Any) -> None:
        super().__init__()
        self.operator = largest(operators)
        self.full = static(self.operator)

    def weights_of(self, operator: O) -> dict[str, Tensor]:  # noqa: ARG002
        """Weights of `operator` that are not the leading part of this layer's, by their name in the static layer."""
        return {}

    def adapt(self, given: dict[str, Tensor], is_sorted: bool) -> dict[tuple[int, int], Tensor]:
        """See `Startable.adapt`."""
        return self.full.adapt(given, is_sorted) if isinstance(self.full, Startable) else {}

    def state_of(self, operator: O) -> Mapping[str, Tensor]:
        return {**self.full.state_dict(), **self.weights_of(operator)}


def largest(operators: Sequence[O]) -> O:
    """An operator with the largest of each whole number in `operators`, else as the first."""
    numbers = [one.name for one in fields(operators[0]) if type(getattr(operators[0], one.name)) is int]
    return replace(operators[0], **{name: max(getattr(one, name) for one in operators) for name in numbers})
