"""HELP's network and its training, written out a second time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hwnas.errors import ConfigError
from hwnas.latency.help.network import (
    LATENTS,
    REFERENCES,
    Encoding,
    Parameters,
    encoding_of,
    initial_parameters,
    modulated,
    modulation,
    predict,
)
from hwnas.latency.help.training import HelpConfig, adapted, adapted_samples, meta_train
from hwnas.progress import no_progress
from hwnas.spaces.categorical import CategoricalSpace
from hwnas.spaces.nasbench201 import NasBench201Space

CELLS = NasBench201Space()
PLAIN = CategoricalSpace("plain", {"a": ["x", "y"], "b": ["1", "2", "3"]})


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_cell_is_a_graph_of_its_edges() -> None:
    """Nodes: input 0, edges 1 to 6 (0→1, 0→2, 1→2, 0→3, 1→3, 2→3), output 7, and 8, which all write to."""
    encoding = encoding_of(CELLS)
    assert (encoding.graph, encoding.features) == (True, 8)
    full, lacking = encoding.encode(np.array([[1, 2, 3, 4, 1, 2], [1, 2, 0, 4, 1, 2]]))
    assert full.shape == (9, 9 + 8)
    reads = {1: [0], 2: [0], 4: [0], 3: [1], 5: [1], 6: [2, 3], 7: [4, 5, 6], 8: list(range(8))}
    expected = np.eye(9)
    for node, sources in reads.items():
        expected[node, sources] = 1
    assert np.array_equal(full[:, :9], expected)
    # Operators none to pool are kinds 1 to 5; 0 is the input, 6 the output, 7 the global node.
    assert full[:, 9:].argmax(axis=1).tolist() == [0, 2, 3, 4, 5, 2, 3, 6, 7]
    assert np.array_equal(full[:, 9:].sum(axis=1), np.ones(9))
    # The third edge is none: it reads nothing and is read by none but the global node.
    expected[3, 1] = expected[6, 3] = 0
    assert np.array_equal(lacking[:, :9], expected)
    assert lacking[3, 9:].argmax() == 1


def test_other_spaces_are_encoded_one_hot() -> None:
    encoding = encoding_of(PLAIN)
    assert (encoding.graph, encoding.features) == (False, 5)
    assert encoding.encode(np.array([[1, 2]])).tolist() == [[0, 1, 0, 0, 1]]
    assert encoding.encode(np.array([[1, 2]])).dtype == np.float32


@pytest.mark.parametrize("space", [CELLS, PLAIN])
def test_parameters_begin_as_linear_layers_do(space: Any) -> None:
    encoding = encoding_of(space)
    made = initial_parameters(encoding, generator())
    first = {"arch.0": (100, encoding.features)}
    layers = {**first, **{f"arch.{i}": (100, 100) for i in range(1, 4 if encoding.graph else 2)}}
    layers |= {"device.0": (100, 10), "device.1": (100, 100), "z.0": (10, 10), "z.1": (2 * 603, 10)}
    layers |= {"joint.0": (200, 200), "joint.1": (200, 200), "joint.2": (1, 200)}
    assert LATENTS == 3 * 201
    assert REFERENCES == 10
    assert {name: tuple(value.shape) for name, value in made.items() if "weight" in name} == {
        f"{name}.weight": shape for name, shape in layers.items()
    }
    for name, (_, width) in layers.items():
        for kind in ("weight", "bias"):
            small = encoding.graph and name.startswith("arch") and kind == "weight"
            bound = 0.05 if small else 1 / math.sqrt(width)
            values = made[f"{name}.{kind}"]
            assert values.abs().max() <= bound
            if values.numel() > 50:
                assert values.min() < -0.9 * bound
                assert values.max() > 0.9 * bound


def by_hand(parameters: Parameters, graph: bool, archs: Tensor, device: Tensor) -> Tensor:
    """Architecture by architecture, with vectors."""

    def linear(name: str, vector: Tensor) -> Tensor:
        return parameters[f"{name}.weight"] @ vector + parameters[f"{name}.bias"]

    described = linear("device.1", linear("device.0", device).relu()).relu()
    found = []
    for arch in archs:
        if graph:
            adjacency, nodes = arch[:, :9], arch[:, 9:]
            for layer in range(4):
                sent, bias = nodes @ parameters[f"arch.{layer}.weight"].T, parameters[f"arch.{layer}.bias"]
                nodes = torch.stack([
                    (sum(adjacency[to, source] * sent[source] for source in range(9)) + bias).relu()
                    for to in range(9)
                ])  # fmt: skip
            own = nodes[8]
        else:
            own = linear("arch.1", linear("arch.0", arch).relu()).relu()
        joint = torch.cat([own, described])
        found.append(linear("joint.2", linear("joint.1", linear("joint.0", joint).relu()).relu())[0])
    return torch.stack(found)


@pytest.mark.parametrize("space", [CELLS, PLAIN])
def test_predictions_are_those_of_the_layers_one_by_one(space: Any) -> None:
    encoding = encoding_of(space)
    parameters = initial_parameters(encoding, generator())
    archs = torch.tensor(encoding.encode(space.sample(5, np.random.default_rng(0))))
    device = torch.rand(10, generator=generator(1))
    found = predict(parameters, encoding.graph, archs, device)
    assert found.shape == (5,)
    torch.testing.assert_close(found, by_hand(parameters, encoding.graph, archs, device))


def test_z_scales_inputs_of_the_last_layers_and_shifts_them() -> None:
    encoding = encoding_of(PLAIN)
    parameters = initial_parameters(encoding, generator())
    mean, spread = modulation(parameters, device := torch.rand(10, generator=generator(1)))
    hidden = (parameters["z.0.weight"] @ device + parameters["z.0.bias"]).relu()
    both = parameters["z.1.weight"] @ hidden + parameters["z.1.bias"]
    torch.testing.assert_close(mean, both[:603])
    torch.testing.assert_close(spread, torch.log1p(torch.exp(both[603:])))
    z = torch.arange(603.0)
    changed = modulated(parameters, z)
    for layer in range(3):
        own = z[200 * layer : 200 * (layer + 1)]
        torch.testing.assert_close(
            changed[f"joint.{layer}.weight"], parameters[f"joint.{layer}.weight"] * (1 + 0.01 * own)
        )
        torch.testing.assert_close(
            changed[f"joint.{layer}.bias"], parameters[f"joint.{layer}.bias"] + 0.01 * (600.0 + layer)
        )
    assert changed["arch.0.weight"] is parameters["arch.0.weight"]


def stepped(
    parameters: Parameters, rates: Parameters, graph: bool, archs: Tensor, targets: Tensor, device: Tensor, z: Tensor,
    steps: int,
) -> Parameters:  # fmt: skip
    """Gradient steps by torch.autograd."""
    own = {name: value for name, value in modulated(parameters, z).items() if not name.startswith("z.")}
    for _ in range(steps):
        names = list(own)
        values = [own[name] if own[name].requires_grad else own[name].clone().requires_grad_() for name in names]
        own = dict(zip(names, values, strict=True))
        loss = ((by_hand(own, graph, archs, device) - targets) ** 2).mean()
        slopes = torch.autograd.grad(loss, values, create_graph=True)
        own = {name: own[name] - rates[name] * slope for name, slope in zip(names, slopes, strict=True)}
    return own


def task(space: Any, count: int) -> tuple[Encoding, Parameters, Parameters, Tensor, Tensor, Tensor]:
    encoding = encoding_of(space)
    parameters = initial_parameters(encoding, generator())
    rates = {
        name: torch.rand(value.shape, generator=generator(2)) * 0.1
        for name, value in parameters.items()
        if not name.startswith("z.")
    }
    archs = torch.tensor(encoding.encode(space.sample(count, np.random.default_rng(0))))
    return (
        encoding,
        parameters,
        rates,
        archs,
        torch.rand(count, generator=generator(3)),
        torch.rand(10, generator=generator(4)),
    )


def test_adapting_is_gradient_steps_with_a_rate_for_each_parameter() -> None:
    encoding, parameters, rates, archs, targets, device = task(PLAIN, 4)
    z = torch.randn(LATENTS, generator=generator(5))
    found = adapted(parameters, rates, encoding.graph, archs, targets, device, z, 2)
    expected = stepped(parameters, rates, encoding.graph, archs, targets, device, z, 2)
    assert found.keys() == rates.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value.detach(), rtol=1e-4, atol=1e-6)
    noise = torch.randn((2, LATENTS), generator=generator(6))
    mean, spread = modulation(parameters, device)
    drawn = adapted_samples(parameters, rates, encoding.graph, archs, targets, device, noise, 1)
    for own, one in zip(drawn, noise, strict=True):
        expected = stepped(parameters, rates, encoding.graph, archs, targets, device, mean + spread * one, 1)
        torch.testing.assert_close(own["joint.1.weight"], expected["joint.1.weight"].detach(), rtol=1e-4, atol=1e-6)


def test_a_step_of_meta_training_goes_down_the_episodes_loss() -> None:
    """Adam's first step moves every parameter by the rate, against the sign of its slope: that of the loss by hand."""
    encoding = encoding_of(PLAIN)
    archs = torch.tensor(encoding.encode(PLAIN.sample(12, np.random.default_rng(0))))
    rows = torch.stack([torch.arange(8), torch.arange(2, 10), torch.arange(4, 12)])
    targets, embeddings = torch.rand((3, 8), generator=generator(7)), torch.rand((3, 10), generator=generator(8))
    config = HelpConfig(
        episodes=1, devices=2, support=3, query=4, inner_steps=1, inner_rate=0.05, learning_rate=0.01, kl_weight=0.2
    )
    shares: list[float] = []
    found, rates = meta_train(
        encoding, archs, rows, targets, embeddings, config, generator(), lambda share, _: shares.append(share)
    )
    assert shares == [0.0]
    draws = generator()
    parameters = {name: value.requires_grad_() for name, value in initial_parameters(encoding, draws).items()}
    inner = {
        name: torch.full_like(value, 0.05).requires_grad_()
        for name, value in parameters.items()
        if not name.startswith("z.")
    }
    devices = torch.randperm(3, generator=draws)[:2]
    chosen = [torch.randperm(8, generator=draws)[:7] for _ in devices]
    noise = torch.randn((2, LATENTS), generator=draws)
    loss = torch.zeros(())
    for number, own, one in zip(devices.tolist(), chosen, noise, strict=True):
        inputs, labels, device = archs[rows[number][own]], targets[number][own], embeddings[number]
        mean, spread = modulation(parameters, device)
        after = stepped(parameters, inner, False, inputs[:3], labels[:3], device, mean + spread * one, 1)
        error = ((by_hand(after, False, inputs[3:], device) - labels[3:]) ** 2).mean()
        # The divergence of a normal from the standard one (Kingma and Welling, 2014, appendix B).
        divergence = -0.5 * (1 + torch.log(spread**2) - mean**2 - spread**2).sum()
        loss = loss + (error + 0.2 * divergence) / 2
    loss.backward()
    for before, moved in ((parameters, found), (inner, rates)):
        for name, value in before.items():
            assert value.grad is not None
            clear = value.grad.abs() > 1e-4 * value.grad.abs().max() + 1e-6
            step = (moved[name] - value.detach())[clear]
            torch.testing.assert_close(step, -0.01 * value.grad[clear].sign(), rtol=0.02, atol=1e-5)


def test_training_learns_and_tells_every_tenth_episode() -> None:
    encoding = encoding_of(PLAIN)
    every = np.array([[a, b] for a in range(2) for b in range(3)])
    archs = torch.tensor(encoding.encode(every))
    rows = torch.arange(6).repeat(2, 1)
    targets = torch.tensor([[0.1, 0.2, 0.3, 0.7, 0.8, 0.9]] * 2)
    embeddings = torch.rand((2, 10), generator=generator())
    config = HelpConfig(episodes=41, devices=2, support=3, query=3, inner_steps=1, samples=1, kl_weight=0.0)
    told: list[tuple[float, float]] = []

    def progress(share: float, status: str) -> None:
        told.append((share, float(status.split()[1])))

    parameters, _ = meta_train(encoding, archs, rows, targets, embeddings, config, generator(), progress)
    assert [share for share, _ in told] == pytest.approx([0, 10 / 41, 20 / 41, 30 / 41, 40 / 41])
    assert told[-1][1] < 0.2 * told[0][1]
    assert not any(value.requires_grad for value in parameters.values())
    again, _ = meta_train(encoding, archs, rows, targets, embeddings, config, generator(), no_progress)
    torch.testing.assert_close(again, parameters)


def test_settings_are_the_published_ones_but_for_two() -> None:
    assert vars(HelpConfig()) == {
        "episodes": 2000, "devices": 8, "support": 10, "query": 100, "inner_steps": 2, "inner_rate": 1e-3,
        "learning_rate": 1e-3, "samples": 10, "kl_weight": 0.1,
    }  # fmt: skip
    for key in ("episodes", "devices", "support", "query", "inner_steps", "samples"):
        assert getattr(HelpConfig(**{key: 1}), key) == 1
        with pytest.raises(ConfigError, match=rf"help\.{key}: expected at least 1, got 0"):
            HelpConfig(**{key: 0})


def test_softplus_is_torchs() -> None:
    assert F.softplus(torch.zeros(1)).item() == pytest.approx(math.log(2))
