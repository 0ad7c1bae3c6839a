"""How good an accuracy predictor is on subnets that it has not seen.

Shapes: N labelled architectures, U distinct ones, G genes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
from scipy.stats import kendalltau, spearmanr

from hwnas.accuracy.config import PredictorConfig
from hwnas.accuracy.known import equal_accuracy
from hwnas.accuracy.labels import distinct_rows, fewest_rows
from hwnas.accuracy.predictor import AccuracyPredictor
from hwnas.errors import DataError
from hwnas.spaces import Genotypes, Space
from hwnas.spaces.space import Floats

__all__ = ["CrossValidation", "PredictorScore", "cross_validate", "nothing_scored", "score"]


@dataclass(frozen=True)
class PredictorScore:
    """Rank correlations (Kendall τ-b, Spearman) and mean absolute error.

    A correlation with a constant is undefined: 0 in `score`, left out of a cross-validation's mean, and None where all
    its folds are constant. `mae` is a fraction, as accuracies are; None where nothing was held out.
    `interval_coverage`: the share of measurements within the central 90 % interval, None for methods without an
    uncertainty. `rows`: how many subnets were scored.
    """

    kendall_tau: float | None
    spearman: float | None
    mae: float | None
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
    return _score(accuracies, estimate.mean, estimate.std, undefined=0.0)


def nothing_scored(accuracies: Floats) -> PredictorScore:
    """The score of a predictor that looks measured `accuracies` `[N]` up: equal ones, or those of a whole space."""
    equal = len(accuracies) > 1 and np.ptp(accuracies) < 1e-9
    return PredictorScore(None, None, 0.0 if equal else None, None, len(accuracies) if equal else 0)


def cross_validate(
    space: Space, genotypes: Genotypes, accuracies: Floats, config: PredictorConfig, rng: np.random.Generator
) -> CrossValidation:
    """`config.folds`-fold cross-validation, split by network: repeats of one network never stand on both sides.

    The predictor to use is then the one fitted to all rows. Raises DataError as `AccuracyPredictor.fit` does, and for
    too few rows for the folds.
    """
    rows, labels = distinct_rows(space, genotypes, accuracies)
    folds = np.array_split(rng.permutation(len(rows)), config.folds)
    if len(rows) < fewest_rows(config.folds):
        raise DataError(
            f"cross-validation of the accuracy predictor: expected at least"
            f" {fewest_rows(config.folds)} different subnets for {config.folds} folds, got {len(rows)};"
            " evaluate more"
        )
    predicted, std = np.empty(len(rows)), np.empty(len(rows))
    scores = []
    for fold in folds:
        rest = np.setdiff1d(np.arange(len(rows)), fold)
        # One subnet that differs from the rest may be alone in its fold.
        equal = equal_accuracy(space, rows[rest], labels[rest]) is not None
        fit = AccuracyPredictor.known if equal else partial(AccuracyPredictor.fit, rng=rng)
        predictor = fit(space, rows[rest], labels[rest], config)
        estimate = predictor.predict(rows[fold])
        predicted[fold] = estimate.mean
        std[fold] = np.nan if estimate.std is None else estimate.std
        scores.append(_score(labels[fold], estimate.mean, estimate.std, undefined=None))
    coverage = _mean([each.interval_coverage for each in scores])
    mean_score = PredictorScore(
        kendall_tau=_mean([each.kendall_tau for each in scores]),
        spearman=_mean([each.spearman for each in scores]),
        mae=_mean([each.mae for each in scores]),
        interval_coverage=coverage,
        rows=len(rows),
    )
    return CrossValidation(mean_score, rows, labels, predicted, None if coverage is None else std)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _score(measured: Floats, predicted: Floats, std: Floats | None, undefined: float | None) -> PredictorScore:
    constant = np.ptp(measured) == 0 or np.ptp(predicted) == 0
    error = np.abs(predicted - measured)
    return PredictorScore(
        kendall_tau=undefined if constant else float(kendalltau(predicted, measured).statistic),
        spearman=undefined if constant else float(spearmanr(predicted, measured).statistic),
        mae=float(error.mean()),
        interval_coverage=None if std is None else float(np.mean(error <= 1.6449 * std)),
        rows=len(measured),
    )
