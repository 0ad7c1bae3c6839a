"""The settings of `conf/`, composed as the command line composes them, without running anything."""

from __future__ import annotations

from collections.abc import Sequence

from hwnas.cli.arguments import in_hydras_syntax
from hwnas.cli.compose import compose_config, group_names, tree
from hwnas.cli.config import register_schemas, to_pipeline_config
from hwnas.cli.experiments import with_experiment
from hwnas.pipeline.config import PipelineConfig

__all__ = ["load_config"]


def load_config(overrides: Sequence[str] = ()) -> PipelineConfig:
    """All settings, with `overrides` as the command line takes them: every step takes its part of it.

    Raises ConfigError, one line, for a setting that does not exist or is not valid.

    >>> config = hwnas.load_config(["experiment=smoke", "search.budgets=[1.5]", "device=local"])
    >>> config.search.budgets
    (1.5,)
    """
    register_schemas()
    given = in_hydras_syntax(with_experiment(None, list(overrides)), None, tree, set(group_names()))
    return to_pipeline_config(compose_config(None, given))
