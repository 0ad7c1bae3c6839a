"""A plan as an experiment of Hydra's, a file that holds every setting of the run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from hwnas.accuracy.measure_config import EvaluationConfig
from hwnas.data.config import DataConfig
from hwnas.errors import StorageError
from hwnas.files import sha256_of_json, write_text
from hwnas.pipeline.config import RunStep
from hwnas.pipeline.store.plain import from_plain
from hwnas.profiling.config import ProfilingConfig
from hwnas.search.config import SearchConfig
from hwnas.spaces import FAMILIES
from hwnas.training.config import FinetuneConfig, TrainingConfig

__all__ = ["PLAN_FILE", "read_plan", "write_plan"]

PLAN_FILE = "plan.yaml"

_ASKED = "# asked: "
_PARTS = {
    "training": TrainingConfig, "evaluation": EvaluationConfig, "profiling": ProfilingConfig, "search": SearchConfig,
    "finetune": FinetuneConfig,
}  # fmt: skip


def write_plan(config: RunStep, asked: RunStep, folder: Path) -> Path:
    """`config`, what became of `asked`, as `plan.yaml` in `folder`: `hwnas run experiment=FOLDER/plan.yaml` does the
    same again, in a folder of its own if it is given a name.
    """
    settings: dict[str, Any] = {
        **config.settings(),
        "hours": None,
        "given": [],
    }
    groups = {"space": config.space.family, "data": _schema_of(config.images)}
    lines = (
        "# @package _global_\n"
        f"# Planned for hours={asked.hours:g}. The same again: hwnas run experiment={folder / PLAN_FILE} name=NAME\n"
        f"{_ASKED}{_digest(asked)}\n"
    )
    content = {"defaults": [{f"override /{group}": choice} for group, choice in groups.items()], **settings}
    return write_text(
        folder / PLAN_FILE, lines + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)
    )


def read_plan(asked: RunStep, folder: Path) -> RunStep | None:
    """`asked` with what `plan.yaml` in `folder` says; None where there is none, or one of something else."""
    path = folder / PLAN_FILE
    try:
        text = path.read_text()
        content = yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError):
        return None
    if f"{_ASKED}{_digest(asked)}\n" not in text or not isinstance(content, Mapping):
        return None
    try:
        parts: dict[str, Any] = {name: from_plain(kind, content.get(name), path) for name, kind in _PARTS.items()}
        data = from_plain(type(asked.images), content.get("data"), path)
        space = from_plain(FAMILIES[content["defaults"][0]["override /space"]], content.get("space"), path)
    except (StorageError, KeyError, TypeError, IndexError):
        return None  # cut short, or of another version: it is made anew
    return replace(asked, space=space, data=data, **parts)


def _digest(asked: RunStep) -> str:
    return sha256_of_json({key: value for key, value in asked.settings().items() if key != "name"})


def _schema_of(data: DataConfig) -> str:
    """The choice of `data=…` whose settings these are: ImageFolderConfig's is image_folder."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(data).__name__.removesuffix("Config")).lower()
