"""Builds latency tables: every operator of a space alone, and whole networks, measured together."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from hwnas.devices.profile import DeviceProfile
from hwnas.devices.transport import Transport
from hwnas.errors import TableError
from hwnas.executors.executor import Executor
from hwnas.files import locked, sha256_of_file, sha256_of_json, write_text
from hwnas.latency.tables.correction import cross_validate, fit_correction
from hwnas.latency.tables.table import LatencyTable, NetworkRows, OperatorRows, read_table, table_path, write_table
from hwnas.profiling.config import ProfilingConfig
from hwnas.profiling.journal import Journal
from hwnas.profiling.measure import AGENT, measure_models
from hwnas.profiling.models import TableModels
from hwnas.profiling.networks import reference_network
from hwnas.profiling.runtimes import runtime_named
from hwnas.profiling.samples import Floats, Measurements, ModelLatency, percentage_errors, rank_correlation
from hwnas.progress import Progress
from hwnas.spaces import Genotypes, Space
from hwnas.version import __version__

__all__ = ["TableWork", "build_table", "measure_table", "progress_of_measuring", "progress_of_writing"]

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
    with TableWork(space, device, config, folder, seed) as work:
        if work.finished is None:
            measure_table(work, transport, progress)
        return work.table


def measure_table(work: TableWork, transport: Transport, progress: Progress, executor: Executor | None = None) -> None:
    """Finishes `work` by what one device measures; `executor` writes the models, where it is given."""
    work.models.write(progress_of_writing(progress), executor)
    with Journal(work.folder / "journal.jsonl", work.identity) as journal:
        measured = measure_models(
            transport, work.models.files, work.models.reference, work.config, seed=work.seed, journal=journal,
            progress=progress_of_measuring(progress), shapes=work.models.shapes,
        )  # fmt: skip
    work.finish(measured)
    progress(1.0, "done")


def progress_of_writing(progress: Progress) -> Progress:
    """Of the models of a table: the first part of its making."""
    return lambda share, status: progress(_WRITING_SHARE * share, status)


def progress_of_measuring(progress: Progress) -> Progress:
    """Of the models of a table: what follows their writing."""
    return lambda share, status: progress(_WRITING_SHARE + (1 - _WRITING_SHARE) * share, status)


class TableWork:
    """A table that is being made, a context in which no other process makes it. `folder` holds what a killed run goes
    on with; `models` are what is to be measured, written beside it, or in the folder `shared` with other tables.

    `finished` is the table of the same inputs that stands there already, or None. Raises as `build_table` does.
    """

    def __init__(
        self, space: Space, device: DeviceProfile, config: ProfilingConfig, folder: Path, seed: int,
        shared: Path | None = None,
    ) -> None:  # fmt: skip
        device.check_runtime(config.runtime, config.precision)
        self.space, self.device, self.config, self.seed = space, device, config, seed
        self.path = table_path(folder, device.name, config.setting)
        self.folder = self.path.with_name(f".{self.path.stem}.work")
        self.finished: LatencyTable | None = None
        self._inputs, self._shared = _identity(space, device, config, seed), shared
        self._opened, self._began = ExitStack(), 0.0

    @property
    def identity(self) -> dict[str, Any]:
        """What its journals are of."""
        return {"identity": self._inputs}

    @property
    def table(self) -> LatencyTable:
        """Of a table that is finished."""
        if self.finished is None:
            raise ValueError("the table is not made yet")
        return self.finished

    def __enter__(self) -> TableWork:
        with ExitStack() as opening:
            opening.enter_context(locked(self.path.with_name(f".{self.path.stem}.lock")))
            self.finished = _finished(self.path, self._inputs)
            if self.finished is None:
                self._began = time.monotonic()
                _clear_other(self.folder, self._inputs)
                self.models = TableModels(
                    self.space, self.device, self.config, self._shared or self.folder / "models", self.seed
                )
            self._opened = opening.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    def finish(self, measured: Measurements) -> None:
        """Writes the table of what was measured, and removes what a killed run would go on with."""
        table = _evaluate(self.space, self.models.genotypes, self.device, self.config, measured, self.seed)
        table.provenance.update(identity=self._inputs, elapsed_s=round(time.monotonic() - self._began, 2))
        write_table(table, self.path)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.finished = table


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


def _evaluate(
    space: Space,
    genotypes: Genotypes,
    device: DeviceProfile,
    config: ProfilingConfig,
    measured: Measurements,
    seed: int,
) -> LatencyTable:
    alone = [measured.latencies.get(f"o{i}") for i in range(len(space.operators))]
    free = np.array([operator.is_free for operator in space.operators])
    isolated, low, high = (np.where(free, 0.0, _column(alone, key)) for key in ("median_ms", "p10_ms", "p90_ms"))
    whole = [measured.latencies.get(f"n{i}") for i in range(len(genotypes))]
    kept = np.array([latency is not None for latency in whole], dtype=bool)
    kept &= ~np.isnan(space.sum_over_operators(genotypes, isolated))
    genotypes, whole = genotypes[kept], [latency for latency, keep in zip(whole, kept, strict=True) if keep]
    latency_ms = _column(whole, "median_ms")
    isolated_sum = space.sum_over_operators(genotypes, isolated)
    in_network, held_out, correction = _correct(space, genotypes, isolated, latency_ms, config, seed)
    rejected = [measured.rejected.get(f"o{i}", "") for i in range(len(space.operators))]
    operators = OperatorRows(
        space.operators, isolated, low, high,
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
