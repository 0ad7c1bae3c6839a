"""What to choose instead of an operator that a delegate does not run well."""

from __future__ import annotations

from hwnas.export.node import Node
from hwnas.export.preflight.rules import Delegate
from hwnas.spaces import Space

__all__ = ["suggestion"]

HARD_SWISH = ("HARD_SWISH", "HardSwish")
SQUEEZE_EXCITE = ("HardSigmoid", "MEAN", "MUL", "Mul", "ReduceMean")
# Slots whose activation is the family's own.
FIXED = ("stem", "final_expand", "feature_mix")


def suggestion(node: Node, delegate: Delegate, precision: str, space: Space | None) -> str:
    """The next step, one clause: keys of `space` where they change the layer, else another precision or delegate."""
    if not delegate.takes(node):
        return f"choose precisions=[{'int8' if 'int8' in delegate.types else 'fp32'}]"
    if node.operator == "TRANSPOSE":
        return "keep height and width as axes up to the flattening (pool with keepdim=True), or measure what it costs"
    if delegate.types or node.operator not in (*HARD_SWISH, *SQUEEZE_EXCITE) or space is None:
        return _another_precision(node, delegate, precision)
    values = space.config()
    if node.operator in HARD_SWISH:
        if node.layer in FIXED or "activations" not in values:
            return "choose a space whose stem and head have ReLU6, such as space=ofa_proxyless"
        chosen = ["relu6" if name == "h_swish" else name for name in values["activations"]]
        return f"choose space.activations=[{','.join(chosen)}]"
    if node.layer in FIXED or not any(values.get("se", ())):
        return _another_precision(node, delegate, precision)
    return f"choose space.se=[{','.join('false' for _ in values['se'])}]"


def _another_precision(node: Node, delegate: Delegate, precision: str) -> str:
    support = delegate.operators.get(node.operator)
    if precision.startswith("int8") and (support is None or "float32" in support.types) and delegate.any_operator:
        return "keep it float with export.mixed_precision, or choose precisions=[fp32]"
    if support is not None and node.type == "int8" and "float32" in support.types:
        return "choose precisions=[fp32], or measure what it costs"
    return "measure what it costs, or choose a network without it"
