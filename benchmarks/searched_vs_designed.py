"""Searched networks beside MobileNetV3-Small and -Large of the same measured latency, on this machine.

    python benchmarks/searched_vs_designed.py --dataset cifar10 --data-root /path --supernet F.safetensors --json F

The searched networks: `hwnas evaluate`, `profile`, `search` and `finetune` with the supernet, one network for each
runtime and budget. Their rivals: both sizes of MobileNetV3 (conf/experiment/mobilenet_v3_*.yaml), each scaled in width
until its measured latency is that of the searched network; widths are tried in ladders that narrow, and all candidates
of a runtime take turns with the searched networks in one measurement. Each rival is trained alone, by the recipe of the
supernet's first phase, for as long as the whole supernet was (seconds of CPU, which other work on the machine doesn't
stretch), or for `--minutes`. With `--alone` so are the searched networks, from nothing, which tells what the search
brought from what the supernet did. In the end all files of a runtime are exported as they would be deployed and
measured in turns once more. Accuracies are on the test images, by torch.

A killed run goes on: every step and every network has a folder of its own under `--runs`. F, and a markdown table of
the same name beside it, are written as soon as a runtime is done. `--set` gives more settings, for the commands that
take them.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from deployed import exported, latencies, on_test_images
from designed_networks import Designed, Searched, Single, ladder, trained
from machine import about, described
from timed_training import hwnas

from hwnas import load_config
from hwnas.data.load import ImageData
from hwnas.files import read_json, write_json, write_text
from hwnas.operators import Operator
from hwnas.pipeline.inputs import chosen_networks, load_images, load_network
from hwnas.pipeline.search.result import SearchEntry
from hwnas.pipeline.space import resolve_space
from hwnas.pipeline.store.plain import to_plain
from hwnas.profiling.config import ProfilingConfig
from hwnas.profiling.runtimes import model_writer, runtime_named
from hwnas.progress import SILENT

EXPERIMENTS = {"cifar10": "cifar10", "fashion_mnist": "quickstart"}
DATA = {"cifar10": ["data=image_folder"], "fashion_mnist": ["data=fashion_mnist", "data.augment.crop_padding=0"]}
SIZES = ("small", "large")
STEPS, STAGES, WIDTHS = 6, 3, (0.1, 2.5)
UNMATCHED = 1.1  # times the searched network's latency


def main() -> None:
    arguments = parse()
    bench = Bench(arguments)
    searched = bench.search()
    alone = bench.train_alone(searched) if arguments.alone else {}
    networks: dict[str, dict[str, Any]] = {}
    rows: list[dict[str, Any]] = []
    for runtime in arguments.runtimes:
        rivals = bench.match(runtime, searched)
        networks |= bench.train(rivals)
        rows += bench.compare(runtime, searched, rivals, networks, alone)
        found = {
            "about": about("torch", "numpy", "onnxruntime", "ai-edge-litert"),
            "settings": {
                "dataset": arguments.dataset, "seed": arguments.seed, "minutes_of_cpu": bench.minutes,
                "as_long_as_the_supernet": arguments.minutes is None,
                "finetune_minutes_of_cpu": bench.finetune_minutes(), "budget_quantiles": arguments.quantiles,
                "more": arguments.set,
            },
            "networks": networks,
            "rows": rows,
        }  # fmt: skip
        write_json(arguments.json, found)
        write_text(arguments.json.with_suffix(".md"), markdown(found))
    print(markdown(found))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", choices=list(EXPERIMENTS), required=True)
    parser.add_argument("--data-root", type=Path, help="folder of the images; Fashion-MNIST may be fetched instead")
    parser.add_argument("--supernet", type=Path, required=True)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--minutes", type=float, help="CPU minutes for each rival (default: what the supernet took)")
    parser.add_argument("--runs", type=Path, help="default: runs/searched_vs_designed/DATASET")
    parser.add_argument("--runtimes", nargs="+", default=["onnxruntime", "litert"])
    parser.add_argument("--quantiles", nargs="+", type=float, default=[0.15, 0.5, 0.95])
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--alone", action="store_true", help="train the searched networks from nothing too")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", nargs="*", default=[], metavar="key=value")
    arguments = parser.parse_args()
    arguments.runs = (arguments.runs or Path("runs/searched_vs_designed") / arguments.dataset).resolve()
    return arguments


def _nearest(ratios: Mapping[float, float]) -> float:
    """The width whose ratio of latencies is nearest to one."""
    return min(ratios, key=lambda width: abs(math.log(ratios[width])))


class Bench:
    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments, self.runs = arguments, arguments.runs
        root = [] if arguments.data_root is None else [f"data.root={arguments.data_root.resolve()}"]
        more = [setting for setting in arguments.set if setting.startswith("data.")]
        self.data_settings = (*DATA[arguments.dataset], *root, *more)
        self.settings = [
            f"experiment={EXPERIMENTS[arguments.dataset]}", *root, f"seed={arguments.seed}", *arguments.set,
            f"runtime=[{','.join(arguments.runtimes)}]", f"checkpoint={arguments.supernet.resolve()}",
            f"search.budget_quantiles={arguments.quantiles}".replace(" ", ""), "search.evaluate_top=20",
        ]  # fmt: skip
        self.config = load_config([setting for setting in self.settings if not setting.startswith("checkpoint")])
        self.space = resolve_space(self.config)
        self.minutes = arguments.minutes or self._supernet_minutes()
        self._data: ImageData | None = None

    @property
    def data(self) -> ImageData:
        if self._data is None:
            self._data = load_images(self.config, self.space, SILENT.say)
        return self._data

    def _supernet_minutes(self) -> float:
        """Of CPU, at most: its seconds on the clock by its threads, as its result.json says both."""
        folder = self.arguments.supernet.parent
        result = folder / "result.json"
        if not result.is_file():
            raise SystemExit(f"no {result}, which says how long the supernet was trained: give --minutes")
        train_s = read_json(result, RuntimeError)["result"]["train_s"]
        return float(round(train_s * self.config.training.shards / 60, 1))

    # ---- searched -----------------------------------------------------------------------------------------------

    def search(self) -> list[dict[str, Any]]:
        """The chosen networks of all runtimes and budgets, fine-tuned, with their accuracies on the test images."""
        for command in ("evaluate", "profile", "search", "finetune"):
            hwnas(command, self.runs / command, self.settings)
        _, chosen = chosen_networks(None, load_config(self.settings), self.runs / "export", SearchEntry)
        supernet = load_network(self.arguments.supernet, self.space)
        found = []
        for entry in chosen:
            tuned = load_network(Path(entry.checkpoint), self.space) if entry.checkpoint else supernet
            accuracies = {
                "inherited": on_test_images(supernet, entry.arch, self.data, self.config.evaluation.measure),
                "accuracy": on_test_images(tuned, entry.arch, self.data, self.config.evaluation.measure),
            }
            found.append({**to_plain(entry), "network": tuned, **accuracies})
        return found

    def finetune_minutes(self) -> float:
        """Of CPU, at most, for all searched networks: as `_supernet_minutes`."""
        results = (self.runs / "finetune").glob("*/result.json")
        seconds = sum(read_json(path, RuntimeError)["result"]["train_s"] for path in results)
        return float(round(seconds * self.config.training.shards / 60, 1))

    def train_alone(self, searched: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Each searched network, trained from nothing as its rivals are; by the id of its target."""
        experiment = EXPERIMENTS[self.arguments.dataset]
        singles = {
            entry["id"]: Searched(experiment, json.dumps(entry["arch"]), self.data_settings) for entry in searched
        }
        found = {single.name: self._trained(single) for single in singles.values()}
        return {name: found[single.name] for name, single in singles.items()}

    # ---- designed -----------------------------------------------------------------------------------------------

    def match(self, runtime: str, searched: list[dict[str, Any]]) -> dict[tuple[str, str], Designed]:
        """The width of each size, for each searched network of `runtime`, whose measured latency is nearest to its."""
        targets = [entry for entry in searched if entry["runtime"] == runtime]
        brackets = {(entry["id"], size): WIDTHS for entry in targets for size in self.arguments.sizes}
        tried: dict[tuple[str, str], dict[float, float]] = {key: {} for key in brackets}
        settings = ProfilingConfig(runtime=runtime, rounds=10, max_rounds=15, slice_ms=5.0)
        own = {entry["id"]: self.space.operators_of(self.space.genotype(entry["arch"])) for entry in targets}
        folder = self.runs / "match" / runtime
        for stage in range(STAGES):
            rungs = {
                key: [Designed(key[1], width, self.data_settings) for width in ladder(*bracket, STEPS)]
                for key, bracket in brackets.items()
            }
            parts = own | {rung.name: rung.operators for one in rungs.values() for rung in one}
            models = {name: self._synthetic(operators, folder / name, settings) for name, operators in parts.items()}
            found = latencies(models, settings, self.arguments.seed, folder / f"stage{stage}.jsonl")
            for key, one in rungs.items():
                ratios = {rung.width_mult: found[rung.name] / found[key[0]] for rung in one}
                tried[key] |= ratios
                slower = next((place for place, ratio in enumerate(ratios.values()) if ratio > 1), STEPS - 1)
                widths = list(ratios)
                brackets[key] = widths[max(slower - 1, 0)], widths[max(slower, 1)]
        nearest = {key: _nearest(ratios) for key, ratios in tried.items()}
        return {key: Designed(key[1], width, self.data_settings) for key, width in nearest.items()}

    @staticmethod
    def _synthetic(operators: Sequence[Operator], stem: Path, settings: ProfilingConfig) -> Path:
        path = stem.with_name(f"{stem.name}{runtime_named(settings.runtime).suffix}")
        if not path.exists():
            model_writer(settings)(operators, path, 0)
        return path

    def train(self, rivals: Mapping[tuple[str, str], Designed]) -> dict[str, dict[str, Any]]:
        """Each distinct rival, trained; by name."""
        distinct = {rival.name: rival for rival in rivals.values()}
        found: dict[str, dict[str, Any]] = {}
        for name, rival in distinct.items():
            space, genotype = rival.network
            counts = {
                "macs": int(space.macs(genotype[None])[0]),
                "parameters": int(space.parameters(genotype[None])[0]),
            }
            found[name] = {"size": rival.size, "width_mult": rival.width_mult, **counts, **self._trained(rival)}
        return found

    def _trained(self, network: Single) -> dict[str, Any]:
        print(f"{network.name}: {self.minutes} min of CPU", flush=True)
        folder = self.runs / "designed" / network.name
        return trained(network, self.config.training, self.minutes, folder, self.arguments.seed)

    # ---- both ---------------------------------------------------------------------------------------------------

    def compare(
        self,
        runtime: str,
        searched: list[dict[str, Any]],
        rivals: Mapping[tuple[str, str], Designed],
        networks: Mapping[str, Mapping[str, Any]],
        alone: Mapping[str, Mapping[str, Any]],
    ) -> list[dict[str, Any]]:
        """One row a searched network of `runtime` and size of its rival, all files measured in turns."""
        targets = [entry for entry in searched if entry["runtime"] == runtime]
        folder, measure = self.runs / "files" / runtime, self.config.evaluation.measure
        models = {
            entry["id"]: exported(
                entry["network"], self.space.genotype(entry["arch"]), self.data, measure, runtime, folder / entry["id"]
            )
            for entry in targets
        }
        for rival in {one.name: one for one in rivals.values()}.values():
            space, genotype = rival.network
            network = load_network(self.runs / "designed" / rival.name / "train" / "subnet.safetensors", space)
            models[rival.name] = exported(network, genotype, self.data, measure, runtime, folder / rival.name)
        settings = ProfilingConfig(runtime=runtime, rounds=30, max_rounds=60, slice_ms=10.0)
        ms = latencies(models, settings, self.arguments.seed, folder / "latency.jsonl")
        rows = []
        for size in self.arguments.sizes:
            curve = [(ms[one.name], networks[one.name]["accuracy"]) for (_, own), one in rivals.items() if own == size]
            for entry in targets:
                rival = rivals[entry["id"], size]
                own_ms, accuracy = ms[entry["id"]], networks[rival.name]["accuracy"]
                needed_ms, bound = latency_at(curve, entry["accuracy"])
                rows.append({
                    "runtime": runtime, "budget": entry["budget"], "arch": entry["arch"], "size": size,
                    "width_mult": rival.width_mult, "network": rival.name,
                    "searched": {
                        "latency_ms": own_ms, "accuracy": entry["accuracy"], "inherited": entry["inherited"],
                        "alone": alone.get(entry["id"], {}).get("accuracy"), "macs": entry["macs"],
                    },
                    "designed": {"latency_ms": ms[rival.name], "accuracy": accuracy},
                    "latency_ratio": ms[rival.name] / own_ms,
                    "accuracy_gain": entry["accuracy"] - accuracy,
                    "designed_ms_at_equal_accuracy": needed_ms, "bound": bound,
                    "speedup_at_equal_accuracy": needed_ms / own_ms,
                })  # fmt: skip
        return rows


def latency_at(curve: list[tuple[float, float]], accuracy: float) -> tuple[float, str]:
    """The latency at which a family of networks has `accuracy`, between its points (latency in ms, accuracy).

    Linear in accuracy and in the logarithm of latency, along the points that no other one beats. Outside of them the
    nearest point's latency, which is a bound: `at least`, or `at most`.
    """
    best: list[tuple[float, float]] = []
    for point in sorted(curve):
        if not best or point[1] > best[-1][1]:
            best.append(point)
    logs, accuracies = np.log([ms for ms, _ in best]), np.array([own for _, own in best])
    bound = "at least" if accuracy > accuracies[-1] else "at most" if accuracy < accuracies[0] else ""
    return float(np.exp(np.interp(accuracy, accuracies, logs))), bound


def markdown(found: dict[str, Any]) -> str:
    settings = found["settings"]
    same = ", as many as the supernet took" if settings["as_long_as_the_supernet"] else ""
    lines = [
        f"# Searched networks beside MobileNetV3 on {settings['dataset']}",
        "",
        f"{described(found['about'])} Seed {settings['seed']}. One thread. Each MobileNetV3 was trained for"
        f" {settings['minutes_of_cpu']:g} minutes of CPU{same}; fine-tuning all searched networks together took at most"
        f" {settings['finetune_minutes_of_cpu']:g}. Top-1 on the test images: of the searched networks with the"
        " supernet's weights, fine-tuned, and (alone) trained from nothing as their rivals were.",
        "",
        "| runtime | budget | rival | searched ms | rival ms | inherited | fine-tuned | alone | rival"
        " | fine-tuned over rival, points | rival ms at equal accuracy | speed-up |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in found["rows"]:
        own, other = row["searched"], row["designed"]
        alone = "–" if own["alone"] is None else f"{own['alone']:.4f}"
        lines.append(
            f"| {row['runtime']} | {row['budget']} | {row['size']} × {row['width_mult']:.3f} | {own['latency_ms']:.4f}"
            f" | {other['latency_ms']:.4f} | {own['inherited']:.4f} | {own['accuracy']:.4f} | {alone}"
            f" | {other['accuracy']:.4f}"
            f" | {100 * row['accuracy_gain']:+.2f} | {row['bound']} {row['designed_ms_at_equal_accuracy']:.4f}"
            f" | {row['bound']} {row['speedup_at_equal_accuracy']:.2f} |"
        )
    slower = [row for row in found["rows"] if row["latency_ratio"] > UNMATCHED]
    lines += ["", *(
        f"- No width of MobileNetV3-{row['size'].capitalize()} from {WIDTHS[0]} on is as fast as the searched network"
        f" ({row['runtime']}, {row['budget']}): the one shown takes {row['latency_ratio']:.2f} times as long."
        for row in slower
    )]  # fmt: skip
    return "\n".join(lines).rstrip("\n") + "\n"


if __name__ == "__main__":
    main()
