"""Predictors scored on devices that they have not seen."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hwnas.errors import ConfigError
from hwnas.latency.predictors.dataset import load_latency_data
from hwnas.latency.predictors.protocol import run_protocol
from hwnas.latency.predictors.registry import METHODS, make_method
from hwnas.pipeline.config import EvaluateLatencyStep
from hwnas.pipeline.store.plain import to_plain, without_path
from hwnas.pipeline.store.steps import files_digest, run_step, step_of
from hwnas.progress import SILENT, Reporter

__all__ = ["LatencyScored", "evaluate_latency"]


@dataclass(frozen=True, kw_only=True)
class LatencyScored:
    """Scores of a predictor, means over devices and seeds (see `hwnas.latency.predictors.metrics.Scores`).

    `ci95` is of the mean Spearman, from one seed to the next. `per_device` has the same for each device, `trials` for
    each device and seed. `hypotheses`: the mean weight of each, for predictors that hold some.
    """

    mean_spearman: float
    ci95: tuple[float, float]
    mean_kendall_tau: float
    mape: float | None
    interval_coverage: float | None
    measurements_used: int
    per_device: dict[str, dict[str, Any]]
    hypotheses: dict[str, float] = field(default_factory=dict)
    seeds: int
    trials: tuple[dict[str, Any], ...]
    notes: tuple[str, ...] = ()
    quantity: str = "latency"
    unit: str = "ms"


@step_of(EvaluateLatencyStep)
def evaluate_latency(config: EvaluateLatencyStep, folder: Path, reporter: Reporter = SILENT) -> LatencyScored:
    """The scores, computed or read (see `hwnas.pipeline.store.steps`).

    >>> config = hwnas.load_config([
    ...     "data=csv", "data.path=latencies.csv", "data.genes=[a,b,c,d,e,f]", "data.train_devices=[dev0,dev1,dev3]",
    ...     "data.test_devices=[dev4]", "data.pool=100", "data.test=[100,200]", "latency=fewshot", "measurements=6",
    ...     "seeds=1",
    ... ])
    >>> hwnas.evaluate_latency(config, "runs/mine/latency").mean_spearman > 0.8
    True
    """
    settings = config.data
    if not settings.path:
        raise ConfigError(f"data={settings.name}: where is the file? give data.path=FILE.csv")
    if config.latency.format not in METHODS:
        raise ConfigError(
            "evaluate-latency: a table or an estimate is no predictor of new devices; give latency=NAME, one of"
            f" {', '.join(METHODS)}"
        )
    published = config.protocol.scaling == "published"
    file = Path(config.latency.path) if config.latency.path else None
    method = make_method(config.latency.format, published, file)
    inputs = {
        "data": without_path(settings),
        "latency": without_path(config.latency),
        "protocol": to_plain(config.protocol),
        "measurements": config.measurements,
        "seeds": config.seeds,
        "files": files_digest({"latencies": Path(settings.path)} | ({"predictor": file} if file else {})),
    }

    def work() -> LatencyScored:
        data = load_latency_data(settings)
        title = (
            f"evaluate-latency: {config.latency.format} on {len(data.test_devices)} devices, taught by"
            f" {len(data.train_devices)}"
        )
        with reporter.step(title) as progress:
            result = run_protocol(data, method, config.measurements, config.seeds, config.seed, published, progress)
        if hasattr(method, "save") and file is None:
            method.save(folder / "help.safetensors")
        return LatencyScored(**result.to_dict(), quantity=data.quantity, unit=data.unit)

    return run_step("evaluate-latency", folder, inputs, config.seed, LatencyScored, work, reporter.say)
