"""A folder of photographs in so many hours: `hwnas run`, beside what its user would do by hand in as long.

    python benchmarks/photos.py --data-root FOLDER --checkpoint FILE --hours 2 --json F [--sides nothing weights]

Two sides. From `nothing`: `hwnas run data=image_folder data.root=FOLDER hours=H`; beside it MobileNetV3-Small, scaled
in width until its measured latency is that of each chosen network, at that network's resolution, trained from nothing.
From `weights`: the same run with `checkpoint=FILE`; beside it the one network in FILE, trained on alone, at the images'
size. Peers train with the run's batch, augmentation, weight decay and first learning rate, in the CPU time of the whole
run, each one an equal part of it where several share it. All files of a runtime are measured in turns in the end.
Top-1 on the test images, of peers by torch, of the run's files in their runtimes.

A killed benchmark goes on. Beside F a markdown table of the same name is written.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployed import exported, latencies
from designed_networks import Designed, Single, ladder, trained
from machine import about, described

from hwnas import load_config
from hwnas.files import read_json, write_json, write_text
from hwnas.operators import Operator
from hwnas.pipeline.inputs import load_images, load_network
from hwnas.pipeline.space import space_of
from hwnas.profiling.config import ProfilingConfig
from hwnas.profiling.runtimes import model_writer, runtime_named
from hwnas.progress import SILENT
from hwnas.training.start import arch_of_checkpoint

STEPS, STAGES, WIDTHS = 6, 3, (0.2, 3.0)


@dataclass(frozen=True)
class Given(Single):
    """The one network of a checkpoint, on `overrides`' data at `resolution`."""

    checkpoint: Path
    resolution: int
    overrides: tuple[str, ...]

    @property
    def kind(self) -> str:
        return "given"

    @property
    def settings(self) -> list[str]:
        settings = space_of(str(self.checkpoint))
        names = ("widths", "strides", "kernel_sizes", "expand_ratios", "depths")
        own = [f"space.{name}={list(getattr(settings, name))}".replace(" ", "") for name in names]
        space = load_config(["space=ofa_proxyless", *own, "space.width_mult=1.0", "space.classes=2"]).space.space()
        genotype = arch_of_checkpoint(self.checkpoint, space)
        if genotype is None:
            raise SystemExit(f"{self.checkpoint} holds no one network of its space")
        arch = {key: value for key, value in space.arch(genotype).to_dict().items() if key in ("ks", "e", "d")}
        text = ", ".join(f"{key}: {json.dumps(value)}" for key, value in arch.items())
        return [
            "experiment=none", f"space={settings.family}", *own, "space.width_mult=1.0", "space.classes=0",
            f"space.resolution=[{self.resolution}]", *self.overrides, "training=single", f"arch={{{text}}}",
            f"checkpoint={self.checkpoint}",
        ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, help="for the side `weights`")
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--sides", nargs="+", choices=("nothing", "weights"), default=["nothing", "weights"])
    parser.add_argument("--runs", type=Path, default=Path("runs/photos"))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if "weights" in arguments.sides and arguments.checkpoint is None:
        parser.error("the side weights needs --checkpoint")
    found: dict[str, Any] = {"hours": arguments.hours, "seed": arguments.seed, "sides": {}}
    for side in arguments.sides:
        found["about"] = about("torch", "onnxruntime", "ai-edge-litert")
        found["sides"][side] = Side(arguments, side).compare()
        write_json(arguments.json, found)
        write_text(arguments.json.with_suffix(".md"), page(found))
    print(page(found))


class Side:
    def __init__(self, arguments: argparse.Namespace, side: str) -> None:
        self._seed, self._hours = arguments.seed, arguments.hours
        self._checkpoint = arguments.checkpoint.resolve() if side == "weights" else None
        self._folder = (arguments.runs / side).resolve()
        self._root = f"data.root={arguments.data_root.resolve()}"

    def compare(self) -> dict[str, Any]:
        """The run's targets and plan, and its peers' figures."""
        minutes = self._run()
        result = read_json(self._folder / "run/result.json")["result"]
        self._config = load_config([f"experiment={self._folder / 'run/plan.yaml'}"])
        peers = self._peers(result["targets"])
        distinct = {peer.name: peer for peer in peers.values()}
        each = minutes / len(distinct)
        found = {name: self._trained(peer, each) for name, peer in distinct.items()}
        ms = self._latencies(result["targets"], peers)
        rows = [
            {
                "target": target["id"], "runtime": target["runtime"], "latency_ms": ms[target["id"]],
                "accuracy": target["accuracy_exported"], "peer": peers[target["id"]].name,
                "peer_latency_ms": ms[f"{target['runtime']} {peers[target['id']].name}"],
                "peer_accuracy": found[peers[target["id"]].name]["accuracy"],
            }
            for target in result["targets"]
        ]  # fmt: skip
        return {"cpu_minutes": minutes, "cpu_minutes_each_peer": each, "plan": result["plan"], "rows": rows,
                "peers": found}  # fmt: skip

    def _run(self) -> float:
        """`hwnas run` into the side's folder: its minutes of CPU, kept where it was run before."""
        kept = self._folder / "cpu.json"
        if not kept.exists():
            own = [] if self._checkpoint is None else [f"checkpoint={self._checkpoint}"]
            settings = ["data=image_folder", self._root, f"hours={self._hours:g}", f"seed={self._seed}", *own]
            before = _children_s()
            command = [
                sys.executable,
                "-m",
                "hwnas.cli.main",
                "run",
                *settings,
                f"hydra.run.dir={self._folder / 'run'}",
            ]
            subprocess.run(command, check=True)
            write_json(kept, {"cpu_minutes": round((_children_s() - before) / 60, 1)})
        return float(read_json(kept)["cpu_minutes"])

    def _data(self, size: int) -> tuple[str, ...]:
        augment = self._config.images.augment
        crop = "null" if augment.crop_scale is None else f"[{augment.crop_scale[0]},{augment.crop_scale[1]}]"
        own = {"crop_scale": crop} | {
            key: getattr(augment, key)
            for key in ("flip", "crop_padding", "brightness", "contrast", "saturation", "rand_operations",
                        "rand_magnitude", "mixup", "cutmix")
        }  # fmt: skip
        return (
            "data=image_folder", self._root, f"data.image_size={size}",
            *(f"data.augment.{key}={value}" for key, value in own.items()),
        )  # fmt: skip

    def _peers(self, targets: Sequence[dict[str, Any]]) -> dict[str, Single]:
        """By the id of a target its peer: the given network, or MobileNetV3-Small as fast as the target."""
        if self._checkpoint is not None:
            size = self._config.images.image_size
            given = Given(self._checkpoint, size, self._data(size))
            return {target["id"]: given for target in targets}
        return {target["id"]: self._as_fast(target) for target in targets}

    def _as_fast(self, target: dict[str, Any]) -> Designed:
        size = target["arch"]["r"][0] if isinstance(target["arch"]["r"], list) else target["arch"]["r"]
        settings = ProfilingConfig(runtime=target["runtime"], rounds=10, max_rounds=15, slice_ms=5.0)
        overrides = (*self._data(size), "space=mobilenet_v3_small", f"space.resolution=[{size}]")
        folder, bracket = self._folder / "match" / target["id"], WIDTHS
        tried: dict[float, float] = {}
        for stage in range(STAGES):
            rungs = [Designed("small", width, overrides) for width in ladder(*bracket, STEPS)]
            models = {"target": Path(target["file"])} | {
                rung.name: self._synthetic(rung.operators, folder / rung.name, settings) for rung in rungs
            }
            found = latencies(models, settings, self._seed, folder / f"stage{stage}.jsonl")
            ratios = {rung.width_mult: found[rung.name] / found["target"] for rung in rungs}
            tried |= ratios
            slower = next((place for place, ratio in enumerate(ratios.values()) if ratio > 1), STEPS - 1)
            bracket = list(ratios)[max(slower - 1, 0)], list(ratios)[max(slower, 1)]
        width = min(tried, key=lambda one: abs(tried[one] - 1))
        return Designed("small", width, overrides)

    @staticmethod
    def _synthetic(operators: Sequence[Operator], stem: Path, settings: ProfilingConfig) -> Path:
        path = stem.with_name(f"{stem.name}{runtime_named(settings.runtime).suffix}")
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            model_writer(settings)(operators, path, 0)
        return path

    def _trained(self, peer: Single, minutes: float) -> dict[str, Any]:
        print(f"{peer.name}: {minutes:.1f} min of CPU", flush=True)
        return trained(peer, self._config.training, minutes, self._folder / "peers" / peer.name, self._seed)

    def _latencies(self, targets: Sequence[dict[str, Any]], peers: dict[str, Single]) -> dict[str, float]:
        """Of each target's file, and of its peer's in the target's runtime."""
        found: dict[str, float] = {}
        for runtime in dict.fromkeys(target["runtime"] for target in targets):
            own = [target for target in targets if target["runtime"] == runtime]
            folder = self._folder / "files" / runtime
            models = {target["id"]: Path(target["file"]) for target in own}
            for target in own:
                peer = peers[target["id"]]
                models[f"{runtime} {peer.name}"] = self._export(peer, runtime, folder / peer.name)
            settings = ProfilingConfig(runtime=runtime, rounds=30, max_rounds=60, slice_ms=10.0)
            found |= latencies(models, settings, self._seed, folder / "latency.jsonl")
        return found

    def _export(self, peer: Single, runtime: str, stem: Path) -> Path:
        space, genotype = peer.network
        network = load_network(self._folder / "peers" / peer.name / "train/subnet.safetensors", space)
        config = load_config([setting for setting in peer.settings if not setting.startswith("checkpoint")])
        images = load_images(config, space, SILENT.say)
        return exported(network, genotype, images, self._config.evaluation.measure, runtime, stem)


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def page(found: dict[str, Any]) -> str:
    lines = [
        f"# Photographs in {found['hours']:g} hours",
        "",
        f"{described(found['about'])} Seed {found['seed']}. One thread. Top-1 on the test images.",
        "",
    ]
    for side, one in found["sides"].items():
        planned, taken = (sum(step[key] for step in one["plan"]) / 60 for key in ("planned_s", "elapsed_s"))
        peer = "MobileNetV3-Small from nothing" if side == "nothing" else "the given network alone"
        used = sum(trained["cpu_s"] for trained in one["peers"].values()) / 60
        lines += [
            f"From {side}: {one['cpu_minutes']:g} minutes of CPU for the run (planned {planned:.1f} on the clock, took"
            f" {taken:.1f}), {one['cpu_minutes_each_peer']:.1f} allotted to each peer ({peer}); {len(one['peers'])}"
            f" took {used:.1f} in all.",
            "",
        ]
    lines += [
        "| from | target | ms | top-1 | peer | peer ms | peer top-1 | points |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for side, one in found["sides"].items():
        lines += [
            f"| {side} | {row['target']} | {row['latency_ms']:.3f} | {row['accuracy']:.4f} | {row['peer']}"
            f" | {row['peer_latency_ms']:.3f} | {row['peer_accuracy']:.4f}"
            f" | {100 * (row['accuracy'] - row['peer_accuracy']):+.1f} |"
            for row in one["rows"]
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
