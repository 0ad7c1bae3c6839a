"""What Bayesian optimisation learns with: BANANAS's ensemble, for values of any scale.

Shapes: N architectures, n rows, G genes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hwnas.accuracy.config import EnsembleConfig
from hwnas.accuracy.networks import fit_ensemble
from hwnas.spaces import Genotypes, Space
from hwnas.spaces.space import Floats

__all__ = ["ensemble_surrogate"]


def ensemble_surrogate(
    space: Space, config: EnsembleConfig
) -> Callable[[Genotypes, Floats, np.random.Generator], Callable[[Genotypes], tuple[Floats, Floats]]]:
    """Fits an ensemble to `[n, G]` and values `[n]`, not all equal; what it returns gives mean and standard deviation.

    Raises MissingExtraError without torch, when it is first fitted.
    """

    def fit(rows: Genotypes, values: Floats, rng: np.random.Generator) -> Callable[[Genotypes], tuple[Floats, Floats]]:
        networks = fit_ensemble(space, rows, values, config, rng)

        def estimate(genotypes: Genotypes) -> tuple[Floats, Floats]:
            mean, std = networks.predict(genotypes, with_std=True)
            return mean, np.zeros(len(mean)) if std is None else std

        return estimate

    return fit
