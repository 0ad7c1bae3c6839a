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
from hwnas.spaces.cells import Cell
from hwnas.spaces.genes import Floats

__all__ = [
    "LATENTS", "REFERENCES", "Encoding", "Parameters", "encoding_of", "initial_parameters", "modulated", "modulation",
    "predict",
]  # fmt: skip

Parameters = dict[str, Tensor]
REFERENCES = 10
_WIDTH = 100
_JOINT = 2 * _WIDTH
_GRAPH_LAYERS = 4
_GRAPH_BOUND = 0.05
_JOINT_LAYERS = 3
_SCALE = 0.01
LATENTS = _JOINT_LAYERS * (_JOINT + 1)
"""z's length: a scale for each input of the last layers, and a shift for each layer."""
_INPUT, _OUTPUT, _GLOBAL = 0, -2, -1
"""Places among the nodes: first the input, then the edges, the output, and one that all others write to."""
_MORE = 3  # nodes beside the edges, each of a kind of its own


@dataclass(frozen=True)
class Encoding:
    """How a space's architectures become numbers: `[N, *]` float32, and whether they are graphs."""

    encode: Callable[[Genotypes], Floats]
    features: int
    graph: bool


def encoding_of(space: Space) -> Encoding:
    """Graphs for cells: each node's operator one-hot, `[N, V, V + F]` with the adjacency first. Else genes one-hot."""
    if (cell := space.cell) is not None:
        return Encoding(lambda genotypes: _graphs(cell, genotypes), cell.operators + _MORE, graph=True)
    return Encoding(
        lambda genotypes: space.features(genotypes).astype(np.float32), int(space.cardinalities.sum()), False
    )


def _graphs(cell: Cell, genotypes: Genotypes) -> Floats:
    """Edges of the cell are nodes here; what `none` stands on passes nothing on.

    A node adds up what its sources send, since the latencies of a cell's operators add up.
    """
    nodes, kinds = len(cell.edges) + _MORE, cell.operators + _MORE
    adjacency = np.zeros((nodes, nodes), dtype=np.float32)
    for first, (source, target) in enumerate(cell.edges, start=1):
        adjacency[first, _INPUT] = source == 0
        adjacency[_OUTPUT, first] = target == cell.output
        for second, (other, _) in enumerate(cell.edges, start=1):
            adjacency[second, first] = other == target
    passes = np.ones((len(genotypes), nodes), dtype=np.float32)
    passes[:, 1:_OUTPUT] = genotypes != 0
    joined = adjacency * passes[:, None, :] * passes[:, :, None]
    joined[:, _GLOBAL, :_GLOBAL] = 1
    joined += np.eye(nodes, dtype=np.float32)
    kind = np.zeros((len(genotypes), nodes), dtype=np.int64)
    kind[:, 1:_OUTPUT] = genotypes + 1
    kind[:, _OUTPUT], kind[:, _GLOBAL] = kinds - 2, kinds - 1
    return np.concatenate([joined, np.eye(kinds, dtype=np.float32)[kind]], axis=2)


def initial_parameters(encoding: Encoding, generator: torch.Generator) -> Parameters:
    """Weights `[out, in]` and biases, drawn as torch's linear layers draw theirs; `z.*` are the modulator's.

    Those of the graph layers are small, as published: what they add up grows from layer to layer.
    """
    sizes = {"device.0": (REFERENCES, _WIDTH), "device.1": (_WIDTH, _WIDTH)}
    sizes |= {"z.0": (REFERENCES, REFERENCES), "z.1": (REFERENCES, 2 * LATENTS)}
    layers = _GRAPH_LAYERS if encoding.graph else 2
    sizes |= {f"arch.{i}": (encoding.features if i == 0 else _WIDTH, _WIDTH) for i in range(layers)}
    sizes |= {f"joint.{i}": (_JOINT, 1 if i == _JOINT_LAYERS - 1 else _JOINT) for i in range(_JOINT_LAYERS)}
    made: Parameters = {}
    for name, (width_in, width_out) in sorted(sizes.items()):
        bound = 1 / math.sqrt(width_in)
        for kind, shape in (("weight", (width_out, width_in)), ("bias", (width_out,))):
            small = encoding.graph and name.startswith("arch.") and kind == "weight"
            made[f"{name}.{kind}"] = (2 * torch.rand(shape, generator=generator) - 1) * (
                _GRAPH_BOUND if small else bound
            )
    return made


def modulation(parameters: Parameters, device: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of z, `[LATENTS]` each, for a hardware embedding `[C]`."""
    mean, spread = _linear(parameters, "z.1", F.relu(_linear(parameters, "z.0", device))).chunk(2, dim=-1)
    return mean, F.softplus(spread)


def modulated(parameters: Parameters, z: Tensor) -> Parameters:
    """The parameters with the last layers' weights times 1 + 0.01 z, by input, and their biases shifted by 0.01 z."""
    scales, shifts = torch.split(_SCALE * z, [_JOINT_LAYERS * _JOINT, _JOINT_LAYERS])
    changed: Parameters = {}
    for layer, scale in enumerate(scales.view(_JOINT_LAYERS, _JOINT)):
        weight, bias = f"joint.{layer}.weight", f"joint.{layer}.bias"
        changed |= {weight: parameters[weight] * (1 + scale), bias: parameters[bias] + shifts[layer]}
    return {**parameters, **changed}


def predict(parameters: Parameters, graph: bool, archs: Tensor, device: Tensor) -> Tensor:
    """Scaled latency `[B]` of `archs` on the device with embedding `[C]`."""
    hidden = _graph_encoder(parameters, archs) if graph else _plain_encoder(parameters, archs)
    described = F.relu(_linear(parameters, "device.1", F.relu(_linear(parameters, "device.0", device))))
    joint = torch.cat([hidden, described.expand(len(hidden), -1)], dim=1)
    for layer in range(_JOINT_LAYERS - 1):
        joint = F.relu(_linear(parameters, f"joint.{layer}", joint))
    return _linear(parameters, f"joint.{_JOINT_LAYERS - 1}", joint)[:, 0]


def _plain_encoder(parameters: Parameters, archs: Tensor) -> Tensor:
    return F.relu(_linear(parameters, "arch.1", F.relu(_linear(parameters, "arch.0", archs))))


def _graph_encoder(parameters: Parameters, archs: Tensor) -> Tensor:
    nodes = archs.shape[1]
    adjacency, hidden = archs[:, :, :nodes], archs[:, :, nodes:]
    for layer in range(_GRAPH_LAYERS):
        bias = parameters[f"arch.{layer}.bias"]
        hidden = F.relu(adjacency @ (hidden @ parameters[f"arch.{layer}.weight"].T) + bias)
    return hidden[:, _GLOBAL]


def _linear(parameters: Parameters, name: str, values: Tensor) -> Tensor:
    return F.linear(values, parameters[f"{name}.weight"], parameters[f"{name}.bias"])
