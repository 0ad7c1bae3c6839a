"""A once-for-all supernet, or one network of its space."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hwnas.accuracy.measure_config import MeasureConfig
from hwnas.pipeline.config import TrainStep
from hwnas.pipeline.inputs import data_inputs, load_images, load_network
from hwnas.pipeline.space import given_arch, resolve_space
from hwnas.pipeline.store.plain import optional, to_plain
from hwnas.pipeline.store.steps import files_digest, run_step, step_of
from hwnas.progress import SILENT, Reporter, no_progress, silent
from hwnas.spaces import Genotypes, Space
from hwnas.training.torchrun import is_first_process, process_counts

if TYPE_CHECKING:
    from hwnas.accuracy.measure import Accuracies
    from hwnas.data.load import ImageData
    from hwnas.progress import Progress
    from hwnas.supernet.single import TrainedNetwork
    from hwnas.training.engine import TrainResult
    from hwnas.training.processes import Processes

__all__ = ["Scored", "ScoredRandom", "ScoredSubnet", "Trained", "train"]


@dataclass(frozen=True)
class Scored:
    """Accuracies as fractions: `accuracy` on the test images, `held_out_accuracy` on those held out of training.

    The balanced ones beside them are means over the classes, however many images each has; None in older results.
    """

    accuracy: float
    held_out_accuracy: float
    int8: Scored | None = optional()
    balanced_accuracy: float | None = optional()
    held_out_balanced_accuracy: float | None = optional()


@dataclass(frozen=True)
class ScoredRandom:
    """Of so many random subnets, mean and standard deviation."""

    accuracy_mean: float
    accuracy_std: float
    held_out_accuracy_mean: float
    held_out_accuracy_std: float
    subnets: int
    balanced_accuracy_mean: float | None = optional()
    held_out_balanced_accuracy_mean: float | None = optional()


@dataclass(frozen=True, kw_only=True)
class ScoredSubnet(Scored):
    """One network. `int8`: as its int8 file computes, where it was trained for that. `before`: as it came."""

    arch: dict[str, Any]
    before: Scored | None = optional()


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A training. `checkpoint` is a file of its folder. A supernet has `largest`, `smallest` and `random`, one network
    `subnet`. `history`: rows as training writes them (see `hwnas.report.shape`); `data`: what it was trained on,
    with how many `images_by_class` each part has.
    `parameters`: of the space's largest network; `subnets`: how many combinations of genes `space` has.
    """

    checkpoint: str
    largest: Scored | None = optional()
    smallest: Scored | None = optional()
    random: ScoredRandom | None = optional()
    subnet: ScoredSubnet | None = optional()
    images_per_s: float
    train_s: float
    parameters: int
    subnets: int
    data: dict[str, Any]
    space: dict[str, Any]
    history: tuple[dict[str, Any], ...]


@step_of(TrainStep)
def train(config: TrainStep, folder: Path, reporter: Reporter = SILENT, name: str = "train") -> Trained | None:
    """The training in `folder`, made or read (see `hwnas.pipeline.store.steps`); `name` is what people see of it.

    Under torchrun the first process decides whether there is anything to train; the others return None.

    >>> config = hwnas.load_config(["experiment=smoke"])
    >>> trained = hwnas.train(config, "runs/mine/train")
    >>> trained.largest.held_out_accuracy > trained.smallest.held_out_accuracy - 0.5
    True
    """
    space = resolve_space(config)
    genotype = None if config.arch is None else space.genotype(given_arch(config.arch))
    checkpoint = Path(config.checkpoint).expanduser() if config.checkpoint else None
    config = replace(config, training=config.training.started(checkpoint))
    inputs = {
        "space": space.config(),
        "data": data_inputs(config.images),
        "training": _recipe(config),
        "arch": None if genotype is None else space.arch(genotype).to_dict(),
        "files": files_digest({"checkpoint": checkpoint} if checkpoint else {}),
    }

    def train_together(progress: Progress, processes: Processes | None) -> tuple[ImageData, TrainResult]:
        from hwnas.training.engine import train as train_network
        from hwnas.training.start import check_start

        say = reporter.note if is_first_process() else silent
        if checkpoint is not None:  # before images are read, which takes minutes
            check_start(checkpoint, space)
        data = load_images(config, space, say, checkpoint, progress)
        settings = config.training
        return data, train_network(
            settings, space, data, folder, config.seed, progress, genotype, checkpoint, processes, say
        )

    def work(processes: Processes | None = None) -> Trained:
        phases = " → ".join(phase.name for phase in config.training.phases)
        title = f"{name}: {config.training.network} of {space.name} on {config.images.name}, {phases}"
        with reporter.step(title) as progress:
            data, trained = train_together(progress, processes)
        with reporter.step("score: accuracy on test and held-out images, batch norm recalibrated") as progress:
            scores = _scores(config, space, data, trained, progress, checkpoint)
        return Trained(
            checkpoint=trained.path.name,
            **scores,
            images_per_s=trained.images_per_s,
            train_s=trained.train_s,
            parameters=int(space.parameters(space.extreme(True)[None])[0]),
            subnets=space.size,
            data=data.summary() | {"images_by_class": data.images_by_class()},
            space=space.config(),
            history=tuple(trained.history),
        )

    if process_counts()[1] == 1:
        return run_step(name, folder, inputs, config.seed, Trained, work, reporter.say)

    from hwnas.training.processes import Processes

    processes = Processes(config.training.accelerator, config.training.precision)
    if not processes.is_first:
        if processes.agree(False):
            train_together(no_progress, processes)
        return None
    with processes.told_to_go_on() as go_on:
        return run_step(name, folder, inputs, config.seed, Trained, lambda: work(go_on()), reporter.say)


def _recipe(config: TrainStep) -> dict[str, Any]:
    """Settings of the training, as they were before there was freezing where nothing is frozen: it stays up to date."""
    settings: dict[str, Any] = to_plain(config.training)
    if not settings["freeze_epochs"]:
        del settings["freeze_epochs"]
    return settings


def _scores(
    config: TrainStep,
    space: Space,
    data: ImageData,
    trained: TrainResult,
    progress: Progress,
    checkpoint: Path | None,
) -> dict[str, Any]:
    """Final accuracies: `accuracy` on the test images, `held_out_accuracy` beside it.

    Of a network trained on also as they were before, and of one trained as its int8 file computes as int8, too.
    """
    from hwnas.accuracy.measure import measure_accuracies
    from hwnas.progress import part
    from hwnas.training.start import is_exact

    genotypes = _scored(config, space, trained)
    measure = MeasureConfig(calibration_images=config.training.calibration_images)
    labels = (data.classes, data.folders)
    # What starts with another classifier, or other layers, was nothing before that could be scored.
    start = (
        checkpoint
        if checkpoint is not None and config.training.network == "subnet" and is_exact(checkpoint, space, labels)
        else None
    )
    quantised = config.training.quantisation != "none"
    runs = 2 if start is None else 8 if quantised else 4

    def both(network: TrainedNetwork, run: int, int8: bool = False) -> tuple[Accuracies, Accuracies]:
        test, held_out = (
            measure_accuracies(
                network, genotypes, data, split, measure, part(progress, 2 * run + place, runs), int8=int8
            )
            for place, split in enumerate(("test", "held_out"))
        )
        return test, held_out

    test, held_out = both(trained.supernet, 0)
    if config.training.network == "subnet":
        now, former = _one(test, held_out, 0), None
        if start is not None:
            before = load_network(start, space)
            former = _one(*both(before, 1), 0)
            if quantised:
                now = replace(now, int8=_one(*both(trained.supernet, 2, int8=True), 0))
                former = replace(former, int8=_one(*both(before, 3, int8=True), 0))
        arch = space.arch(genotypes[0]).to_dict()
        scored = {field.name: getattr(now, field.name) for field in fields(now)}
        return {"subnet": ScoredSubnet(**scored, arch=arch, before=former)}
    random = ScoredRandom(
        accuracy_mean=float(test.accuracy[2:].mean()),
        accuracy_std=float(test.accuracy[2:].std()),
        held_out_accuracy_mean=float(held_out.accuracy[2:].mean()),
        held_out_accuracy_std=float(held_out.accuracy[2:].std()),
        subnets=len(genotypes) - 2,
        balanced_accuracy_mean=float(test.balanced[2:].mean()),
        held_out_balanced_accuracy_mean=float(held_out.balanced[2:].mean()),
    )
    return {"largest": _one(test, held_out, 0), "smallest": _one(test, held_out, 1), "random": random}


def _scored(config: TrainStep, space: Space, trained: TrainResult) -> Genotypes:
    if config.training.network == "subnet":
        genotype: Genotypes = trained.supernet.genotype  # type: ignore[assignment]
        return genotype[None]
    ends = np.stack([space.extreme(True), space.extreme(False)])
    return np.concatenate([ends, space.sample(config.training.random_subnets, np.random.default_rng(config.seed))])


def _one(test: Accuracies, held_out: Accuracies, row: int) -> Scored:
    return Scored(
        accuracy=float(test.accuracy[row]),
        held_out_accuracy=float(held_out.accuracy[row]),
        balanced_accuracy=float(test.balanced[row]),
        held_out_balanced_accuracy=float(held_out.balanced[row]),
    )
