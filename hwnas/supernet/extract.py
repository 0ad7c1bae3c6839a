"""A subnet's weights taken out of a supernet into a plain network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hwnas.spaces import Genotypes
from hwnas.supernet.elastic import ElasticInvertedResidual
from hwnas.supernet.layers import ConvBlock, InvertedResidual
from hwnas.supernet.subnet import Subnet
from hwnas.supernet.supernet import Supernet

__all__ = ["extract"]


@torch.no_grad()
def extract(supernet: Supernet, genotype: Genotypes) -> Subnet:
    """The subnet `genotype` `[G]` as a module of its own, with copied weights and equal logits, in the same mode.

    Its BatchNorm statistics are the supernet's, which are a mixture over subnets: calibrate them before use.
    Raises ArchError where the genotype is not of the supernet's space.
    """
    space = supernet.space
    operators = space.operators_of(space.check(genotype[None])[0])
    with torch.device("meta"):  # nothing is drawn for weights that are about to be replaced
        subnet = Subnet(operators, supernet.dropout.p)
    device = supernet.classifier.weight.device
    subnet.to_empty(device=device)
    for name in ("stem", "final_expand", "feature_mix", "classifier"):
        getattr(subnet, name).load_state_dict(getattr(supernet, name).state_dict())
    first_block, *blocks = subnet.blocks
    first_block.load_state_dict(supernet.first_block.state_dict())
    for target, (source, kernel, expand) in zip(blocks, supernet.kept_blocks(genotype), strict=True):
        _copy_block(target, source, kernel, source.mid_channels[expand])
    return subnet.train(supernet.training)


def _copy_block(target: nn.Module, source: ElasticInvertedResidual, kernel: int, mid: int) -> None:
    if not isinstance(target, InvertedResidual):
        raise TypeError(f"expected an InvertedResidual, got {type(target).__name__}")
    _copy_conv_block(target.expansion, source.expansion, source.expansion.conv.weight[:mid])
    _copy_conv_block(target.depthwise, source.depthwise, source.filters(kernel, mid))
    _copy_conv_block(target.projection, source.projection, source.projection.conv.weight[:, :mid])
    if source.se is not None:
        for name in ("reduce", "expand"):
            conv, full = getattr(target.se, name), getattr(source.se, name)
            outputs, inputs = conv.weight.shape[:2]
            conv.weight.copy_(full.weight[:outputs, :inputs])
            conv.bias.copy_(full.bias[:outputs])


def _copy_conv_block(target: ConvBlock, source: ConvBlock, weight: Tensor) -> None:
    target.conv.weight.copy_(weight)
    state = source.norm.state_dict()
    target.norm.load_state_dict({name: v[: weight.shape[0]] if v.ndim else v for name, v in state.items()})
