"""How good an accuracy predictor is on subnets that it has not seen.

Shapes: N labelled architectures, U distinct ones, G genes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from scipy.stats import kendalltau, spearmanr

from hwnas.accuracy.config import PredictorConfig
from hwnas.accuracy.labels import FEWEST_ROWS, distinct_rows
from hwnas.accuracy.predictor import AccuracyPredictor
from hwnas.errors import DataError
from hwnas.spaces import Genotypes, Space
from hwnas.spaces.space import Floats

__all__ = ["CrossValidation", "PredictorScore", "cross_validate", "score"]


@dataclass(frozen=True)
class PredictorScore:
    """Rank correlations (Kendall τ-b, Spearman; 0 where either side is constant) and mean absolute error.

    `mae` is a fraction, as accuracies are. `interval_coverage`: the share of measurements within the central 90 %
    interval, None for methods without an uncertainty. `rows`: how many subnets were scored.
    """

    kendall_tau: float
    spearman: float
    mae: float
    interval_coverage: float | None
    rows: int

    def to_dict(self) -> dict[str, float | None]:
        """JSON-able."""
        return asdict(self)


@dataclass(frozen=True)
class CrossValidation:
    """Every row predicted by a predictor that has not seen it: `score`, and per distinct network what it is made of.

    `score` is the mean over folds, since each fold's predictor has its own errors; its `rows` is their total.
    """

    score: PredictorScore
    genotypes: Genotypes
    measured: Floats
    predicted: Floats
    std: Floats | None


def score(predictor: AccuracyPredictor, genotypes: Genotypes, accuracies: Floats) -> PredictorScore:
    """`predictor` on measured `accuracies` `[N]` of `genotypes` `[N, G]`, which it should not have been fitted to.

    Raises DataError for fewer than two rows, or labels that are not numbers.
    """
    accuracies = np.asarray(accuracies, dtype=np.float64)
    genotypes = predictor.space.check(genotypes)
    if accuracies.shape != (len(genotypes),) or len(accuracies) < 2 or not np.isfinite(accuracies).all():
        raise DataError(
            f"scoring a predictor: expected two or more finite accuracies, one a genotype, got {accuracies.shape} for"
            f" {len(genotypes)} genotypes"
        )
    estimate = predictor.predict(genotypes)
    return _score(accuracies, estimate.mean, estimate.std)


def cross_validate(
    space: Space, genotypes: Genotypes, accuracies: Floats, config: PredictorConfig, rng: np.random.Generator
) -> CrossValidation:
    """`config.folds`-fold cross-validation, split by network: repeats of one network never stand on both sides.

    The predictor to use is then the one fitted to all rows. Raises DataError as `AccuracyPredictor.fit` does, and for
    too few rows for the folds.
    """
    rows, labels = distinct_rows(space, genotypes, accuracies)
    folds = np.array_split(rng.permutation(len(rows)), config.folds)
    if len(folds[-1]) < 2 or len(rows) - len(folds[0]) < FEWEST_ROWS:
        raise DataError(
            f"cross-validation of the accuracy predictor: expected at least"
            f" {max(2 * config.folds, FEWEST_ROWS + 2)} different subnets for {config.folds} folds, got {len(rows)};"
            " evaluate more"
        )
    predicted, std = np.empty(len(rows)), np.empty(len(rows))
    scores = []
    for fold in folds:
        rest = np.setdiff1d(np.arange(len(rows)), fold)
        predictor = AccuracyPredictor.fit(space, rows[rest], labels[rest], config, rng)
        estimate = predictor.predict(rows[fold])
        predicted[fold] = estimate.mean
        std[fold] = np.nan if estimate.std is None else estimate.std
        scores.append(_score(labels[fold], estimate.mean, estimate.std))
    coverage = [each.interval_coverage for each in scores if each.interval_coverage is not None]
    mean_score = PredictorScore(
        kendall_tau=float(np.mean([each.kendall_tau for each in scores])),
        spearman=float(np.mean([each.spearman for each in scores])),
        mae=float(np.mean([each.mae for each in scores])),
        interval_coverage=float(np.mean(coverage)) if coverage else None,
        rows=len(rows),
    )
    return CrossValidation(mean_score, rows, labels, predicted, std if coverage else None)


def _score(measured: Floats, predicted: Floats, std: Floats | None) -> PredictorScore:
    constant = np.ptp(measured) == 0 or np.ptp(predicted) == 0
    error = np.abs(predicted - measured)
    return PredictorScore(
        kendall_tau=0.0 if constant else float(kendalltau(predicted, measured).statistic),
        spearman=0.0 if constant else float(spearmanr(predicted, measured).statistic),
        mae=float(error.mean()),
        interval_coverage=None if std is None else float(np.mean(error <= 1.6449 * std)),
        rows=len(measured),
    )
