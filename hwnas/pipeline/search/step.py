"""The most accurate network within each budget of each device and runtime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.errors import listed
from hwnas.pipeline.config import SearchStep
from hwnas.pipeline.evaluate import say_known
from hwnas.pipeline.held_out import measured_on_held_out
from hwnas.pipeline.inputs import data_inputs, trained_checkpoint
from hwnas.pipeline.search.devices import Means, SearchedTarget, search_devices
from hwnas.pipeline.search.families import (
    Family,
    budgets_of,
    check_same_settings,
    check_within_reach,
    compared,
    labelled,
)
from hwnas.pipeline.search.result import Searched
from hwnas.pipeline.search.sources import Setting, accuracy_file, latency_targets
from hwnas.pipeline.search.supernets import Supernet, supernets_of
from hwnas.pipeline.search.target import Found, Rivals
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

    With `runs` from any of their supernets: all are searched for the same budgets, which, where they are quantiles, are
    those of the first one's networks.

    >>> config = hwnas.load_config(["experiment=smoke"])
    >>> found = hwnas.search(config, "runs/mine/search")
    >>> fastest = min(entry.latency_ms for entry in found.selected if entry.runtime == "litert")
    >>> found.best(budget_ms=1.5 * fastest, target="local-litert").latency_ms <= 1.5 * fastest
    True
    >>> len(found.to_frame()) == len(found.selected)
    True
    """
    supernets = supernets_of(config, folder)
    inputs: dict[str, Any] = {"search": to_plain(config.search)}
    if config.runs:
        inputs["runs"] = [one.origin.run for one in supernets if one.origin]  # budgets are the first one's
        inputs["supernets"] = {one.space.name: _inputs(one) for one in supernets}
    else:
        inputs |= _inputs(supernets[0])
    if config.latency.format == "roofline":
        inputs["threads"] = config.profiling.threads
        reporter.say("search: latencies are roofline estimates from public facts, not measurements")

    def work() -> Searched:
        from hwnas.report.plots import plot_search

        families = _families(supernets, reporter)
        selected, contests = compared(families, config.search.objectives[0])
        found = [(family, one) for family in families for one, _ in family.searched]
        fronts = [
            labelled(family, family.of(setting)[0].front) for family in families for setting in families[0].settings
        ]
        result = Searched(
            selected=tuple(selected),
            objectives=tuple(_described(text) for text in config.search.objectives),
            constraints=tuple({**_described(name), "bound": most} for name, most in config.search.constraints.items()),
            front=tuple(fronts),
            history=tuple(labelled(family, entry) for family, one in found for entry in one.history),
            evaluations=sum(one.evaluations for _, one in found),
            elapsed_s=round(sum(one.elapsed_s for _, one in found), 3),
            space=supernets[0].space.config(),
            latency_is_estimate=config.latency.format == "roofline",
            families=tuple(contests) if config.runs else None,
            supernets=tuple(one.origin for one in supernets if one.origin) or None,
        )
        plot_search(result.history, folder / HISTORY)
        return result

    return run_step("search", folder, inputs, config.seed, Searched, work, reporter.say)


def _inputs(supernet: Supernet) -> dict[str, Any]:
    """What a search of the supernet depends on, beside how it searches."""
    config, beside = supernet.config, supernet.beside
    files = {"accuracy predictor": accuracy_file(config, beside)}
    files |= {
        role: file for source in latency_targets(config, beside, supernet.space) for role, file in source.files.items()
    }
    inputs: dict[str, Any] = {"space": supernet.space.config()}
    if config.search.evaluate_top:
        files["checkpoint"] = _checkpoint(supernet)
        inputs |= {"data": data_inputs(config.images), "measure": to_plain(config.evaluation.measure)}
    return {**inputs, "files": files_digest(files)}


def _checkpoint(supernet: Supernet) -> Path:
    return trained_checkpoint(supernet.config.checkpoint, supernet.config, supernet.beside)


def _families(supernets: Sequence[Supernet], reporter: Reporter) -> list[Family]:
    """What is found in each supernet, all for the budgets of the first."""
    opened = [Means.opened(supernet) for supernet in supernets]
    check_same_settings(supernets, [means.targets.settings for means in opened])
    families: list[Family] = []
    for supernet, means in zip(supernets, opened, strict=True):
        rivals = None if supernet.origin is None else Rivals(budgets_of(families[0]) if families else {})
        families.append(Family(supernet, means.targets.settings, _searched(supernet, means, rivals, reporter)))
    check_within_reach(families)
    if not supernets[0].config.search.evaluate_top:
        return families
    return [_measured(family, means, reporter) for family, means in zip(families, opened, strict=True)]


def _searched(supernet: Supernet, means: Means, rivals: Rivals | None, reporter: Reporter) -> list[SearchedTarget]:
    config, space = supernet.config, supernet.space
    say_known(means.predictor, reporter)
    names = [setting.name for setting in means.targets.settings]
    of = "" if supernet.origin is None else f" of {space.name}"
    title = f"search: {config.search.method} over {_subnets(space)}{of}, on {listed(names, _MOST_NAMED)}"
    with reporter.step(title) as progress:
        return search_devices(supernet, means, None if config.search.evaluate_top else {}, rivals, progress)


def _measured(family: Family, means: Means, reporter: Reporter) -> Family:
    """With entries by measured accuracy; what was found is read."""
    supernet = family.supernet
    accuracies = _evaluate(supernet, family.settings, [one for one, _ in family.searched], reporter)
    return replace(family, searched=search_devices(supernet, means, accuracies, None, no_progress))


def _evaluate(
    supernet: Supernet, targets: Sequence[Setting], found: Sequence[Found], reporter: Reporter
) -> dict[tuple[bool, bytes], float]:
    """The held-out accuracy of each target's and budget's best networks, each measured once, by whether as int8.

    As int8 where the target's latencies are of int8 files: what those compute is simulated. On CIFAR-10 subnets that
    ranked 20 ONNX files with Kendall's tau 0.85 (accuracy in float: 0.63), and 10 TFLite files with 0.58 (0.72), too
    few to tell the two apart.
    """
    measured: dict[tuple[bool, bytes], float] = {}
    for int8 in (False, True):
        own = [one for target, one in zip(targets, found, strict=True) if target.is_int8 == int8]
        best = [row for one in own for rows in one.best for row in rows]
        if not best:
            continue
        genotypes = supernet.space.unique(np.array(best, dtype=np.int64))
        how = "batch norm recalibrated" + (", as int8" if int8 else "")
        title = f"search: accuracy of the {len(genotypes)} best networks on held-out images, {how}"
        with reporter.step(title) as progress:
            accuracies, _ = measured_on_held_out(
                supernet.config, supernet.space, _checkpoint(supernet), genotypes, supernet.work / MEASURED[int8],
                reporter, progress, int8,
            )  # fmt: skip
        measured |= {(int8, row.tobytes()): float(one) for row, one in zip(genotypes, accuracies, strict=True)}
    return measured


def _described(text: str) -> dict[str, str]:
    quantity, _ = parse_quantity("search", text)
    return {"name": text, "unit": quantity.unit, "direction": "maximise" if quantity.more_is_better else "minimise"}


def _subnets(space: Space) -> str:
    return f"{space.size:.1e} subnets" if space.size > 1_000_000 else f"{space.size} subnets"
