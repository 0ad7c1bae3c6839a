"""Compares the accuracy predictors on labels that they have not seen.

    python benchmarks/accuracy_predictors.py --data reference/dynast --json F
    python benchmarks/accuracy_predictors.py --labels RUN/evaluate/accuracies.csv --space RUN/train/result.json --json F

The first takes DyNAS-T's subnets of the public OFA-MobileNetV3 w1.0 with measured ImageNet top-1, the second labels
that `hwnas evaluate` made. Labels are split by architecture: repeats of one are averaged first. For each seed and
number of training rows every method is fitted to the same random rows and scored on all the others. Beside F a
markdown table of the same name is written.
"""

from __future__ import annotations

import argparse
import ast
import csv
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from machine import about, described

from hwnas.accuracy.config import PREDICTORS, MlpConfig, PredictorConfig
from hwnas.accuracy.labels import distinct_rows
from hwnas.accuracy.predictor import AccuracyPredictor
from hwnas.accuracy.scoring import score
from hwnas.files import write_json, write_text
from hwnas.spaces import Genotypes, OfaMbv3Config, Space, make_space, space_from_dict
from hwnas.spaces.space import Floats

CONFIGS = {
    **{method: PredictorConfig(method=method) for method in PREDICTORS},
    "mlp, no pre-training": PredictorConfig(method="mlp", mlp=replace(MlpConfig(), pretraining_subnets=0)),
}
HOW = (
    "Settings are the shipped defaults, the same for all numbers of rows, and were not tuned per seed. They were not"
    " chosen blindly: the form of the Gaussian process's features, and the networks' weight decay, learning rate,"
    " widths, epochs and scaled path features, were picked while looking at DyNAS-T's files (for the networks: 2 seeds"
    " of 50 and 200 rows, about a score of settings tried), so that figures on these files flatter a little. The trees'"
    " settings are the first that were tried. Nothing was picked on labels of a supernet trained here."
)


def main() -> None:
    arguments = parse()
    space, genotypes, accuracies, source = read(arguments)
    genotypes, accuracies = distinct_rows(space, genotypes, accuracies)
    sizes = [size for size in arguments.rows if size <= 0.85 * len(genotypes)]
    print(f"{source}: {len(genotypes)} subnets, accuracy {accuracies.min():.4f} to {accuracies.max():.4f}")
    trials: list[dict[str, Any]] = []
    for seed in range(arguments.seeds):
        order = np.random.default_rng(seed).permutation(len(genotypes))
        for rows in sizes:
            seen, rest = order[:rows], order[rows:]
            for name in arguments.methods:
                rng, started = np.random.default_rng(seed), time.perf_counter()
                predictor = AccuracyPredictor.fit(space, genotypes[seen], accuracies[seen], CONFIGS[name], rng)
                seconds = time.perf_counter() - started
                found = score(predictor, genotypes[rest], accuracies[rest]).to_dict()
                trials.append({"method": name, "train_rows": rows, "seed": seed, "fit_s": seconds, **found})
        print(f"seed {seed} done", flush=True)
        report(arguments.json, source, len(genotypes), space, trials)
    print(table(trials))
    speed = {name: throughput(space, genotypes, accuracies, name, max(sizes)) for name in arguments.methods}
    report(arguments.json, source, len(genotypes), space, trials, speed)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of DyNAS-T's CSV files")
    parser.add_argument("--labels", type=Path, help="CSV with columns arch and accuracy")
    parser.add_argument("--space", type=Path, help="JSON of the space's config, or a result that holds result.space")
    parser.add_argument("--rows", type=int, nargs="+", default=[50, 100, 200, 400])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--methods", nargs="+", default=list(CONFIGS), choices=list(CONFIGS))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    given = [value is not None for value in (arguments.data, arguments.labels, arguments.space)]
    if given not in ([True, False, False], [False, True, True]):
        parser.error("give either --data, or --labels with --space")
    return arguments


def read(arguments: argparse.Namespace) -> tuple[Space, Genotypes, Floats, str]:
    """The space, genotypes and accuracies as fractions, and what they are of."""
    if arguments.labels:
        content = json.loads(arguments.space.read_text())
        space = space_from_dict(content["result"]["space"] if "result" in content else content)
        with arguments.labels.open(newline="") as file:
            rows = [(json.loads(row["arch"]), float(row["accuracy"])) for row in csv.DictReader(file)]
        source = f"hwnas evaluate, space {space.name}"
    else:
        space = make_space(OfaMbv3Config())
        rows = []
        for path in sorted(arguments.data.glob("*.csv")):
            with path.open(newline="") as file:
                for row in csv.DictReader(file):
                    rows.append((ast.literal_eval(row["Sub-network"]), float(row["Top-1 Acc (%)"]) / 100))
        source = "DyNAS-T, OFA-MobileNetV3 w1.0, ImageNet top-1"
    return space, np.stack([space.genotype(arch) for arch, _ in rows]), np.array([each for _, each in rows]), source


def throughput(space: Space, genotypes: Genotypes, accuracies: Floats, name: str, rows: int) -> float:
    """Architectures a second of `mean`, the best of three, over 20,000."""
    predictor = AccuracyPredictor.fit(
        space, genotypes[:rows], accuracies[:rows], CONFIGS[name], np.random.default_rng(0)
    )
    many = space.sample(20_000, np.random.default_rng(0))
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        predictor.mean(many)
        seconds.append(time.perf_counter() - started)
    return len(many) / min(seconds)


def table(trials: list[dict[str, Any]]) -> str:
    """Mean over seeds, ± their standard deviation for τ; MAE in points."""
    lines = [
        "| method | rows | Kendall τ | Spearman | MAE, points | in 90 % interval | fit, s |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(trial["method"] for trial in trials):
        for rows in dict.fromkeys(trial["train_rows"] for trial in trials):
            chosen = [trial for trial in trials if trial["method"] == name and trial["train_rows"] == rows]
            tau, spearman, mae, seconds = (
                np.array([trial[key] for trial in chosen]) for key in ("kendall_tau", "spearman", "mae", "fit_s")
            )
            covered = [trial["interval_coverage"] for trial in chosen if trial["interval_coverage"] is not None]
            lines.append(
                f"| {name} | {rows} | {tau.mean():.3f} ± {tau.std():.3f} | {spearman.mean():.3f}"
                f" | {100 * mae.mean():.3f} | {f'{np.mean(covered):.2f}' if covered else '–'}"
                f" | {np.median(seconds):.2f} |"
            )
    return "\n".join(lines)


def report(
    path: Path | None,
    source: str,
    subnets: int,
    space: Space,
    trials: list[dict[str, Any]],
    speed: dict[str, float] | None = None,
) -> None:
    """Write JSON and markdown, after every seed so that an interrupted run leaves what it has."""
    if path is None:
        return
    seeds = len({trial["seed"] for trial in trials})
    machine = about("numpy", "scipy", "scikit-learn", "torch")
    result = {
        "benchmark": "accuracy_predictors",
        "labels": source,
        "subnets": subnets,
        "space": space.config(),
        "seeds": seeds,
        "about": machine,
        "how_chosen": HOW,
        "architectures_per_s": speed,
        "trials": trials,
    }
    write_json(path, result)
    text = [
        f"# Accuracy predictors: {source}",
        f"{subnets} subnets; each method fitted to the same random rows, scored on all others; mean of {seeds} seeds"
        " (τ ± standard deviation over seeds), median fit time.",
        table(trials),
    ]
    if speed:
        text.append(
            "Predictions a second (mean only, fitted to the most rows): "
            + "; ".join(f"{name} {value:,.0f}" for name, value in speed.items())
            + "."
        )
    text.append(HOW)
    text.append(f"{described(machine)} Times were taken beside other work on the machine.")
    write_text(path.with_suffix(".md"), "\n\n".join(text) + "\n")


if __name__ == "__main__":
    main()
