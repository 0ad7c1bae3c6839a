"""What a device will not run of the files that are to be exported, said before anything is exported or measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hwnas.devices.fleet import Unit
from hwnas.devices.profile import DeviceProfile
from hwnas.errors import DeviceError, ExportError
from hwnas.export.formats import model_format
from hwnas.export.preflight import DELEGATES, Finding, check_file
from hwnas.pipeline.config import ExportStep
from hwnas.pipeline.export.plan import PlannedFile
from hwnas.pipeline.export.subjects import Source
from hwnas.pipeline.units import units_named
from hwnas.progress import Reporter

__all__ = ["preflight_file", "preflight_networks", "tell_of_files"]

_SHOWN_LAYERS = 3


def preflight_networks(
    config: ExportStep, units: Sequence[Unit], planned: Sequence[PlannedFile], source: Source, reporter: Reporter
) -> None:
    """Say what of the planned networks falls back or runs slowly on its device.

    Raises ExportError for what nothing there runs, unless `export.allow_unsupported`.
    """
    for file in planned:
        profile = _profile(units, file)
        if profile is None:
            continue
        runtime = model_format(file.format).runtime
        found = source.preflight(file.target, file.precision, runtime, profile)
        _refuse(config, file, found)
        for line in _summary(found):
            reporter.say(f"preflight: {file.key}: {line}")


def tell_of_files(
    planned: Sequence[PlannedFile], found: Mapping[str, Sequence[Mapping[str, Any]]], reporter: Reporter
) -> None:
    """Say what the files themselves have shown, `found` by their keys: of a user's module nothing is known before.

    Of many operators that fall back for reasons of their own, the names.
    """
    for file in planned:
        kinds: dict[tuple[str, str], Counter[tuple[str, str]]] = {}
        for one in found[file.key]:
            counts = kinds.setdefault((one["severity"], one["delegate"]), Counter())
            counts[one["operator"], f"{one['reason']}; {one['suggestion']}"] += 1
        for (severity, delegate), counts in kinds.items():
            names = [
                f"{operator}{f' (of {count} layers)' if count > 1 else ''}" for (operator, _), count in counts.items()
            ]
            if len(counts) > _SHOWN_LAYERS:
                lines = [f"{', '.join(names)}: {severity} ({delegate}); why is in the manifest's preflight"]
            else:
                reasons = [reason for _, reason in counts]
                lines = [f"{name}: {severity} ({delegate}): {why}" for name, why in zip(names, reasons, strict=True)]
            for line in lines:
                reporter.say(f"preflight: {file.key}: {line}")


def preflight_file(config: ExportStep, units: Sequence[Unit], file: PlannedFile, model: Path) -> list[dict[str, Any]]:
    """What of the exported file the device's delegates will not run; empty where nothing is known of the device.

    Raises ExportError where the device does not take the file, and removes it.
    """
    profile = _profile(units, file)
    if profile is None or model_format(file.format).read_operators is None:
        return []
    try:
        found = check_file(model, file.precision, model_format(file.format).runtime, profile)
        _refuse(config, file, found)
    except ExportError:
        model.unlink()
        raise
    return [asdict(finding) for finding in found]


def _profile(units: Sequence[Unit], file: PlannedFile) -> DeviceProfile | None:
    """The profile of the file's device, where it is here and there are rules for its runtime."""
    if model_format(file.format).runtime not in {delegate.runtime for delegate in DELEGATES.values()}:
        return None
    try:
        return units_named(units, file.target.device)[0].profile
    except DeviceError:
        return None


def _refuse(config: ExportStep, file: PlannedFile, found: Sequence[Finding]) -> None:
    unsupported = [finding for finding in found if finding.severity == "unsupported"]
    if unsupported and not config.export.allow_unsupported:
        raise ExportError(
            f"{file.key} will not run on {file.target.device}: {unsupported[0]} (of {len(unsupported)};"
            " export.allow_unsupported=true exports it all the same)"
        )


def _summary(found: Sequence[Finding]) -> list[str]:
    """A line for each operator and reason, with the first of its layers."""
    layers: dict[tuple[str, ...], list[str]] = {}
    for one in found:
        key = (one.operator, one.severity, one.delegate, one.reason, one.suggestion)
        layers.setdefault(key, []).append(one.layer)
    lines = []
    for (operator, severity, delegate, reason, suggestion), names in layers.items():
        more = f" and {len(names) - _SHOWN_LAYERS} more" if len(names) > _SHOWN_LAYERS else ""
        where = ", ".join(names[:_SHOWN_LAYERS]) + more
        lines.append(f"{operator} of {where}: {severity} ({delegate}): {reason}; {suggestion}")
    return lines
