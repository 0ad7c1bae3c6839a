"""`hwnas evaluate`: the accuracy of a few hundred subnets, and the predictor that learns from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hwnas.accuracy.predictor import AccuracyPredictor
from hwnas.accuracy.scoring import cross_validate
from hwnas.cli.config import PipelineConfig
from hwnas.cli.console import Reporter
from hwnas.cli.convert import to_plain
from hwnas.cli.inputs import data_inputs, load_images, load_network, resolve_space, trained_checkpoint
from hwnas.cli.labels import Labels
from hwnas.cli.steps import files_digest, run_step
from hwnas.spaces import Genotypes, Space

__all__ = ["PREDICTOR", "run", "step"]

PREDICTOR = "predictor.safetensors"
ACCURACIES = "accuracies.csv"


def run(config: PipelineConfig, folder: Path) -> None:
    reporter = Reporter()
    result = step(config, folder, reporter)
    score = result["accuracy_predictor"]
    rows = [(name, f"{score[name]:.4f}") for name in ("kendall_tau", "spearman", "mae")]
    reporter.table(f"accuracy predictor on unseen subnets, of {result['subnets']}", ("score", "value"), rows)
    reporter.say(f"predictor: {folder / PREDICTOR}; labels: {folder / ACCURACIES}")


def step(config: PipelineConfig, folder: Path, reporter: Reporter) -> dict[str, Any]:
    """The evaluation's result, made or read (see `hwnas.cli.steps`). Subnets measured before a kill are kept."""
    space = resolve_space(config)
    checkpoint = trained_checkpoint(config, folder)
    inputs = {
        "space": space.config(),
        "data": data_inputs(config.data_config),
        "evaluation": to_plain(config.evaluation),
        "predictor": to_plain(config.predictor),
        "files": files_digest({"checkpoint": checkpoint}),
    }

    def work() -> dict[str, Any]:
        from hwnas.accuracy.measure import measure_accuracy

        genotypes = _subnets(space, config.evaluation.subnets, np.random.default_rng(config.seed))
        with reporter.step(f"evaluate: {len(genotypes)} subnets on held-out images, batch norm recalibrated") as bar:
            supernet = load_network(checkpoint, space)
            data = load_images(config, space, reporter.note, checkpoint)
            labels = Labels(folder / ACCURACIES, space, genotypes)
            accuracies = measure_accuracy(
                supernet, genotypes, data, "held_out", config.evaluation.measure, bar, labels.known, labels.add
            )
            labels.write()
            rng = np.random.default_rng(config.seed)
            validation = cross_validate(space, genotypes, accuracies, config.predictor, rng)
            AccuracyPredictor.fit(space, genotypes, accuracies, config.predictor, rng).save(folder / PREDICTOR)
        return {
            "predictor": PREDICTOR,
            "subnets": len(genotypes),
            "accuracy_predictor": {
                **validation.score.to_dict(),
                "trained_on": len(genotypes),
                "measured": validation.measured.tolist(),
                "predicted": validation.predicted.tolist(),
            },
        }

    return run_step("evaluate", folder, inputs, config.seed, work, reporter.say)


def _subnets(space: Space, count: int, rng: np.random.Generator) -> Genotypes:
    """The largest, the smallest and random ones, distinct; fewer than `count` only where the space has no more."""
    ends = np.stack([space.extreme(True), space.extreme(False)])
    return space.unique(np.concatenate([ends, space.sample(4 * count, rng)]))[:count]
