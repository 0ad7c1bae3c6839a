"""Which experiment a command is: one of `conf/experiment`, a file of one's own, or what the other arguments ask for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml
from hydra.core.config_store import ConfigStore

from hwnas.errors import ConfigError
from hwnas.files import sha256_of_json

__all__ = ["is_stored", "with_experiment"]

NO_IMAGES = {"data=none", "data=csv", "data=nasbench201", "data=ofa"}
"""Choices of data that are latencies of networks, or nothing."""

PHOTOS = {"data=image_folder", "data=imagenet"}
"""Choices of data of any size, for which a plan chooses a space."""

_KEY, _STORED = "experiment", "file-"


def with_experiment(command: str | None, arguments: Sequence[str]) -> list[str]:
    """`arguments` with the experiment that they mean.

    `experiment=FILE.yaml` is that file, in the form of those of `conf/experiment`. Without any: `none` where the data
    are no images, which experiments configure; `photos`, or with a checkpoint `photos_from_checkpoint`, where a plan is
    asked for (`hours=…`) for a folder of images.
    With hours, `given` says what the plan leaves as it is. Raises ConfigError for a file that can't be read.
    """
    given = [argument.partition("=")[0].lstrip("+") for argument in arguments if "=" in argument]
    stored = [_stored(argument) for argument in arguments]
    hours = next((argument for argument in arguments if argument.startswith("hours=")), "hours=null")
    planned = hours != "hours=null"
    if _KEY not in given:
        if command == "evaluate-latency" or not NO_IMAGES.isdisjoint(arguments):
            stored.insert(0, f"{_KEY}=none")
        elif planned and not PHOTOS.isdisjoint(arguments):
            stored.insert(0, f"{_KEY}={'photos_from_checkpoint' if 'checkpoint' in given else 'photos'}")
    if planned and "given" not in given:
        kept = [key for key in given if not key.startswith(("hydra.", "hours", "name", "seed", "tracking"))]
        stored.append(f"given=[{','.join(kept)}]")
    return stored


def is_stored(choice: str) -> bool:
    """Whether `choice` stands for a file that `with_experiment` read."""
    return choice.startswith(_STORED)


def _stored(argument: str) -> str:
    """`argument`; where it is an experiment's file, the choice under which Hydra knows it from now on."""
    key, _, value = argument.partition("=")
    if key != _KEY or not value.endswith((".yaml", ".yml")):
        return argument
    path = Path(value).expanduser()
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
        raise ConfigError(f"{argument}: cannot be read ({reason}): expected an experiment's file or name") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{argument}: expected settings as in conf/experiment, got a {type(content).__name__}")
    choice = f"{_STORED}{sha256_of_json(content)[:12]}"
    ConfigStore.instance().store(group=_KEY, name=choice, node=content, package="_global_")
    return f"{key}={choice}"
