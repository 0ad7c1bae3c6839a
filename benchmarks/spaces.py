"""Spaces beside each other on CIFAR-10: what each reaches within the same budgets, after equal CPU time.

    python benchmarks/spaces.py --data-root /path/to/cifar10 --json F [--spaces ofa_mbv3_cifar10 mobilenet_v4_32]

Each space, by the name of its config or as FILE.py:FUNCTION, gets a supernet by one recipe: the phase of
`experiment=cifar10`, opened in all kinds of genes that the space has, for `--minutes` of CPU (as many epochs as fit in
by the CPU time of one). Then `hwnas profile` and `evaluate`, and for each runtime `search` and `finetune` with the same
settings for all spaces.

The budgets of a runtime are the same for all spaces: by their latency tables, each space has a fastest and a largest
network; budgets stand at `--shares` of the way (of its logarithm) from the slowest of the fastest to the fastest of the
largest. The searches keep to them by their tables; in the end the exported files of all spaces are measured in turns.
Accuracies are on the test images, by torch, BatchNorm calibrated.

A killed run goes on: every step has a folder of its own under `--runs`. F, and a markdown table of the same name beside
it, are written as soon as a runtime is done. `--set` gives more settings, for the commands that take them. A file
`--quiet` is there while latencies are measured: for what else works on the machine, to wait.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

from deployed import exported, latencies, on_test_images
from machine import about, described
from timed_training import hwnas, train_for

from hwnas import load_config
from hwnas.data.load import ImageData
from hwnas.files import sha256_of_json, write_json, write_text
from hwnas.latency.tables.lookup import TableEstimator
from hwnas.latency.tables.table import read_table
from hwnas.pipeline.inputs import chosen_networks, load_images, load_network, tables_of
from hwnas.pipeline.search.result import SearchEntry
from hwnas.pipeline.space import resolve_space
from hwnas.profiling.config import ProfilingConfig
from hwnas.progress import SILENT

EXPERIMENT = "experiment=cifar10"
RECIPE = ("name", "learning_rate", "subnets_per_step", "sampler", "teacher", "schedule", "ending")


def main() -> None:
    arguments = parse()
    families = [Family(name, arguments) for name in arguments.spaces]
    spaces = {family.name: family.train() for family in families}
    with quiet(arguments.quiet):
        for family in families:
            hwnas("profile", family.folder / "profile", family.settings)
    for family in families:
        hwnas("evaluate", family.folder / "evaluate", family.settings)
    ranges: dict[str, dict[str, tuple[float, float]]] = {}
    rows: list[dict[str, Any]] = []
    for runtime in arguments.runtimes:
        ranges[runtime] = {family.name: family.range_ms(runtime) for family in families}
        budgets = shared_budgets(ranges[runtime], arguments.shares)
        rows += compare(families, runtime, budgets, arguments)
        config, test_images = families[0].config, len(families[0].data.test)
        found = {
            "about": about("torch", "numpy", "onnxruntime", "ai-edge-litert"),
            "settings": {
                "data": "cifar10", "seed": arguments.seed,
                "test_images": min(config.evaluation.measure.images or test_images, test_images),
                "minutes_of_cpu": arguments.minutes, "finetune_epochs": config.finetune.epochs,
                "shares": arguments.shares, "more": arguments.set,
            },
            "spaces": spaces,
            "ranges_ms": ranges,
            "rows": rows,
        }  # fmt: skip
        write_json(arguments.json, found)
        write_text(arguments.json.with_suffix(".md"), markdown(found))
    print(markdown(found))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spaces", nargs="+", default=["ofa_mbv3_cifar10", "mobilenet_v4_32"])
    parser.add_argument("--data-root", type=Path, default=Path("data/cifar10"), help="folder with train/ and test/")
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=28.0, help="of CPU, for each supernet")
    parser.add_argument("--runs", type=Path, default=Path("runs/spaces"))
    parser.add_argument("--runtimes", nargs="+", default=["onnxruntime", "litert"])
    parser.add_argument("--shares", nargs="+", type=float, default=[0.2, 0.5, 0.8])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quiet", type=Path, metavar="FILE")
    parser.add_argument("--set", nargs="*", default=[], metavar="key=value")
    arguments = parser.parse_args()
    if len(set(arguments.spaces)) < max(len(arguments.spaces), 2):
        parser.error(f"--spaces: expected two or more, each once, got {' '.join(arguments.spaces)}")
    if not arguments.data_root.is_dir():
        parser.error(
            f"no folder {arguments.data_root}: give --data-root, CIFAR-10 as train/ and test/ of class folders"
        )
    arguments.runs, arguments.data_root = arguments.runs.resolve(), arguments.data_root.resolve()
    return arguments


@contextmanager
def quiet(file: Path | None) -> Iterator[None]:
    """`file` is there meanwhile."""
    if file is not None:
        file.touch()
    try:
        yield
    finally:
        if file is not None:
            file.unlink(missing_ok=True)


class Family:
    """One space, its supernet and what was chosen of it, in a folder of its own."""

    def __init__(self, name: str, arguments: argparse.Namespace) -> None:
        self.name, self.minutes = name, arguments.minutes
        self.folder = arguments.runs / re.sub(r"[^\w.-]+", "_", name)
        self.settings = [
            EXPERIMENT, f"space={name}", f"data.root={arguments.data_root}", f"seed={arguments.seed}",
            "training.random_subnets=1", "training.tensorboard=false", f"runtime=[{','.join(arguments.runtimes)}]",
            "search.evaluate_top=20", *arguments.set,
        ]  # fmt: skip
        self.config = load_config(self.settings)
        self.space = resolve_space(self.config)

    @cached_property
    def data(self) -> ImageData:
        return load_images(self.config, self.space, SILENT.say)

    def train(self) -> dict[str, Any]:
        """What of the supernet's training the result says."""
        print(f"{self.name}: {self.minutes:g} min of CPU", flush=True)
        result, planned = train_for(self.minutes, self.settings, _phases, self.folder)
        accuracies = {size: result[size]["accuracy"] for size in ("largest", "smallest")}
        return {**planned, "networks": float(self.space.size), "train_s": result["train_s"], "accuracy": accuracies}

    def range_ms(self, runtime: str) -> tuple[float, float]:
        """Latency of the fastest network and of the largest, by the table."""
        path = tables_of(self.config, self.config.device.name, self.folder / "profile")[runtime]
        estimator = TableEstimator(read_table(path), self.space)
        fastest, _ = estimator.fastest()
        one, other = (float(estimator.latency_ms(row[None])[0]) for row in (fastest, self.space.extreme(largest=True)))
        return round(one, 4), round(other, 4)

    def choose(self, runtime: str, budgets: Sequence[float]) -> list[SearchEntry]:
        """The network for each of `budgets` (ms), fine-tuned."""
        searched, tuned = (self.folder / f"{step}-{runtime}" for step in ("search", "finetune"))
        own = [f"runtime=[{runtime}]", f"search.budgets={list(budgets)}".replace(" ", "")]
        hwnas("search", searched, [*self.settings, *own])
        targets = searched / "result.json"
        hwnas("finetune", tuned, [*self.settings, f"targets={targets}"])
        return chosen_networks(str(tuned / "result.json"), self.config, tuned, SearchEntry)[1]


def _phases(epochs: float) -> str:
    """The setting of so many epochs as those of the experiment, whatever kinds of genes the space has."""
    first = load_config([EXPERIMENT]).training.phases[0]
    own = [f"{key}: {getattr(first, key)}" for key in RECIPE]
    warmup = min(first.warmup_epochs, epochs / 10)
    return f"training.phases=[{{{', '.join(own)}, epochs: {epochs}, warmup_epochs: {warmup}, opens: [all]}}]"


def shared_budgets(ranges: Mapping[str, tuple[float, float]], shares: Sequence[float]) -> list[float]:
    """Budgets in ms, to three digits, at `shares` of the way that all of `ranges` (fastest, largest) have in common."""
    low, high = max(fastest for fastest, _ in ranges.values()), min(largest for _, largest in ranges.values())
    if low >= high:
        told = ", ".join(f"{name} {fastest:g} to {largest:g} ms" for name, (fastest, largest) in ranges.items())
        raise SystemExit(f"the spaces have no latency in common: {told}")
    return [float(f"{low * (high / low) ** share:.3g}") for share in shares]


def compare(
    families: Sequence[Family], runtime: str, budgets: Sequence[float], arguments: argparse.Namespace
) -> list[dict[str, Any]]:
    """One row a budget and space, all files measured in turns."""
    files = arguments.runs / "files" / runtime
    models, rows = {}, {}
    for family in families:
        supernet = load_network(family.folder / "train" / "supernet.safetensors", family.space)
        measure = family.config.evaluation.measure
        for entry in family.choose(runtime, budgets):
            network = load_network(Path(entry.checkpoint), family.space) if entry.checkpoint else supernet
            key = f"{family.folder.name}-{entry.budget}-{sha256_of_json(entry.arch)[:10]}"
            genotype = family.space.genotype(entry.arch)
            models[key] = exported(network, genotype, family.data, measure, runtime, files / key)
            rows[key] = {
                "space": family.name, "runtime": runtime, "budget": entry.budget, "budget_ms": entry.budget_ms,
                "predicted_ms": entry.latency_ms,
                "accuracy": on_test_images(network, entry.arch, family.data, measure),
                "inherited": on_test_images(supernet, entry.arch, family.data, measure),
                "macs": entry.macs, "parameters": entry.parameters, "arch": entry.arch,
            }  # fmt: skip
    settings = ProfilingConfig(runtime=runtime, rounds=30, max_rounds=60, slice_ms=10.0)
    with quiet(arguments.quiet):
        ms = latencies(models, settings, arguments.seed, files / "latency.jsonl")
    return sorted(
        ({**row, "latency_ms": ms[key]} for key, row in rows.items()),
        key=lambda row: (row["budget_ms"], arguments.spaces.index(row["space"])),
    )


def lead(rows: Sequence[dict[str, Any]], images: int) -> tuple[str, float, bool]:
    """Of one budget's rows the space that is ahead, by how much, and whether by two standard errors of so many images.

    The standard error is that of the difference between two networks that err independently, which is the most.
    """
    best, second = sorted(rows, key=lambda row: -row["accuracy"])[:2]
    variance = sum(row["accuracy"] * (1 - row["accuracy"]) / images for row in (best, second))
    gain = best["accuracy"] - second["accuracy"]
    return best["space"], gain, gain > 2 * math.sqrt(variance)


def _accuracies(rows: Sequence[dict[str, Any]]) -> list[str]:
    return [f"{row['accuracy']:.4f}" for row in rows]


def markdown(found: dict[str, Any]) -> str:
    settings, names = found["settings"], list(found["spaces"])
    budgets = {
        key: list(group)
        for key, group in groupby(found["rows"], key=lambda row: (row["runtime"], f"{row['budget_ms']:g}"))
    }
    leads = {key: lead(rows, settings["test_images"]) for key, rows in budgets.items()}
    wins: dict[str, list[str]] = {}
    for (runtime, budget), (space, gain, is_clear) in leads.items():
        told = f"{space} by {100 * gain:.1f} points" if is_clear else "even"
        wins.setdefault(runtime, []).append(f"{budget} ms: {told}")
    lines = [
        f"# {' beside '.join(names)} on CIFAR-10",
        "",
        f"{described(found['about'])} Seed {settings['seed']}. Each supernet was trained for as many epochs"
        f" as were to take {settings['minutes_of_cpu']:g} minutes of CPU (used: last table), each chosen network"
        f" fine-tuned for {settings['finetune_epochs']:g} epochs. Top-1 on {settings['test_images']:,} test images, of"
        " the networks chosen for the same budget, fine-tuned:",
        "",
        f"| runtime | budget ms | {' | '.join(names)} | ahead | by points |",
        "|---" * (len(names) + 4) + "|",
        *(
            f"| {' | '.join(key)} | {' | '.join(_accuracies(rows))} | {leads[key][0]} | {100 * leads[key][1]:.2f} |"
            for key, rows in budgets.items()
        ),
        "",
        "Who wins where, `even` within two standard errors of the difference:",
        "",
        *(f"- {runtime}: {'; '.join(those)}." for runtime, those in wins.items()),
        "",
        "The networks. Budgets are kept by the latency tables (predicted ms); ms: the exported files, which took turns,"
        " one thread; inherited: with the supernet's weights.",
        "",
        "| runtime | budget ms | space | predicted ms | ms | fine-tuned | inherited | M MACs | k parameters |",
        "|---|---|---|---|---|---|---|---|---|",
        *(
            f"| {row['runtime']} | {row['budget_ms']:g} | {row['space']} | {row['predicted_ms']:.4f}"
            f" | {row['latency_ms']:.4f} | {row['accuracy']:.4f} | {row['inherited']:.4f} | {row['macs'] / 1e6:.2f}"
            f" | {row['parameters'] / 1e3:.0f} |"
            for row in found["rows"]
        ),
        "",
        "The supernets:",
        "",
        "| space | networks | epochs | CPU s, with start and evaluation | largest | smallest |",
        "|---|---|---|---|---|---|",
        *(
            f"| {name} | {one['networks']:.1e} | {one['epochs']:.2f} | {one['cpu_s']:.0f}"
            f" | {one['accuracy']['largest']:.4f} | {one['accuracy']['smallest']:.4f} |"
            for name, one in found["spaces"].items()
        ),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
