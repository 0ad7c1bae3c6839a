"""`hwnas evaluate-latency`: predictors scored on devices that they have not seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hwnas.cli.config import PipelineConfig
from hwnas.cli.console import Reporter
from hwnas.cli.convert import to_plain, without_path
from hwnas.cli.steps import files_digest, run_step
from hwnas.errors import ConfigError
from hwnas.latency.dataset import load_latency_data
from hwnas.latency.methods import METHODS, make_method
from hwnas.latency.protocol import run_protocol

__all__ = ["run", "step"]


def run(config: PipelineConfig, folder: Path) -> None:
    reporter = Reporter()
    result = step(config, folder, reporter)
    rows = [(device, *_figures(scores)) for device, scores in result["per_device"].items()]
    rows.append(("mean", *_figures({**result, "spearman": result["mean_spearman"]} | _tau(result))))
    title = (
        f"{config.latency.format}, {result['measurements_used']} measurements, {result['seeds']} seeds,"
        f" {config.protocol.scaling} protocol: {result['quantity']} in {result['unit']}"
    )
    reporter.table(title, ("device", "Spearman", "95 %", "Kendall τ-b", "MAPE", "in 90 % interval"), rows)
    if result.get("hypotheses"):
        reporter.say("weights: " + ", ".join(f"{name} {share:.0%}" for name, share in result["hypotheses"].items()))
    for note in result["notes"]:
        reporter.say(f"note: {note}")
    reporter.say(f"result: {folder / 'result.json'}")


def step(config: PipelineConfig, folder: Path, reporter: Reporter) -> dict[str, Any]:
    """The scores, computed or read (see `hwnas.cli.steps`)."""
    settings = config.latency_data
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

    def work() -> dict[str, Any]:
        data = load_latency_data(settings)
        title = (
            f"evaluate-latency: {config.latency.format} on {len(data.test_devices)} devices, taught by"
            f" {len(data.train_devices)}"
        )
        with reporter.step(title) as progress:
            result = run_protocol(data, method, config.measurements, config.seeds, config.seed, published, progress)
        if hasattr(method, "save") and file is None:
            method.save(folder / "help.safetensors")
        return {**result.to_dict(), "quantity": data.quantity, "unit": data.unit}

    return run_step("evaluate-latency", folder, inputs, config.seed, work, reporter.say)


def _tau(result: dict[str, Any]) -> dict[str, Any]:
    return {"kendall_tau": result["mean_kendall_tau"]}


def _figures(scores: dict[str, Any]) -> tuple[str, ...]:
    low, high = scores["ci95"]
    share = tuple("–" if scores[key] is None else f"{scores[key]:.1%}" for key in ("mape", "interval_coverage"))
    return (f"{scores['spearman']:.3f}", f"{low:.3f}–{high:.3f}", f"{scores['kendall_tau']:.3f}", *share)
