"""The Hydra side of a command: compose, check, run in its run directory."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from hwnas.cli.commands import COMMANDS
from hwnas.cli.compose import command_help, compose_config, with_own_experiment
from hwnas.cli.config import CONFIG_FOLDER, register_schemas, to_pipeline_config
from hwnas.errors import HwnasError

__all__ = ["run_command"]


def run_command(name: str, arguments: Sequence[str]) -> int:
    """Run `hwnas name arguments…` and return the exit status. Raises HwnasError for what the user can mend."""
    register_schemas()
    arguments = [_in_hydras_syntax(argument, COMMANDS[name].positional) for argument in arguments]
    arguments = with_own_experiment(name, arguments)
    parsed = get_args_parser().parse_args(arguments)
    if parsed.help:
        print(command_help(name))  # noqa: T201
        return 0
    overrides = list(parsed.overrides)
    is_plain_run = not (parsed.multirun or parsed.cfg or parsed.info or parsed.hydra_help or parsed.shell_completion)
    if is_plain_run:
        # Composed once before Hydra makes a folder, so that an error costs nothing and reads as one line.
        to_pipeline_config(compose_config(name, overrides))
    if not COMMANDS[name].keys:
        COMMANDS[name].load()()
        return 0
    given = {override.split("=", 1)[0] for override in overrides}
    folder = "${oc.env:HWNAS_RUNS,runs}/${name}" + ("" if name == "run" else f"/{name}")
    defaults = {"hydra.run.dir": folder, "hydra.sweep.dir": f"{folder}/multirun", "hydra.job.name": name}
    added = [f"{key}={value}" for key, value in defaults.items() if key not in given]

    failures: list[Exception] = []

    def task(config: DictConfig) -> None:
        logging.raiseExceptions = False  # a full disk is reported once, by what could not be written
        folder = Path(HydraConfig.get().runtime.output_dir)
        try:
            COMMANDS[name].load()(to_pipeline_config(config), folder)
        except (HwnasError, OSError) as error:
            failures.append(error)  # raised below: Hydra would print lines of its own around it

    # Hydra reports errors in its own words unless told to let them through.
    former = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    saved_argv = sys.argv
    sys.argv = [f"hwnas {name}", *arguments, *added]
    try:
        hydra.main(version_base="1.3", config_path=str(CONFIG_FOLDER), config_name="config")(task)()
    finally:
        sys.argv = saved_argv
        if former is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = former
    if failures:
        raise failures[0]
    return 0


def _in_hydras_syntax(argument: str, positional: str | None) -> str:
    """`device=NAME` is short for `device.name=NAME`, since profiles are files of their own; an arch may be JSON.

    An argument without a key is the value of `positional`, quoted as Hydra wants it.
    """
    key, separator, value = argument.partition("=")
    if positional and not argument.startswith("-") and (not separator or Path(argument).exists()):
        return f"{positional}='" + argument.replace("'", "\\'") + "'"
    if key == "device" and separator and not value.startswith("{"):
        return f"device.name={value}"
    if key == "arch" and value.startswith("{"):
        return "arch=" + re.sub(r'"(\w+)"\s*:', r"\1: ", value)  # Hydra quotes no keys
    return argument
