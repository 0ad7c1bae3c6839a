"""Means and variances of a posterior as table lookups, where features are sums over an architecture's blocks.

The mean is linear in the features, and so a sum over blocks; the variance is a quadratic form of them, and so a sum
over pairs of blocks. Both are exact.

Shapes: N architectures, B blocks, R resolutions, W words (see `WordSums`), P coefficients.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from hwnas.latency.fewshot.features import WordSums
from hwnas.latency.fewshot.posterior import Posterior
from hwnas.latency.fewshot.prior import LatencyPrior
from hwnas.spaces import Genotypes
from hwnas.spaces.space import Floats

__all__ = ["WordLookup"]


@dataclass(frozen=True)
class WordLookup:
    """Sums of relative latency after measuring, and of its variance.

    Each is `constant` `[R, 2]`, `by_word` `[R, W, 2]`; the variance has `by_pair` `[R, W, W]` besides.
    """

    sums: WordSums
    posterior: Posterior
    constant: Floats
    by_word: Floats
    by_pair: Floats

    @classmethod
    def of(cls, sums: WordSums, prior: LatencyPrior, posterior: Posterior) -> WordLookup:
        """The tables of `posterior`."""
        resolutions, words, features = sums.rows.shape
        mean, columns = prior.basis(sums.constant)
        word_mean, word_columns = prior.basis((sums.rows + sums.constant[:, None]).reshape(-1, features))
        word_mean = word_mean.reshape(resolutions, words) - mean[:, None]
        word_columns = word_columns.reshape(resolutions, words, -1) - columns[:, None]
        directions = posterior.directions
        covariance = np.diag(posterior.diagonal) + (directions.T * posterior.signs) @ directions
        weighted = word_columns @ covariance
        by_pair = weighted @ word_columns.transpose(0, 2, 1)
        own = np.diagonal(by_pair, axis1=1, axis2=2)
        expected, word_expected = columns @ posterior.coefficients, word_columns @ posterior.coefficients
        linear = 2 * (weighted @ columns[:, :, None])[:, :, 0]
        constant = np.einsum("rp,pq,rq->r", columns, covariance, columns)
        return cls(
            sums,
            posterior,
            np.stack([mean + expected, constant], axis=1),
            np.stack([word_mean + word_expected, linear + own], axis=2),
            2 * by_pair,
        )

    def mean(self, genotypes: Genotypes) -> Floats:
        """Relative latency `[N]`."""
        resolution, words = self.sums.words(genotypes)
        return self._summed(resolution, words, 0)

    def variance(self, genotypes: Genotypes) -> Floats:
        """The variance of relative latency after measuring `[N]`, without the noise of a measurement."""
        resolution, words = self.sums.words(genotypes)
        count = self.by_pair.shape[1]
        found = self._summed(resolution, words, 1)
        pairs = self.by_pair.reshape(-1)
        columns = np.ascontiguousarray(words.T)
        starts = (resolution * count + columns) * count
        for first, second in combinations(range(len(columns)), 2):
            found += pairs.take(starts[first] + columns[second])
        return found

    def _summed(self, resolution: NDArray[np.int64], words: NDArray[np.int64], number: int) -> Floats:
        table = np.ascontiguousarray(self.by_word[:, :, number])
        places = resolution[:, None] * table.shape[1] + words
        return np.asarray(self.constant[resolution, number] + table.reshape(-1).take(places).sum(axis=1))
