"""What an executor's workers bring, what Ray costs beside processes, and how long a search of 1,000 devices takes.

    python benchmarks/scale.py --json F

`speedup_2_workers`: `hwnas evaluate` of 128 subnets, `hwnas export` of 40 files, and the models that TVM compiles for a
table, with one worker and with two, turn by turn; the ratio of the medians of the whole step's time, the start of the
workers included. One worker uses both cores where torch does: while images are prepared and networks examined. Of a
run that is made first, or of `--run`, a folder of `hwnas run`, with a supernet and a search. `ray_overhead`: so many
items of one second each, `--workers` at once, on Ray and in processes; the extra time's share, with workers that have
started, and `ray_start_s` beside; null without Ray. `devices_1000_s`: one `hwnas search` of 1,000 simulated devices.
`driver_memory_mib`: by how much the memory of the process that hands out 10,000 and 100,000 items grows. Other work on
the machine spoils all of them. A markdown page is written beside F.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from machine import about, described
from scale_memory import growth_mib
from scale_search import searched
from scale_steps import made_run, model_times, ratio, step_times

import hwnas
from hwnas.executors.choose import open_executor
from hwnas.executors.config import ExecutorConfig
from hwnas.executors.executor import Executor
from hwnas.files import read_json, write_json, write_text

DEVICES, ITEMS = 1000, (10_000, 100_000)


def main() -> None:
    arguments = parse()
    kinds = ["local", *(["ray"] if find_spec("ray") else [])]
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "speedups": lambda: speedups(arguments),
        "ray": lambda: ray_overhead(arguments.workers, arguments.items, arguments.repeats, kinds),
        "devices": lambda: many_devices(arguments.workers),
        "memory": lambda: {
            "driver_memory_mib": {kind: {str(items): growth_mib(kind, items) for items in ITEMS} for kind in kinds}
        },
    }
    found: dict[str, Any] = read_json(arguments.json) if arguments.only and arguments.json.exists() else {}
    for name in arguments.only or parts:
        found |= {"about": about("ray", "torch"), **parts[name]()}
        write_json(arguments.json, found)
    write_text(arguments.json.with_suffix(".md"), page(found))
    print(page(found))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", nargs="+", choices=("speedups", "ray", "devices", "memory"),
        help="these parts alone; the others stay in the JSON file as they are",
    )  # fmt: skip
    parser.add_argument("--run", type=Path, help="a folder of hwnas run; without it a small run is made")
    parser.add_argument("--experiment", default="quickstart", help="that run's")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="that run's other settings")
    parser.add_argument("--subnets", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--items", type=int, default=20, help="of one second each")
    parser.add_argument("--json", type=Path, required=True)
    return parser.parse_args()


def speedups(arguments: argparse.Namespace) -> dict[str, Any]:
    """Of each step, with all its times."""
    with tempfile.TemporaryDirectory(prefix="hwnas-scale-") as place:
        if arguments.run is None:
            run = Path(place)
            config = made_run(run, arguments.subnets)
        else:
            run, config = arguments.run, hwnas.load_config([f"experiment={arguments.experiment}", *arguments.set])
        times = step_times(config, run, arguments.subnets, arguments.repeats)
        times["models"] = model_times(config, arguments.repeats)
    return {"speedup_2_workers": {step: ratio(one) for step, one in times.items()}, "times_s": times}


def many_devices(workers: int) -> dict[str, Any]:
    """One search of all of them."""
    found = searched(DEVICES, workers)
    return {"devices_1000_s": found["wall_s"], "devices_1000": found}


def ray_overhead(workers: int, items: int, repeats: int, kinds: Sequence[str]) -> dict[str, Any]:
    """The share by which `items` of a second take longer on Ray."""
    if "ray" not in kinds:
        return {"ray_overhead": None}
    seconds: dict[str, list[float]] = {}
    started = 0.0
    for kind in kinds:
        began = time.monotonic()
        with open_executor(ExecutorConfig(kind, workers)) as executor:
            started = time.monotonic() - began
            seconds[kind] = [timed(executor, items) for _ in range(repeats)]
    share = statistics.median(seconds["ray"]) / statistics.median(seconds["local"]) - 1
    return {"ray_overhead": round(share, 4), "ray_start_s": round(started, 2), "items_of_1_s": seconds}


def timed(executor: Executor, items: int) -> float:
    """From the first result on: by then the workers have started."""
    results = executor.each("sleep", time.sleep, (1.0 for _ in range(items + executor.workers)))
    for _ in range(executor.workers):
        next(results)
    began = time.monotonic()
    for _ in results:
        pass
    return round(time.monotonic() - began, 3)


def page(found: dict[str, Any]) -> str:
    """The result for people, of the parts that there are."""
    rows = [
        (f"{step}, two workers beside one", f"{value:.2f} ×")
        for step, value in found.get("speedup_2_workers", {}).items()
    ]
    if found.get("ray_overhead") is not None:
        rows.append(("Ray beside processes, items of 1 s", f"{100 * found['ray_overhead']:+.1f} %"))
        rows.append(("Ray's start", f"{found['ray_start_s']:.1f} s"))
    if devices := found.get("devices_1000"):
        figure = f"{devices['wall_s']:.0f} s (CPU {devices['cpu_s']:.0f} s)"
        rows.append((f"search of {devices['devices']:,} devices", figure))
    rows += [
        (f"memory of the driver over {int(items):,} items, {kind}", f"{grown:+.1f} MiB")
        for kind, one in found.get("driver_memory_mib", {}).items()
        for items, grown in one.items()
    ]
    lines = ["# Workers", "", described(found["about"]), "", "| what | figure |", "|---|---|"]
    return "\n".join([*lines, *(f"| {what} | {figure} |" for what, figure in rows), ""])


if __name__ == "__main__":
    main()
