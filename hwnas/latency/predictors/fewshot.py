"""The few-shot predictor as a method."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwnas.latency.estimate import LatencyEstimate
from hwnas.latency.fewshot.calibration import taught_prior
from hwnas.latency.fewshot.method import MIN_MEASUREMENTS, FewShotSession
from hwnas.latency.fewshot.prior import MIN_DEVICES, LatencyPrior
from hwnas.latency.predictors.dataset import LatencyData
from hwnas.latency.predictors.interface import Adapted, MethodBase, Target
from hwnas.progress import Progress
from hwnas.spaces import Genotypes

__all__ = ["FewShotMethod", "few_devices_note"]

_CANDIDATES = 300


class FewShotMethod(MethodBase):
    """The few-shot predictor. Candidates are a random part of the pool, so that seeds measure different rows."""

    least = MIN_MEASUREMENTS

    def teach(self, data: LatencyData, rng: np.random.Generator, progress: Progress) -> None:
        progress(0.0, "teaching the prior")
        pool = data.genotypes[: data.pool]
        if len(data.train_devices) < MIN_DEVICES:
            self.notes = (few_devices_note(len(data.train_devices)),)
            latency_ms = np.zeros((len(pool), 0))
        else:
            latency_ms = data.train_pool
        self._space, self._pool = data.space, pool
        self._prior: LatencyPrior = taught_prior(data.space, pool, latency_ms, rng)

    def adapt(self, target: Target, count: int, rng: np.random.Generator) -> Adapted:
        rows = rng.choice(target.pool, min(max(_CANDIDATES, count), len(target.pool)), replace=False)
        session = FewShotSession(self._space, self._prior, self._pool[rows])
        for _ in range(count):
            chosen = session.next()
            session.tell(chosen, target(int(rows[chosen])))
        return _OfSession(session.predictor().estimate, session.hypotheses)


@dataclass(frozen=True)
class _OfSession:
    """A few-shot predictor, and how probable each hypothesis is."""

    estimate: Adapted
    hypotheses: dict[str, float]

    def __call__(self, genotypes: Genotypes) -> LatencyEstimate:
        return self.estimate(genotypes)


def few_devices_note(devices: int) -> str:
    """What is said where there is nothing to learn from other devices."""
    return (
        f"{devices} training device{'' if devices == 1 else 's'}: at least {MIN_DEVICES} are needed to learn how"
        " devices differ; predicting from the architecture's features alone"
    )
