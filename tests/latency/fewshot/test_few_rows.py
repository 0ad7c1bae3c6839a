"""What is learnt where few networks were measured: of their costs, of known devices, and of a new device's noise."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from hwnas.errors import DataError
from hwnas.latency.fewshot.features import cost_figures, feature_groups
from hwnas.latency.fewshot.method import FewShotSession
from hwnas.latency.fewshot.prior import joined
from hwnas.latency.fewshot.teaching import fit_prior
from hwnas.spaces import OfaMbv3Config, OfaMbv3Space, Space, make_space
from hwnas.spaces.nasbench201 import NasBench201Space

ROWS = 45


@pytest.fixture(scope="module")
def space() -> OfaMbv3Space:
    return make_space(OfaMbv3Config())


@pytest.fixture(scope="module")
def genotypes(space: OfaMbv3Space) -> np.ndarray:
    return space.unique(space.sample(200, np.random.default_rng(0)))


def by_macs(space: Space, genotypes: np.ndarray, constant: float) -> np.ndarray:
    macs = space.macs(genotypes)
    latency_ms: np.ndarray = constant + macs / macs.mean()
    return latency_ms


def test_costs_of_networks_that_were_not_measured_are_known(space: OfaMbv3Space, genotypes: np.ndarray) -> None:
    prior = fit_prior(space, genotypes[:ROWS], np.zeros((ROWS, 0)), np.random.default_rng(0))
    inputs = (joined(feature_groups(space)(genotypes)) - prior.centre) * prior.scale
    figures = cost_figures(space, genotypes)
    predicted = prior.costs[:, 0] + inputs @ prior.costs[:, 1:].T
    error = predicted * figures[:ROWS].mean(axis=0) / figures - 1
    assert (np.sqrt(np.mean(np.square(error), axis=0)) < 0.025).all()


def test_known_devices_are_learnt_from_fewer_networks_than_features(space: OfaMbv3Space, genotypes: np.ndarray) -> None:
    noise = np.exp(np.random.default_rng(1).normal(0, 0.01, (len(genotypes), 2)))
    latency_ms = np.stack([by_macs(space, genotypes, each) for each in (0.3, 1.0)], axis=1) * noise
    prior = fit_prior(space, genotypes[:ROWS], latency_ms[:ROWS], np.random.default_rng(0))
    inputs = (joined(feature_groups(space)(genotypes[ROWS:])) - prior.centre) * prior.scale
    predicted = prior.devices[:, 0] + inputs @ prior.devices[:, 1:].T
    error = predicted * latency_ms[:ROWS].mean(axis=0) / latency_ms[ROWS:] - 1
    assert np.sqrt(np.mean(error**2)) < 0.02


def test_two_devices_alike_say_little_of_how_noisy_another_is(space: OfaMbv3Space, genotypes: np.ndarray) -> None:
    noise = np.exp(np.random.default_rng(1).normal(0, 0.01, (len(genotypes), 4)))
    alike = by_macs(space, genotypes, 0.5)[:, None] * noise
    prior = fit_prior(space, genotypes, alike[:, :2], np.random.default_rng(0))
    more = fit_prior(space, genotypes, alike, np.random.default_rng(0))
    assert prior.noise[1] > 1.5
    np.testing.assert_allclose(more.noise, prior.noise, atol=0.4)


def session_of(candidates: np.ndarray, latency_ms: np.ndarray, count: int) -> FewShotSession:
    space = NasBench201Space()
    prior = fit_prior(space, candidates, np.zeros((len(candidates), 0)), np.random.default_rng(0))
    session = FewShotSession(space, prior, candidates)
    for _ in range(count):
        chosen = session.next()
        session.tell(chosen, float(latency_ms[chosen]))
    return session


def cells(count: int) -> np.ndarray:
    space = NasBench201Space()
    return space.unique(space.sample(2 * count, np.random.default_rng(0)))[:count]


def test_intervals_follow_the_noise_down_to_none() -> None:
    counts = np.eye(5)[cells(300)].sum(axis=1)
    exact = 1 + counts @ np.array([0, 0.0, 1.0, 3.0, 0.5])
    widths = []
    for noise, draws in ((0.1, 6), (0.01, 6), (0.0, 1)):
        held, width = [], []
        for draw in range(draws):
            latency_ms = exact * np.exp(np.random.default_rng(draw).normal(0, noise, len(exact)))
            found = session_of(cells(300), latency_ms, 20).predictor().estimate(cells(300))
            assert found.std_ms is not None
            held.append(np.mean(np.abs(found.mean_ms - latency_ms) <= 1.645 * found.std_ms))
            width.append(np.mean(found.std_ms / found.mean_ms))
        assert np.mean(held) > 0.8
        widths.append(float(np.mean(width)))
    assert all(more > 2 * less for more, less in pairwise(widths))
    assert widths[-1] < 0.005


def test_a_network_that_stands_among_candidates_twice_is_measured_once() -> None:
    twice = np.repeat(cells(6), 2, axis=0)
    session = session_of(twice, np.arange(1.0, 13.0), 6)
    with pytest.raises(DataError, match="all 12 candidates are measured"):
        session.next()
    with pytest.raises(DataError, match="measured twice"):
        session.tell(0, 1.0)
