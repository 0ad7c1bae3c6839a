"""A place whose choices do not share weights.

Shapes: B images, C channels, H × W pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from torch import Tensor, nn

from hwnas.operators import Operator
from hwnas.supernet.layers.elastic import ElasticLayer

__all__ = ["Choices"]


class Choices(ElasticLayer[Operator]):
    """A layer for each group of operators: `layers`, in the order of the groups."""

    def __init__(self, groups: Iterable[tuple[Sequence[Operator], nn.Module]]) -> None:
        super().__init__()
        groups = list(groups)
        self.layers = nn.ModuleList(layer for _, layer in groups)
        self._place = {operator: place for place, (own, _) in enumerate(groups) for operator in own}

    def forward(self, x: Tensor, operator: Operator) -> Tensor:
        layer = self._layer(operator)
        result: Tensor = layer(x, operator) if isinstance(layer, ElasticLayer) else layer(x)
        return result

    def state_of(self, operator: Operator) -> Mapping[str, Tensor]:
        layer = self._layer(operator)
        return layer.state_of(operator) if isinstance(layer, ElasticLayer) else layer.state_dict()

    def sort_inside(self, used: Sequence[Operator]) -> None:
        for layer in self.layers:
            if isinstance(layer, ElasticLayer):
                layer.sort_inside([operator for operator in used if self._layer(operator) is layer])

    def _layer(self, operator: Operator) -> nn.Module:
        return self.layers[self._place[replace(operator, in_height=1, in_width=1)]]
