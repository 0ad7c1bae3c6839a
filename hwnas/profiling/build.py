"""Builds latency tables: every operator of a space alone, and whole networks, measured together."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.devices.profile import DeviceProfile
from hwnas.devices.transport import Transport
from hwnas.errors import TableError
from hwnas.files import locked, sha256_of_file, sha256_of_json, write_text
from hwnas.latency.tables.correction import cross_validate, fit_correction
from hwnas.latency.tables.table import LatencyTable, NetworkRows, OperatorRows, read_table, table_path, write_table
from hwnas.profiling.agent import REFERENCE
from hwnas.profiling.config import ProfilingConfig
from hwnas.profiling.journal import Journal
from hwnas.profiling.measure import AGENT, measure_models
from hwnas.profiling.networks import input_shape, nested_networks, reference_network
from hwnas.profiling.runtimes import model_writer, runtime_named
from hwnas.profiling.samples import Floats, Measurements, ModelLatency, percentage_errors, rank_correlation
from hwnas.progress import Progress
from hwnas.spaces import Genotypes, Operator, Space
from hwnas.version import __version__

__all__ = ["build_table"]

_WRITING_SHARE = 0.1
_FEW_COMBINATIONS = 1000


def build_table(
    space: Space,
    device: DeviceProfile,
    transport: Transport,
    config: ProfilingConfig,
    folder: Path,
    seed: int,
    progress: Progress,
) -> LatencyTable:
    """The table of every operator of `space`, written to `table_path(folder, device.name, config.setting)`.

    A table of the same inputs that stands there is returned as it is. What a killed run measured is in the journal
    beside it and is not measured again. Raises StorageError where another process builds the same table, DeviceError
    where the device does not run the runtime, and CoverageError from the estimator for operators that it rejects.
    """
    device.check_runtime(config.runtime, config.precision)
    path = table_path(folder, device.name, config.setting)
    identity = _identity(space, device, config, seed)
    work = path.with_name(f".{path.stem}.work")
    with locked(path.with_name(f".{path.stem}.lock")):
        if (finished := _finished(path, identity)) is not None:
            return finished
        start = time.monotonic()
        _clear_other(work, identity)
        genotypes = nested_networks(space, config.networks, np.random.default_rng(seed))
        models, reference, shapes = _write_models(space, genotypes, device, config, work, seed, progress)
        with Journal(work / "journal.jsonl", {"identity": identity}) as journal:
            measured = measure_models(
                transport, models, reference, config, seed=seed, journal=journal,
                progress=lambda share, status: progress(_WRITING_SHARE + (1 - _WRITING_SHARE) * share, status),
                shapes=shapes,
            )  # fmt: skip
        table = _evaluate(space, genotypes, device, config, measured, seed)
        table.provenance.update(identity=identity, elapsed_s=round(time.monotonic() - start, 2))
        write_table(table, path)
        shutil.rmtree(work, ignore_errors=True)
    progress(1.0, "done")
    return table


def _identity(space: Space, device: DeviceProfile, config: ProfilingConfig, seed: int) -> str:
    """What the measurements depend on: another value, and they are made anew."""
    inputs = {
        "space": space.config(),
        "device": device.name,
        "tvm_target": runtime_named(config.runtime).target(device.tvm_target),
        "config": asdict(config),
        "seed": seed,
        "runtime_version": runtime_named(config.runtime).installed_version,
        "agent": sha256_of_file(AGENT),
        "hwnas": __version__,
    }
    return sha256_of_json(inputs)


def _clear_other(work: Path, identity: str) -> None:
    """Empties the work folder unless it is of this measurement: its model files would be taken for ours."""
    mark = work / "identity"
    if not mark.is_file() or mark.read_text() != identity:
        shutil.rmtree(work, ignore_errors=True)
        write_text(mark, identity)


def _finished(path: Path, identity: str) -> LatencyTable | None:
    try:
        table = read_table(path)
    except TableError:
        return None
    return table if table.provenance.get("identity") == identity else None


def _write_models(
    space: Space, genotypes: Genotypes, device: DeviceProfile, config: ProfilingConfig, work: Path, seed: int,
    progress: Progress,
) -> tuple[dict[str, Path], Path, dict[str, tuple[int, int, int, int]]]:  # fmt: skip
    """Model files by name (`o<position>` operators, `n<position>` networks), the reference's, and all their inputs.

    Files that a killed run wrote are whole, and stay.
    """
    write, suffix = model_writer(config, device.tvm_target), runtime_named(config.runtime).suffix
    parts: dict[str, Sequence[Operator]] = {f"o{i}": [operator] for i, operator in enumerate(space.operators)}
    parts |= {f"n{i}": space.operators_of(genotype) for i, genotype in enumerate(genotypes)}
    parts[REFERENCE] = space.operators_of(reference_network(space))
    written: dict[str, Path] = {}
    for number, (name, operators) in enumerate(parts.items()):
        written[name] = work / "models" / f"{name}{suffix}"
        if not written[name].exists():
            progress(_WRITING_SHARE * number / len(parts), f"writing models {number}/{len(parts)}")
            write(operators, written[name], seed)
    shapes = {name: input_shape(operators[0], config.batch) for name, operators in parts.items()}
    return written, written.pop(REFERENCE), shapes


def _evaluate(
    space: Space,
    genotypes: Genotypes,
    device: DeviceProfile,
    config: ProfilingConfig,
    measured: Measurements,
    seed: int,
) -> LatencyTable:
    alone = [measured.latencies.get(f"o{i}") for i in range(len(space.operators))]
    isolated = _column(alone, "median_ms")
    whole = [measured.latencies.get(f"n{i}") for i in range(len(genotypes))]
    kept = np.array([latency is not None for latency in whole], dtype=bool)
    kept &= ~np.isnan(space.sum_over_operators(genotypes, isolated))
    genotypes, whole = genotypes[kept], [latency for latency, keep in zip(whole, kept, strict=True) if keep]
    latency_ms = _column(whole, "median_ms")
    isolated_sum = space.sum_over_operators(genotypes, isolated)
    in_network, held_out, correction = _correct(space, genotypes, isolated, latency_ms, config, seed)
    rejected = [measured.rejected.get(f"o{i}", "") for i in range(len(space.operators))]
    operators = OperatorRows(
        space.operators, isolated, _column(alone, "p10_ms"), _column(alone, "p90_ms"),
        _column(alone, "samples").astype(np.int64), in_network, tuple(rejected),
    )  # fmt: skip
    networks = NetworkRows(
        tuple(space.arch(genotype).to_dict() for genotype in genotypes), latency_ms, _column(whole, "p10_ms"),
        _column(whole, "p90_ms"), _column(whole, "samples").astype(np.int64), isolated_sum, held_out,
    )  # fmt: skip
    facts = measured.facts
    provenance: dict[str, Any] = {
        "device": device.name,
        "soc": facts.get("soc"),
        "runtime": config.runtime,
        "runtime_version": facts.get("runtime_version"),
        "precision": config.precision,
        "threads": config.threads,
        "batch": config.batch,
        "tvm_target": runtime_named(config.runtime).target(device.tvm_target),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "hwnas_version": __version__,
        "spaces": [space.config()],
        "operators": len(space.operators),
        "networks": len(genotypes),
        "rejected_operators": sum(map(bool, rejected)),
        "reference": {
            "arch": space.arch(reference_network(space)).to_dict(),
            "seed": seed,
            "latency_ms": measured.reference_ms,
        },
        "noise": {
            "mape_test_retest_networks": _finite(measured.test_retest_mape([f"n{i}" for i in range(len(kept))])),
            "mape_test_retest_operators": _finite(measured.test_retest_mape([f"o{i}" for i in range(len(isolated))])),
            "disturbed_share": measured.disturbed_share,
            "sure_share": measured.sure_share(config.interval),
        },
        "correction": correction,
        "measuring": asdict(config),
        "machine": facts,
    }
    return LatencyTable(operators, networks, provenance)


def _correct(
    space: Space, genotypes: Genotypes, isolated: Floats, latency_ms: Floats, config: ProfilingConfig, seed: int
) -> tuple[Floats, Floats, dict[str, Any] | None]:
    """In-network costs `[O]`, held-out predictions `[N]`, and what the provenance says of both."""
    scored = len(genotypes) >= 2 * config.folds
    if not scored and not _are_all(space, genotypes):
        return isolated, np.full(len(genotypes), np.nan), None
    present = ~np.isnan(isolated)
    operators = [operator for operator, has in zip(space.operators, present, strict=True) if has]
    counts = space.operator_counts(genotypes)[:, present]
    fitted = (operators, isolated[present], counts, space.parameters(genotypes), latency_ms)
    correction = fit_correction(*fitted)
    in_network = np.full(len(isolated), np.nan)
    in_network[present] = correction.operator_ms
    raw = space.sum_over_operators(genotypes, isolated)
    facts: dict[str, Any] = {"slowdown": asdict(correction.slowdown), "folds": config.folds if scored else None}
    facts["mape_raw"] = float(percentage_errors(raw, latency_ms).mean())
    facts["spearman_raw"] = rank_correlation(raw, latency_ms)
    if not scored:
        # Nobody else is left to be predicted: what counts is how well these few are met.
        spread = space.sum_over_operators(genotypes, in_network) / latency_ms
        spread = spread * correction.slowdown.factor(space.parameters(genotypes)) - 1
        unknown = dict.fromkeys(("mape_corrected", "within_10_percent", "spearman_corrected"))
        return in_network, np.full(len(genotypes), np.nan), {
            **facts, **unknown, "held_out_std": float(np.sqrt(np.mean(np.square(spread)))),
        }  # fmt: skip
    held_out = cross_validate(*fitted, config.folds, np.random.default_rng(seed))
    errors = percentage_errors(held_out, latency_ms)
    return in_network, held_out, {
        **facts,
        "mape_corrected": float(errors.mean()),
        "within_10_percent": float((errors <= 0.1).mean()),
        "held_out_std": float(np.sqrt(np.mean(np.square(held_out / latency_ms - 1)))),
        "spearman_corrected": rank_correlation(held_out, latency_ms),
    }  # fmt: skip


def _are_all(space: Space, genotypes: Genotypes) -> bool:
    """Whether a space has no networks but these, one at least."""
    every = space.every(_FEW_COMBINATIONS)
    return every is not None and 0 < len(genotypes) == len(every)


def _column(latencies: Sequence[ModelLatency | None], key: str) -> Floats:
    """One value of each model; for a model without latency NaN, or 0 samples."""
    lacking = 0 if key == "samples" else np.nan
    return np.array([lacking if one is None else getattr(one, key) for one in latencies], dtype=np.float64)


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
