"""The methods of prediction under one contract: fitted from rows, or restored from arrays.

Shapes: N architectures to predict, n training rows, G genes, F features.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hwnas.accuracy.config import PredictorConfig
from hwnas.accuracy.features import GeneFeatures
from hwnas.accuracy.gaussian_process import GaussianProcess
from hwnas.accuracy.known import Known
from hwnas.accuracy.networks import FreeLabels, fit_ensemble, fit_mlp, restore_ensemble, restore_mlp
from hwnas.accuracy.ridge import Ridge
from hwnas.accuracy.trees import Trees
from hwnas.spaces import Genotypes, Space
from hwnas.spaces.space import Floats

__all__ = ["Model", "fit_model", "restore_model"]

Arrays = dict[str, NDArray[Any]]

_ARRAYS = {
    "gp": ("centre", "scale", "inputs", "linear_scale", "distance_scale", "scalars", "weights", "factor"),
    "gbdt": ("feature", "threshold", "leaf", "base"),
    "ridge": ("centre", "slope", "intercept"),
}


class Model(Protocol):
    """What a method makes. `arrays` is all that it is: `restore_model` makes the same of them."""

    arrays: Arrays

    def predict(self, inputs: Any, with_std: bool) -> tuple[Floats, Floats | None]:
        """Mean `[N]`, and the standard deviation of a measurement `[N]` where the method has one and it is asked for.

        Of genotypes `[N, G]`, or of the features `[N, F]` of methods that stand on features.
        """


class _OnFeatures:
    """A model of features as one of genotypes."""

    def __init__(self, encode: Callable[[Genotypes], Floats], model: Model) -> None:
        self.arrays = model.arrays
        self._encode, self._model = encode, model

    def predict(self, genotypes: Genotypes, with_std: bool) -> tuple[Floats, Floats | None]:
        return self._model.predict(self._encode(genotypes), with_std)


def fit_model(
    space: Space, rows: Genotypes, labels: Floats, config: PredictorConfig, free: FreeLabels, rng: np.random.Generator
) -> Model:
    """`config.method` fitted to distinct canonical `rows` `[n, G]` and their `labels` `[n]`.

    `free`: what else is known of any architecture for free, for methods that learn from it. Raises MissingExtraError
    where a method needs what isn't installed.
    """
    if config.method == "mlp":
        return fit_mlp(space, rows, labels, config.mlp, free, rng)
    if config.method == "ensemble":
        return fit_ensemble(space, rows, labels, config.ensemble, rng)
    if config.method == "ridge":
        return _OnFeatures(space.features, Ridge.fit(space.features(rows), labels))
    features = GeneFeatures(space)
    if config.method == "gbdt":
        return _OnFeatures(features, Trees.fit(features(rows), labels, config.gbdt, rng))
    iterations, most = config.gp.max_iterations, config.gp.hyperparameter_rows
    return _OnFeatures(features, GaussianProcess.fit(features(rows), labels, features.layout, iterations, most, rng))


def restore_model(method: str, space: Space, arrays: Arrays) -> Model:
    """What `fit_model` made, of its `arrays`. Raises KeyError, IndexError or ValueError where they are not whole."""
    if arrays.keys() == Known.NAMES:
        return Known(arrays)
    if method == "mlp":
        return restore_mlp(space, arrays)
    if method == "ensemble":
        return restore_ensemble(space, arrays)
    arrays = {name: arrays[name] for name in _ARRAYS[method]}
    if method == "ridge":
        return _OnFeatures(space.features, Ridge(arrays))
    if method == "gbdt":
        return _OnFeatures(GeneFeatures(space), Trees(arrays))
    return _OnFeatures(GeneFeatures(space), GaussianProcess(arrays))
