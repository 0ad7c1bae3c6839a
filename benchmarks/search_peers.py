"""The searchers that `search_quality.py` compares with, as their packages have them."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from torchvision_operators import declare_torchvision_operators

__all__ = ["nsga2_front", "published_search"]


@cache
def _published(folder: Path) -> tuple[Any, Any]:
    """The `ofa` package's own table look-up and accuracy predictor, with files from `folder` for its downloads."""
    import torch

    declare_torchvision_operators()
    from ofa.tutorial.accuracy_predictor import AccuracyPredictor
    from ofa.tutorial.latency_table import LatencyEstimator, LatencyTable

    torch.set_num_threads(1)
    table = LatencyTable.__new__(LatencyTable)
    table.latency_tables = {}
    for resolution in (160, 176, 192, 208, 224):
        estimator = LatencyEstimator.__new__(LatencyEstimator)
        estimator.lut = yaml.safe_load((folder / f"note10_w12_{resolution}.yaml").read_text())
        table.latency_tables[resolution] = estimator
    predictor = AccuracyPredictor(pretrained=False, device="cpu")
    with np.load(folder / "accuracy_predictor.npz") as arrays:
        predictor.model.load_state_dict({name: torch.from_numpy(arrays[name]) for name in arrays.files})
    return table, predictor


def published_search(folder: Path, budget_ms: float, seed: int) -> float:
    """The accuracy that `ofa.tutorial.EvolutionFinder` reaches with its defaults."""
    table, predictor = _published(folder)
    from ofa.tutorial.evolution_finder import EvolutionFinder

    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - what the package draws from
    finder = EvolutionFinder("note10", budget_ms, table, predictor)
    return float(finder.run_evolution_search()[1][0])


def nsga2_front(bench: Any, evaluations: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Accuracy and latency of all that pymoo's NSGA-II has evaluated of the front, after so many evaluations."""
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.problem import Problem
    from pymoo.operators.crossover.ux import UniformCrossover
    from pymoo.operators.mutation.pm import PolynomialMutation
    from pymoo.operators.repair.rounding import RoundingRepair
    from pymoo.operators.sampling.rnd import IntegerRandomSampling
    from pymoo.optimize import minimize

    class Search(Problem):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(n_var=len(bench.space.genes), n_obj=2, xl=0, xu=bench.space.cardinalities - 1, vtype=int)

        def _evaluate(self, x: np.ndarray, out: dict[str, Any], *_: Any, **__: Any) -> None:
            rows = bench.space.canonical(x.astype(np.int64))
            out["F"] = np.stack([-bench.predictor.mean(rows), bench.estimator.latency_ms(rows)], axis=1)

    population = 200
    algorithm = NSGA2(
        pop_size=population,
        sampling=IntegerRandomSampling(),
        crossover=UniformCrossover(repair=RoundingRepair()),
        mutation=PolynomialMutation(eta=3.0, repair=RoundingRepair(), vtype=float),
        eliminate_duplicates=True,
    )
    found = minimize(Search(), algorithm, ("n_gen", evaluations // population), seed=seed, verbose=False)
    return -found.F[:, 0], found.F[:, 1]
