"""One network behind a supernet's interface, so that what trains, evaluates or exports one takes the other."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor, nn

from hwnas.errors import ArchError
from hwnas.spaces import Genotypes, Space
from hwnas.supernet.fake_quantise import FakeQuantiser
from hwnas.supernet.subnet import Subnet
from hwnas.supernet.supernet import Supernet

__all__ = ["SingleNetwork", "TrainedNetwork"]


class SingleNetwork(nn.Module):
    """The plain network `network` of one genotype `[G]` of `space`.

    With `int8` its forward pass is that of its int8 file, in floating point; the weights stay float.
    """

    def __init__(self, space: Space, genotype: Genotypes, network: Subnet, int8: bool = False) -> None:
        super().__init__()
        self.space, self.genotype, self.network = space, genotype, network
        self.quantiser = FakeQuantiser(network) if int8 else None

    @property
    def dropout(self) -> nn.Dropout:
        """The one before the classifier."""
        found: nn.Dropout = self.network.get_submodule("dropout")  # type: ignore[assignment]
        return found

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def forward(self, x: Tensor, genotype: Genotypes) -> Tensor:  # noqa: ARG002 (as a supernet's)
        """Logits `[B, classes]` of images `[B, C, H, W]`; `genotype` is its own."""
        logits: Tensor = self.network(x) if self.quantiser is None else self.quantiser(self.network, x)
        return logits

    def extract(self, genotype: Genotypes) -> Subnet:
        """A copy of the network, in the same mode. Raises ArchError for another `genotype`, resolution apart."""
        own = np.array_equal(self.space.canonical(genotype[None])[0, :-1], self.genotype[:-1])
        if not own:
            raise ArchError(
                f"the checkpoint holds one network, {self.space.arch(self.genotype).to_dict()}, not the one asked for:"
                " give its own arch, or a supernet's checkpoint"
            )
        return copy.deepcopy(self.network)


TrainedNetwork = Supernet | SingleNetwork
"""What training trains."""
