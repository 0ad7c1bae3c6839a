"""A latency predictor that needs ten measurements of a new device: it chooses them, and says how sure it is.

Bayesian regression with a prior from other devices (`hwnas.latency.fewshot.prior`), averaged over what is not known
(`hwnas.latency.fewshot.posterior`). What is measured next is where it lowers the variance over the space most.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import DataError
from hwnas.latency.descent import descend
from hwnas.latency.estimate import LatencyEstimate, LatencyEstimator
from hwnas.latency.fewshot.choosing import Beliefs, most_informative, prior_beliefs
from hwnas.latency.fewshot.features import WordSums, feature_groups
from hwnas.latency.fewshot.posterior import Posterior, adapt
from hwnas.latency.fewshot.prior import MIN_DEVICES, LatencyPrior, joined
from hwnas.latency.fewshot.word_lookup import WordLookup
from hwnas.spaces import Genotypes, Space
from hwnas.spaces.space import Floats

__all__ = ["MIN_MEASUREMENTS", "FewShotPredictor", "FewShotSession", "check_measurements"]

MIN_MEASUREMENTS = 3
_BLOCK = 2048
_DECIDED, _DISAGREE = 0.9, 0.3
_SEARCH_SAMPLES, _SEARCH_STEPS = 2000, 60


def check_measurements(space: Space, genotypes: Genotypes, latency_ms: Floats, least: int) -> None:
    """Raise DataError for measurements that nothing can be learnt from, naming the first and what to do."""
    if len(latency_ms) < least:
        raise DataError(f"expected at least {least} measurements, got {len(latency_ms)}: measure more architectures")
    wrong = np.flatnonzero(~(np.isfinite(latency_ms) & (latency_ms > 0)))
    if len(wrong):
        raise DataError(
            f"measurement {wrong[0]} is {latency_ms[wrong[0]]} ms, expected a positive number: measure it again or"
            " leave it out"
        )
    if len(np.unique(genotypes, axis=0)) < len(genotypes):
        raise DataError(f"an architecture of space {space.name} is measured twice: give the mean of its measurements")
    if len(latency_ms) > 1 and np.ptp(latency_ms) == 0:
        raise DataError(
            f"all {len(latency_ms)} measurements are {latency_ms[0]} ms: a clock that coarse tells nothing; measure in"
            " finer units"
        )


@dataclass(frozen=True)
class FewShotPredictor(LatencyEstimator):
    """A LatencyEstimator of one device. Covers the whole space; `mean_ms` is never below 1 % of a typical latency."""

    space: Space
    prior: LatencyPrior
    posterior: Posterior

    @property
    def has_std(self) -> bool:
        return True

    def estimate(self, genotypes: Genotypes) -> LatencyEstimate:
        """The latency of `[N, G]` genotypes, with the standard deviation of a measurement."""
        covered = np.ones(len(genotypes), dtype=bool)
        if self._lookup:
            expected = self._lookup.mean(genotypes)
            shape = self.prior.noise_shape(expected)
            variance = self._lookup.variance(genotypes)
            return LatencyEstimate(
                self.posterior.expected_ms(expected), self.posterior.std_ms(variance, shape), covered
            )
        mean, std = np.empty(len(genotypes)), np.empty(len(genotypes))
        groups = feature_groups(self.space)
        for start in range(0, len(genotypes), _BLOCK):
            rows = slice(start, start + _BLOCK)
            relative, columns = self.prior.basis(joined(groups(genotypes[rows])))
            mean[rows], std[rows] = self.posterior.moments(relative, columns)
        return LatencyEstimate(mean, std, covered)

    def latency_ms(self, genotypes: Genotypes) -> Floats:
        """The mean of `estimate` alone, `[N]`."""
        if self._lookup:
            return self.posterior.expected_ms(self._lookup.mean(genotypes))
        groups = feature_groups(self.space)
        constant, weights = self.prior.collapsed(self.posterior.coefficients)
        mean = np.empty(len(genotypes))
        for start in range(0, len(genotypes), _BLOCK):
            rows = slice(start, start + _BLOCK)
            mean[rows] = constant + joined(groups(genotypes[rows])) @ weights
        return self.posterior.expected_ms(mean)

    @cached_property
    def _lookup(self) -> WordLookup | None:
        """Tables instead of products of matrices, where the space allows them."""
        if self.space.blocks is None:
            return None
        return WordLookup.of(WordSums.of(self.space), self.prior, self.posterior)

    def fastest(self) -> tuple[Genotypes, float]:
        """A network `[G]` with the lowest mean, and that in ms: random networks, improved gene by gene. Deterministic.

        Not proven to be the lowest.
        """
        return fastest_found(self.space, self.latency_ms)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything that a file needs to hold."""
        prior = {f"prior.{name}": np.asarray(value) for name, value in vars(self.prior).items()}
        return prior | {f"posterior.{name}": np.asarray(value) for name, value in vars(self.posterior).items()}

    @classmethod
    def from_arrays(cls, space: Space, arrays: dict[str, NDArray[Any]]) -> FewShotPredictor:
        """The predictor whose `arrays` these are. Raises KeyError or ValueError where they are not."""
        parts: dict[str, dict[str, Any]] = {"prior": {}, "posterior": {}}
        for name, value in arrays.items():
            kind, _, field = name.partition(".")
            parts[kind][field] = float(value) if value.ndim == 0 else value
        made = cls(space, LatencyPrior(**parts["prior"]), Posterior(**parts["posterior"]))
        made.estimate(space.sample(1, np.random.default_rng(0)))
        return made


class FewShotSession:
    """Measurements of one device as they come: what to measure next, and the predictor so far.

    `candidates` `[N, G]` may be measured; they stand for the space as well, whose mean variance is to be lowered.
    """

    def __init__(self, space: Space, prior: LatencyPrior, candidates: Genotypes) -> None:
        self.space = space
        self.prior = prior
        self.candidates = candidates
        self._features = joined(feature_groups(space)(candidates))
        self._mean, self._columns = prior.basis(self._features)
        self._typical = self._columns.mean(axis=0)
        self._network = np.unique(candidates, axis=0, return_inverse=True)[1].reshape(-1)
        self._chosen: list[int] = []
        self._latency_ms: list[float] = []
        self._learnt: tuple[Posterior, Beliefs] | None = None

    @property
    def measured(self) -> int:
        """How many measurements were told."""
        return len(self._chosen)

    def next(self) -> int:
        """The index of the candidate to measure next. Raises DataError where none is left."""
        left = (~np.isin(self._network, self._network[self._chosen])).astype(np.float64)
        if not left.any():
            raise DataError(f"all {len(self.candidates)} candidates are measured: give more of them")
        if self.measured < MIN_MEASUREMENTS:
            noise_shape, apart = self.prior.noise_shape(self._mean), np.zeros((0, len(left)))
            beliefs, rounding = prior_beliefs(self.prior), 0.0
        else:
            posterior, beliefs = self._learn()
            noise_shape = self.prior.noise_shape(self._mean + self._columns @ posterior.coefficients)
            apart, rounding = posterior.disagreement(self._columns), posterior.rounding
        return most_informative(beliefs, self._columns, noise_shape, rounding, self._chosen, apart, left)

    def tell(self, index: int, latency_ms: float) -> None:
        """The latency that candidate `index` was measured at. Raises DataError unless it is a positive number."""
        check_measurements(self.space, self.candidates[index][None], np.array([latency_ms]), 1)
        if self._network[index] in self._network[self._chosen]:
            raise DataError(f"candidate {index} is measured twice: give the mean of its measurements")
        self._chosen.append(index)
        self._latency_ms.append(float(latency_ms))
        self._learnt = None

    def predictor(self) -> FewShotPredictor:
        """The predictor from all that was told. Raises DataError for too few or constant measurements."""
        return FewShotPredictor(self.space, self.prior, self._adapted())

    def expected_mape(self) -> float:
        """The mean absolute relative error, a fraction, that the predictor expects on the candidates."""
        mean, std = self._adapted().moments(self._mean, self._columns)
        return float(np.sqrt(2 / np.pi) * np.mean(std / mean))

    @property
    def hypotheses(self) -> dict[str, float]:
        """How probable it is after measuring that no device teaches, that all do, that some do; sums to 1."""
        return self._adapted().hypotheses

    def taught(self) -> Floats:
        """How much each device of the prior taught, `[D]`, shares of what is believed; 0 where none teaches."""
        return self._adapted().taught(self.prior)

    def disagreement(self) -> float:
        """By how much hypotheses differ in what they predict for the candidates: a relative error, a fraction."""
        posterior = self._adapted()
        mean = np.maximum(self._mean + self._columns @ posterior.coefficients, 0.01)
        apart = posterior.disagreement(self._columns)
        return float(np.sqrt(2 / np.pi) * np.mean(np.sqrt(np.square(apart).sum(axis=0)) / mean))

    @property
    def undecided(self) -> bool:
        """Whether hypotheses differ so much that a few more measurements lower the error, by telling them apart."""
        return max(self.hypotheses.values()) < _DECIDED and self.disagreement() > _DISAGREE * self.expected_mape()

    @property
    def uses_devices(self) -> bool:
        """Whether the prior comes from other devices, or holds the architecture's features alone."""
        return len(self.prior.devices) >= MIN_DEVICES

    def _adapted(self) -> Posterior:
        return self._learn()[0]

    def _learn(self) -> tuple[Posterior, Beliefs]:
        if self._learnt is None:
            latency_ms = np.array(self._latency_ms)
            check_measurements(self.space, self.candidates[self._chosen], latency_ms, MIN_MEASUREMENTS)
            self._learnt = adapt(self.prior, self._features[self._chosen], latency_ms, self._typical)
        return self._learnt


def fastest_found(space: Space, latency_ms: Any) -> tuple[Genotypes, float]:
    """The network `[G]` with the lowest `latency_ms` that local search from random networks finds, and that in ms."""
    rng = np.random.default_rng(0)
    extremes = np.stack([space.extreme(largest=False), space.extreme(largest=True)])
    candidates = np.concatenate([extremes, space.sample(_SEARCH_SAMPLES, rng)])
    return descend(space, latency_ms, candidates, _SEARCH_STEPS)
