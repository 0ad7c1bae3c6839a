"""The accuracy of a few hundred subnets, and the predictor that learns from them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hwnas.accuracy.known import equal_accuracy, holds_whole_space
from hwnas.accuracy.predictor import AccuracyPredictor
from hwnas.accuracy.scoring import PredictorScore, cross_validate, nothing_scored
from hwnas.errors import DataError
from hwnas.pipeline.config import EvaluateStep
from hwnas.pipeline.held_out import measured_on_held_out
from hwnas.pipeline.inputs import data_inputs, trained_checkpoint
from hwnas.pipeline.space import resolve_space
from hwnas.pipeline.store.plain import optional, to_plain
from hwnas.pipeline.store.steps import files_digest, run_step, step_of
from hwnas.progress import SILENT, Reporter
from hwnas.spaces import Genotypes, Space
from hwnas.spaces.space import Floats

if TYPE_CHECKING:
    from hwnas.data.load import ImageData

__all__ = ["ACCURACIES", "PREDICTOR", "Evaluated", "ScoredPredictor", "evaluate", "say_known"]

PREDICTOR = "predictor.safetensors"
ACCURACIES = "accuracies.csv"


@dataclass(frozen=True)
class ScoredPredictor(PredictorScore):
    """The predictor on subnets that it was not fitted to, their accuracies as `measured` and as `predicted`; how many
    the one that was saved is `trained_on`.
    """

    measured: tuple[float, ...]
    predicted: tuple[float, ...]
    trained_on: int


@dataclass(frozen=True)
class Evaluated:
    """So many subnets measured on held-out images, and the file of the predictor that learnt from them.

    `accuracies` are theirs, in the order of `accuracies.csv`; None in results of earlier versions.
    """

    predictor: str
    subnets: int
    accuracy_predictor: ScoredPredictor
    accuracies: tuple[float, ...] | None = optional()


@step_of(EvaluateStep)
def evaluate(config: EvaluateStep, folder: Path, reporter: Reporter = SILENT) -> Evaluated:
    """What `folder` holds, made or read (see `hwnas.pipeline.store.steps`). Subnets measured before a kill are kept.

    >>> config = hwnas.load_config(["experiment=smoke"])
    >>> evaluated = hwnas.evaluate(config, "runs/mine/evaluate")
    >>> evaluated.predictor, evaluated.subnets == evaluated.accuracy_predictor.trained_on
    ('predictor.safetensors', True)
    """
    space = resolve_space(config)
    checkpoint = trained_checkpoint(config.checkpoint, config, folder)
    inputs = {
        "space": space.config(),
        "data": data_inputs(config.images),
        "evaluation": to_plain(config.evaluation),
        "predictor": to_plain(config.predictor),
        "files": files_digest({"checkpoint": checkpoint}),
    }

    def work() -> Evaluated:
        genotypes = _subnets(space, config.evaluation.subnets, np.random.default_rng(config.seed))
        with reporter.step(f"evaluate: {len(genotypes)} subnets on held-out images, batch norm recalibrated") as bar:
            accuracies, data = measured_on_held_out(
                config, space, checkpoint, genotypes, folder / ACCURACIES, reporter, bar
            )
            predictor, scored = _predictor(config, space, genotypes, accuracies, data)
            predictor.save(folder / PREDICTOR)
        say_known(predictor, reporter)
        return Evaluated(PREDICTOR, len(genotypes), scored, tuple(accuracies.tolist()))

    return run_step("evaluate", folder, inputs, config.seed, Evaluated, work, reporter.say)


def say_known(predictor: object, reporter: Reporter) -> None:
    """Says what a predictor knows rather than predicts, and what that means for a choice."""
    if not isinstance(predictor, AccuracyPredictor) or not predictor.is_lookup:
        return
    count, equal = predictor.rows, predictor.equal_accuracy
    if count == 1:
        reporter.say(f"  one subnet, of accuracy {equal:.4f}: it is the answer to every budget that it meets")
    elif equal is not None:
        reporter.say(f"  all {count} subnets have the same accuracy, {equal:.4f}: among equals the fastest is chosen")
    else:
        reporter.say(f"  the space has {count} networks, all measured: their accuracies are looked up, not predicted")


def _predictor(
    config: EvaluateStep, space: Space, genotypes: Genotypes, accuracies: Floats, data: ImageData
) -> tuple[AccuracyPredictor, ScoredPredictor]:
    """The predictor, and its score as the result holds it: `measured` and `predicted` are of subnets held out."""
    settings = config.predictor
    equal = equal_accuracy(space, genotypes, accuracies)
    whole = holds_whole_space(space, genotypes, settings.folds)
    if equal is None and not whole:
        rng = np.random.default_rng(config.seed)
        validation = cross_validate(space, genotypes, accuracies, settings, rng)
        predictor = AccuracyPredictor.fit(space, genotypes, accuracies, settings, rng)
        return predictor, _scored(validation.score, validation.measured, validation.predicted, len(genotypes))
    if equal is not None and not whole:
        _check_learnt(equal, len(genotypes), data)
    shown = accuracies[: 0 if equal is None or len(genotypes) < 2 else None]
    predictor = AccuracyPredictor.known(space, genotypes, accuracies, settings)
    return predictor, _scored(nothing_scored(accuracies), shown, shown, len(genotypes))


def _scored(score: PredictorScore, measured: Floats, predicted: Floats, trained_on: int) -> ScoredPredictor:
    return ScoredPredictor(
        **asdict(score), measured=tuple(measured.tolist()), predicted=tuple(predicted.tolist()), trained_on=trained_on
    )


def _check_learnt(accuracy: float, count: int, data: ImageData) -> None:
    """Raises DataError where all of `count` subnets are no better than to name one class always."""
    labels = data.held_out.labels
    chance = float(labels.bincount().max()) / len(labels)
    if accuracy <= chance + 1e-9:
        raise DataError(
            f"accuracy predictor: all {count} subnets have the same accuracy {accuracy:g}, and naming one class always"
            f" has {chance:g}, so there is nothing to learn; train the supernet longer, or evaluate on more images"
        )


def _subnets(space: Space, count: int, rng: np.random.Generator) -> Genotypes:
    """The largest, the smallest and random ones, distinct; fewer than `count` only where the space has no more."""
    every = space.every(4 * count)
    if every is not None and len(every) <= count:
        return every
    ends = np.stack([space.extreme(True), space.extreme(False)])
    return space.unique(np.concatenate([ends, space.sample(4 * count, rng)]))[:count]
