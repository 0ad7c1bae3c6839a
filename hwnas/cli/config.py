"""The types behind `conf/`, as Hydra is told of them, and what it composes as checked settings."""

from __future__ import annotations

from dataclasses import asdict

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig

from hwnas.cli.convert import from_hydra, schema
from hwnas.data.config import PRESETS, DigitsConfig, FashionMnistConfig, ImageFolderConfig, NoDataConfig
from hwnas.files import packaged
from hwnas.latency.predictors.dataset_config import LatencyDataConfig
from hwnas.pipeline.config import PipelineConfig
from hwnas.spaces import FAMILIES

__all__ = ["CONFIG_FOLDER", "register_schemas", "to_pipeline_config"]

CONFIG_FOLDER = packaged("conf")


def register_schemas() -> None:
    """Tell Hydra the types behind `conf/`. The files there name them as `/schema/…`."""
    store = ConfigStore.instance()
    store.store(name="schema", node=schema(PipelineConfig))
    for name, kind in (
        ("fashion_mnist", FashionMnistConfig),
        ("image_folder", ImageFolderConfig),
        ("digits", DigitsConfig),
        ("none", NoDataConfig),
        ("latency", LatencyDataConfig),
    ):
        store.store(group="schema/data", name=name, node=schema(kind))
    for name, preset in PRESETS.items():
        store.store(group="data/augment", name=name, node=asdict(preset))
    for name, family in FAMILIES.items():
        store.store(group="schema/space", name=name, node=schema(family))


def to_pipeline_config(config: DictConfig) -> PipelineConfig:
    """The checked settings. Raises ConfigError, one line, for a value that is not valid."""
    config = config.copy()
    if "hydra" in config:
        del config["hydra"]
    return from_hydra(config, PipelineConfig)
