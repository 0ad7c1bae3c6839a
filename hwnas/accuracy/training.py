"""Trains small fully connected networks, several at once. The only place of the predictors that imports torch.

Shapes: K networks, n rows, F features, O outputs, H units of a layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hwnas.accuracy.config import NetworkTrainingConfig
from hwnas.accuracy.encoding import Single
from hwnas.accuracy.network import Layer
from hwnas.errors import MissingExtraError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["initial_layers", "train_networks"]

_HUBER = 0.5


def initial_layers(
    inputs: int, hidden: Sequence[int], outputs: int, active: float, rng: np.random.Generator
) -> list[Layer]:
    """He's initialisation, the last layer small; `active` is the sum of an input's squares (its ones, if 0 or 1)."""
    widths = [inputs, *hidden, outputs]
    fans = [active, *hidden]
    layers = []
    for number, fan in enumerate(fans):
        shape = (widths[number + 1], widths[number])
        scale = np.sqrt(2 / fan) if number < len(hidden) else 0.1 / np.sqrt(fan)
        layers.append((rng.normal(0, scale, shape).astype(np.float32), np.zeros(shape[0], dtype=np.float32)))
    return layers


def train_networks(
    networks: Sequence[Sequence[Layer]],
    inputs: Single,
    targets: Single,
    rows: NDArray[np.int64],
    config: NetworkTrainingConfig,
    rng: np.random.Generator,
    *,
    frozen_share: float = 0.0,
) -> list[list[Layer]]:
    """Train each of K `networks` on its own `rows` `[K, m]` of `inputs` `[n, F]` and `targets` `[n, O]`.

    Huber loss. The first layer stays as it is for the first `frozen_share` of the epochs. Raises MissingExtraError
    without torch.
    """
    try:
        import torch
        from torch.nn.functional import huber_loss
    except ImportError as error:
        raise MissingExtraError("torch", "train", "fitting an accuracy network") from error
    parameters: list[Tensor] = []
    for layer in zip(*networks, strict=True):
        parameters.append(torch.tensor(np.stack([weight.T for weight, _ in layer]), requires_grad=True))
        parameters.append(torch.tensor(np.stack([bias[None] for _, bias in layer]), requires_grad=True))
    optimiser = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay, foreach=True)
    features, labels = torch.from_numpy(inputs), torch.from_numpy(targets)
    count = rows.shape[1]
    batches = -(-count // config.batch)
    steps = config.epochs * batches
    for epoch in range(config.epochs):
        order = torch.from_numpy(rng.permuted(rows, axis=1))
        for number in range(batches):
            chosen = order[:, number * count // batches : (number + 1) * count // batches]
            units = features[chosen]
            for weight, bias in zip(parameters[:-2:2], parameters[1:-2:2], strict=True):
                units = torch.relu(torch.baddbmm(bias, units, weight))
            found = torch.baddbmm(parameters[-1], units, parameters[-2])
            loss = huber_loss(found, labels[chosen], delta=_HUBER, reduction="none").mean(dim=(1, 2)).sum()
            optimiser.zero_grad()
            loss.backward()
            if epoch < frozen_share * config.epochs:
                parameters[0].grad = parameters[1].grad = None
            rate = config.learning_rate * (1 + np.cos(np.pi * (epoch * batches + number) / steps)) / 2
            optimiser.param_groups[0]["lr"] = float(rate)
            optimiser.step()
    arrays = [parameter.detach().numpy() for parameter in parameters]
    return [
        [(np.ascontiguousarray(w[k].T), b[k, 0].copy()) for w, b in zip(arrays[::2], arrays[1::2], strict=True)]
        for k in range(len(networks))
    ]
