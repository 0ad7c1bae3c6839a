"""HELP's meta-training: second-order, over episodes of devices, with learned inner rates (Lee et al., 2021).

Shapes: D devices of an episode, S support and Q query architectures, C = 10 reference latencies.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import grad, vmap

from hwnas.errors import ConfigError, TrainingError
from hwnas.latency.help.network import (
    LATENTS,
    Encoding,
    Parameters,
    initial_parameters,
    modulated,
    modulation,
    predict,
)
from hwnas.progress import Progress

__all__ = ["HelpConfig", "adapted_samples", "meta_train"]


@dataclass(frozen=True)
class HelpConfig:
    """HELP's settings. As published but for `query` (200) and `learning_rate` (a constant 1e-4): a rate that starts
    higher and falls to nothing along a cosine gets as far in half the time on a CPU.
    """

    episodes: int = 2000
    devices: int = 8
    support: int = 10
    query: int = 100
    inner_steps: int = 2
    inner_rate: float = 1e-3
    learning_rate: float = 1e-3
    samples: int = 10
    kl_weight: float = 0.1

    def __post_init__(self) -> None:
        for key in ("episodes", "devices", "support", "query", "inner_steps", "samples"):
            if getattr(self, key) < 1:
                raise ConfigError(f"help.{key}: expected at least 1, got {getattr(self, key)}")


def adapted(
    parameters: Parameters, rates: Parameters, graph: bool, archs: Tensor, targets: Tensor, device: Tensor, z: Tensor,
    steps: int,
) -> Parameters:  # fmt: skip
    """The parameters modulated by `z`, and then after `steps` gradient steps on support `archs` and `targets` `[S]`.

    Differentiable. The modulator itself takes no steps.
    """

    def loss(inner: Parameters) -> Tensor:
        return (predict(inner, graph, archs, device) - targets).square().mean()

    own = {name: value for name, value in modulated(parameters, z).items() if name in rates}
    for _ in range(steps):
        slopes = grad(loss)(own)
        own = {name: value - rates[name] * slopes[name] for name, value in own.items()}
    return own


def adapted_samples(
    parameters: Parameters, rates: Parameters, graph: bool, archs: Tensor, targets: Tensor, device: Tensor,
    noise: Tensor, steps: int,
) -> list[Parameters]:  # fmt: skip
    """`adapted` parameters, for a draw of z from each row of standard normal `noise` `[samples, LATENTS]`."""
    mean, spread = modulation(parameters, device)
    return [adapted(parameters, rates, graph, archs, targets, device, mean + spread * one, steps) for one in noise]


def meta_train(
    encoding: Encoding,
    archs: Tensor,
    rows: Tensor,
    targets: Tensor,
    embeddings: Tensor,
    config: HelpConfig,
    generator: torch.Generator,
    progress: Progress,
) -> tuple[Parameters, Parameters]:
    """Parameters and inner rates, taught by `targets` `[devices, n]` of `archs[rows]`, `rows` `[devices, n]`.

    `embeddings` `[devices, C]`. Raises TrainingError where the loss is no number.
    """
    place = archs.device
    drawn = initial_parameters(encoding, generator)
    parameters = {name: value.to(place).requires_grad_() for name, value in drawn.items()}
    inner = [name for name in parameters if not name.startswith("z.")]
    rates = {name: torch.full_like(parameters[name], config.inner_rate).requires_grad_() for name in inner}
    optimiser = torch.optim.Adam([*parameters.values(), *rates.values()], lr=config.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, config.episodes)

    def episode_loss(
        support: Tensor, support_y: Tensor, query: Tensor, query_y: Tensor, device: Tensor, noise: Tensor
    ) -> Tensor:
        mean, spread = modulation(parameters, device)
        z = mean + spread * noise
        own = adapted(parameters, rates, encoding.graph, support, support_y, device, z, config.inner_steps)
        found = predict(own, encoding.graph, query, device)
        divergence = 0.5 * (mean.square() + spread.square() - 2 * spread.log() - 1).sum()
        return (found - query_y).square().mean() + config.kl_weight * divergence

    losses = vmap(episode_loss)
    count, size = len(targets), config.support + config.query
    for episode in range(config.episodes):
        device = torch.randperm(count, generator=generator)[: config.devices]
        chosen = torch.stack([torch.randperm(targets.shape[1], generator=generator)[:size] for _ in device]).to(place)
        device = device.to(place)
        labels, inputs = targets[device[:, None], chosen], archs[rows[device[:, None], chosen]]
        noise = torch.randn((len(device), LATENTS), generator=generator).to(place)
        loss = losses(
            inputs[:, : config.support], labels[:, : config.support], inputs[:, config.support :],
            labels[:, config.support :], embeddings[device], noise,
        ).mean()  # fmt: skip
        if not torch.isfinite(loss):
            raise TrainingError(f"HELP's loss is {loss.item()} in episode {episode}: lower help.learning_rate")
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if episode % 10 == 0:
            progress(episode / config.episodes, f"loss {loss.item():.4f}")
    return {name: v.detach() for name, v in parameters.items()}, {name: v.detach() for name, v in rates.items()}
