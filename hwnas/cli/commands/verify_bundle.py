"""`hwnas verify-bundle`: whether a bundle is what was exported, computes what it did, and is as fast as it was."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwnas.cli.asked import given_keys, refuse_others
from hwnas.cli.config import PipelineConfig
from hwnas.cli.console import Reporter
from hwnas.cli.latencies import TimedFile, measure_latencies
from hwnas.cli.steps import write_result
from hwnas.devices.profile import load_profile
from hwnas.errors import ConfigError, DeviceError
from hwnas.export.signature import Port, fed_shape
from hwnas.export.verify import verify_files, verify_golden

if TYPE_CHECKING:
    from hwnas.export.manifest import Manifest

__all__ = ["run"]

_NOT_MEASURED: dict[str, Any] = dict.fromkeys(("latency_ms", "device", "threads", "ratio", "reason"))


def run(config: PipelineConfig, folder: Path) -> None:
    """Raises ExportError for a bundle that is not good, DeviceError for one that has become slower."""
    if config.folder is None:
        raise ConfigError("verify-bundle: which one? give its folder: hwnas verify-bundle DIR")
    reporter, started, bundle = Reporter(), time.monotonic(), Path(config.folder)
    manifest = verify_files(bundle)
    refuse_others(
        config,
        {"profiling.runtime": manifest.runtime, "profiling.precision": manifest.precision, "profiling.batch": 1},
        f"the file in {bundle}",
    )
    rows = [("files", f"{len(manifest.files) + 1} as exported")]
    golden = verify_golden(bundle, manifest)
    limits = manifest.golden
    elsewhere = f"not run here: the library is for {manifest.tvm_target}; on the device: python run.py --check"
    for port in manifest.outputs:
        name = "output" if len(manifest.outputs) == 1 else port["name"]
        limit = limits.get("outputs", {}).get(port["name"], limits["output_tolerance"])
        rows.append((name, _text(golden.outputs.get(port["name"]), limit, elsewhere)))
    pictures = limits["input_tolerance"] is not None
    unchecked = "not checked: Pillow is not installed" if pictures else "none: arrays go in, not image files"
    rows.append(("preprocessing", _text(golden.input_max_abs, limits["input_tolerance"], unchecked)))
    with tempfile.TemporaryDirectory() as work:  # what an earlier, killed verification measured is of another hour
        latency = _latency(config, manifest, bundle / manifest.file, Path(work), reporter)
    rows.append(("latency", _latency_text(manifest, latency)))
    reporter.table(
        f"{bundle}: {manifest.name}, {manifest.format} {manifest.precision}", ("check", "found"), rows, left=True
    )
    result = {
        "bundle": str(bundle.resolve()),
        "output_max_abs": golden.output_max_abs,
        "input_max_abs": golden.input_max_abs,
        "latency": latency,
    }
    write_result(folder, "verify-bundle", config.seed, time.monotonic() - started, result)
    reporter.say("good")


def _latency(config: PipelineConfig, manifest: Manifest, model: Path, work: Path, reporter: Reporter) -> dict[str, Any]:
    """The file's latency now and, drift divided out, over the manifest's; DeviceError where that is too much.

    On the device and with the threads that were asked for, else the bundle's own; on others there is no ratio.
    """
    if not config.verify.latency:
        return {**_NOT_MEASURED, "reason": "verify.latency=false"}
    asked = given_keys()
    if "device.name" not in asked:
        config = replace(config, device=replace(config.device, name=manifest.device))
    device = load_profile(config.device.name).name
    shape = fed_shape([Port.of(one) for one in manifest.inputs])
    own = manifest.latency["threads"] or config.profiling.threads
    threads = config.profiling.threads if "profiling.threads" in asked else own
    timed = TimedFile("model", model, device, manifest.runtime, threads, shape)
    (found,) = measure_latencies(config, [timed], work, reporter).values()
    then, now = manifest.latency["median_ms"], found["median_ms"]
    if now is None and any(key.startswith("device.") for key in asked):
        raise DeviceError(f"{device} was asked for, and can't be measured: {found['reason']}")
    measured = {"latency_ms": now, "device": device, "threads": threads, "ratio": None}
    if then is None or now is None:
        return {**measured, "reason": found["reason"] or "the manifest states none to compare with"}
    if (device, threads) != (manifest.device, own):
        stated = f"the manifest's {then:.4g} ms are of {manifest.device} with {own} threads"
        return {**measured, "reason": f"{stated}: not comparable"}
    drift = found["reference_ms"] / manifest.latency["reference_ms"]
    ratio = now / drift / then
    if ratio > 1 + config.verify.latency_tolerance:
        raise DeviceError(
            f"{model} takes {now:.4g} ms on {device}, {ratio:.2f} times the manifest's {then:.4g} ms with the"
            f" device's drift of {drift:.2f} divided out; at most {1 + config.verify.latency_tolerance:g} times"
            " expected (verify.latency_tolerance); close what else runs there, or export again"
        )
    return {**measured, "drift": drift, "ratio": ratio, "reason": None}


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
