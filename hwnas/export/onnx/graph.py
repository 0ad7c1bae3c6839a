"""Changes to ONNX graphs that every precision shares: readable names, faster operators for the same numbers."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hwnas.export.request import ExportState

__all__ = ["OPSET", "WEIGHTED", "constants_of", "give_constants", "layers_of", "name_nodes", "pool_globally"]

OPSET = 20
"""What torch's exporter targets without converting versions, and the newest that ONNX Runtime 1.20 takes."""

WEIGHTED = ("Conv", "Gemm", "MatMul")
"""Operators whose second input holds weights; each is a layer."""

ACTIVATIONS = ("Relu", "Clip", "LeakyRelu", "HardSwish", "HardSigmoid", "Sigmoid")
_WRAPPED = "wrapped."  # what `hwnas.export.module.forward.Flat` calls the network
_SCOPES = "pkg.torch.onnx.name_scopes"


def constants_of(graph: Any) -> dict[str, Any]:
    """The graph's constants (TensorProto) by name."""
    return {tensor.name: tensor for tensor in graph.initializer}


def layers_of(model: Any) -> dict[str, tuple[str, ...]]:
    """The nodes of each layer, by the layer's name, in the graph's order.

    A layer is a node and the activations that follow it directly; its name is the first node's.
    """
    layers: dict[str, list[str]] = {}
    layer_of_value: dict[str, str] = {}
    for node in model.graph.node:
        before = layer_of_value.get(node.input[0]) if node.op_type in ACTIVATIONS else None
        layer = before or node.name
        layers.setdefault(layer, []).append(node.name)
        layer_of_value.update(dict.fromkeys(node.output, layer))
    return {layer: tuple(nodes) for layer, nodes in layers.items()}


def name_nodes(state: ExportState) -> ExportState:
    """Nodes named by the module that they come from: `block3.se.reduce` where they hold weights, else
    `block3.se/Mul`. The same network gives the same names."""
    graph = state.model.graph
    constants = constants_of(graph)
    seen: Counter[str] = Counter()
    for node in graph.node:
        name = _name(node, constants)
        seen[name] += 1
        node.name = name if seen[name] == 1 else f"{name}_{seen[name]}"
    return state


def _name(node: Any, constants: Mapping[str, Any]) -> str:
    if node.op_type in WEIGHTED and node.input[1] in constants and "." in node.input[1]:
        return str(node.input[1].rpartition(".")[0]).removeprefix(_WRAPPED)
    scopes = next((entry.value for entry in node.metadata_props if entry.key == _SCOPES), "[]")
    modules = [scope for scope in ast.literal_eval(scopes)[:-1] if scope]  # the last one is the value's own name
    module = modules[-1].removeprefix(_WRAPPED) if modules else _WRAPPED[:-1]
    return str(node.op_type) if module == _WRAPPED[:-1] else f"{module}/{node.op_type}"


def give_constants(state: ExportState) -> ExportState:
    """Outputs that depend on no input come from a node: a graph may not give a constant itself."""
    from onnx import helper

    graph = state.model.graph
    constants = constants_of(graph)
    for output in graph.output:
        if output.name in constants:
            constants[output.name].name = f"{output.name}_constant"
            for node in graph.node:
                node.input[:] = [f"{name}_constant" if name == output.name else name for name in node.input]
            identity = helper.make_node(
                "Identity", [f"{output.name}_constant"], [output.name], f"{output.name}/Identity"
            )
            graph.node.append(identity)
    return state


def pool_globally(state: ExportState) -> ExportState:
    """GlobalAveragePool for the mean over height and width.

    torch's exporter writes ReduceMean, for which ONNX Runtime has to leave its blocked layout in float32 and has no
    integer kernel.
    """
    from onnx import helper, numpy_helper

    graph = state.model.graph
    constants = constants_of(graph)
    for node in graph.node:
        if node.op_type != "ReduceMean" or len(node.input) < 2 or node.input[1] not in constants:
            continue
        axes = sorted(numpy_helper.to_array(constants[node.input[1]]).reshape(-1).tolist())
        keeps = all(attribute.i for attribute in node.attribute if attribute.name == "keepdims")
        if keeps and axes in ([2, 3], [-2, -1]):
            name = node.name.replace("ReduceMean", "GlobalAveragePool")
            node.CopyFrom(helper.make_node("GlobalAveragePool", [node.input[0]], list(node.output), name))
    drop_unused(graph)
    return replace(state, model=state.model)


def drop_unused(graph: Any) -> None:
    """Remove constants that no node reads."""
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
