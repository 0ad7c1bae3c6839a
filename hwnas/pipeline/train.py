"""A once-for-all supernet, or one network of its space."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hwnas.accuracy.measure_config import MeasureConfig
from hwnas.pipeline.config import PipelineConfig
from hwnas.pipeline.inputs import data_inputs, given_arch, load_images, load_network, matching, resolve_space
from hwnas.pipeline.plain import to_plain
from hwnas.pipeline.steps import files_digest, run_step
from hwnas.progress import Reporter, no_progress, silent
from hwnas.spaces import Genotypes, Space
from hwnas.training.torchrun import is_first_process, process_counts

if TYPE_CHECKING:
    from hwnas.data.load import ImageData
    from hwnas.progress import Progress
    from hwnas.supernet.single import TrainedNetwork
    from hwnas.training.engine import TrainResult
    from hwnas.training.processes import Processes

__all__ = ["train"]


def train(config: PipelineConfig, folder: Path, reporter: Reporter, name: str = "train") -> dict[str, Any]:
    """The training's result, made or read (see `hwnas.pipeline.steps`); `name` is what people see of it.

    Under torchrun the first process decides whether there is anything to train; in the others the result is empty.
    """
    space = resolve_space(config)
    genotype = None if config.arch is None else space.genotype(given_arch(config.arch))
    checkpoint = matching(Path(config.checkpoint).expanduser(), config) if config.checkpoint else None
    inputs = {
        "space": space.config(),
        "data": data_inputs(config.data_config),
        "training": to_plain(config.training),
        "arch": None if genotype is None else space.arch(genotype).to_dict(),
        "files": files_digest({"checkpoint": checkpoint} if checkpoint else {}),
    }

    def train_together(progress: Progress, processes: Processes | None) -> tuple[ImageData, TrainResult]:
        from hwnas.training.engine import train as train_network

        say = reporter.note if is_first_process() else silent
        data = load_images(config, space, say, checkpoint)
        settings = config.training
        return data, train_network(
            settings, space, data, folder, config.seed, progress, genotype, checkpoint, processes
        )

    def work(processes: Processes | None = None) -> dict[str, Any]:
        phases = " → ".join(phase.name for phase in config.training.phases)
        title = f"{name}: {config.training.network} of {space.name} on {config.data_config.name}, {phases}"
        with reporter.step(title) as progress:
            data, trained = train_together(progress, processes)
        with reporter.step("score: accuracy on test and held-out images, batch norm recalibrated") as progress:
            scores = _scores(config, space, data, trained, progress, checkpoint)
        return {
            "checkpoint": trained.path.name,
            **scores,
            "images_per_s": trained.images_per_s,
            "train_s": trained.train_s,
            "parameters": int(space.parameters(space.extreme(True)[None])[0]),
            "subnets": space.size,
            "data": data.summary(),
            "space": space.config(),
            "history": trained.history,
        }

    if process_counts()[1] == 1:
        return run_step(name, folder, inputs, config.seed, work, reporter.say)

    from hwnas.training.processes import Processes

    processes = Processes(config.training.accelerator, config.training.precision)
    if not processes.is_first:
        if processes.agree(False):
            train_together(no_progress, processes)
        return {}
    with processes.told_to_go_on() as go_on:
        return run_step(name, folder, inputs, config.seed, lambda: work(go_on()), reporter.say)


def _scores(
    config: PipelineConfig,
    space: Space,
    data: ImageData,
    trained: TrainResult,
    progress: Progress,
    checkpoint: Path | None,
) -> dict[str, Any]:
    """Final accuracies: `accuracy` on the test images, `held_out_accuracy` beside it.

    Of a network trained on also as they were before, and of one trained as its int8 file computes as int8, too.
    """
    from hwnas.accuracy.measure import measure_accuracy
    from hwnas.progress import part

    genotypes = _scored(config, space, trained)
    measure = MeasureConfig(calibration_images=config.training.calibration_images)
    start = checkpoint if config.training.network == "subnet" else None
    quantised = config.training.quantisation != "none"
    runs = 2 if start is None else 8 if quantised else 4

    def both(network: TrainedNetwork, run: int, int8: bool = False) -> tuple[Any, Any]:
        test, held_out = (
            measure_accuracy(network, genotypes, data, split, measure, part(progress, 2 * run + place, runs), int8=int8)
            for place, split in enumerate(("test", "held_out"))
        )
        return test, held_out

    test, held_out = both(trained.supernet, 0)
    if config.training.network == "subnet":
        subnet: dict[str, Any] = {"arch": space.arch(genotypes[0]).to_dict(), **_one(test, held_out, 0)}
        if start is not None:
            before = load_network(start, space)
            subnet["before"] = _one(*both(before, 1), 0)
            if quantised:
                subnet["int8"] = _one(*both(trained.supernet, 2, int8=True), 0)
                subnet["before"]["int8"] = _one(*both(before, 3, int8=True), 0)
        return {"subnet": subnet}
    random = {
        "accuracy_mean": float(test[2:].mean()),
        "accuracy_std": float(test[2:].std()),
        "held_out_accuracy_mean": float(held_out[2:].mean()),
        "held_out_accuracy_std": float(held_out[2:].std()),
        "subnets": len(genotypes) - 2,
    }
    return {"largest": _one(test, held_out, 0), "smallest": _one(test, held_out, 1), "random": random}


def _scored(config: PipelineConfig, space: Space, trained: TrainResult) -> Genotypes:
    if config.training.network == "subnet":
        genotype: Genotypes = trained.supernet.genotype  # type: ignore[assignment]
        return genotype[None]
    ends = np.stack([space.extreme(True), space.extreme(False)])
    return np.concatenate([ends, space.sample(config.training.random_subnets, np.random.default_rng(config.seed))])


def _one(test: Any, held_out: Any, row: int) -> dict[str, float]:
    return {"accuracy": float(test[row]), "held_out_accuracy": float(held_out[row])}
