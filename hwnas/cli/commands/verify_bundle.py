"""`hwnas verify-bundle`: whether a bundle is what was exported, computes what it did, and is as fast as it was."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwnas.cli.asked import given_keys
from hwnas.cli.console import ConsoleReporter
from hwnas.pipeline.config import PipelineConfig
from hwnas.pipeline.verify_bundle import Verified, verify_bundle

if TYPE_CHECKING:
    from hwnas.export.bundle.manifest import Manifest

__all__ = ["run"]


def run(config: PipelineConfig, folder: Path) -> None:
    reporter = ConsoleReporter()
    found = verify_bundle(config, folder, reporter, given_keys())
    manifest = found.manifest
    title = f"{found.bundle}: {manifest.name}, {manifest.format} {manifest.precision}"
    reporter.table(title, ("check", "found"), _rows(found), left=True)
    reporter.say("good")


def _rows(found: Verified) -> list[tuple[str, str]]:
    manifest, golden, limits = found.manifest, found.golden, found.manifest.golden
    rows = [("files", f"{len(manifest.files) + 1} as exported")]
    elsewhere = f"not run here: the library is for {manifest.tvm_target}; on the device: python run.py --check"
    for port in manifest.outputs:
        name = "output" if len(manifest.outputs) == 1 else port["name"]
        limit = limits.get("outputs", {}).get(port["name"], limits["output_tolerance"])
        rows.append((name, _text(golden.outputs.get(port["name"]), limit, elsewhere)))
    pictures = limits["input_tolerance"] is not None
    unchecked = "not checked: Pillow is not installed" if pictures else "none: arrays go in, not image files"
    rows.append(("preprocessing", _text(golden.input_max_abs, limits["input_tolerance"], unchecked)))
    rows.append(("latency", _latency_text(manifest, found.latency)))
    return rows


def _text(difference: float | None, limit: float | None, otherwise: str) -> str:
    return (
        otherwise
        if difference is None or limit is None
        else f"differs by {difference:.2g}, at most {limit:.2g} expected"
    )


def _latency_text(manifest: Manifest, latency: dict[str, Any]) -> str:
    if latency["latency_ms"] is None:
        return f"not measured: {latency['reason']}"
    if latency["ratio"] is None:
        return f"{latency['latency_ms']:.4g} ms on {latency['device']}; {latency['reason']}"
    return (
        f"{latency['latency_ms']:.4g} ms on {latency['device']}, {latency['ratio']:.2f} times the manifest's"
        f" {manifest.latency['median_ms']:.4g} (drift {latency['drift']:.2f} divided out)"
    )
