"""Predicted against measured: whole networks beside the table's own reference network, drift divided out."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.devices.transport import Transport
from hwnas.errors import ArchError, ConfigError, DeviceError, TableError
from hwnas.executors.executor import Executor
from hwnas.files import sha256_of_file, sha256_of_json
from hwnas.latency.estimate import require_coverage
from hwnas.latency.tables.lookup import TableEstimator
from hwnas.latency.tables.table import LatencyTable
from hwnas.profiling.agent import REFERENCE
from hwnas.profiling.config import ProfilingConfig
from hwnas.profiling.journal import Journal
from hwnas.profiling.measure import measure_models
from hwnas.profiling.models import write_models
from hwnas.profiling.networks import input_shape, spread_networks
from hwnas.profiling.runtimes import ModelWriter, model_writer, runtime_named
from hwnas.profiling.samples import ModelLatency, percentage_errors, rank_correlation
from hwnas.progress import Progress
from hwnas.spaces import Arch, Genotypes, Space

__all__ = ["MeasuredNetwork", "Validation", "measure_networks", "validate_table"]

_WORK = ".measuring"
_SAMPLES = 600
_MOST_COPIES = 4
_COPIED_MODELS = 16
_MOST_ROUNDS = 60


@dataclass(frozen=True)
class MeasuredNetwork:
    """`measured_ms`: as measured now. `drift`: the reference's latency around these samples over that in the table."""

    measured_ms: float
    drift: float
    p10_ms: float
    p90_ms: float
    samples: int

    @property
    def latency_ms(self) -> float:
        """What the table's estimates compare with: `measured_ms / drift`."""
        return self.measured_ms / self.drift


@dataclass(frozen=True)
class Validation:
    """Networks that the table's correction was not fitted on. Latencies `[N]` in ms, errors as fractions."""

    archs: tuple[Arch, ...]
    predicted_ms: tuple[float, ...]
    measured_ms: tuple[float, ...]
    drift: tuple[float, ...]
    mape: float
    mape_test_retest: float
    spearman: float | None
    within_10_percent: float


def measure_networks(
    files: Mapping[str, Path],
    table: LatencyTable,
    space: Space,
    transport: Transport,
    config: ProfilingConfig,
    folder: Path,
    seed: int,
    progress: Progress,
    shapes: Mapping[str, Sequence[Any]] | None = None,
) -> dict[str, MeasuredNetwork]:
    """The latency of model files, such as exported ones, on the device and setting of `table`, by name.

    `space`: the table's, for its reference network. Few files are measured in more rounds than `config.rounds`,
    and loaded several times, since one loading differs from the next. `folder` gets a subfolder of work files,
    with which a killed run goes on, and which is removed at the end. `shapes`: see `measure_models`. Raises
    ConfigError where `config` is of another setting than the table, DeviceError for a file that the runtime rejects.
    """
    found, _ = _measure(files, table, space, transport, config, folder, seed, progress, shapes or {})
    return found


def validate_table(
    table: LatencyTable,
    space: Space,
    count: int,
    transport: Transport,
    config: ProfilingConfig,
    folder: Path,
    seed: int,
    progress: Progress,
    executor: Executor | None = None,
) -> Validation:
    """Measures `count` networks of `space`, evenly spread over its predicted latencies, none of which the table holds.

    Their files are written with `executor`, or one after another.
    Raises TableError where the table's networks are of another space, CoverageError where it lacks operators.
    """
    known = _known_networks(table, space)
    estimator = TableEstimator(table, space)
    require_coverage(estimator.missing)
    rng = np.random.default_rng((seed, count))
    genotypes = spread_networks(space, count, rng, known, along=estimator.latency_ms)
    predicted = estimator.latency_ms(genotypes)
    suffix = runtime_named(config.runtime).suffix
    models, parts, shapes = {}, {}, {}
    for number, genotype in enumerate(genotypes):
        name, operators = f"n{number}", space.operators_of(genotype)
        path = folder / _WORK / f"{name}-{sha256_of_json([genotype.tolist(), seed, config.setting])[:16]}{suffix}"
        models[name], parts[path], shapes[name] = path, operators, input_shape(operators[0], config.batch)
    write_models(parts, _writer(table, config), seed, lambda _, status: progress(0.0, status), executor)
    found, test_retest = _measure(models, table, space, transport, config, folder, seed, progress, shapes)
    latencies = np.array([found[name].latency_ms for name in models])
    errors = percentage_errors(predicted, latencies)
    return Validation(
        archs=tuple(space.arch(genotype) for genotype in genotypes),
        predicted_ms=tuple(predicted.tolist()),
        measured_ms=tuple(found[name].measured_ms for name in models),
        drift=tuple(found[name].drift for name in models),
        mape=float(errors.mean()),
        mape_test_retest=test_retest,
        spearman=rank_correlation(predicted, latencies),
        within_10_percent=float((errors <= 0.1).mean()),
    )


def _known_networks(table: LatencyTable, space: Space) -> Genotypes:
    """The genotypes `[N, G]` that the table's correction was fitted on."""
    try:
        rows = [space.genotype(arch) for arch in table.networks.archs]
    except ArchError as error:
        names = [settings.get("name") for settings in table.provenance.get("spaces", [])]
        raise TableError(f"the table is of space {' '.join(map(str, names))}, not of {space.name} ({error})") from error
    return np.array(rows, dtype=np.int64).reshape(-1, len(space.genes))


def _writer(table: LatencyTable, config: ProfilingConfig) -> ModelWriter:
    return model_writer(config, table.provenance.get("tvm_target"))


def _measure(
    models: Mapping[str, Path],
    table: LatencyTable,
    space: Space,
    transport: Transport,
    config: ProfilingConfig,
    folder: Path,
    seed: int,
    progress: Progress,
    shapes: Mapping[str, Sequence[Any]],
) -> tuple[dict[str, MeasuredNetwork], float]:
    of_table = (
        *(table.provenance[key] for key in ("runtime", "precision", "threads")),
        table.provenance.get("batch", 1),
    )
    if (config.runtime, config.precision, config.threads, config.batch) != of_table:
        raise ConfigError(f"the table is of {of_table}, profiling asks for {config.setting}: set profiling.* alike")
    copies = max(1, min(_MOST_COPIES, _COPIED_MODELS // max(len(models), 1)))
    loaded = {f"{name}#{copy}": path for name, path in models.items() for copy in range(copies)}
    rounds = _rounds(config.rounds, len(loaded))
    config = replace(config, rounds=rounds, max_rounds=max(rounds, config.max_rounds))
    reference = table.reference
    work = folder / _WORK
    operators = space.operators_of(space.genotype(reference["arch"]))
    inputs = {f"{name}#{copy}": shapes[name] for name in shapes for copy in range(copies)}
    inputs[REFERENCE] = input_shape(operators[0], config.batch)
    identity = {
        "models": {name: sha256_of_file(path) for name, path in models.items()},
        "copies": copies,
        "rounds": config.rounds,
        "table": sha256_of_json(table.provenance),
    }
    with Journal(work / "journal.jsonl", identity) as journal:
        reference_file = work / f"reference{runtime_named(config.runtime).suffix}"
        _writer(table, config)(operators, reference_file, int(reference["seed"]))
        measured = measure_models(
            transport, loaded, reference_file, config, seed=seed, journal=journal, progress=progress,
            reference_ms=float(reference["latency_ms"]), shapes=inputs,
        )  # fmt: skip
    for name, reason in measured.rejected.items():
        raise DeviceError(f"{config.runtime} rejects {loaded[name]}: {reason}")
    shutil.rmtree(work, ignore_errors=True)
    by_name = {name: [measured.latencies[f"{name}#{copy}"] for copy in range(copies)] for name in models}
    retest = measured.test_retest_mape(list(loaded))
    return {name: _combined(found) for name, found in by_name.items()}, retest


def _combined(copies: Sequence[ModelLatency]) -> MeasuredNetwork:
    """A file's latency from that of its copies, each loaded anew: their mean."""
    latency_ms = float(np.mean([one.median_ms for one in copies]))
    measured_ms = float(np.mean([one.raw_ms for one in copies]))
    return MeasuredNetwork(
        measured_ms=measured_ms,
        drift=measured_ms / latency_ms,
        p10_ms=float(np.mean([one.p10_ms * one.drift for one in copies])),
        p90_ms=float(np.mean([one.p90_ms * one.drift for one in copies])),
        samples=sum(one.samples for one in copies),
    )


def _rounds(rounds: int, models: int) -> int:
    return max(rounds, min(_MOST_ROUNDS, math.ceil(_SAMPLES / max(models, 1))))
