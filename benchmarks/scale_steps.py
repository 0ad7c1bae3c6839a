"""Seconds of what is handed to workers, with one and with two: evaluation and export, on a run that is made here or
given, and the writing of models that TVM compiles for a table.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from simulated_devices import write_by_macs

import hwnas
from hwnas.devices.profile import load_profile
from hwnas.executors.choose import open_executor
from hwnas.executors.config import ExecutorConfig
from hwnas.pipeline.config import PipelineConfig
from hwnas.pipeline.space import resolve_space
from hwnas.profiling.models import TableModels
from hwnas.progress import no_progress

__all__ = ["OWN", "made_run", "model_times", "ratio", "step_times"]

Times = dict[int, list[float]]

_NETWORKS = 20  # beside the operators

OWN = (
    "experiment=smoke", "space=ofa_mbv3_32", "space.resolution=[64]", "data.image_size=64",
    "training.phases=[{name: full, epochs: 0.1, learning_rate: 0.05, kernel_sizes: [3, 5, 7], depths: [1, 2, 3],"
    " expand_ratios: [2, 3, 4]}]",
    "training.random_subnets=1", "evaluation.measure.calibration_images=1000", "latency=table",
    f"search.budget_quantiles=[{','.join(f'{0.025 + 0.05 * place:.3f}' for place in range(20))}]",
    "search.comparison_networks=0",
    "formats=[onnx]", "precisions=[fp32,int8]", "export.allow_accuracy_drop=true",
)  # fmt: skip
"""A supernet that has seen a few images, twenty networks of it, forty files: what they answer does not matter here."""


def made_run(folder: Path, subnets: int) -> PipelineConfig:
    """Settings of a run in `folder`, whose supernet, predictor and search are there."""
    table = folder / "made_up.csv"
    config = hwnas.load_config([*OWN, f"evaluation.subnets={subnets}", f"latency.path={table}"])
    write_by_macs(table, resolve_space(config))
    hwnas.train(config, folder / "train")
    hwnas.evaluate(config, folder / "evaluate")
    hwnas.search(config, folder / "search")
    return config


def step_times(config: PipelineConfig, run: Path, subnets: int, repeats: int) -> dict[str, Times]:
    """Seconds of each step, by the number of workers, turn by turn."""
    steps: dict[str, Callable[..., object]] = {"evaluate": hwnas.evaluate, "export": hwnas.export}
    times: dict[str, Times] = {step: {1: [], 2: []} for step in steps}
    settings = replace(
        config,
        checkpoint=str(run / "train" / "supernet.safetensors"),
        targets=str(run / "search" / "result.json"),
        evaluation=replace(config.evaluation, subnets=subnets),
        export=replace(config.export, measure_latency=False),
    )
    for _ in range(repeats):
        for workers in (1, 2):
            one = replace(settings, executor=ExecutorConfig(workers=workers))
            for name, step in steps.items():
                folder = Path(tempfile.mkdtemp(prefix="hwnas-scale-"))
                began = time.monotonic()
                step(one, folder / name)
                times[name][workers].append(round(time.monotonic() - began, 2))
                shutil.rmtree(folder)
    return times


def model_times(config: PipelineConfig, repeats: int) -> Times:
    """Seconds in which the models of a table in TVM are written, turn by turn."""
    times: Times = {1: [], 2: []}
    settings = replace(config.profiling, runtime="tvm", networks=_NETWORKS)
    for _ in range(repeats):
        for workers in (1, 2):
            with tempfile.TemporaryDirectory(prefix="hwnas-scale-") as folder:
                models = TableModels(resolve_space(config), load_profile("local"), settings, Path(folder), 0)
                began = time.monotonic()
                if workers == 1:
                    models.write(no_progress)
                else:
                    with open_executor(ExecutorConfig(workers=workers)) as executor:
                        models.write(no_progress, executor)
                times[workers].append(round(time.monotonic() - began, 2))
    return times


def ratio(times: Times) -> float:
    """How many times as fast two are as one."""
    return round(statistics.median(times[1]) / statistics.median(times[2]), 3)
