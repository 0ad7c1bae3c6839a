"""Children made where accuracy rises: proposals from the slopes of a predictor.

As Gibbs sampling with gradients (Grathwohl et al., ICML 2021): what each choice of each gene would change is read off
one backward pass, instead of evaluating every neighbour.

Shapes: N architectures, G genes, C the most choices that a gene has, M children a parent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from hwnas.search.population import row_keys
from hwnas.search.problem import Objective
from hwnas.spaces import Genotypes, Space
from hwnas.spaces.space import Floats

__all__ = ["Guide", "Slopes", "network_slopes"]

Slopes = Callable[[Genotypes], NDArray[np.float32]]
"""For `[N, G]`, to first order, what having each choice of each gene adds to accuracy: `[N, G, C]`."""

_SAMPLES = 2000
_RIDGE = 1e-3
_NOISE, _STAY = 1.0, 3.0


class Guide:
    """Draws children whose every gene is the best by slope, price of latency and noise.

    What a choice costs in ms is taken from a linear fit of `latency_ms` to random networks: good enough to propose,
    as the children are checked by the true latency.
    """

    def __init__(
        self, space: Space, latency_ms: Objective, fastest: Genotypes, slopes: Slopes, rng: np.random.Generator
    ) -> None:
        self._space, self._slopes, self._latency_ms = space, slopes, latency_ms
        self._known: dict[bytes, NDArray[np.float32]] = {}
        most = int(space.cardinalities.max())
        self._valid = np.arange(most) < space.cardinalities[:, None]
        rows = space.sample(_SAMPLES, rng)
        finite = np.isfinite(latency_ms(rows))
        if not finite.all():
            rows = self._within(rows, finite, fastest, rng)
        features = space.features(rows)
        centred = features - features.mean(axis=0)
        latency = latency_ms(rows)
        normal = centred.T @ centred + _RIDGE * _SAMPLES * np.eye(features.shape[1])
        weights = np.linalg.solve(normal, centred.T @ (latency - latency.mean()))
        self._cost = np.zeros((len(space.genes), most), dtype=np.float32)
        self._cost[self._valid] = weights

    def _within(
        self, rows: Genotypes, finite: NDArray[np.bool_], fastest: Genotypes, rng: np.random.Generator
    ) -> Genotypes:
        """Networks of finite latency: those of `rows`, and the others with as many genes of `fastest` as it takes."""
        kept, over = [rows[finite]], rows[~finite]
        for share in (0.25, 0.5, 0.75, 0.9, 1.0):
            mixed = self._space.canonical(np.where(rng.random(over.shape) < share, fastest, over))
            finite = np.isfinite(self._latency_ms(mixed))
            kept.append(mixed[finite])
            over = over[~finite]
            if not len(over):
                break
        return np.concatenate(kept)

    def children(
        self, parents: Genotypes, prices: Floats, count: int, rng: np.random.Generator
    ) -> tuple[Genotypes, Genotypes]:
        """`parents` `[N, G]` repeated, and `count` children of each, `[N * count, G]` both.

        `prices` `[N]`: accuracy a ms. A random number for each child says how noisy its slopes are, another how much
        it favours its parent's genes; both in terms of the spread of the slopes.
        """
        slopes = self._slopes_of_parents(parents)
        silent = ~slopes.any(axis=(0, 2))
        score = slopes - prices[:, None, None].astype(np.float32) * self._cost
        scale = _NOISE * np.abs(slopes).mean(axis=(1, 2))
        score = np.where(self._valid, score, -np.inf)
        repeated, score, scale = (np.repeat(values, count, axis=0) for values in (parents, score, scale))
        noise = rng.standard_normal(score.shape, dtype=np.float32)
        score = score + noise * (scale * rng.random(len(scale)))[:, None, None]
        own = np.take_along_axis(score, repeated[:, :, None], axis=2)
        np.put_along_axis(
            score, repeated[:, :, None], own + (_STAY * scale * rng.random(len(scale)))[:, None, None], axis=2
        )
        children = score.argmax(axis=2)
        # Genes that the predictor has no slopes for (depths) stay the parent's, but for a mutation now and then.
        children[:, silent] = repeated[:, silent]
        return repeated, self._space.mutate(self._space.canonical(children), 0.02, rng)

    def _slopes_of_parents(self, parents: Genotypes) -> NDArray[np.float32]:
        """`[N, G, C]`, found once for each network: the best stay parents for many generations."""
        keys = row_keys(parents)
        fresh = {key: row for row, key in enumerate(keys) if key not in self._known}
        if fresh:
            self._known.update(zip(fresh, self._slopes(parents[list(fresh.values())]), strict=True))
        return np.stack([self._known[key] for key in keys])

    def settle(self, start: Genotypes, budgets: Floats, rounds: int = 5) -> Genotypes:
        """Networks of the resolutions and depths of `start` `[N, G]` that make the most of `budgets` `[N]`, by slope.

        Each round takes the choices that are worth their price, at the lowest price at which the network meets its
        budget; slopes are averaged over rounds, which would otherwise swing. Networks that no price fits stay over.
        """
        rows, total = start, np.zeros(1, dtype=np.float32)
        keep = self._space.shared_genes
        for number in range(rounds):
            total = total + self._slopes(rows)
            slopes = np.where(self._valid, total / (number + 1), -np.inf)
            low, high = np.zeros(len(rows)), np.full(len(rows), 20 * np.abs(total).mean() / np.abs(self._cost).mean())
            for _ in range(9):
                price = (low + high) / 2
                within = self._latency_ms(self._priced(slopes, price, start, keep)) <= budgets
                low, high = np.where(within, low, price), np.where(within, price, high)
            rows = self._priced(slopes, high, start, keep)
        return rows

    def _priced(
        self, slopes: NDArray[np.float32], price: Floats, start: Genotypes, keep: NDArray[np.bool_]
    ) -> Genotypes:
        best = (slopes - price[:, None, None].astype(np.float32) * self._cost).argmax(axis=2)
        return self._space.canonical(np.where(keep, start, best))


def network_slopes(
    space: Space,
    encode: Callable[[Genotypes], NDArray[np.float32]],
    conditions: Sequence[Sequence[tuple[int, int]]],
    layers: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]],
) -> Slopes:
    """The slopes of a ReLU network over 0/1 features, by one pass forth and one back.

    `layers`: weight `[out, in]` and bias `[out]`, the last with one output. `conditions`: for each feature, the genes
    and choices that it stands for; only those of one gene and choice count.
    """
    weights = [np.ascontiguousarray(weight, dtype=np.float32) for weight, _ in layers]
    transposed = [np.ascontiguousarray(weight.T) for weight in weights]
    most = int(space.cardinalities.max())
    single = [(feature, *condition[0]) for feature, condition in enumerate(conditions) if len(condition) == 1]
    single = [entry for entry in single if entry[2] >= 0]
    features, genes, chosen = (np.array(column, dtype=np.int64) for column in zip(*single, strict=True))

    def slopes(genotypes: Genotypes) -> NDArray[np.float32]:
        units = encode(genotypes)
        open_units = []
        for weight, (_, bias) in zip(transposed[:-1], layers[:-1], strict=True):
            units = units @ weight + bias
            open_units.append(units > 0)
            units = np.maximum(units, 0)
        back = np.broadcast_to(weights[-1][0], units.shape)
        for weight, is_open in zip(weights[-2::-1], open_units[::-1], strict=True):
            back = (back * is_open) @ weight
        found: NDArray[np.float32] = np.zeros((len(genotypes), len(space.genes), most), dtype=np.float32)
        found[:, genes, chosen] = back[:, features]
        return found

    return slopes
