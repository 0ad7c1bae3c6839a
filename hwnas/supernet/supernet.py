"""The once-for-all supernet: every subnet of a space in one set of weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hwnas.operators import Operator
from hwnas.operators.wiring import Step
from hwnas.spaces import Genotypes, Slot, Space
from hwnas.supernet.layers.blocks import set_norm_eps
from hwnas.supernet.layers.elastic import ElasticLayer
from hwnas.supernet.layers.kinds import layer_of
from hwnas.supernet.wired import run

__all__ = ["Supernet", "slot_operators"]


class Supernet(nn.Module):
    """The network of any space: one layer a slot, elastic where the slot may hold operators of several shapes.

    `layers` has them by the slots' names. Weights are as the layers' constructors leave them: see `build_supernet`.
    """

    def __init__(self, space: Space, dropout: float = 0.0) -> None:
        super().__init__()
        self.space = space
        held = {slot.name: slot_operators(space, slot) for slot in space.slots}
        self.layers = nn.ModuleDict({name: layer_of(operators) for name, operators in held.items() if operators})
        self.dropout = nn.Dropout(dropout)
        set_norm_eps(self, space.norm_eps)

    def forward(self, x: Tensor, genotype: Genotypes) -> Tensor:
        """Logits `[B, classes]` of the subnet `genotype` `[G]`.

        `x` `[B, C, H, W]` is normalised and of any size: the genotype's resolution gene has no effect in here.
        """
        return run(self.space.network_of(genotype), x, self._call)

    def _call(self, step: Step, x: Tensor) -> Tensor:
        layer, operator = self.layers[step.name], step.operator
        if operator is not None and operator.takes_flat:
            x = self.dropout(x.flatten(1))
        result: Tensor = layer(x, operator) if isinstance(layer, ElasticLayer) else layer(x)
        return result

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def elastic_layers(self) -> dict[str, ElasticLayer[Any]]:
        """Those of `layers` that are elastic, by slot."""
        return {name: layer for name, layer in self.layers.items() if isinstance(layer, ElasticLayer)}


def slot_operators(space: Space, slot: Slot, mask: Sequence[NDArray[np.int64]] | None = None) -> list[Operator]:
    """The operators that may stand in `slot`, those that differ only in the size of their input counted as one.

    With `mask`, only those of some choices: one array of choice indices for each of the slot's genes.
    """
    ids = slot.operator_ids if mask is None else slot.operator_ids[np.ix_(*mask)]
    operators = [space.operators[position] for position in np.unique(ids) if position >= 0]
    return list(dict.fromkeys(replace(operator, in_height=1, in_width=1) for operator in operators))
