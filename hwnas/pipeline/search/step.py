"""The most accurate network within each budget of each device and runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.errors import listed
from hwnas.pipeline.config import SearchStep
from hwnas.pipeline.evaluate import say_known
from hwnas.pipeline.held_out import measured_on_held_out
from hwnas.pipeline.inputs import data_inputs, trained_checkpoint
from hwnas.pipeline.search.devices import Means, search_devices
from hwnas.pipeline.search.result import Searched
from hwnas.pipeline.search.sources import Setting, accuracy_file, latency_targets
from hwnas.pipeline.search.target import Found
from hwnas.pipeline.space import resolve_space
from hwnas.pipeline.store.plain import to_plain
from hwnas.pipeline.store.steps import files_digest, run_step, step_of
from hwnas.progress import SILENT, Reporter, no_progress
from hwnas.search.quantities import parse_quantity
from hwnas.spaces import Space

__all__ = ["search"]

MEASURED = {False: "evaluated.csv", True: "evaluated-int8.csv"}
"""Whether as int8: the file of what was measured."""
HISTORY = "history.png"
_MOST_NAMED = 6


@step_of(SearchStep)
def search(config: SearchStep, folder: Path, reporter: Reporter = SILENT) -> Searched:
    """What was chosen, made or read (see `hwnas.pipeline.store.steps`). Targets searched before a kill are kept.

    >>> config = hwnas.load_config(["experiment=smoke"])
    >>> found = hwnas.search(config, "runs/mine/search")
    >>> fastest = min(entry.latency_ms for entry in found.selected if entry.runtime == "litert")
    >>> found.best(budget_ms=1.5 * fastest, target="local-litert").latency_ms <= 1.5 * fastest
    True
    >>> len(found.to_frame()) == len(found.selected)
    True
    """
    space = resolve_space(config)
    predictor_path = accuracy_file(config, folder)
    sources = latency_targets(config, folder, space)
    files = {role: file for source in sources for role, file in source.files.items()}
    inputs: dict[str, Any] = {"space": space.config(), "search": to_plain(config.search)}
    if config.search.evaluate_top:
        checkpoint = trained_checkpoint(config.checkpoint, config, folder)
        files["checkpoint"] = checkpoint
        inputs |= {"data": data_inputs(config.images), "measure": to_plain(config.evaluation.measure)}
    inputs["files"] = files_digest({"accuracy predictor": predictor_path, **files})
    if config.latency.format == "roofline":
        inputs["threads"] = config.profiling.threads
        reporter.say("search: latencies are roofline estimates from public facts, not measurements")

    def work() -> Searched:
        from hwnas.report.plots import plot_search

        means = Means.opened(config, folder)
        say_known(means.predictor, reporter)
        names = [setting.name for setting in means.targets.settings]
        title = f"search: {config.search.method} over {_subnets(space)}, on {listed(names, _MOST_NAMED)}"
        with reporter.step(title) as progress:
            searched = search_devices(config, folder, means, None if config.search.evaluate_top else {}, progress)
        if config.search.evaluate_top:
            best = [one for one, _ in searched]
            measured = _evaluate(config, folder, space, checkpoint, means.targets.settings, best, reporter)
            searched = search_devices(config, folder, means, measured, no_progress)
        found = [one for one, _ in searched]
        result = Searched(
            selected=tuple(entry for _, entries in searched for entry in entries),
            objectives=tuple(_described(text) for text in config.search.objectives),
            constraints=tuple({**_described(name), "bound": most} for name, most in config.search.constraints.items()),
            front=tuple(one.front for one in found),
            history=tuple(entry for one in found for entry in one.history),
            evaluations=sum(one.evaluations for one in found),
            elapsed_s=round(sum(one.elapsed_s for one in found), 3),
            space=space.config(),
            latency_is_estimate=config.latency.format == "roofline",
        )
        plot_search(result.history, folder / HISTORY)
        return result

    return run_step("search", folder, inputs, config.seed, Searched, work, reporter.say)


def _evaluate(
    config: SearchStep,
    folder: Path,
    space: Space,
    checkpoint: Path,
    targets: Sequence[Setting],
    found: Sequence[Found],
    reporter: Reporter,
) -> dict[tuple[bool, bytes], float]:
    """The held-out accuracy of each target's and budget's best networks, each measured once, by whether as int8.

    As int8 where the target's latencies are of int8 files: what those compute is simulated. On CIFAR-10 subnets that
    ranked 20 ONNX files with Kendall's tau 0.85 (accuracy in float: 0.63), and 10 TFLite files with 0.58 (0.72), too
    few to tell the two apart.
    """
    measured: dict[tuple[bool, bytes], float] = {}
    for int8 in (False, True):
        own = [one for target, one in zip(targets, found, strict=True) if target.is_int8 == int8]
        if not own:
            continue
        genotypes = space.unique(np.array([row for one in own for best in one.best for row in best], dtype=np.int64))
        how = "batch norm recalibrated" + (", as int8" if int8 else "")
        title = f"search: accuracy of the {len(genotypes)} best networks on held-out images, {how}"
        with reporter.step(title) as progress:
            accuracies, _ = measured_on_held_out(
                config, space, checkpoint, genotypes, folder / MEASURED[int8], reporter, progress, int8
            )
        measured |= {(int8, row.tobytes()): float(one) for row, one in zip(genotypes, accuracies, strict=True)}
    return measured


def _described(text: str) -> dict[str, str]:
    quantity, _ = parse_quantity("search", text)
    return {"name": text, "unit": quantity.unit, "direction": "maximise" if quantity.more_is_better else "minimise"}


def _subnets(space: Space) -> str:
    return f"{space.size:.1e} subnets" if space.size > 1_000_000 else f"{space.size} subnets"
