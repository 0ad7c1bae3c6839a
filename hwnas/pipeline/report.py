"""Plots and one HTML page from the result files of a run."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import hwnas
from hwnas.files import read_json
from hwnas.pipeline.config import PipelineConfig
from hwnas.pipeline.steps import files_digest, read_result, run_step
from hwnas.progress import SILENT, Reporter

__all__ = ["collect", "report"]

STEPS = ("train", "evaluate", "profile", "search", "validate")


def report(
    config: PipelineConfig, folder: Path, reporter: Reporter = SILENT, run_folder: Path | None = None
) -> dict[str, Any]:
    """Draws what `run_folder` (default: the folder above) holds into `folder`; skipped where nothing changed."""
    run_folder = run_folder or folder.parent
    inputs = {"files": files_digest({name: run_folder / name / "result.json" for name in STEPS})}

    def work() -> dict[str, Any]:
        from hwnas.report.html import write_report
        from hwnas.report.plots import draw_all

        with reporter.step("report: plots and report.html"):
            content = {**collect(run_folder), "title": f"hwnas: {config.name}", "seed": config.seed}
            plots = draw_all(content, folder)
            write_report(content, plots, folder / "report.html")
        return {"report": "report.html", "plots": {name: path.name for name, path in plots.items()}}

    return run_step("report", folder, inputs, config.seed, work, reporter.say)


def collect(run_folder: Path) -> dict[str, Any]:
    """What `run` writes as its result and the report shows (see `hwnas.report.shape`)."""
    train, evaluate, profile, search, validate = (read_result(run_folder / name / "result.json") for name in STEPS)
    tuned = ("finetune",) if any(target["finetuned"] for target in validate["targets"]) else ()
    seconds = {name: read_json(run_folder / name / "result.json")["elapsed_s"] for name in (*STEPS, *tuned)}
    return {
        "targets": validate["targets"],
        "accuracy_predictor": evaluate["accuracy_predictor"],
        "tables": profile["tables"],
        "front": search["front"],
        "history": train["history"],
        "data": train["data"],
        "supernet": {
            "space": train["space"]["name"],
            "subnets": train["subnets"],
            "parameters": train["parameters"],
            "train_s": train["train_s"],
            "accuracy_largest": train["largest"]["held_out_accuracy"],
            "accuracy_smallest": train["smallest"]["held_out_accuracy"],
        },
        "search_history": search["history"],
        "search": {"evaluations": search["evaluations"], "elapsed_s": search["elapsed_s"]},
        "elapsed_s": sum(seconds.values()),
        "version": hwnas.__version__,
        "provenance": {
            "versions": {"hwnas": hwnas.__version__, "Python": platform.python_version()}
            | {entry["runtime"]: entry["runtime_version"] for entry in profile["tables"]},
            "machine": {"system": platform.platform(), "processor": platform.processor() or platform.machine()},
            "seconds": seconds,
        },
    }
