"""`make run` in fresh clones with environments of their own: its time, installation included, and what it finds.

    python benchmarks/quickstart.py --json F [--seeds 0 1 2] [--folder FOLDER]

The checkout's last commit is cloned into `FOLDER/<seed>`, where `make run ARGS=seed=<seed>` runs with nothing installed
and without pip's cache; Fashion-MNIST is where earlier runs left it. A clone that holds a measurement already is not
run again. Beside the seconds on the clock stand the seconds of CPU of the command and all its children.

Beside F a markdown table of the same name is written.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import time
from pathlib import Path
from typing import Any

from machine import about, described

from hwnas.files import read_json, write_json, write_text

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--folder", type=Path, default=Path("runs/fresh"))
    arguments = parser.parse_args()
    machine = about("torch", "onnxruntime", "ai-edge-litert")
    runs = [measured(arguments.folder.resolve() / str(seed), seed) for seed in arguments.seeds]
    found = {"about": machine, "runs": runs}
    write_json(arguments.json, found)
    write_text(arguments.json.with_suffix(".md"), page(found))


def measured(folder: Path, seed: int) -> dict[str, Any]:
    """The figures of one clone, kept in it."""
    kept = folder / "measured.json"
    if not kept.exists():
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
        cpu_s, began = children_s(), time.monotonic()
        environment = {**os.environ, "PIP_NO_CACHE_DIR": "1"}
        environment.pop("PYTHONPATH", None)
        with (folder / "printed.txt").open("w") as printed:
            subprocess.run(
                ["make", "run", f"ARGS=seed={seed}"], cwd=folder, env=environment, stdout=printed, check=True
            )
        wall_s, cpu_s = time.monotonic() - began, children_s() - cpu_s
        result = read_json(folder / "runs/quickstart/result.json")["result"]
        write_json(kept, {"seed": seed, "wall_s": round(wall_s, 1), "cpu_s": round(cpu_s, 1), **figures(result)})
    run: dict[str, Any] = read_json(kept)
    print(run)
    return run


def children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def figures(result: dict[str, Any]) -> dict[str, Any]:
    keys = ("id", "budget_ms", "predicted_ms", "measured_ms", "drift", "accuracy_exported", "accuracy_random")
    targets = [{key: target[key] for key in keys} for target in result["targets"]]
    for target in targets:
        target["corrected_ms"] = round(target["measured_ms"] / target["drift"], 5)
    return {"plan": result["plan"], "targets": targets, "kendall_tau": result["accuracy_predictor"]["kendall_tau"]}


def page(found: dict[str, Any]) -> str:
    runs = found["runs"]
    names = [row["step"] for row in runs[0]["plan"]]
    lines = [
        "# make run, from nothing",
        "",
        "Fresh clones, each with an environment of its own. Seconds on the clock, steps in brackets as planned; CPU"
        " seconds are those of all processes.",
        "",
        described(found["about"]),
        "",
        f"| seed | all, installation included | CPU | {' | '.join(names)} |",
        f"|---|{'---|' * (2 + len(names))}",
    ]
    for run in runs:
        steps = [f"{row['elapsed_s']:.0f} ({row['planned_s']:.0f})" for row in run["plan"]]
        lines.append(f"| {run['seed']} | {run['wall_s']:.0f} s | {run['cpu_s']:.0f} s | {' | '.join(steps)} |")
    lines += [
        "",
        "Latencies in ms; measured: of the exported file, drift divided out. Test accuracies of the file, and of random"
        " nets of the same latency.",
        "",
        "| seed | target | budget | predicted | measured | accuracy | random |",
        "|---|---|---|---|---|---|---|",
    ]
    for run in runs:
        for target in run["targets"]:
            cells = [f"{target[key]:.5f}" for key in ("budget_ms", "predicted_ms", "corrected_ms")]
            cells += [f"{100 * target[key]:.2f} %" for key in ("accuracy_exported", "accuracy_random")]
            lines.append(f"| {run['seed']} | {target['id']} | {' | '.join(cells)} |")
    taus = ", ".join(f"{run['kendall_tau']:.2f}" for run in runs)
    return "\n".join([*lines, "", f"Kendall's τ of the accuracy predictor on unseen subnets: {taus}.", ""])


if __name__ == "__main__":
    main()
