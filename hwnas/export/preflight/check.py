"""Networks of a space, or a file, against the delegates and the limits of a device. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from hwnas.errors import ConfigError, ExportError, choices
from hwnas.export.node import Node
from hwnas.export.preflight import edge_tpu, gpu, nnapi, onnxruntime_cpu, tvm, xnnpack
from hwnas.export.preflight.files import nodes_of_file
from hwnas.export.preflight.nodes import TYPES, nodes_of
from hwnas.export.preflight.rules import SEVERITIES, Delegate, Finding
from hwnas.export.preflight.suggestions import suggestion
from hwnas.operators import Operator
from hwnas.spaces import Genotypes, Space

__all__ = ["DELEGATES", "Limits", "check_file", "preflight"]

DELEGATES: dict[str, Delegate] = {
    module.DELEGATE.name: module.DELEGATE for module in (xnnpack, gpu, nnapi, edge_tpu, onnxruntime_cpu, tvm)
}
"""Every delegate that there are rules for, by name."""

WEIGHT_BYTES = {"fp32": 4, "fp16": 2, "int8": 1, "int8_dynamic": 1}
MIB = 1 << 20


class Limits(Protocol):
    """What preflight reads of a device's profile (`hwnas.devices.profile.DeviceProfile`)."""

    @property
    def name(self) -> str: ...
    @property
    def delegates(self) -> tuple[str, ...]: ...
    @property
    def max_file_mib(self) -> float | None: ...
    @property
    def memory_mib(self) -> int | None: ...


def preflight(space: Space, genotypes: Genotypes, precision: str, runtime: str, profile: Limits) -> list[Finding]:
    """What of the networks `genotypes` `[N, G]` (or one `[G]`) will not run well on the device, worst first.

    The same layer of several networks is named once. A device whose profile names no delegate of `runtime` is taken to
    run it on the CPU. Weights and activations that are more than the device's file or memory limit are `unsupported`.
    Raises ConfigError for a precision, or a runtime, without rules.
    """
    delegates = _delegates(runtime, profile)
    if precision not in TYPES:
        raise ConfigError(f"no preflight for precision {precision!r}: {choices(precision, TYPES)}")
    rows = space.check(genotypes.reshape(-1, genotypes.shape[-1]))
    layers: dict[tuple[str, Operator], None] = {}
    for row in rows:
        layers.update(dict.fromkeys(space.named_operators(row).items()))
    findings = _check(nodes_of(layers, runtime, precision), delegates, precision, space)
    weights = int(space.parameters(rows).max()) * WEIGHT_BYTES[precision]
    values = int(space.peak_activation_bytes(rows, 1 if precision == "int8" else 4).max())
    return _sorted([*_over_limits(weights, weights + values, runtime, profile), *findings])


def check_file(path: Path | str, precision: str, runtime: str, profile: Limits) -> list[Finding]:
    """What of an exported TFLite or ONNX file will not run well on the device, worst first.

    Raises ExportError for a file over the device's limit, naming both sizes, and for one that can't be read;
    MissingExtraError without the package that reads it; ConfigError for a runtime without rules.
    """
    delegates = _delegates(runtime, profile)
    path = Path(path)
    nodes = nodes_of_file(path)
    size = path.stat().st_size / MIB
    if profile.max_file_mib is not None and size > profile.max_file_mib:
        raise ExportError(
            f"{path} has {size:.2f} MiB, and {profile.name} takes {profile.max_file_mib:g} MiB: choose a smaller"
            f" network{'' if precision == 'int8' else ', or precisions=[int8]'}"
        )
    return _sorted(_check(nodes, delegates, precision, None))


def _delegates(runtime: str, profile: Limits) -> list[Delegate]:
    """Those that the device has for the runtime, its CPU last."""
    cpu = [entry for entry in DELEGATES.values() if entry.runtime == runtime and entry.cpu]
    if not cpu:
        valid = sorted({entry.runtime for entry in DELEGATES.values()})
        raise ConfigError(f"no preflight for runtime {runtime!r}: {choices(runtime, valid)}")
    if unknown := [name for name in profile.delegates if name not in DELEGATES]:
        raise ConfigError(f"device {profile.name}: delegate {unknown[0]!r} unknown: {choices(unknown[0], DELEGATES)}")
    named = [DELEGATES[name] for name in profile.delegates if DELEGATES[name].runtime == runtime]
    return sorted(named or cpu, key=lambda entry: entry.cpu)


def _check(nodes: Sequence[Node], delegates: Sequence[Delegate], precision: str, space: Space | None) -> list[Finding]:
    found: dict[Finding, None] = {}

    def add(node: Node, delegate: Delegate, severity: str, reason: str) -> None:
        text = suggestion(node, delegate, precision, space)
        found[Finding(node.layer, node.operator, delegate.name, severity, reason, text)] = None

    for delegate in delegates:
        if refused := [node for node in nodes if not delegate.takes(node)]:
            # It is the file that it refuses, not a layer of it.
            taken = any(all(map(other.takes, nodes)) for other in delegates)
            reason = f"{delegate.title} takes files of {' or '.join(sorted(delegate.types))} throughout"
            first = replace(refused[0], layer=f"{refused[0].layer} and {len(refused) - 1} more operators")
            add(first, delegate, "falls back" if taken else "unsupported", reason)
            continue
        for node in nodes:
            if objection := delegate.objection(node):
                add(node, delegate, "falls back", objection)
            elif slowness := delegate.slowness(node):
                add(node, delegate, "slow", slowness)
    return list(found)


def _over_limits(file_bytes: int, memory_bytes: int, runtime: str, profile: Limits) -> Iterable[Finding]:
    for what, used, limit in (
        ("weights", file_bytes, profile.max_file_mib),
        ("weights and activations", memory_bytes, profile.memory_mib),
    ):
        if limit is not None and used > limit * MIB:
            reason = f"they take {used / MIB:.2f} MiB, and {profile.name} has {limit:g} MiB"
            yield Finding(what, "", runtime, "unsupported", reason, "choose a smaller network, or precisions=[int8]")


def _sorted(findings: Iterable[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))
