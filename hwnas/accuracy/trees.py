"""Gradient-boosted regression trees as arrays, as GBDT-NAS (Luo et al., 2020) ranks architectures.

Shapes: N architectures to predict, n training rows, F features, T trees, D depth, C distinct conditions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.accuracy.config import TreesConfig
from hwnas.errors import MissingExtraError
from hwnas.spaces.space import Floats

__all__ = ["Trees"]

_CHUNK = 512


class Trees:
    """Complete binary trees: node i's children are 2i + 1 (feature <= threshold) and 2i + 2. No pickle.

    `arrays` holds `feature` and `threshold` `[T, 2^D - 1]`, `leaf` `[T, 2^D]` (learning rate included) and `base`
    `[1]`. Leaves nearer the root are repeated below a condition that doesn't matter.
    """

    def __init__(self, arrays: dict[str, NDArray[Any]]) -> None:
        self.arrays = arrays
        feature, threshold = arrays["feature"], arrays["threshold"]
        pairs = np.stack([feature.ravel(), threshold.ravel()], axis=1)
        conditions, which = np.unique(pairs, axis=0, return_inverse=True)
        self._feature = conditions[:, 0].astype(np.int64)
        self._threshold = conditions[:, 1:]
        self._condition = which.reshape(feature.shape)
        self._levels = int(np.log2(arrays["leaf"].shape[1]))

    @classmethod
    def fit(cls, features: Floats, labels: Floats, config: TreesConfig, rng: np.random.Generator) -> Trees:
        """Fit to `features` `[n, F]` and `labels` `[n]` with scikit-learn. Raises MissingExtraError without it."""
        try:
            from sklearn.ensemble import GradientBoostingRegressor
        except ImportError as error:
            raise MissingExtraError("scikit-learn", "train", "fitting gradient-boosted trees") from error
        mean, spread = float(labels.mean()), float(labels.std())
        model = GradientBoostingRegressor(
            n_estimators=config.trees,
            max_depth=config.depth,
            learning_rate=config.learning_rate,
            subsample=config.row_share,
            max_features=config.feature_share,
            random_state=int(rng.integers(2**31)),
        )
        # float32, as its trees see features: labels that differ by a rounding error must not break ties differently.
        model.fit(features, ((labels - mean) / spread).astype(np.float32))
        trees = [_complete(tree.tree_, config.depth) for [tree] in model.estimators_]
        start = float(model.init_.constant_.ravel()[0])
        return cls(
            {
                "feature": np.stack([tree[0] for tree in trees]),
                "threshold": np.stack([tree[1] for tree in trees]),
                "leaf": spread * config.learning_rate * np.stack([tree[2] for tree in trees]),
                "base": np.array([mean + spread * start]),
            }
        )

    def predict(self, features: Floats, with_std: bool) -> tuple[Floats, Floats | None]:  # noqa: ARG002
        """Mean `[N]`; trees have no uncertainty."""
        mean = np.empty(len(features))
        for start in range(0, len(features), _CHUNK):
            columns = features[start : start + _CHUNK].astype(np.float32).T
            holds = columns[self._feature] <= self._threshold
            # Folded from the leaves up, every tree and architecture at once: reads in order are quicker than the D
            # scattered ones of a walk down each tree.
            value = self.arrays["leaf"][:, :, None]
            for level in reversed(range(self._levels)):
                node = slice(2**level - 1, 2 ** (level + 1) - 1)
                value = np.where(holds[self._condition[:, node]], value[:, ::2], value[:, 1::2])
            mean[start : start + _CHUNK] = value[:, 0].sum(axis=0)
        return self.arrays["base"][0] + mean, None


def _complete(tree: Any, depth: int) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Features and thresholds `[2^depth - 1]` and leaves `[2^depth]` of one of scikit-learn's trees."""
    feature, threshold = np.zeros(2**depth - 1, dtype=np.int64), np.zeros(2**depth - 1)
    node = np.zeros(1, dtype=np.int64)
    for level in range(depth):
        place = slice(2**level - 1, 2 ** (level + 1) - 1)
        inner = tree.children_left[node] >= 0
        feature[place] = np.where(inner, tree.feature[node], 0)
        threshold[place] = np.where(inner, tree.threshold[node], 0.0)
        left, right = (np.where(inner, child[node], node) for child in (tree.children_left, tree.children_right))
        node = np.stack([left, right], axis=1).ravel()
    return feature, threshold, tree.value[node, 0, 0]
