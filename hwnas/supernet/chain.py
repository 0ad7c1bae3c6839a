"""Operators one after the other as a plain network: what is measured of kinds that only exporters can write."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import nn

from hwnas.operators import Operator
from hwnas.supernet.initialise import initialise
from hwnas.supernet.layers.kinds import static_layer

__all__ = ["chain_of"]


def chain_of(operators: Sequence[Operator], generator: torch.Generator) -> nn.Sequential:
    """The layers of `operators` with fresh weights, in evaluation mode. Takes what the first takes, as an image."""
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    for number, operator in enumerate(operators):
        if operator.takes_flat:
            modules[f"flatten{number}"] = nn.Flatten()
        modules[f"operator{number}"] = static_layer(operator)
    network = nn.Sequential(modules)
    initialise(network, generator)
    return network.eval()
