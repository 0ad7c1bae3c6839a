"""The networks designed by hand, against torchvision's."""

from __future__ import annotations

import pytest
from torch import nn
from torchvision_operators import declare_torchvision_operators

from hwnas.cli.compose import compose_config
from hwnas.cli.config import register_schemas, to_pipeline_config
from hwnas.operators import MBConv
from hwnas.pipeline.space import given_arch, resolve_space
from hwnas.spaces import Genotypes, Space
from hwnas.supernet.build import build_subnet

MACS = {"large": 219e6, "small": 56e6}
"""As published (Howard et al., 2019, table 3)."""


def peer(size: str, *overrides: str) -> tuple[Space, Genotypes]:
    register_schemas()
    settings = (f"experiment=mobilenet_v3_{size}", *overrides)
    config = to_pipeline_config(compose_config("train", settings))
    space = resolve_space(config)
    return space, space.genotype(given_arch(config.arch))


@pytest.mark.parametrize("size", ["large", "small"])
def test_every_layer_is_torchvisions(size: str) -> None:
    declare_torchvision_operators()
    models = pytest.importorskip("torchvision.models", reason="install hwnas[test]")
    space, genotype = peer(size, f"space=mobilenet_v3_{size}", "space.classes=1000", "space.in_channels=3")
    ours = build_subnet(space, genotype)
    theirs = getattr(models, f"mobilenet_v3_{size}")()
    found, expected = _layers(ours), _layers(theirs)
    # After the pooling: a 1×1 convolution here, a fully connected layer with bias there.
    assert found[:-2] == expected[:-2]
    assert [layer[0] for layer in found[-2:]] == [layer[0] for layer in expected[-2:]]
    assert abs(space.macs(genotype[None])[0] / MACS[size] - 1) < 0.02
    activations = [type(module) for module in ours.modules() if isinstance(module, (nn.ReLU, nn.Hardswish))]
    assert activations.count(nn.Hardswish) == sum(isinstance(module, nn.Hardswish) for module in theirs.modules())


def _layers(network: nn.Module) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Shape of the weights (in and out alone where 1×1), and stride, in order."""
    layers = [module for module in network.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    shapes = [tuple(layer.weight.shape) for layer in layers]
    shapes = [shape[:2] if shape[2:] in ((), (1, 1)) and shape[1] > 1 else shape for shape in shapes]
    return [(shape, getattr(layer, "stride", (1, 1))) for shape, layer in zip(shapes, layers, strict=True)]


@pytest.mark.parametrize(("size", "left"), [("large", 4), ("small", 4)])
def test_small_images_end_as_those_of_the_searched_nets(size: str, left: int) -> None:
    space, genotype = peer(size, "data=fashion_mnist")
    final = space.named_operators(genotype)["final_expand"]
    assert (final.in_height, space.resolutions, space.in_channels, space.classes) == (left, (32,), 1, 10)


def test_widths_scale_to_multiples_of_eight() -> None:
    space, genotype = peer("small", "space.width_mult=0.5", "data=fashion_mnist")
    widths = {operator.out_channels for operator in space.operators_of(genotype)[:-1]}
    assert widths == {8, 16, 24, 48, 288, 512}
    assert all(one.mid_channels % 8 == 0 for one in space.operators_of(genotype) if isinstance(one, MBConv))
