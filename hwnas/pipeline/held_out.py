"""Subnets measured on held-out images: by threads of this process, or by workers where an executor is asked for."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hwnas.data.config import ImageFolderConfig
from hwnas.executors.choose import open_executor
from hwnas.pipeline.config import EvaluateStep, SearchStep
from hwnas.pipeline.inputs import load_images, load_network
from hwnas.pipeline.store.labels import Labels
from hwnas.progress import Progress, Reporter, silent
from hwnas.spaces import Genotypes, Space
from hwnas.spaces.space import Floats

if TYPE_CHECKING:
    from hwnas.data.load import ImageData
    from hwnas.supernet.single import TrainedNetwork

__all__ = ["measured_on_held_out"]


def measured_on_held_out(
    config: EvaluateStep | SearchStep,
    space: Space,
    checkpoint: Path,
    genotypes: Genotypes,
    file: Path,
    reporter: Reporter,
    progress: Progress,
    int8: bool = False,
) -> tuple[Floats, ImageData]:
    """The accuracies `[N]` of `genotypes` `[N, G]`, and the images. Kept in `file` as they get known, and not measured
    again where a killed command goes on. With `int8` what int8 files would compute is simulated.
    """
    from hwnas.accuracy.measure import measure_accuracy
    from hwnas.accuracy.sharded import measure_sharded

    data = load_images(config, space, reporter.note, checkpoint, progress)
    labels, measure = Labels(file, space, genotypes), config.evaluation.measure
    try:
        if not config.executor.is_asked:
            supernet = load_network(checkpoint, space)
            accuracies = measure_accuracy(
                supernet, genotypes, data, "held_out", measure, progress, labels.known, labels.add, int8
            )
        else:
            load = partial(_loaded, config, space, checkpoint)
            with open_executor(config.executor) as executor:
                accuracies = measure_sharded(
                    executor, load, space, data, genotypes, "held_out", measure, progress, labels.known, labels.add,
                    int8,
                )  # fmt: skip
    finally:
        labels.write()
    return accuracies, data


def _loaded(config: EvaluateStep | SearchStep, space: Space, checkpoint: Path) -> tuple[TrainedNetwork, ImageData]:
    """What a worker measures with. It decodes its images itself: processes of its own would only be in others' way."""
    if isinstance(config.data, ImageFolderConfig):
        config = replace(config, data=replace(config.data, workers=0))
    return load_network(checkpoint, space), load_images(config, space, silent, checkpoint)
