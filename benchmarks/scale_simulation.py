"""What a run takes for 1 to 1,000 devices and 1 to 64 GPUs: a cost model, checked by a discrete simulation.

    python benchmarks/scale_simulation.py --json benchmarks/results/scale_simulation.json

Seconds of each piece of work (a model written, a network measured, a subnet evaluated, an image trained on, a file
exported) are read from committed results, all of them from two CPU cores. No GPU was measured: what one is taken to do
is in `ASSUMED`, with all else that is not measured. The model counts the turns that a step's pieces
take on its places; the simulation gives every piece a place, a start and a time that varies, and every training step
its barrier. A markdown page is written beside the JSON file.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from machine import about, described
from scale_costs import ASSUMED, Assumed, Load, Site, measured
from scale_events import Task, simulate

from hwnas.files import write_json, write_text

__all__ = ["bound_by", "expected", "simulated"]

DEVICES, GPUS = (1, 10, 100, 1000), (1, 8, 64)
_FILES_PER_PROCESS = 4  # of an export's processes
_TRAINING_STEPS = 12_800  # of all GPUs together; the rest goes like these


def expected(load: Load, given: Assumed, site: Site, split: bool) -> dict[str, float]:
    """Seconds of each step: as many turns as its places need for its pieces, each as long as the mean piece.

    `split`: networks are handed to all GPUs, not to one.
    """
    cores, networks = given.cores_per_gpu * site.gpus, load.networks * site.devices
    files, gpus = networks * load.files, site.gpus if split else 1
    written_s, measured_s = load.models * load.write_core_s, load.models * load.measure_s
    return {
        "train": load.images / (given.batch * site.gpus) * max(_step_s(load, given, site).values()),
        "evaluate": given.worker_start_s + _turns(load.subnets, cores) * load.subnet_core_s,
        "profile": load.runtimes * (written_s + measured_s),  # written once, measured on all devices at once
        "search": (site.devices > 1) * given.worker_start_s + _turns(site.devices, cores) * load.search_core_s,
        "finetune": _turns(networks, gpus) * load.finetune_s / given.gpu_over_cpu,
        "export": given.worker_start_s + _turns(files, min(cores, _processes(files))) * load.file_core_s,
        "validate": _turns(networks, gpus) * load.validate_s / given.gpu_over_cpu,
    }


def _turns(pieces: int, places: int) -> int:
    return -(-pieces // places)


def _processes(files: int) -> int:
    """The most that an export starts."""
    return _turns(files, _FILES_PER_PROCESS)


def _step_s(load: Load, given: Assumed, site: Site) -> dict[str, float]:
    """Seconds of one training step, by what they would be if that alone counted."""
    exchanged = 2 * (site.gpus - 1) / site.gpus * load.gradient_bytes / given.bytes_s
    return {
        "GPUs": given.batch / (load.train_images_s * given.gpu_over_cpu) + exchanged,
        "decoding": given.batch * load.decode_core_s / given.cores_per_gpu,
    }


def bound_by(load: Load, given: Assumed, site: Site, split: bool, seconds: Mapping[str, float]) -> tuple[str, str]:
    """The longest step, and what would have to change."""
    step = max(seconds, key=lambda name: seconds[name])
    if step == "train":
        of = _step_s(load, given, site)
        slowest = max(of, key=lambda name: of[name])
        return step, "more or faster GPUs" if slowest == "GPUs" else "more cores a GPU, or decoded images kept"
    changes = {
        "profile": "fewer networks a table, or several units",
        "evaluate": "more cores", "search": "more cores", "export": "more cores",
        "finetune": "more GPUs, or fewer networks trained on" if split else "networks handed to all GPUs",
        "validate": "more GPUs, or fewer comparisons" if split else "networks handed to all GPUs",
    }  # fmt: skip
    return step, changes[step]


def simulated(load: Load, given: Assumed, site: Site, split: bool, seed: int = 0) -> dict[str, float]:
    """Seconds of each step, piece by piece."""
    rng = np.random.default_rng(seed)
    cores, networks = given.cores_per_gpu * site.gpus, load.networks * site.devices
    gpus = {"gpu": site.gpus if split else 1}

    def varied(seconds: float) -> float:
        # Of the mean that was measured: a lognormal's is above its median.
        return seconds * math.exp(rng.normal(0, given.spread) - given.spread**2 / 2) if seconds else 0.0

    def pool(of: str, count: int, seconds: float, places: Mapping[str, int]) -> float:
        return max(simulate([Task(of, varied(seconds)) for _ in range(count)], places), default=0.0)

    files = networks * load.files
    return {
        "train": _simulated_training(load, given, site, varied),
        "evaluate": given.worker_start_s + pool("core", load.subnets, load.subnet_core_s, {"core": cores}),
        "profile": _simulated_profiles(load, site, varied),
        "search": (site.devices > 1) * given.worker_start_s
        + pool("core", site.devices, load.search_core_s, {"core": cores}),
        "finetune": pool("gpu", networks, load.finetune_s / given.gpu_over_cpu, gpus),
        "export": given.worker_start_s
        + pool("core", files, load.file_core_s, {"core": min(cores, _processes(files))}),
        "validate": pool("gpu", networks, load.validate_s / given.gpu_over_cpu, gpus),
    }  # fmt: skip


def _simulated_training(load: Load, given: Assumed, site: Site, varied: Callable[[float], float]) -> float:
    """Batches are decoded ahead on each GPU's cores; a step waits for its batch and for the step before of all."""
    steps = load.images / (given.batch * site.gpus)
    count = max(1, min(math.ceil(steps), _TRAINING_STEPS // site.gpus))
    decode_s, ahead = given.batch * load.decode_core_s, 2 * given.cores_per_gpu
    compute_s = given.batch / (load.train_images_s * given.gpu_over_cpu)
    exchange_s = 2 * (site.gpus - 1) / site.gpus * load.gradient_bytes / given.bytes_s
    tasks: list[Task] = []
    exchanged: list[int] = []
    for step in range(count):
        computed = []
        for gpu in range(site.gpus):
            after = (exchanged[-1],) if exchanged else ()
            if decode_s:
                tasks.append(Task(f"cores{gpu}", varied(decode_s), (exchanged[step - ahead],) if step >= ahead else ()))
                after = (*after, len(tasks) - 1)
            tasks.append(Task(f"gpu{gpu}", varied(compute_s), after))
            computed.append(len(tasks) - 1)
        tasks.append(Task("network", exchange_s, tuple(computed)))
        exchanged.append(len(tasks) - 1)
    ends = simulate(tasks, {f"cores{gpu}": given.cores_per_gpu for gpu in range(site.gpus)})
    return max(ends) * steps / count


def _simulated_profiles(load: Load, site: Site, varied: Callable[[float], float]) -> float:
    """One runtime after the other: its models are written on a core, then measured on every device."""
    tasks: list[Task] = []
    before: tuple[int, ...] = ()
    for _ in range(load.runtimes):
        tasks.append(Task("core", varied(load.models * load.write_core_s), before))
        written = len(tasks) - 1
        tasks += [
            Task(f"device{device}", varied(load.models * load.measure_s), (written,)) for device in range(site.devices)
        ]
        before = tuple(range(written + 1, len(tasks)))
    return max(simulate(tasks, {}))


def row(load: Load, given: Assumed, devices: int, gpus: int) -> dict[str, Any]:
    """All that is said of a site."""
    site = Site(devices, gpus)
    found: dict[str, Any] = {"load": load.name, "devices": devices, "gpus": gpus}
    for key, split in (("today", False), ("split", True)):
        model, events = expected(load, given, site, split), simulated(load, given, site, split)
        step, change = bound_by(load, given, site, split, events)
        found[key] = {
            "model_s": {name: round(value, 1) for name, value in model.items()},
            "simulated_s": {name: round(value, 1) for name, value in events.items()},
            "total_s": round(sum(events.values()), 1),
            "model_off": round(sum(model.values()) / sum(events.values()) - 1, 3),
            "bottleneck": step, "share": round(events[step] / sum(events.values()), 3), "change": change,
        }  # fmt: skip
    return found


def page(found: dict[str, Any]) -> str:
    """The result for people."""
    lines = [
        "# Devices, GPUs and what a run waits for: a model",
        "",
        "A simulation with the times that were measured on two CPU cores. No GPU was measured: one is taken to be"
        f" {found['assumed']['gpu_over_cpu']:g} times as fast as two cores, with {found['assumed']['cores_per_gpu']}"
        f" cores beside it and {found['assumed']['bytes_s'] / 1e9:g} GB/s between GPUs. `as it is`: networks are"
        " trained on and validated one after the other; `split`: handed to all GPUs.",
        "",
        described(found["about"]),
        "",
    ]
    for load in found["loads"]:
        lines += [f"## {load['name']}", "", "| load | devices | GPUs | as it is | first bottleneck | share | change |"
                  " split | first bottleneck | change | model off |", "|" + "---|" * 11]  # fmt: skip
        for one in found["rows"]:
            if one["load"] != load["name"]:
                continue
            today, split = one["today"], one["split"]
            lines.append(
                f"| {one['load']} | {one['devices']:,} | {one['gpus']} | {hours(today['total_s'])} |"
                f" {today['bottleneck']} | {100 * today['share']:.0f} % | {today['change']} |"
                f" {hours(split['total_s'])} | {split['bottleneck']} | {split['change']} |"
                f" {100 * split['model_off']:+.0f} % |"
            )
        lines += ["", "| figure | value | from |", "|---|---|---|"]
        lines += [f"| `{key}` | {load[key]:.4g} | {source} |" for key, source in load["sources"].items()] + [""]
    return "\n".join(lines)


def hours(seconds: float) -> str:
    """A time as people say it."""
    return f"{seconds / 3600:.1f} h" if seconds >= 5400 else f"{seconds / 60:.1f} min"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    for name, value in asdict(ASSUMED).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value, help="assumed")
    arguments = vars(parser.parse_args())
    given = Assumed(**{name: arguments[name] for name in asdict(ASSUMED)})
    loads = measured()
    found: dict[str, Any] = {
        "about": about("numpy"), "assumed": asdict(given), "loads": [asdict(load) for load in loads.values()],
        "rows": [row(load, given, devices, gpus) for load in loads.values() for devices in DEVICES for gpus in GPUS],
    }  # fmt: skip
    write_json(arguments["json"], found)
    write_text(arguments["json"].with_suffix(".md"), page(found))
    print(page(found))


if __name__ == "__main__":
    main()
