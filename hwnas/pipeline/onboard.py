"""A latency predictor for a new device, from a few measurements of it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.errors import ConfigError, StorageError
from hwnas.latency.fewshot.method import MIN_MEASUREMENTS
from hwnas.pipeline.config import PipelineConfig
from hwnas.pipeline.inputs import device_inputs, resolve_space
from hwnas.pipeline.plain import to_plain
from hwnas.pipeline.steps import files_digest, run_step
from hwnas.progress import SILENT, Reporter

__all__ = ["PREDICTOR", "onboard"]

PREDICTOR = "predictor.safetensors"


def onboard(config: PipelineConfig, folder: Path, reporter: Reporter = SILENT) -> dict[str, Any]:
    """The onboarding's summary, made or read (see `hwnas.pipeline.steps`). What was measured before a kill is kept."""
    if len(config.runtimes) > 1:
        raise ConfigError(f"onboard adapts to one runtime, got {', '.join(config.runtimes)}: give runtime=onnxruntime")
    if config.measurements < MIN_MEASUREMENTS:
        raise ConfigError(f"measurements: expected at least {MIN_MEASUREMENTS}, got {config.measurements}")
    settings = replace(config.profiling, runtime=config.runtimes[0])
    space = resolve_space(config)
    tables = Path(config.onboard.tables) if config.onboard.tables else None
    if tables is not None and not tables.is_dir():
        raise StorageError(f"onboard.tables: no folder {tables}; expected one with latency tables of other devices")
    known = [] if tables is None else [path for path in sorted(tables.rglob("*")) if path.suffix in (".csv", ".json")]
    inputs = {
        "space": space.config(),
        "device": device_inputs(config.device),
        "profiling": to_plain(settings),
        "onboard": {**to_plain(config.onboard), "tables": None},
        "files": files_digest({str(path.relative_to(tables or path)): path for path in known}),
        "measurements": config.measurements,
    }

    def work() -> dict[str, Any]:
        from hwnas.devices.connect import connect
        from hwnas.devices.profile import load_profile
        from hwnas.latency.fewshot.predictor_file import save_predictor_file
        from hwnas.profiling import onboard as onboarding
        from hwnas.profiling.samples import percentage_errors

        device = load_profile(config.device.name)
        device.check_runtime(settings.runtime, settings.precision)
        title = f"onboard: {device.name}, {settings.setting}, up to {config.measurements} networks of {space.name}"
        with reporter.step(title) as progress, connect(device, config.device) as transport:
            found = onboarding.onboard(
                space, device, transport, settings, config.onboard, config.measurements, folder, config.seed, progress,
                reporter.say,
            )  # fmt: skip
        predictor = found.session.predictor()
        facts = {
            "device": device.name,
            "runtime": settings.runtime,
            "runtime_version": found.facts.get("runtime_version"),
            "precision": settings.precision,
            "threads": settings.threads,
            "expected_mape": found.session.expected_mape(),
            **{key: found.facts[key] for key in ("taught_by", "teachers", "hypotheses", "disagreement", "undecided")},
            "measured": [
                {"arch": space.arch(genotype).to_dict(), "latency_ms": float(ms)}
                for genotype, ms in zip(found.genotypes, found.latency_ms, strict=True)
            ],
        }
        save_predictor_file(folder / PREDICTOR, predictor, facts)
        shutil.rmtree(folder / ".work", ignore_errors=True)
        checked = len(found.check_ms) > 0
        errors = percentage_errors(predictor.latency_ms(found.check_genotypes), found.check_ms) if checked else None
        return {
            **facts,
            "file": PREDICTOR,
            "measurements_used": len(found.latency_ms),
            "stopped_early": found.stopped_early,
            "check_networks": len(found.check_ms),
            "check_mape": None if errors is None else float(np.mean(errors)),
            "elapsed_s": round(found.elapsed_s, 2),
        }

    return run_step("onboard", folder, inputs, config.seed, work, reporter.say)
