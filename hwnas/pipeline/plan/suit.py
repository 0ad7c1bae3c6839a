"""Settings that depend on how many images there are, for a plan that may choose them."""

from __future__ import annotations

from dataclasses import replace

from hwnas.data.config import ImageFolderConfig
from hwnas.pipeline.config import RunStep
from hwnas.pipeline.plan.facts import DataFacts
from hwnas.spaces import OfaResNet50Config
from hwnas.spaces.mobile import MobileConfig
from hwnas.training.config import PhaseConfig, TrainingConfig

__all__ = ["suited"]

_BATCHES = ((2_000, 32), (20_000, 64), (10**12, 128))
"""Up to so many training images, the images of a step: an epoch of a few hundred images should have more than a few
steps, and the more steps there are, the better larger ones use the machine.
"""


def suited(config: RunStep, facts: DataFacts) -> RunStep:
    """`config` with what was not given fitted to its space and its data: phases that draw from parts of the space draw
    from all of it, images are stored in the size of its largest resolution, steps hold as many as suits their number.
    """
    given = set(config.given)
    if "experiment" in given:
        return config
    training = config.training
    if not {"training", "training.phases"} & given:
        training = replace(training, phases=tuple(_over_all(phase, config) for phase in training.phases))
        if "training.batch_size" not in given:
            training = _with_batch(training, facts.images.train)
    data = config.data
    if isinstance(data, ImageFolderConfig) and "data.image_size" not in given:
        data = replace(data, image_size=config.space.resolution[-1])
    return replace(config, training=training, data=data)


def _with_batch(training: TrainingConfig, images: int) -> TrainingConfig:
    """Another batch, and the learning rates in proportion (Goyal et al., 2017)."""
    batch = next(size for most, size in _BATCHES if images <= most)
    ratio = batch / training.batch_size
    phases = tuple(replace(phase, learning_rate=phase.learning_rate * ratio) for phase in training.phases)
    return replace(training, batch_size=batch, phases=phases)


def _over_all(phase: PhaseConfig, config: RunStep) -> PhaseConfig:
    """A phase that draws from the whole space, where it draws at all."""
    if not (phase.kernel_sizes or phase.expand_ratios or phase.width_mults or phase.depths or phase.opens):
        return phase
    space = config.space
    if isinstance(space, OfaResNet50Config):
        return replace(
            phase,
            kernel_sizes=(),
            expand_ratios=space.expand_ratios,
            width_mults=space.width_mults,
            depths=space.depths,
            opens=(),
        )
    if isinstance(space, MobileConfig):
        return replace(
            phase, kernel_sizes=space.kernel_sizes, expand_ratios=space.expand_ratios, width_mults=(),
            depths=space.depths, opens=(),
        )  # fmt: skip
    return replace(phase, kernel_sizes=(), expand_ratios=(), width_mults=(), depths=(), opens=("all",))
