"""What onboarding says of who taught: from sessions whose measurements are made up."""

from __future__ import annotations

import numpy as np

from hwnas.latency.fewshot.method import FewShotSession
from hwnas.latency.fewshot.teaching import fit_prior
from hwnas.profiling.onboard import learnt
from hwnas.spaces.nasbench201 import NasBench201Space

SPACE = NasBench201Space()
ROWS = 200


def said_of(target: np.ndarray, teachers: np.ndarray, count: int) -> str:
    prior = fit_prior(SPACE, _cells(), teachers, np.random.default_rng(0))
    session = FewShotSession(SPACE, prior, _cells())
    for _ in range(count):
        chosen = session.next()
        session.tell(chosen, float(target[chosen]))
    names = [f"known/{number}" for number in range(teachers.shape[1])]
    return learnt(session, dict(zip(names, session.taught().tolist(), strict=True)))


def _cells() -> np.ndarray:
    return SPACE.unique(SPACE.sample(2 * ROWS, np.random.default_rng(0)))[:ROWS]


def _latency(costs: list[float], seed: int) -> np.ndarray:
    counts = np.eye(5)[_cells()].sum(axis=1)
    made: np.ndarray = (1 + counts @ np.array(costs)) * np.exp(np.random.default_rng(seed).normal(0, 0.02, ROWS))
    return made


def test_teachers_are_named_with_their_shares() -> None:
    alike = np.stack([_latency([0, 0.1, 1.0, 3.0, 0.8 + 0.1 * seed], seed) for seed in range(4)], axis=1)
    said = said_of(_latency([0, 0.1, 1.0, 3.0, 1.0], 9), alike, 10)
    assert said.startswith("taught by known/")
    assert "%" in said
    assert "expected error" in said


def test_that_none_teaches_is_said() -> None:
    calls = np.stack([_latency([0, 1.0, 0.9, 1.0, 1.0 + 0.05 * seed], seed) for seed in range(3)], axis=1)
    said = said_of(_latency([0, 0.0, 0.3, 3.0, 0.0], 9), calls, 10)
    assert "known devices teach little about this one" in said


def test_without_tables_features_alone_are_named() -> None:
    said = said_of(_latency([0, 0.1, 1.0, 3.0, 1.0], 9), np.zeros((ROWS, 0)), 5)
    assert said.startswith("learnt from these measurements and the architecture's features alone")
    assert "whom to believe" not in said
