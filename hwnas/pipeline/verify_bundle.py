"""Whether a bundle is what was exported, computes what it did, and is as fast as it was."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwnas.devices.fleet import Unit
from hwnas.devices.profile import load_profile
from hwnas.errors import ConfigError, DeviceError
from hwnas.executors.config import ExecutorConfig
from hwnas.export.bundle.verify import GoldenCheck, verify_files, verify_golden
from hwnas.export.signature import Port, fed_shape
from hwnas.pipeline.asked import refuse_others
from hwnas.pipeline.config import VerifyBundleStep
from hwnas.pipeline.latencies import TimedFile, measure_latencies
from hwnas.pipeline.store.steps import step_of, write_result
from hwnas.progress import SILENT, Reporter

if TYPE_CHECKING:
    from hwnas.export.bundle.manifest import Manifest

__all__ = ["Verified", "verify_bundle"]

_NOT_MEASURED: dict[str, Any] = dict.fromkeys(("latency_ms", "device", "threads", "ratio", "reason"))


@dataclass(frozen=True)
class Verified:
    """A bundle that is good. `latency`: `latency_ms`, `device`, `threads`, `ratio` over the manifest's, drift divided
    out, and the `reason` where one of them is None.
    """

    bundle: Path
    manifest: Manifest
    golden: GoldenCheck
    latency: dict[str, Any]


@step_of(VerifyBundleStep)
def verify_bundle(
    config: VerifyBundleStep, folder: Path, reporter: Reporter = SILENT, asked: Set[str] = frozenset()
) -> Verified:
    """Check the bundle `config.folder` and write what was found into `folder`. `asked`: settings given by the caller,
    such as `device.name`; the others are the bundle's own.

    Raises ExportError for a bundle that is not good, DeviceError for one that has become slower.

    >>> exported = hwnas.export(hwnas.load_config(["experiment=smoke"]), "runs/mine/export")
    >>> bundle = "runs/mine/export/" + exported.files[0].path.rpartition("/")[0]
    >>> config = hwnas.load_config(["experiment=smoke", f"folder={bundle}", "verify.latency=false"])
    >>> hwnas.verify_bundle(config, "runs/mine/verified").manifest.format
    'onnx'
    """
    if config.folder is None:
        raise ConfigError("verify-bundle: which one? give its folder: hwnas verify-bundle DIR")
    started, bundle = time.monotonic(), Path(config.folder)
    manifest = verify_files(bundle)
    own = {"profiling.runtime": manifest.runtime, "profiling.precision": manifest.precision, "profiling.batch": 1}
    refuse_others(config, asked, own, f"the file in {bundle}")
    golden = verify_golden(bundle, manifest)
    with tempfile.TemporaryDirectory() as work:  # what an earlier, killed verification measured is of another hour
        latency = _latency(config, asked, manifest, bundle / manifest.file, Path(work), reporter)
    result = {
        "bundle": str(bundle.resolve()),
        "output_max_abs": golden.output_max_abs,
        "input_max_abs": golden.input_max_abs,
        "latency": latency,
    }
    write_result(folder, "verify-bundle", config.seed, time.monotonic() - started, result)
    return Verified(bundle, manifest, golden, latency)


def _latency(
    config: VerifyBundleStep, asked: Set[str], manifest: Manifest, model: Path, work: Path, reporter: Reporter
) -> dict[str, Any]:
    """The file's latency now and, drift divided out, over the manifest's; DeviceError where that is too much.

    On the device and with the threads that were asked for, else the bundle's own; on others there is no ratio.
    """
    if not config.verify.latency:
        return {**_NOT_MEASURED, "reason": "verify.latency=false"}
    if "device.name" not in asked:
        config = replace(config, device=replace(config.device, name=manifest.device))
    unit = Unit(config.device, load_profile(config.device.name))
    device = unit.profile.name
    shape = fed_shape([Port.of(one) for one in manifest.inputs])
    own = manifest.latency["threads"] or config.profiling.threads
    threads = config.profiling.threads if "profiling.threads" in asked else own
    timed = TimedFile("model", model, device, manifest.runtime, threads, shape)
    measured_by = config.profiling, [timed], work, config.seed, reporter, ExecutorConfig()
    (found,) = measure_latencies([unit], *measured_by).values()
    then, now = manifest.latency["median_ms"], found.median_ms
    if now is None and any(key.startswith("device.") for key in asked):
        raise DeviceError(f"{device} was asked for, and can't be measured: {found.reason}")
    measured = {"latency_ms": now, "device": device, "threads": threads, "ratio": None}
    if then is None or now is None:
        return {**measured, "reason": found.reason or "the manifest states none to compare with"}
    if (device, threads) != (manifest.device, own):
        stated = f"the manifest's {then:.4g} ms are of {manifest.device} with {own} threads"
        return {**measured, "reason": f"{stated}: not comparable"}
    drift = (found.reference_ms or 0.0) / manifest.latency["reference_ms"]
    ratio = now / drift / then
    if ratio > 1 + config.verify.latency_tolerance:
        raise DeviceError(
            f"{model} takes {now:.4g} ms on {device}, {ratio:.2f} times the manifest's {then:.4g} ms with the"
            f" device's drift of {drift:.2f} divided out; at most {1 + config.verify.latency_tolerance:g} times"
            " expected (verify.latency_tolerance); close what else runs there, or export again"
        )
    return {**measured, "drift": drift, "ratio": ratio, "reason": None}
