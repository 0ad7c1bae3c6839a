"""Networks run step by step, and as plain modules.

Shapes: B images, C channels, H × W pixels.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from hwnas.operators import Operator
from hwnas.operators.wiring import IMAGE, Network, Step
from hwnas.supernet.initialise import initialise
from hwnas.supernet.layers.kinds import static_layer

__all__ = ["OperatorNetwork", "network_with_weights", "run"]


def run(network: Network, x: Tensor, call: Callable[[Step, Tensor], Tensor]) -> Tensor:
    """What the last step gives for `x` `[B, C, H, W]`; `call` runs the operator of a step. Values go once read."""
    values = {IMAGE: x}
    for number, (step, done) in enumerate(zip(network.steps, network.last_reads, strict=True)):
        read = [values[one] for one in step.reads]
        for one in done:
            del values[one]
        joined = torch.cat(read, dim=1) if step.join == "concat" else sum(read[1:], read[0])
        del read
        values[number] = joined if step.operator is None else call(step, joined)
    return values[len(network.steps) - 1]


class OperatorNetwork(nn.Sequential):
    """The layers of `network`, named by its steps, `dropout` before the first that takes no pixels.

    Takes images `[B, C, H, W]`, normalised. Weights are as the layers' constructors leave them.
    """

    def __init__(self, network: Network, dropout: float = 0.0) -> None:
        modules: OrderedDict[str, nn.Module] = OrderedDict()
        flat = ""
        for step in network.steps:
            if step.operator is None:
                continue
            if step.operator.takes_flat and not flat:
                flat = step.name
                modules["flatten"], modules["dropout"] = nn.Flatten(), nn.Dropout(dropout)
            modules[step.name] = static_layer(step.operator)
        super().__init__(modules)
        self._wired, self._flat = None if network.is_chain else network, flat

    def forward(self, x: Tensor) -> Tensor:
        """Logits `[B, classes]`, or what the last step gives."""
        if self._wired is not None:
            return run(self._wired, x, self._call)
        result: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        return result

    def _call(self, step: Step, x: Tensor) -> Tensor:
        if step.name == self._flat:
            x = self.get_submodule("dropout")(self.get_submodule("flatten")(x))
        result: Tensor = self.get_submodule(step.name)(x)
        return result


def network_with_weights(operators: Sequence[Operator], generator: torch.Generator) -> OperatorNetwork:
    """`operators`, a network or a chain, with fresh weights, in evaluation mode: what is measured of kinds that only
    exporters can write. Takes what the first takes, as an image.
    """
    network = OperatorNetwork(Network.chain(operators))
    initialise(network, generator)
    return network.eval()
