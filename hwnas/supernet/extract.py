"""A subnet's weights taken out of a supernet into a plain network."""

from __future__ import annotations

import torch

from hwnas.spaces import Genotypes
from hwnas.supernet.layers.elastic import ElasticLayer
from hwnas.supernet.single import SingleNetwork, TrainedNetwork
from hwnas.supernet.subnet import Subnet

__all__ = ["extract"]


@torch.no_grad()
def extract(supernet: TrainedNetwork, genotype: Genotypes) -> Subnet:
    """The subnet `genotype` `[G]` as a module of its own, with copied weights and equal logits, in the same mode.

    Its BatchNorm statistics are the supernet's, which are a mixture over subnets: calibrate them before use.
    Raises ArchError where the genotype is not of the supernet's space.
    """
    if isinstance(supernet, SingleNetwork):
        return supernet.extract(genotype)
    space = supernet.space
    with torch.device("meta"):  # nothing is drawn for weights that are about to be replaced
        subnet = Subnet(space, genotype, supernet.dropout.p)
    subnet.to_empty(device=supernet.device)
    for name, operator in space.named_operators(genotype).items():
        layer = supernet.layers[name]
        weights = layer.state_of(operator) if isinstance(layer, ElasticLayer) else layer.state_dict()
        for key, target in subnet.get_submodule(name).state_dict().items():
            target.copy_(weights[key][tuple(slice(size) for size in target.shape)])
    return subnet.train(supernet.training)
