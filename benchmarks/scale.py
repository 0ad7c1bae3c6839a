"""What an executor's workers bring, and what Ray costs beside processes.

    python benchmarks/scale.py --run runs/quickstart --json F

`--run` is a folder with a trained supernet and a search (`hwnas run`), of which subnets are evaluated and files are
written again: with one worker and with two, turn by turn, `--repeats` times. A speedup is the ratio of the medians of
the whole step's time, the start of the workers included. `ray_overhead`: so many items of one second each, `--workers`
at once, on Ray and in processes; the extra time's share, with workers that have started, and `ray_start_s` beside.
Written to F: `speedup_2_workers` (`evaluate`, `export`), `ray_overhead`, and all times. Other work on the machine
spoils all of them.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from machine import about

import hwnas
from hwnas.executors.choose import open_executor
from hwnas.executors.config import ExecutorConfig
from hwnas.executors.executor import Executor
from hwnas.files import write_json
from hwnas.pipeline.config import PipelineConfig


def main() -> None:
    arguments = parse()
    found: dict[str, Any] = {"about": about("ray", "torch")}
    if arguments.run is not None:
        config = hwnas.load_config([f"experiment={arguments.experiment}", *arguments.set])
        times = step_times(config, arguments)
        found["speedup_2_workers"] = {step: round(ratio(times[step], 1, 2), 3) for step in times}
        found["times_s"] = times
    found |= ray_overhead(arguments.workers, arguments.items, arguments.repeats)
    write_json(Path(arguments.json), found)
    print({key: value for key, value in found.items() if key not in ("about", "times_s")})


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--run", type=Path, help="a folder of hwnas run; without it only Ray's overhead is measured")
    parser.add_argument("--experiment", default="quickstart", help="the run's")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="the run's other settings")
    parser.add_argument("--subnets", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--items", type=int, default=20, help="of one second each")
    parser.add_argument("--json", required=True)
    return parser.parse_args()


def step_times(config: PipelineConfig, arguments: argparse.Namespace) -> dict[str, dict[int, list[float]]]:
    """Seconds of each step, by the number of workers."""
    times: dict[str, dict[int, list[float]]] = {step: {1: [], 2: []} for step in ("evaluate", "export")}
    for _ in range(arguments.repeats):
        for workers in (1, 2):
            one = replace(
                config,
                executor=ExecutorConfig(workers=workers),
                checkpoint=str(arguments.run / "train" / "supernet.safetensors"),
                targets=str(arguments.run / "search" / "result.json"),
                evaluation=replace(config.evaluation, subnets=arguments.subnets),
                export=replace(config.export, measure_latency=False),
            )
            for name, step in (("evaluate", hwnas.evaluate), ("export", hwnas.export)):
                folder = Path(tempfile.mkdtemp(prefix="hwnas-scale-"))
                began = time.monotonic()
                step(one, folder / name)
                times[name][workers].append(round(time.monotonic() - began, 2))
                shutil.rmtree(folder)
    return times


def ratio(times: dict[int, list[float]], one: int, other: int) -> float:
    """How many times as fast `other` is as `one`."""
    return statistics.median(times[one]) / statistics.median(times[other])


def ray_overhead(workers: int, items: int, repeats: int) -> dict[str, Any]:
    """The share by which `items` of a second take longer on Ray."""
    seconds: dict[str, list[float]] = {}
    started = 0.0
    for kind in ("local", "ray"):
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


if __name__ == "__main__":
    main()
