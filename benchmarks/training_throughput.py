"""Training and evaluation of `ofa_mbv3` (width 1.0, 1000 classes) beside the `ofa` package, and the memory of both.

    python benchmarks/training_throughput.py --json benchmarks/results/training_throughput.json

Needs the package ofa (0.1.0.post202307202001) and torchvision, which are no dependencies of the project. Each side is a
process of its own; they take turns, subnets, batch and resolution the same. A repeat's ratio is of two neighbouring
turns, and a mode's ratio is the repeats' median: of seconds on the clock, and of CPU seconds. On a machine that others
use too, threads that wait must not spin (OMP_WAIT_POLICY=PASSIVE, set here for both sides). Peak memory is the resident
peak of a side's process (on CUDA: the allocator's) above what is there once everything is imported and built; the
largest subnet is among what it ran.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from machine import about
from training_sides import SIDES, Seconds

from hwnas.spaces import OfaMbv3Config, make_space


@dataclass(frozen=True)
class Mode:
    """`subnets` a turn; training takes `per_step` of them a step, evaluation is of the `kind` that ofa offers."""

    resolution: int
    subnets: int
    per_step: int = 1
    kind: str = ""
    shards: int = 1


MODES = {
    "train_160": Mode(160, 2),
    "evaluate_160_in_supernet": Mode(160, 2, kind="in_supernet"),
    "evaluate_160_extracted": Mode(160, 2, kind="extracted"),
    "train_224": Mode(224, 1),
    "train_160_2_shards": Mode(160, 2, shards=2),
    "train_160_4_subnets_a_step": Mode(160, 4, per_step=4),
}
"""In shards mode ours alone is sharded; BatchNorm then sees half the batch, as with two of ofa's processes."""


def main() -> None:
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--modes", nargs="+", choices=list(MODES), default=list(MODES))
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--bf16", action="store_true", help="both sides under autocast to bfloat16")
    arguments = parser.parse_args()
    settings = {"device": arguments.device, "batch_size": arguments.batch_size, "bf16": arguments.bf16}
    found = {"machine": machine(arguments.device), "settings": {**settings, "repeats": arguments.repeats}, "modes": {}}
    for name in arguments.modes:
        mode = MODES[name]
        if mode.shards > 1 and (arguments.device != "cpu" or arguments.bf16):
            continue
        found["modes"][name] = {**asdict(mode), **compare(mode, settings, arguments.repeats)}
        print(line(name, found["modes"][name]), flush=True)
        for key in ("ratio_vs_ofa", "cpu_ratio_vs_ofa", "peak_memory_ratio_vs_ofa"):
            found[key] = {name: values[key] for name, values in found["modes"].items()}
        if arguments.json:
            arguments.json.write_text(json.dumps(found, indent=1) + "\n")


def compare(mode: Mode, settings: dict[str, Any], repeats: int) -> dict[str, Any]:
    """Images a second of both sides, and their memory."""
    space = make_space(OfaMbv3Config())
    drawn = space.sample((repeats + 1) * mode.subnets, np.random.default_rng(0))
    turns = np.split(drawn, repeats + 1)
    largest = np.stack([space.extreme(largest=True)] * mode.per_step)
    taken: dict[str, list[Seconds]] = {side: [] for side in SIDES}
    with worker("hwnas", mode, settings) as ours, worker("ofa", mode, settings) as theirs:
        pairs = [("hwnas", ours), ("ofa", theirs)]
        for _, ask in pairs:
            ask(largest)
        for turn, rows in enumerate(turns):
            for side, ask in pairs if turn % 2 else reversed(pairs):
                seconds = ask(rows)
                if turn:  # the first is to warm up
                    taken[side].append(seconds)
        memory_mib = {side: float(ask(None)) for side, ask in pairs}
    images = mode.subnets * settings["batch_size"] * (2 if mode.kind else 1)
    ratios, cpu_ratios = (
        [theirs[clock] / ours[clock] for ours, theirs in zip(taken["hwnas"], taken["ofa"], strict=True)]
        for clock in (0, 1)
    )
    return {
        "images_per_s": {side: round(median(images / turn.wall for turn in turns), 2) for side, turns in taken.items()},
        "images_per_cpu_s": {
            side: round(median(images / turn.cpu for turn in turns), 2) for side, turns in taken.items()
        },
        "ratio_vs_ofa": round(median(ratios), 3),
        "cpu_ratio_vs_ofa": round(median(cpu_ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "cpu_ratios": [round(ratio, 3) for ratio in cpu_ratios],
        "peak_memory_mib": {side: round(value, 1) for side, value in memory_mib.items()},
        "peak_memory_ratio_vs_ofa": round(memory_mib["hwnas"] / memory_mib["ofa"], 3),
    }


@contextmanager
def worker(side: str, mode: Mode, settings: dict[str, Any]) -> Any:
    """A process of one side; a function that has it run a turn of rows and says the seconds."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=serve, args=(there, side, mode, settings))
    process.start()
    there.close()

    def ask(rows: np.ndarray | None) -> Any:
        here.send(rows)
        return here.recv()

    try:
        here.recv()
        yield ask
        here.send(...)
    finally:
        here.close()
        process.join(30)
        process.kill()


def serve(pipe: Any, name: str, mode: Mode, settings: dict[str, Any]) -> None:
    """Answer turns with their seconds, and None with the peak memory so far, in MiB."""
    side = SIDES[name](shards=mode.shards, **settings)
    side.images(mode.resolution)
    base = Memory(settings["device"])
    pipe.send("ready")
    while (rows := pipe.recv()) is not ...:
        if rows is None:
            pipe.send(base.grown_mib())
        elif mode.kind:
            pipe.send(side.evaluate(rows, mode.resolution, mode.kind))
        else:
            pipe.send(side.train(rows, mode.resolution, mode.per_step))


class Memory:
    """The peak from its making on, above what was there then."""

    def __init__(self, device: str) -> None:
        self._device = device
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
            self._base = torch.cuda.memory_allocated() / 2**20
            return
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew (proc(5))
        self._base = _status_mib("VmRSS")

    def grown_mib(self) -> float:
        peak = torch.cuda.max_memory_allocated() / 2**20 if self._device == "cuda" else _status_mib("VmHWM")
        return peak - self._base


def _status_mib(key: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(text.split()[1]) / 1024 for text in lines if text.startswith(f"{key}:"))


def machine(device: str) -> dict[str, Any]:
    """Kind, cores, GPU, versions and date."""
    gpu = torch.cuda.get_device_name() if device == "cuda" else None
    return {**about("torch", "numpy", "ofa"), "gpu": gpu, "torch_threads": torch.get_num_threads()}


def line(name: str, values: dict[str, Any]) -> str:
    speed, memory = values["images_per_s"], values["peak_memory_mib"]
    return (
        f"{name}: {speed['hwnas']} images/s, ofa {speed['ofa']}: {values['ratio_vs_ofa']} × (each {values['ratios']});"
        f" of CPU time {values['cpu_ratio_vs_ofa']} ×;"
        f" peak {memory['hwnas']:.0f} MiB, ofa {memory['ofa']:.0f}: {values['peak_memory_ratio_vs_ofa']}"
    )


if __name__ == "__main__":
    main()
