"""Peak activation memory, counted from operators, against the shapes that run through built networks."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hwnas.spaces import Genotypes, OfaMbv3Config, OfaProxylessConfig, OfaResNet50Config, Space, SpaceConfig, make_space
from hwnas.supernet.build import build_subnet
from hwnas.supernet.layers.bottleneck import BottleneckBlock, PooledProjection
from hwnas.supernet.layers.mbconv import InvertedResidual

LAYERS = (nn.Conv2d, nn.MaxPool2d, nn.AdaptiveAvgPool2d, nn.Linear)


def most_held(space: Space, genotype: Genotypes) -> int:
    """The most numbers that a layer reads and writes, with what its block still needs, of all layers that run."""
    network = build_subnet(space, genotype).eval()
    held: list[int] = []

    def ran(kept: list[int], _: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        held.append(inputs[0].numel() + output.numel() + sum(kept))

    for block in network.children():
        kept: list[int] = []  # sizes of what waits for the block's end, as far as no layer reads or writes it
        named = dict(block.named_modules())
        layers = [part for name, part in named.items() if isinstance(part, LAYERS) and not name.startswith("se.")]
        if isinstance(block, BottleneckBlock) and not block.residual:
            shortcut: PooledProjection = block.downsample
            block.register_forward_pre_hook(lambda _, inputs, kept=kept: kept.append(inputs[0].numel()))
            shortcut.register_forward_hook(lambda _, __, output, kept=kept: kept.__setitem__(0, output.numel()))
            strided = hasattr(shortcut, "pool")
            shortcut.project.conv.register_forward_hook(partial(ran, kept if strided else []))
            layers.remove(shortcut.project.conv)
        elif isinstance(block, (InvertedResidual, BottleneckBlock)) and block.residual:
            first = layers.pop(0)
            first.register_forward_hook(partial(ran, []))
            first.register_forward_hook(lambda _, inputs, __, kept=kept: kept.append(inputs[0].numel()))
        for layer in layers:
            layer.register_forward_hook(partial(ran, kept))
    resolution = space.resolutions[int(genotype[-1])]
    with torch.no_grad():
        network(torch.zeros(1, space.in_channels, resolution, resolution))
    return max(held)


@pytest.mark.parametrize("config", [OfaMbv3Config(), OfaProxylessConfig(), OfaResNet50Config()], ids=lambda c: c.name)
def test_peak_of_built_networks(config: SpaceConfig) -> None:
    space = make_space(config)
    ends = np.stack([space.extreme(True), space.extreme(False)])
    rows = np.concatenate([ends, space.sample(4, np.random.default_rng(0))])
    expected = [4 * most_held(space, row) for row in rows]
    assert space.peak_activation_bytes(rows).tolist() == expected
    assert space.peak_activation_bytes(rows, bytes_per_value=1).tolist() == [value // 4 for value in expected]
    assert len(set(expected)) > 1
