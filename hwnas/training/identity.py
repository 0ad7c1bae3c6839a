"""All that trained weights depend on: a checkpoint continues a run only where this is the same."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields, replace
from typing import Any

from hwnas.data.config import AugmentConfig
from hwnas.data.load import ImageData
from hwnas.errors import ConfigError
from hwnas.spaces import Genotypes, Space
from hwnas.training.config import PhaseConfig, TrainingConfig

__all__ = ["as_continued", "check_fit", "completed", "fitted", "run_identity"]

_log = logging.getLogger(__name__)

_WITHOUT_EFFECT = ("log_every", "checkpoint_every", "evaluate_every_epochs", "random_subnets", "tensorboard")
_PARTITION = ("shards", "accumulate")


def run_identity(
    config: TrainingConfig, space: Space, data: ImageData, seed: int, single: Genotypes | None, processes: int
) -> dict[str, Any]:
    """JSON-able. `parts`: how many a batch is divided into, whether among `processes`, threads or in time."""
    training = asdict(config)
    for key in (*_WITHOUT_EFFECT, *_PARTITION):
        del training[key]
    training |= {"parts": config.shards * config.accumulate * processes, "processes": processes}
    parts: Mapping[str, Any] = {
        "seed": seed,
        "space": space.config(),
        # Files that aren't read, such as a note beside the images, have no part in the weights.
        "data": {key: value for key, value in data.summary().items() if key != "left_out"},
        "augment": asdict(data.augment),
        "arch": None if single is None else space.arch(single).to_dict(),
        "training": training,
    }
    identity: dict[str, Any] = json.loads(json.dumps(parts))
    return identity


def completed(identity: Mapping[str, Any]) -> dict[str, Any]:
    """An identity that an earlier version wrote, with the settings that it didn't know yet at their defaults."""
    training = {**_defaults(TrainingConfig), "start": "fresh", "processes": 1, **identity.get("training", {})}
    training.setdefault("parts", training["shards"] * training["accumulate"])
    for key in (*_WITHOUT_EFFECT, *_PARTITION):
        training.pop(key, None)
    training["phases"] = [{**_defaults(PhaseConfig), **phase} for phase in training.get("phases", [])]
    augment = {**_defaults(AugmentConfig), **identity.get("augment", {})}
    full: dict[str, Any] = json.loads(json.dumps({"arch": None, **identity, "augment": augment, "training": training}))
    return full


def as_continued(found: Mapping[str, Any], identity: Mapping[str, Any]) -> dict[str, Any]:
    """The complete identity `found` as the run of `identity` takes it up: another number of processes may go on with
    it, each of which divides its share into as many parts as before.
    """
    before, now = found["training"], identity["training"]
    same = before["parts"] * now["processes"] == now["parts"] * before["processes"]
    parts = now["parts"] if same else before["parts"]
    return {**found, "training": {**before, "parts": parts, "processes": now["processes"]}}


def fitted(config: TrainingConfig, images: int, processes: int) -> TrainingConfig:
    """`config` for so many training images: where they are fewer than a batch, it shrinks to the most of them that
    divide into its parts. Raises ConfigError where a part would get fewer than 2.
    """
    if config.batch_size <= images:
        return config
    parts = config.shards * config.accumulate * processes
    size = images // parts * parts
    if size < 2 * parts:
        raise ConfigError(
            f"expected at least {2 * parts} training images, 2 for each of {processes} processes × {config.shards}"
            f" shards × {config.accumulate} accumulated parts, got {images}: add images, start fewer processes, or set"
            " training.shards=1 training.accumulate=1"
        )
    _log.warning("training.batch_size=%d is more than the %d training images: %d", config.batch_size, images, size)
    return replace(config, batch_size=size)


def check_fit(config: TrainingConfig, space: Space, data: ImageData, processes: int) -> None:
    """Raises ConfigError where these can't be trained together."""
    if (space.classes, space.in_channels) != (len(data.classes), data.channels):
        raise ConfigError(
            f"space {space.name} is for {space.classes} classes and {space.in_channels} channels, data"
            f" {data.name!r} has {len(data.classes)} and {data.channels}: set space.classes=0 space.in_channels=0"
        )
    parts = config.shards * config.accumulate * processes
    if config.batch_size % parts or config.batch_size < 2 * parts:
        raise ConfigError(
            f"training.batch_size={config.batch_size}: expected a multiple of {processes} processes ×"
            f" {config.shards} shards × {config.accumulate} accumulated parts, with 2 images or more each, which"
            f" BatchNorm needs; it can be divided among {_valid_counts(config)} processes"
        )
    if len(data.train) < 2:
        raise ConfigError(f"data {data.name!r}: expected at least 2 training images, got {len(data.train)}")


def _valid_counts(config: TrainingConfig) -> str:
    """The numbers of processes that divide a batch, such as `1, 2 or 4`."""
    parts = config.shards * config.accumulate
    pieces = config.batch_size // parts
    counts = [str(count) for count in range(1, pieces // 2 + 1) if pieces % count == 0]
    return " or ".join(filter(None, [", ".join(counts[:-1]), counts[-1]]))


def _defaults(kind: type) -> dict[str, Any]:
    return {field.name: field.default for field in fields(kind) if field.default is not MISSING}
