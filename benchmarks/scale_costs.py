"""What a run is made of, and what each piece of it takes: read from committed results, or assumed and named so."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hwnas.files import read_json
from hwnas.pipeline.plan.fit import epochs_wanted

__all__ = ["ASSUMED", "STEPS", "Assumed", "Load", "Site", "measured"]

ROOT = Path(__file__).resolve().parents[1]
RESULTS, TABLES = ROOT / "benchmarks" / "results", ROOT / "latency_tables"
STEPS = ("train", "evaluate", "profile", "search", "finetune", "export", "validate")
_MEASURED_CORES = 2


@dataclass(frozen=True)
class Load:
    """The work of a run, and seconds of its pieces. `core` seconds are of one core, others of two.

    `images`: trained on in all, `decode_core_s` each; `models`: operators and networks of one table, written on a core
    and measured on the device; `networks`: chosen for one device, with `files` each.
    """

    name: str
    images: float
    train_images_s: float
    decode_core_s: float
    gradient_bytes: float
    subnets: int
    subnet_core_s: float
    models: int
    runtimes: int
    write_core_s: float
    measure_s: float
    search_core_s: float
    networks: int
    finetune_s: float
    files: int
    file_core_s: float
    validate_s: float
    sources: Mapping[str, str]


@dataclass(frozen=True)
class Assumed:
    """What nobody measured here. `gpu_over_cpu`: a GPU beside two CPU cores, as `hours=` plans with it.

    `spread`: the standard deviation of the logarithm of a piece's time; `bytes_s` between GPUs, one step's gradients
    sent by a ring, after the step.
    """

    gpu_over_cpu: float = 20.0
    cores_per_gpu: int = 8
    batch: int = 64
    bytes_s: float = 10e9
    spread: float = 0.1
    worker_start_s: float = 4.0


@dataclass(frozen=True)
class Site:
    devices: int
    gpus: int


ASSUMED = Assumed()


def measured() -> dict[str, Load]:
    """The quickstart, all of it measured; and photographs with once-for-all's space, where that was."""
    quick = read_json(RESULTS / "quickstart.json")
    step = {
        name: statistics.median(entry["elapsed_s"] for run in quick["runs"] for entry in run["plan"]
                                if entry["step"] == name)
        for name in STEPS
    }  # fmt: skip
    scale = read_json(RESULTS / "scale.json")
    search_core_s = scale["devices_1000"]["cpu_s"] / scale["devices_1000"]["devices"]
    small = read_json(TABLES / "ofa_mbv3_32" / "emerald_rapids_2_cores" / "onnxruntime-fp32-1t.json")
    models = small["operators"] + small["networks"]
    slices_s = small["measuring"]["rounds"] * small["measuring"]["slice_ms"] / 1e3
    images = 55_000 * 6  # all but those held out; `conf/training/largest_first_32.yaml`: 4 and 2 epochs
    sources = {
        "train_images_s": f"quickstart.json, train: {images:,} images in {step['train']:.0f} s",
        "subnet_core_s": f"quickstart.json, evaluate: 150 subnets in {step['evaluate']:.1f} s on two cores",
        "write_core_s": f"quickstart.json, profile: 2 × {models} models in {step['profile']:.1f} s, but for measuring",
        "measure_s": f"the tables' settings: {small['measuring']['rounds']} slices of"
        f" {small['measuring']['slice_ms']:g} ms",
        "search_core_s": "scale.json, devices_1000",
        "finetune_s": f"quickstart.json, finetune: 4 networks in {step['finetune']:.0f} s",
        "file_core_s": f"quickstart.json, export: 4 files in {step['export']:.1f} s, one process",
        "validate_s": f"quickstart.json, validate: 4 networks in {step['validate']:.1f} s",
    }
    quickstart = Load(
        "quickstart", images, images / step["train"], 0.0, 4 * 0.5e6, 150, step["evaluate"] * _MEASURED_CORES / 150,
        models, 2, step["profile"] / (2 * models) - slices_s, slices_s, search_core_s, 2, step["finetune"] / 4, 1,
        step["export"] / 4, step["validate"] / 4, sources,
    )  # fmt: skip
    return {"quickstart": quickstart, "photographs": _photographs(quickstart)}


def _photographs(quickstart: Load) -> Load:
    """ImageNet's number of photographs at 160 pixels, `ofa_mbv3`; what was not measured is the quickstart's."""
    modes = read_json(RESULTS / "training_throughput.json")["modes"]
    train_s, answers_s = (modes[name]["images_per_s"]["hwnas"] for name in ("train_160", "evaluate_160_extracted"))
    rows = read_json(RESULTS / "data_loading_epochs.json")["rows"]
    row = next(row for row in rows if row["augmentation"] == "random crops" and row["way"] == "decoded anew")
    table = TABLES / "ofa_mbv3" / "emerald_rapids_2_cores" / "onnxruntime-fp32-1t.json"
    found = read_json(table)
    models, settings = found["operators"] + found["networks"], found["measuring"]
    measure_s = settings["rounds"] * statistics.mean(
        max(settings["slice_ms"], settings["min_repeats"] * latency) / 1e3 for latency in _latencies(table)
    )
    train, test = 1_281_167, 50_000
    epochs = round(epochs_wanted(train))
    judged = 5_000 + 2.5 * 1_000  # held-out images, and those to calibrate BatchNorm on, which cost more
    sources = {
        "images": f"{epochs} epochs of {train:,}, as `hours=` wants them for so many",
        "train_images_s": f"training_throughput.json, train_160: {train_s:g} images a second",
        "decode_core_s": f"data_loading_epochs.json: {row['images']} photographs of {row['photos']} pixels, second"
        f" epoch, {row['epoch2_cpu_s']} s of CPU",
        "gradient_bytes": "7.7 million parameters of the largest network, float32",
        "subnet_core_s": f"training_throughput.json, evaluate_160_extracted: {answers_s:g} images a second; 5,000"
        " images, and 1,000 to calibrate on",
        "write_core_s": f"{table.relative_to(ROOT)}: {models} models in {found['elapsed_s']:.0f} s, but for measuring",
        "measure_s": f"the same: {settings['rounds']} slices of {settings['slice_ms']:g} ms or"
        f" {settings['min_repeats']} inferences, whichever is longer",
        "search_core_s": quickstart.sources["search_core_s"] + " (of the smaller space)",
        "finetune_s": "assumed: one epoch, at the supernet's speed",
        "file_core_s": quickstart.sources["file_core_s"] + " (of smaller networks)",
        "validate_s": f"{test:,} images, the network and ten to compare it with, at the speed of evaluation",
    }
    return Load(
        "photographs", float(train * epochs), train_s, row["epoch2_cpu_s"] / row["images"], 4 * 7.7e6, 500,
        judged / answers_s * _MEASURED_CORES, models, 2, found["elapsed_s"] / models - measure_s, measure_s,
        quickstart.search_core_s, 2, train / train_s, 1, quickstart.file_core_s, 11 * test / answers_s, sources,
    )  # fmt: skip


def _latencies(provenance: Path) -> list[float]:
    """Medians in ms of all operators and networks of a table."""
    files = (provenance.with_suffix(".csv"), provenance.with_name(f"{provenance.stem}.networks.csv"))
    return [float(row["median_ms"]) for path in files for row in csv.DictReader(path.open()) if row["median_ms"]]
