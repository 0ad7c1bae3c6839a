"""Networks as they would be deployed: their accuracy on the test images, their files, and how long these take."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from hwnas.accuracy.measure import calibrate_subnet, measure_accuracy
from hwnas.accuracy.measure_config import MeasureConfig
from hwnas.data.load import ImageData
from hwnas.devices.config import DeviceConfig
from hwnas.devices.connect import connect
from hwnas.devices.profile import load_profile
from hwnas.export.formats import format_of_runtime
from hwnas.export.request import ExportRequest
from hwnas.profiling.config import ProfilingConfig
from hwnas.profiling.journal import Journal
from hwnas.profiling.measure import measure_models
from hwnas.progress import no_progress
from hwnas.spaces import Genotypes
from hwnas.supernet.single import TrainedNetwork

__all__ = ["exported", "latencies", "on_test_images"]


def on_test_images(network: TrainedNetwork, arch: Mapping[str, Any], data: ImageData, measure: MeasureConfig) -> float:
    """Accuracy of `arch` with the weights of `network`, by torch, BatchNorm calibrated."""
    row = network.space.genotype(arch)[None]
    return float(measure_accuracy(network, row, data, "test", measure, no_progress)[0])


def exported(
    network: TrainedNetwork, genotype: Genotypes, data: ImageData, measure: MeasureConfig, runtime: str, stem: Path
) -> Path:
    """The file of `genotype` for `runtime`, `stem` and the format's suffix; kept where it is there."""
    chosen = format_of_runtime(runtime)
    path = stem.with_name(f"{stem.name}{chosen.suffix}")
    if not path.exists():
        module = calibrate_subnet(network, genotype, data, measure)
        resolution = network.space.resolutions[int(genotype[-1])]
        path.parent.mkdir(parents=True, exist_ok=True)
        chosen.export(ExportRequest(module, torch.zeros(1, data.channels, resolution, resolution)), path)
    return path


def latencies(models: Mapping[str, Path], settings: ProfilingConfig, seed: int, journal: Path) -> dict[str, float]:
    """Latency in ms of each of `models`, which take turns; what a killed run measured is taken from `journal`."""
    reference = next(iter(models.values()))
    identity = {"models": sorted(models), "setting": settings.setting}
    with Journal(journal, identity) as opened, connect(load_profile("local"), DeviceConfig()) as transport:
        found = measure_models(transport, models, reference, settings, seed=seed, journal=opened, progress=no_progress)
    return {name: one.median_ms for name, one in found.latencies.items()}
