"""The latency of model files as they are: on their device, in turns, beside a small network that shows its drift."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from hwnas.devices.transport import Transport
from hwnas.files import sha256_of_file
from hwnas.profiling.agent import REFERENCE
from hwnas.profiling.config import ProfilingConfig
from hwnas.profiling.journal import Journal
from hwnas.profiling.measure import measure_models
from hwnas.profiling.networks import input_shape, reference_network
from hwnas.profiling.runtimes import model_writer, runtime_named
from hwnas.progress import Progress
from hwnas.spaces import OfaMbv3Config, make_space

__all__ = ["FileLatencies", "FileLatency", "measure_files"]

# Changed, and latencies in older bundles' manifests compare with nothing.
_REFERENCE_SPACE = OfaMbv3Config(
    name="reference",
    resolution=(32,),
    widths=(16, 16, 24, 32, 64, 192, 192),
    stem_stride=1,
    strides=(1, 2, 2, 2),
    activations=("relu", "relu", "relu", "h_swish"),
    se=(False, False, True, True),
    depths=(1, 2),
    in_channels=3,
    classes=10,
)
_REFERENCE_SEED = 0


@dataclass(frozen=True)
class FileLatency:
    """A file's latency in ms: median, p10 and p90 over the invocations, as measured. `samples`: invocations timed."""

    median_ms: float
    p10_ms: float
    p90_ms: float
    samples: int


@dataclass(frozen=True)
class FileLatencies:
    """By name, and why some files are not among them. `reference_ms`: of the small network, measured beside them."""

    latencies: dict[str, FileLatency]
    rejected: dict[str, str]
    reference_ms: float
    facts: dict[str, Any]


def measure_files(
    files: Mapping[str, Path],
    shapes: Mapping[str, Sequence[Any]],
    transport: Transport,
    config: ProfilingConfig,
    work: Path,
    seed: int,
    progress: Progress,
    tvm_target: str | None = None,
) -> FileLatencies:
    """The latency of model files of `config.runtime`, by name; `shapes` are their inputs, `[N, C, H, W]`, or as
    `hwnas.export.signature.fed_shape` has them.

    The reference is float32, whatever the files are. `work` is a folder with which a killed run goes on, and which is
    removed at the end. Raises DeviceError where the device does not answer, lacks the runtime or rejects all files.
    """
    config = replace(config, precision="fp32", batch=1)
    space = make_space(_REFERENCE_SPACE)
    operators = space.operators_of(reference_network(space))
    identity = {
        "files": {name: sha256_of_file(path) for name, path in files.items()},
        "config": asdict(config),
        "seed": seed,
    }
    inputs = {**shapes, REFERENCE: input_shape(operators[0], 1)}
    with Journal(work / "journal.jsonl", identity) as journal:
        reference = work / f"reference{runtime_named(config.runtime).suffix}"
        if not reference.exists():
            model_writer(config, tvm_target)(operators, reference, _REFERENCE_SEED)
        measured = measure_models(
            transport, files, reference, config, seed=seed, journal=journal, progress=progress, shapes=inputs
        )
    shutil.rmtree(work, ignore_errors=True)
    found = {
        name: FileLatency(one.raw_ms, one.p10_ms * one.drift, one.p90_ms * one.drift, one.samples)
        for name, one in measured.latencies.items()
    }
    return FileLatencies(found, measured.rejected, measured.reference_ms, measured.facts)
