"""The most accurate network within each budget of each device and runtime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.errors import ConfigError
from hwnas.pipeline.config import SearchStep
from hwnas.pipeline.evaluate import say_known
from hwnas.pipeline.inputs import data_inputs, load_images, load_network, trained_checkpoint
from hwnas.pipeline.search.quantities import Quantities
from hwnas.pipeline.search.result import EvaluatedNetworks, Searched, SearchEntry
from hwnas.pipeline.search.sources import Predictor, Target, accuracy_file, latency_targets, load_predictor
from hwnas.pipeline.search.target import Found, kept, search_target, target_id
from hwnas.pipeline.space import resolve_space
from hwnas.pipeline.store.labels import Labels
from hwnas.pipeline.store.plain import to_plain
from hwnas.pipeline.store.steps import files_digest, run_step, step_of
from hwnas.progress import SILENT, Reporter, part
from hwnas.search.budgets import sample_near_latency
from hwnas.search.quantities import parse_quantity
from hwnas.spaces import Genotypes, Space

__all__ = ["search"]

STATE = "state"
MEASURED = {False: "evaluated.csv", True: "evaluated-int8.csv"}
"""Whether as int8: the file of what was measured."""
HISTORY = "history.png"


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

        predictor = load_predictor(config, predictor_path, space)
        targets = [source.open() for source in sources]
        say_known(predictor, reporter)
        found = _search_all(config, folder, space, predictor, targets, reporter)
        measured: dict[tuple[bool, bytes], float] = {}
        if config.search.evaluate_top:
            measured = _evaluate(config, folder, space, checkpoint, targets, found, reporter)
        selected: list[SearchEntry] = []
        for number, (target, one) in enumerate(zip(targets, found, strict=True)):
            quantities = Quantities(space, predictor, target, targets, config.search)
            rng = np.random.default_rng([config.seed, number, 1])
            selected += _entries(one, quantities, measured, rng)
        result = Searched(
            selected=tuple(selected),
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


def _search_all(
    config: SearchStep,
    folder: Path,
    space: Space,
    predictor: Predictor,
    targets: Sequence[Target],
    reporter: Reporter,
) -> list[Found]:
    """Each target's search; a later one starts from what the earlier ones found, on whatever device."""
    ids = [target.name for target in targets]
    if twice := sorted({name for name in ids if ids.count(name) > 1}):
        raise ConfigError(f"latency: several tables of {', '.join(twice)}: give devices=[…] and runtime=… for one each")
    found: list[Found] = []
    title = f"search: {config.search.method} over {_subnets(space)}, on {', '.join(ids)}"
    with reporter.step(title) as progress:
        for number, target in enumerate(targets):
            quantities = Quantities(space, predictor, target, targets, config.search)
            rng = np.random.default_rng([config.seed, number])
            bar = part(progress, number, len(targets))
            pareto = [row for one in found for row in one.pareto]
            known = space.unique(np.array(pareto, dtype=np.int64)) if pareto else None
            found.append(
                kept(
                    folder / STATE / f"{number}-{ids[number]}.json",
                    lambda quantities=quantities, rng=rng, bar=bar, known=known: (  # type: ignore[misc]
                        search_target(quantities, rng, bar, known)
                    ),
                )
            )
    return found


def _evaluate(
    config: SearchStep,
    folder: Path,
    space: Space,
    checkpoint: Path,
    targets: Sequence[Target],
    found: Sequence[Found],
    reporter: Reporter,
) -> dict[tuple[bool, bytes], float]:
    """The held-out accuracy of each target's and budget's best networks, each measured once, by whether as int8.

    As int8 where the target's latencies are of int8 files: what those compute is simulated. On CIFAR-10 subnets that
    ranked 20 ONNX files with Kendall's tau 0.85 (accuracy in float: 0.63), and 10 TFLite files with 0.58 (0.72), too
    few to tell the two apart.
    """
    from hwnas.accuracy.measure import measure_accuracy

    measured: dict[tuple[bool, bytes], float] = {}
    for int8 in (False, True):
        own = [one for target, one in zip(targets, found, strict=True) if _is_int8(target) == int8]
        if not own:
            continue
        genotypes = space.unique(np.array([row for one in own for best in one.best for row in best], dtype=np.int64))
        how = "batch norm recalibrated" + (", as int8" if int8 else "")
        title = f"search: accuracy of the {len(genotypes)} best networks on held-out images, {how}"
        with reporter.step(title) as progress:
            supernet = load_network(checkpoint, space)
            data = load_images(config, space, reporter.note, checkpoint, progress)
            labels = Labels(folder / MEASURED[int8], space, genotypes)
            settings = config.evaluation.measure
            accuracies = measure_accuracy(
                supernet, genotypes, data, "held_out", settings, progress, labels.known, labels.add, int8
            )
            labels.write()
        measured |= {(int8, row.tobytes()): float(one) for row, one in zip(genotypes, accuracies, strict=True)}
    return measured


def _is_int8(target: Target) -> bool:
    return target.precision == "int8"


def _entries(
    found: Found, quantities: Quantities, measured: dict[tuple[bool, bytes], float], rng: np.random.Generator
) -> list[SearchEntry]:
    """The chosen network of each budget: the best by measured accuracy where that was asked for, else by prediction."""
    entries = []
    for budget, best, bound in zip(found.budgets, found.best, found.upper_bounds, strict=True):
        rows = np.array(best, dtype=np.int64)
        int8 = _is_int8(quantities.target)
        accuracy = [measured[int8, row.tobytes()] for row in rows] if measured else []
        place = int(np.argmax(accuracy)) if measured else 0  # ties go to the better prediction
        entry = _entry(rows[place], budget, bound, quantities, rng)
        if measured:
            evaluated = EvaluatedNetworks(
                accuracy_predicted=tuple(quantities.predictor.mean(rows).tolist()),
                accuracy_measured=tuple(accuracy),
                latency_ms=tuple(quantities.target.estimator.latency_ms(rows).tolist()),
            )
            entry = replace(
                entry, accuracy_measured=accuracy[place], accuracy_measured_as="int8" if int8 else "fp32",
                evaluated=evaluated,
            )  # fmt: skip
        entries.append(entry)
    return entries


def _entry(
    genotype: Genotypes,
    budget: dict[str, Any],
    bound: float | None,
    quantities: Quantities,
    rng: np.random.Generator,
) -> SearchEntry:
    space, target, search = quantities.space, quantities.target, quantities.config
    row = genotype[None]
    latency_ms = float(target.estimator.latency_ms(row)[0])
    accuracy = quantities.predictor.predict(row)
    random = sample_near_latency(
        space,
        target.estimator.latency_ms,
        latency_ms,
        search.comparison_tolerance,
        search.comparison_networks,
        rng,
        excluded=row,
    )
    return SearchEntry(
        id=target_id(target, budget["name"]),
        device=target.device,
        runtime=target.runtime,
        precision=target.precision,
        threads=target.threads,
        budget=budget["name"],
        budget_ms=budget["budget_ms"],
        latency_ms=latency_ms,
        accuracy_predicted=float(accuracy.mean[0]),
        upper_bound=bound,
        accuracy_predicted_std=None if accuracy.std is None else float(accuracy.std[0]),
        macs=int(space.macs(row)[0]),
        parameters=int(space.parameters(row)[0]),
        quantities=_extra(quantities, row) or None,
        arch=space.arch(genotype).to_dict(),
        random_archs=tuple(space.arch(other).to_dict() for other in random),
    )


def _extra(quantities: Quantities, row: Genotypes) -> dict[str, float]:
    """The values of what was asked for by name beside accuracy and latency."""
    names = dict.fromkeys([*quantities.config.objectives, *quantities.config.constraints])
    return {name: float(quantities.objective(name)(row)[0]) for name in names if name not in ("accuracy", "latency_ms")}


def _described(text: str) -> dict[str, str]:
    quantity, _ = parse_quantity("search", text)
    return {"name": text, "unit": quantity.unit, "direction": "maximise" if quantity.more_is_better else "minimise"}


def _subnets(space: Space) -> str:
    return f"{space.size:.1e} subnets" if space.size > 1_000_000 else f"{space.size} subnets"
