"""A latency predictor for a new device, from a few measurements of it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.errors import ConfigError, StorageError
from hwnas.latency.fewshot.method import MIN_MEASUREMENTS
from hwnas.pipeline.config import OnboardStep
from hwnas.pipeline.inputs import writers
from hwnas.pipeline.space import resolve_space
from hwnas.pipeline.store.plain import to_plain
from hwnas.pipeline.store.steps import files_digest, run_step, step_of
from hwnas.pipeline.units import device_inputs
from hwnas.progress import SILENT, Reporter

__all__ = ["PREDICTOR", "MeasuredNetwork", "Onboarded", "onboard"]

PREDICTOR = "predictor.safetensors"


@dataclass(frozen=True)
class MeasuredNetwork:
    """A network, as `Arch.to_dict()` has it, and its latency."""

    arch: dict[str, Any]
    latency_ms: float


@dataclass(frozen=True, kw_only=True)
class Onboarded:
    """A predictor for a device, `file` in the step's folder, and what it learnt from.

    `expected_mape`: its expected error, a fraction; `check_mape`: that on `check_networks` others. `taught_by`: what it
    says of that; `teachers` and `hypotheses`: the share of each; `disagreement`: how much of the expected error is the
    hypotheses'; `undecided`: more measurements would tell. `measured`: the networks that it chose, `measurements_used`
    of them; `stopped_early`: the error asked for was met with fewer than were allowed.
    """

    device: str
    runtime: str
    runtime_version: str | None
    precision: str
    threads: int
    expected_mape: float
    taught_by: Any = None
    teachers: dict[str, float] = field(default_factory=dict)
    hypotheses: dict[str, float] = field(default_factory=dict)
    disagreement: float | None = None
    undecided: bool = False
    measured: tuple[MeasuredNetwork, ...]
    file: str
    measurements_used: int
    stopped_early: bool
    check_networks: int
    check_mape: float | None
    elapsed_s: float


@step_of(OnboardStep)
def onboard(config: OnboardStep, folder: Path, reporter: Reporter = SILENT) -> Onboarded:
    """What `folder` holds, made or read (see `hwnas.pipeline.store.steps`). What was measured before a kill is kept.

    >>> settings = ["experiment=smoke", "runtime=onnxruntime", "measurements=4", "onboard.candidates=40"]
    >>> hwnas.onboard(hwnas.load_config(settings), "runs/mine/onboard").measurements_used
    4
    """
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

    def work() -> Onboarded:
        from hwnas.devices.connect import connect
        from hwnas.devices.profile import load_profile
        from hwnas.latency.fewshot.predictor_file import save_predictor_file
        from hwnas.profiling import onboard as onboarding
        from hwnas.profiling.samples import percentage_errors

        device = load_profile(config.device.name)
        device.check_runtime(settings.runtime, settings.precision)
        title = f"onboard: {device.name}, {settings.setting}, up to {config.measurements} networks of {space.name}"
        with (
            reporter.step(title) as progress,
            connect(device, config.device) as transport,
            writers(config.executor, settings, space) as executor,
        ):
            found = onboarding.onboard(
                space, device, transport, settings, config.onboard, config.measurements, folder, config.seed, progress,
                reporter.say, executor,
            )  # fmt: skip
        predictor = found.session.predictor()
        facts: dict[str, Any] = {
            "device": device.name,
            "runtime": settings.runtime,
            "runtime_version": found.facts.get("runtime_version"),
            "precision": settings.precision,
            "threads": settings.threads,
            "expected_mape": found.session.expected_mape(),
            **{key: found.facts[key] for key in ("taught_by", "teachers", "hypotheses", "disagreement", "undecided")},
        }
        measured = tuple(
            MeasuredNetwork(space.arch(genotype).to_dict(), float(ms))
            for genotype, ms in zip(found.genotypes, found.latency_ms, strict=True)
        )
        save_predictor_file(folder / PREDICTOR, predictor, {**facts, "measured": to_plain(measured)})
        shutil.rmtree(folder / ".work", ignore_errors=True)
        checked = len(found.check_ms) > 0
        errors = percentage_errors(predictor.latency_ms(found.check_genotypes), found.check_ms) if checked else None
        return Onboarded(
            **facts,
            measured=measured,
            file=PREDICTOR,
            measurements_used=len(found.latency_ms),
            stopped_early=found.stopped_early,
            check_networks=len(found.check_ms),
            check_mape=None if errors is None else float(np.mean(errors)),
            elapsed_s=round(found.elapsed_s, 2),
        )

    return run_step("onboard", folder, inputs, config.seed, Onboarded, work, reporter.say)
