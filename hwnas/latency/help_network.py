"""HELP's predictor as a function of its parameters, so that each device may have parameters of its own.

Lee et al., Hardware-adaptive Efficient Latency Prediction for NAS via Meta-Learning, NeurIPS 2021.

Shapes: B architectures, V nodes, F node features, C = 10 reference latencies. Parameters are dicts of tensors.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hwnas.spaces import Genotypes, Space
from hwnas.spaces.nasbench201 import EDGE_OPERATORS, EDGES, NasBench201Space
from hwnas.spaces.space import Floats

__all__ = ["REFERENCES", "Encoding", "Parameters", "encoding_of", "initial_parameters", "modulation", "predict"]

Parameters = dict[str, Tensor]
REFERENCES = 10
_WIDTH = 100
_JOINT = 2 * _WIDTH
_GRAPH_LAYERS = 4
_SCALE = 0.01
_NODES = len(EDGES) + 3  # input, edges, output, and a global node that all others write to
_INPUT, _OUTPUT, _GLOBAL = 0, len(EDGES) + 1, len(EDGES) + 2
_KINDS = len(EDGE_OPERATORS) + 3


@dataclass(frozen=True)
class Encoding:
    """How a space's architectures become numbers: `[N, *]` float32, and whether they are graphs."""

    encode: Callable[[Genotypes], Floats]
    features: int
    graph: bool


def encoding_of(space: Space) -> Encoding:
    """Graphs for cells: each node's operator one-hot, `[N, V, V + F]` with the adjacency first. Else genes one-hot."""
    if isinstance(space, NasBench201Space):
        return Encoding(_graphs, _KINDS, graph=True)
    return Encoding(
        lambda genotypes: space.features(genotypes).astype(np.float32), int(space.cardinalities.sum()), False
    )


def _graphs(genotypes: Genotypes) -> Floats:
    """Edges of the cell are nodes here; what `none` stands on passes nothing on."""
    adjacency = np.zeros((_NODES, _NODES), dtype=np.float32)
    for first, (source, target) in enumerate(EDGES, start=1):
        adjacency[first, _INPUT] = source == 0
        adjacency[_OUTPUT, first] = target == 3
        for second, (other, _) in enumerate(EDGES, start=1):
            adjacency[second, first] = other == target
    passes = np.ones((len(genotypes), _NODES), dtype=np.float32)
    passes[:, 1 : len(EDGES) + 1] = genotypes != 0
    joined = adjacency * passes[:, None, :] * passes[:, :, None]
    joined[:, _GLOBAL, :] = 1
    joined += np.eye(_NODES, dtype=np.float32)
    joined /= joined.sum(axis=2, keepdims=True)
    kinds = np.zeros((len(genotypes), _NODES), dtype=np.int64)
    kinds[:, 1 : len(EDGES) + 1] = genotypes + 1
    kinds[:, _OUTPUT], kinds[:, _GLOBAL] = _KINDS - 2, _KINDS - 1
    return np.concatenate([joined, np.eye(_KINDS, dtype=np.float32)[kinds]], axis=2)


def initial_parameters(encoding: Encoding, generator: torch.Generator) -> Parameters:
    """Weights `[out, in]` and biases, drawn as torch's linear layers draw theirs; `z.*` are the modulator's."""
    sizes = {"device.0": (REFERENCES, _WIDTH), "device.1": (_WIDTH, _WIDTH), "joint.0": (_JOINT, _JOINT)}
    sizes |= {"joint.1": (_JOINT, 1), "z.0": (REFERENCES, _WIDTH), "z.1": (_WIDTH, 4 * (_JOINT + 1))}
    layers = _GRAPH_LAYERS if encoding.graph else 2
    sizes |= {f"arch.{i}": (encoding.features if i == 0 else _WIDTH, _WIDTH) for i in range(layers)}
    made: Parameters = {}
    for name, (width_in, width_out) in sorted(sizes.items()):
        bound = 1 / math.sqrt(width_in)
        for kind, shape in (("weight", (width_out, width_in)), ("bias", (width_out,))):
            made[f"{name}.{kind}"] = (2 * torch.rand(shape, generator=generator) - 1) * bound
    return made


def modulation(parameters: Parameters, device: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of z, `[2 * (200 + 1)]` each, for a hardware embedding `[C]`."""
    hidden = F.relu(_linear(parameters, "z.0", device))
    mean, spread = _linear(parameters, "z.1", hidden).chunk(2, dim=-1)
    return mean, F.softplus(spread)


def predict(parameters: Parameters, graph: bool, archs: Tensor, device: Tensor, z: Tensor) -> Tensor:
    """Scaled latency `[B]` of `archs` on the device with embedding `[C]`, the last layers modulated by `z`."""
    hidden = _graph_encoder(parameters, archs) if graph else _plain_encoder(parameters, archs)
    described = F.relu(_linear(parameters, "device.1", F.relu(_linear(parameters, "device.0", device))))
    joint = torch.cat([hidden, described.expand(len(hidden), -1)], dim=1)
    scale_0, shift_0, scale_1, shift_1 = torch.split(_SCALE * z, [_JOINT, _JOINT, 1, 1])
    joint = F.relu(_modulated(parameters, "joint.0", joint, scale_0, shift_0))
    return _modulated(parameters, "joint.1", joint, scale_1, shift_1)[:, 0]


def _plain_encoder(parameters: Parameters, archs: Tensor) -> Tensor:
    return F.relu(_linear(parameters, "arch.1", F.relu(_linear(parameters, "arch.0", archs))))


def _graph_encoder(parameters: Parameters, archs: Tensor) -> Tensor:
    adjacency, hidden = archs[:, :, :_NODES], archs[:, :, _NODES:]
    for layer in range(_GRAPH_LAYERS):
        hidden = F.relu(adjacency @ _linear(parameters, f"arch.{layer}", hidden))
    return hidden[:, _GLOBAL]


def _linear(parameters: Parameters, name: str, values: Tensor) -> Tensor:
    return F.linear(values, parameters[f"{name}.weight"], parameters[f"{name}.bias"])


def _modulated(parameters: Parameters, name: str, values: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    weight, bias = parameters[f"{name}.weight"], parameters[f"{name}.bias"]
    return F.linear(values, weight * (1 + scale)[:, None], bias + shift)
