"""A new device from a few measurements: chosen one after another, measured there, and learnt from."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.devices.profile import DeviceProfile
from hwnas.devices.transport import Transport
from hwnas.errors import ArchError, ConfigError, DeviceError, TableError
from hwnas.executors.executor import Executor
from hwnas.files import packaged, sha256_of_json
from hwnas.latency.config import OnboardConfig
from hwnas.latency.fewshot.calibration import taught_prior
from hwnas.latency.fewshot.hypotheses import ALONE, KINDS
from hwnas.latency.fewshot.method import MIN_MEASUREMENTS, FewShotSession
from hwnas.latency.fewshot.prior import MIN_DEVICES, LatencyPrior
from hwnas.latency.fewshot.teaching import fit_prior
from hwnas.latency.tables.table import read_table
from hwnas.profiling.agent import REFERENCE
from hwnas.profiling.config import ProfilingConfig
from hwnas.profiling.journal import Journal
from hwnas.profiling.measure import measure_models
from hwnas.profiling.models import write_models
from hwnas.profiling.networks import input_shape, networks_at_most, reference_network, spread_networks
from hwnas.profiling.runtimes import model_writer, runtime_named
from hwnas.progress import Progress, no_progress
from hwnas.spaces import Genotypes, Space
from hwnas.spaces.space import Floats

__all__ = ["Onboarded", "known_devices", "learnt", "onboard", "prior_for"]

_WORTH_SAYING, _NAMED, _MORE = 0.05, 4, 5
_LEAST_ROWS = 30  # networks that a table of another device must have to teach anything


@dataclass(frozen=True)
class Onboarded:
    """The session with all that was measured; networks `[n, G]` and ms `[n]`, and of those measured as a check."""

    session: FewShotSession
    genotypes: Genotypes
    latency_ms: Floats
    check_genotypes: Genotypes
    check_ms: Floats
    facts: dict[str, Any]
    stopped_early: bool
    elapsed_s: float


def known_devices(folder: Path, space: Space) -> tuple[list[str], Genotypes, Floats]:
    """Names, networks `[n, G]` of `space`, and `latency_ms` `[n, D]` of the tables below `folder`; NaN: unmeasured.

    A table of more resolutions teaches with its networks of this space's. Tables of other spaces, or with too few
    whole networks, are left out.
    """
    names: list[str] = []
    found: list[dict[bytes, float]] = []
    for path in sorted(folder.rglob("*.csv")):
        if path.name.endswith(".networks.csv"):
            continue
        try:
            table = read_table(path)
        except TableError:
            continue
        rows = {}
        for arch, ms in zip(table.networks.archs, table.networks.median_ms, strict=True):
            with suppress(ArchError):
                rows[space.genotype(arch).tobytes()] = ms
        if len(rows) >= _LEAST_ROWS:
            names.append(f"{path.parent.name}/{path.stem}")
            found.append(rows)
    keys = list(dict.fromkeys(key for rows in found for key in rows))
    genotypes = np.array([np.frombuffer(key, dtype=np.int64) for key in keys]).reshape(len(keys), len(space.genes))
    return names, genotypes, np.array([[rows.get(key, np.nan) for rows in found] for key in keys])


def prior_for(
    space: Space, candidates: Genotypes, tables: Path | None, rng: np.random.Generator
) -> tuple[LatencyPrior, list[str]]:
    """The prior, and the names of the device settings that it was taught by: none, where there are too few."""
    names, genotypes, latency_ms = known_devices(tables, space) if tables else ([], candidates, np.zeros((0, 0)))
    if len(names) < MIN_DEVICES:
        return fit_prior(space, candidates, np.zeros((len(candidates), 0)), rng), []
    return taught_prior(space, genotypes, latency_ms, rng), names


def onboard(
    space: Space,
    device: DeviceProfile,
    transport: Transport,
    settings: ProfilingConfig,
    config: OnboardConfig,
    measurements: int,
    folder: Path,
    seed: int,
    progress: Progress,
    say: Callable[[str], None],
    executor: Executor | None = None,
) -> Onboarded:
    """Measure up to `measurements` networks of `space`, each where it teaches most, and return what was learnt.

    A space with fewer networks than candidates or checks are asked for gives all that it has. What was measured before
    a kill is in journals below `folder` and is not measured again. Networks that are measured together are written with
    `executor`, or one after another. Raises DataError for too few measurements,
    ConfigError for more than there are candidates, DeviceError where the device refuses a network.
    """
    started = time.monotonic()
    rng = np.random.default_rng(seed)
    candidates = _candidates(space, config.candidates, measurements, rng)
    prior, taught_by = prior_for(space, candidates, Path(config.tables) if config.tables else None, rng)
    say(_knowledge(taught_by))
    session = FewShotSession(space, prior, candidates)
    meter = _DeviceMeter(space, device, transport, settings, folder / ".work", seed, executor)
    chosen: list[int] = []
    latency_ms: list[float] = []
    while session.measured < measurements:
        progress(session.measured / measurements, f"measuring network {session.measured + 1} of {measurements}")
        number = session.next()
        latency_ms.append(meter.measure([candidates[number]])[0])
        chosen.append(number)
        session.tell(number, latency_ms[-1])
        enough = session.measured >= MIN_MEASUREMENTS and config.target_mape is not None
        if enough and session.expected_mape() <= float(config.target_mape or 0):
            break
    session.predictor()
    teachers = dict(zip(taught_by, session.taught().tolist(), strict=True))
    say(learnt(session, teachers))
    others = networks_at_most(space, config.check_networks + len(chosen)) - len(chosen)
    check_genotypes = spread_networks(space, others, rng, candidates[chosen]) if others else candidates[:0]
    check_ms = np.array(meter.measure(list(check_genotypes)) if len(check_genotypes) else [])
    return Onboarded(
        session, candidates[chosen], np.array(latency_ms), check_genotypes, check_ms,
        {
            **meter.facts, "taught_by": taught_by, "hypotheses": session.hypotheses, "teachers": teachers,
            "disagreement": session.disagreement(), "undecided": session.undecided,
        },
        session.measured < measurements, time.monotonic() - started,
    )  # fmt: skip


def _candidates(space: Space, count: int, measurements: int, rng: np.random.Generator) -> Genotypes:
    found = networks_at_most(space, count)
    if measurements > found:
        more = f"space {space.name} has no more" if found < count else "raise onboard.candidates"
        raise ConfigError(
            f"measurements: expected at most the {found} networks to choose from, got {measurements}: {more}"
        )
    return spread_networks(space, found, rng)


def _knowledge(taught_by: Sequence[str]) -> str:
    if taught_by:
        return f"prior knowledge: {len(taught_by)} settings of known devices ({', '.join(taught_by[:4])}…)"
    return (
        "prior knowledge: no latency tables of other devices with networks of this space (onboard.tables=FOLDER names"
        f" some; those of one x86 machine are in {packaged('latency_tables')}); starting from MACs and the"
        " architecture's features alone"
    )


def learnt(session: FewShotSession, teachers: Mapping[str, float]) -> str:
    """Which devices taught how much, what error is expected, and whether more measurements are worth their time."""
    taught = sorted((share, name) for name, share in teachers.items() if share >= _WORTH_SAYING)[::-1]
    none = session.hypotheses[KINDS[ALONE]]
    if not teachers:
        source = "learnt from these measurements and the architecture's features alone"
    elif none > 0.5 or not taught:
        source = f"known devices teach little about this one ({none:.0%} sure): predicted from its own measurements"
    else:
        source = "taught by " + ", ".join(f"{name} {share:.0%}" for share, name in taught[:_NAMED])
        source += f" ({none:.0%}: by none)" if none >= _WORTH_SAYING else ""
    said = f"{source}; expected error {session.expected_mape():.1%}"
    if session.undecided:
        said += (
            f"; whom to believe is not decided yet, which makes {session.disagreement():.1%} of it:"
            f" measurements={session.measured + _MORE} would tell"
        )
    return said


class _DeviceMeter:
    """Writes networks with random weights and measures them, in units of one nominal clock: drift is divided out."""

    def __init__(
        self,
        space: Space,
        device: DeviceProfile,
        transport: Transport,
        settings: ProfilingConfig,
        work: Path,
        seed: int,
        executor: Executor | None,
    ) -> None:
        self._space, self._transport, self._settings = space, transport, settings
        self._work, self._seed, self._executor = work, seed, executor
        self._writer = model_writer(settings, device.tvm_target)
        self._suffix = runtime_named(settings.runtime).suffix
        (self._reference,) = self._written({REFERENCE: reference_network(space)}).values()
        self._reference_ms: float | None = None
        self._calls = 0
        self.facts: dict[str, Any] = {}

    def measure(self, genotypes: Sequence[Genotypes]) -> list[float]:
        """The latency of each network, in ms."""
        models = self._written({f"n{self._calls}_{number}": one for number, one in enumerate(genotypes)})
        identity = {
            "space": self._space.config(), "seed": self._seed, "setting": self._settings.setting,
            "networks": [genotype.tolist() for genotype in genotypes], "reference_ms": self._reference_ms,
        }  # fmt: skip
        with Journal(self._work / f"journal-{self._calls}.jsonl", identity) as journal:
            found = measure_models(
                self._transport, models, self._reference, self._settings, seed=self._seed, journal=journal,
                progress=no_progress, reference_ms=self._reference_ms, shapes=self._shapes(genotypes, models),
            )  # fmt: skip
        if found.rejected:
            name, reason = next(iter(found.rejected.items()))
            raise DeviceError(f"{self._settings.runtime} rejects {models[name]}: {reason}")
        self._calls += 1
        self._reference_ms = found.reference_ms
        self.facts = found.facts
        return [found.latencies[name].median_ms for name in models]

    def _shapes(self, genotypes: Sequence[Genotypes], models: Mapping[str, Path]) -> dict[str, Sequence[int]]:
        named = zip([REFERENCE, *models], [reference_network(self._space), *genotypes], strict=True)
        return {name: input_shape(self._space.operators_of(g)[0], self._settings.batch) for name, g in named}

    def _written(self, genotypes: Mapping[str, Genotypes]) -> dict[str, Path]:
        """The networks' files; one that a killed run wrote of the same network stays."""
        paths = {name: self._path(name, genotype) for name, genotype in genotypes.items()}
        models = {paths[name]: self._space.operators_of(genotype) for name, genotype in genotypes.items()}
        # A worker takes longer to start than one file to be written here.
        executor = self._executor if len(models) > 1 else None
        write_models(models, self._writer, self._seed, no_progress, executor)
        return paths

    def _path(self, name: str, genotype: Genotypes) -> Path:
        of = [genotype.tolist(), self._seed, self._settings.setting]
        return self._work / f"{name}-{sha256_of_json(of)[:16]}{self._suffix}"
