"""What a delegate runs, as data: the types of each operator, and limits on its attributes. No torch, no runtime."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hwnas.export.node import Node

__all__ = ["FLOATS", "INT8", "SEVERITIES", "Delegate", "Finding", "Limit", "Support"]

SEVERITIES = ("unsupported", "falls back", "slow")
"""Nothing on the device runs it; another delegate or the CPU does; it runs, below what the runtime reaches otherwise"""

FLOATS = frozenset({"float32"})
INT8 = frozenset({"int8"})


@dataclass(frozen=True)
class Finding:
    """An operator that does not run as one would wish: where, why, and what to choose instead.

    `layer` is a slot of the space, or an operator's output in a file; `operator` is the runtime's name for it.
    """

    layer: str
    operator: str
    delegate: str
    severity: str
    reason: str
    suggestion: str

    def __str__(self) -> str:
        what = " ".join(part for part in (self.layer, self.operator) if part)
        return f"{what}: {self.severity} ({self.delegate}): {self.reason}; {self.suggestion}"


@dataclass(frozen=True)
class Limit:
    """What the attribute of a `Node` may be: one of `among`, or from `least` to `most`. `reason` says what is asked."""

    attribute: str
    reason: str
    among: tuple[str, ...] = ()
    least: int = 0
    most: int = 1 << 30

    def holds(self, node: Node) -> bool:
        value = getattr(node, self.attribute)
        return value in self.among if self.among else self.least <= value <= self.most


@dataclass(frozen=True)
class Support:
    """How a delegate runs one operator: on values of these types, with weights of these, within these limits.

    `weights` maps the values' type to the weights' types; types that it lacks take any.
    """

    types: frozenset[str]
    weights: Mapping[str, frozenset[str]] = field(default_factory=dict)
    limits: tuple[Limit, ...] = ()


@dataclass(frozen=True)
class Delegate:
    """What runs operators for a runtime, and where that is known from.

    `title` is for messages. `cpu`: it is the processor's, where everything falls back to. `types`: of the values in
    the files that it takes at all (empty: any). `limits` hold for every operator. `slow`: type and operator to the
    reason why it runs below what the same runtime reaches otherwise. `any_operator`: those that `operators` lacks run
    too.
    """

    name: str
    title: str
    runtime: str
    sources: tuple[str, ...]
    operators: Mapping[str, Support]
    cpu: bool = False
    types: frozenset[str] = frozenset()
    limits: tuple[Limit, ...] = ()
    slow: Mapping[tuple[str, str], str] = field(default_factory=dict)
    any_operator: bool = False

    def takes(self, node: Node) -> bool:
        """Whether it takes files with values of the node's type."""
        return not self.types or node.type in self.types

    def objection(self, node: Node) -> str | None:
        """Why it does not run `node`, or None where it does."""
        support = self.operators.get(node.operator)
        if support is None:
            return None if self.any_operator else f"{self.title} has no {node.operator}"
        if node.type not in support.types:
            return f"{self.title} runs {node.operator} on {_either(support.types)}, not on {node.type}"
        weights = support.weights.get(node.type, frozenset({node.weights}))
        if node.weights and node.weights not in weights:
            return f"{self.title} runs {node.operator} on {node.type} with weights of {_either(weights)}, not of\
 {node.weights}"
        for limit in (*self.limits, *support.limits):
            if not limit.holds(node):
                return f"{self.title} wants {limit.reason}, got {getattr(node, limit.attribute)}"
        return None

    def slowness(self, node: Node) -> str | None:
        """Why `node` runs slowly, or None."""
        return self.slow.get((node.type, node.operator))


def _either(types: frozenset[str]) -> str:
    return " or ".join(sorted(types))
