"""Trained networks as torch modules."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwnas.accuracy.measure_config import MeasureConfig
from hwnas.data.config import DataConfig
from hwnas.pipeline.config import ExportStep, RunStep
from hwnas.progress import no_progress
from hwnas.spaces import Space

if TYPE_CHECKING:
    from torch import nn

    from hwnas.supernet.single import TrainedNetwork

__all__ = ["load_supernet", "network_of"]


def load_supernet(path: Path | str, space: Space | None = None) -> TrainedNetwork:
    """The supernet, or the one network, that training wrote to `path`, in eval mode on the CPU.

    Checkpoints that once-for-all published say nothing of their `space`: give it. Raises CheckpointError for a file
    that is none of these, or is not of `space`.

    >>> supernet = hwnas.load_supernet("runs/mine/train/supernet.safetensors")
    >>> supernet.space.name
    'ofa_mbv3_smoke'
    """
    from hwnas.training.checkpoint import load_any
    from hwnas.training.checkpoint import load_supernet as load_own

    path = Path(path).expanduser()
    return load_own(path)[0] if space is None else load_any(path, space)


def network_of(
    arch: Mapping[str, Any],
    trained: TrainedNetwork,
    images: DataConfig | ExportStep | RunStep | None = None,
    seed: int = 0,
) -> nn.Module:
    """The network of `arch` with the weights in `trained`, in eval mode.

    With `images` its BatchNorm is calibrated on those that `seed` holds out, as for every measured accuracy; without,
    its statistics are the supernet's, which belong to no subnet. Where `images` are all settings, as `load_config`
    gives them, their seed, their data and `evaluation.measure` say which images, and the network computes what its
    exported file does. Raises ArchError for an arch of another space.
    """
    from hwnas.accuracy.measure import calibrate_subnet
    from hwnas.data.load import load_data
    from hwnas.supernet.extract import extract

    genotype = trained.space.genotype(arch)
    if images is None:
        return extract(trained, genotype).eval()
    measure = MeasureConfig()
    if isinstance(images, (ExportStep, RunStep)):
        settings = images
        images, seed, measure = settings.images, settings.seed, settings.evaluation.measure
    return calibrate_subnet(trained, genotype, load_data(images, seed, no_progress), measure)
