"""Networks of cells against their definitions, computed here from the same weights; and extracted."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hwnas.spaces import DartsConfig, NasBench201Config, Space, make_space
from hwnas.supernet.build import build_subnet, build_supernet
from hwnas.supernet.extract import extract
from hwnas.supernet.layers.elastic import ElasticLayer
from hwnas.supernet.reorder import reorder_channels

CELLS = NasBench201Config(resolution=(16, 24), widths=(4, 8), cells=2, classes=5)
DARTS = DartsConfig(resolution=(16, 24), width=4, cells=4, classes=5)
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def seeded(network: nn.Module) -> nn.Module:
    """With statistics and scales that are no identity."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.weight.data, module.bias.data, module.running_mean):
                assert values is not None
                values.copy_(torch.randn(values.shape, generator=generator) * 0.2 + 0.5)
    return network.eval()


def images(size: int = 16) -> Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("config", [CELLS, DARTS], ids=lambda config: config.name)
def test_extracted_networks_compute_what_the_supernet_computes(config: NasBench201Config | DartsConfig) -> None:
    space: Space = make_space(config)
    supernet = build_supernet(space, generator=torch.Generator().manual_seed(0))
    seeded(supernet)
    rows = [space.extreme(True), space.extreme(False), *space.sample(12, np.random.default_rng(0))]
    before = [supernet(images(), row) for row in rows]
    for row, expected in zip(rows, before, strict=True):
        subnet = extract(supernet, row)
        torch.testing.assert_close(subnet(images()), expected, **CLOSE)  # type: ignore[arg-type]
        assert sum(one.numel() for one in subnet.parameters()) == space.parameters(row[None])[0]
    assert len({tuple(values.flatten().tolist()) for values in before}) == len({tuple(row[:-1]) for row in rows})
    reorder_channels(supernet, {})
    for row, expected in zip(rows, before, strict=True):
        torch.testing.assert_close(supernet(images(), row), expected, **CLOSE)  # type: ignore[arg-type]


def test_every_operator_learns() -> None:
    space = make_space(CELLS)
    supernet = build_supernet(space, generator=torch.Generator().manual_seed(0)).train()
    for row in space.sample(40, np.random.default_rng(0)):
        supernet(images(), row).square().mean().backward()
    assert all(parameter.grad is not None for parameter in supernet.parameters())


def norm(x: Tensor, of: nn.BatchNorm2d) -> Tensor:
    return F.batch_norm(x, of.running_mean, of.running_var, of.weight, of.bias, eps=of.eps)


def parts(layer: nn.Module) -> tuple[Iterator[nn.Conv2d], Iterator[nn.BatchNorm2d]]:
    """A layer's convolutions and norms, in their order."""
    modules = list(layer.modules())
    return iter([m for m in modules if isinstance(m, nn.Conv2d)]), iter(
        [m for m in modules if isinstance(m, nn.BatchNorm2d)]
    )


def relu_conv_norm(layer: nn.Module, x: Tensor, stride: int = 1) -> Tensor:
    convs, norms = parts(layer)
    weight = next(convs).weight
    return norm(F.conv2d(F.relu(x), weight, stride=stride, padding=weight.shape[-1] // 2), next(norms))


def test_nas_bench_201s_networks_are_as_published() -> None:
    space = make_space(CELLS)
    for row in space.sample(30, np.random.default_rng(2)):
        network = build_subnet(space, row, generator=torch.Generator().manual_seed(0))
        seeded(network)
        layers = dict(network.named_children())
        stem = layers["stem"]
        convs, norms = parts(stem)
        x = norm(F.conv2d(images(), next(convs).weight, padding=1), next(norms))
        names = re.findall(r"(\w+)~", space.arch(row).values["cell"])
        for stage in range(2):
            if stage:
                inner = relu_conv_norm(layers["reduce1b"], relu_conv_norm(layers["reduce1a"], x, stride=2))
                [point] = [m for m in layers["reduce1point"].modules() if isinstance(m, nn.Conv2d)]
                x = inner + F.conv2d(F.avg_pool2d(x, 2, 2), point.weight)
            for cell in range(2):
                nodes: list[Tensor | None] = [x]
                edge = 0
                for target in range(1, 4):
                    total: Tensor | None = None
                    for source in range(target):
                        given, name = nodes[source], names[edge]
                        layer = layers.get(f"stage{stage}cell{cell}edge{edge}")
                        edge += 1
                        if given is None or name == "none":
                            continue
                        if name == "skip_connect":
                            result = given
                        elif name == "avg_pool_3x3":
                            result = F.avg_pool2d(given, 3, 1, 1, count_include_pad=False)
                        else:
                            assert layer is not None
                            result = relu_conv_norm(layer, given)
                        total = result if total is None else total + result
                    nodes.append(total)
                x = x if nodes[3] is None else nodes[3]
        [last] = [m for m in layers["norm"].modules() if isinstance(m, nn.BatchNorm2d)]
        pooled = F.relu(norm(x, last)).mean((2, 3))
        [linear] = [m for m in layers["classifier"].modules() if isinstance(m, nn.Linear)]
        torch.testing.assert_close(network(images()), F.linear(pooled, linear.weight, linear.bias), **CLOSE)  # type: ignore[arg-type]


def darts_edge(name: str, layer: nn.Module, x: Tensor, stride: int) -> Tensor:
    convs, norms = parts(layer)
    if name == "skip_connect":
        return reduced(layer, x) if stride == 2 else x
    if name == "max_pool_3x3":
        return F.max_pool2d(x, 3, stride, 1)
    if name == "avg_pool_3x3":
        return F.avg_pool2d(x, 3, stride, 1, count_include_pad=False)
    kernel, dilation = int(name[-1]), 2 if name.startswith("dil") else 1
    for repeat in range(1 if dilation == 2 else 2):
        deep, point, channels = next(convs).weight, next(convs).weight, x.shape[1]
        padding = dilation * (kernel // 2)
        x = F.conv2d(F.relu(x), deep, None, stride if repeat == 0 else 1, padding, dilation, channels)
        x = norm(F.conv2d(x, point), next(norms))
    return x


def reduced(layer: nn.Module, x: Tensor) -> Tensor:
    convs, norms = parts(layer)
    x = F.relu(x)
    halves = F.conv2d(x, next(convs).weight, stride=2), F.conv2d(x[:, :, 1:, 1:], next(convs).weight, stride=2)
    return norm(torch.cat(halves, dim=1), next(norms))


def test_darts_networks_are_as_published() -> None:
    space = make_space(DARTS)
    for row in space.sample(20, np.random.default_rng(3)):
        network = build_subnet(space, row, generator=torch.Generator().manual_seed(0))
        seeded(network)
        layers, arch = dict(network.named_children()), space.arch(row).values
        convs, norms = parts(layers["stem"])
        s0 = s1 = norm(F.conv2d(images(), next(convs).weight, padding=1), next(norms))
        for cell in range(4):
            reduces = cell in (1, 2)  # a third, and two thirds of four
            first = reduced if s0.shape[-1] != s1.shape[-1] else relu_conv_norm
            states = [first(layers[f"cell{cell}input0"], s0), relu_conv_norm(layers[f"cell{cell}input1"], s1)]
            edges = arch["reduce" if reduces else "normal"]
            for node in range(4):
                total = torch.zeros(())
                for name, source in edges[2 * node : 2 * node + 2]:
                    layer = layers[f"cell{cell}edge{source}_{node + 2}"]
                    total = total + darts_edge(name, layer, states[source], 2 if reduces and source < 2 else 1)
                states.append(total)
            s0, s1 = s1, torch.cat(states[2:], dim=1)
        [linear] = [m for m in layers["classifier"].modules() if isinstance(m, nn.Linear)]
        expected = F.linear(s1.mean((2, 3)), linear.weight, linear.bias)
        torch.testing.assert_close(network(images()), expected, **CLOSE)  # type: ignore[arg-type]


def test_edges_have_weights_of_their_own() -> None:
    supernet = build_supernet(make_space(CELLS))
    layer = supernet.layers["stage0cell0edge0"]
    assert isinstance(layer, ElasticLayer)
    assert sum(one.numel() for one in layer.parameters()) == (4 * 4 + 2 * 4) + (9 * 4 * 4 + 2 * 4)
