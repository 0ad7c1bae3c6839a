"""Progressive shrinking and BigNAS on equal time: the accuracy of 100 random subnets of each.

    python benchmarks/training_methods.py --data /path/to/cifar10 --json F [--runs FOLDER] [--set key=value …]

Each method's `hwnas train experiment=cifar10 training=<method>` runs as a process of its own, one after another, in
`FOLDER/<method>`; accuracies are the runs' own, on the test images, with inherited weights after BatchNorm calibration.
Equal time is a matter of the two configs' epochs. Beside the seconds on the clock, which other work on the machine
stretches, stand the seconds of CPU that the process and its threads used: these are what to compare. A run that is
there already is not repeated, and its CPU seconds are taken from the JSON of the run before.

Beside F a markdown table of the same name is written.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

from machine import about, described

from hwnas.files import read_json, write_json, write_text

METHODS = ("bignas_cifar10", "progressive_shrinking_cifar10")


def main() -> None:
    arguments = parse()
    before = json.loads(arguments.json.read_text())["methods"] if arguments.json.is_file() else {}
    methods: dict[str, Any] = {}
    for method in arguments.methods:
        folder = arguments.runs / method
        fresh = not (folder / "result.json").is_file()
        cpu_s = run(method, folder, arguments)
        methods[method] = figures(folder, cpu_s if fresh else before.get(method, {}).get("cpu_s"))
        print(method, methods[method])
    found = {"about": about("torch", "numpy"), "methods": methods}
    write_json(arguments.json, found)
    write_text(arguments.json.with_suffix(".md"), table(found))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with train/ and test/")
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs/training_methods"))
    parser.add_argument("--methods", nargs="+", default=list(METHODS), help="configs of the group training")
    parser.add_argument("--set", nargs="*", default=[], metavar="key=value", help="more settings, for every method")
    return parser.parse_args()


def run(method: str, folder: Path, arguments: argparse.Namespace) -> float:
    """Train, or find it done; CPU seconds that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "hwnas.cli.main", "train", "experiment=cifar10", f"training={method}"]
    subprocess.run(
        [*command, f"data.root={arguments.data}", f"hydra.run.dir={folder}", *arguments.set],
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def figures(folder: Path, cpu_s: float | None) -> dict[str, Any]:
    result = read_json(folder / "result.json", RuntimeError)["result"]
    kept = ("largest", "smallest", "random", "train_s", "images_per_s")
    return {key: result[key] for key in kept} | {"cpu_s": None if cpu_s is None else round(cpu_s)}


def table(found: dict[str, Any]) -> str:
    lines = [
        "# Progressive shrinking and BigNAS on CIFAR-10",
        "",
        f"{described(found['about'])} Top-1 on the test images, weights as inherited, BatchNorm calibrated.",
        "",
        "| method | largest | smallest | random subnets: mean ± std (number) | train s | CPU s |",
        "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for name, row in found["methods"].items():
        random = row["random"]
        lines.append(
            f"| {name} | {row['largest']['accuracy']:.4f} | {row['smallest']['accuracy']:.4f} |"
            f" {random['accuracy_mean']:.4f} ± {random['accuracy_std']:.4f} ({random['subnets']}) |"
            f" {row['train_s']:.0f} | {row['cpu_s']} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
