"""The Hydra side of a command: compose, check, run in its run directory, or in one directory a run of a sweep."""

from __future__ import annotations

import logging
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from hwnas.cli.arguments import in_hydras_syntax
from hwnas.cli.commands import COMMANDS
from hwnas.cli.compose import (
    command_help,
    compose_config,
    compose_jobs,
    group_names,
    run_folder,
    tree,
)
from hwnas.cli.config import CONFIG_FOLDER, register_schemas, to_pipeline_config
from hwnas.cli.experiments import with_experiment
from hwnas.cli.sweeps import sweep_settings
from hwnas.errors import ConfigError, HwnasError
from hwnas.pipeline.store.steps import held
from hwnas.training.torchrun import check_alone, is_first_process

__all__ = ["run_command"]


def run_command(name: str, arguments: Sequence[str], tell: Callable[[str], None]) -> int:
    """Run `hwnas name arguments…` and return the exit status. Raises HwnasError for what the user can mend.

    Of a sweep, the runs that fail are told one by one, and the others go on.
    """
    register_schemas()
    command = COMMANDS[name]
    arguments = with_experiment(name, arguments)
    arguments = in_hydras_syntax(arguments, command.positional, tree, set(group_names()))
    parsed = _parsed(name, arguments)
    if parsed.help:
        print(command_help(name))  # noqa: T201
        return 0
    if parsed.multirun:
        check_alone("a sweep")
    overrides = list(parsed.overrides)
    runs = not (parsed.cfg or parsed.info or parsed.hydra_help or parsed.shell_completion)
    # Composed once before Hydra makes a folder, so that an error costs nothing and reads as one line.
    jobs = (compose_jobs if parsed.multirun else _one_job)(name, overrides) if runs else []
    for _, config in jobs:
        to_pipeline_config(config)
    if not command.steps:
        command.load()()
        return 0
    root, own = "${oc.env:HWNAS_RUNS,runs}/${name}", "" if name == "run" else f"/{name}"
    added = [f"hydra.job.name={name}"]
    if "hydra.run.dir" not in (given := {override.partition("=")[0] for override in overrides}):
        added.append(f"hydra.run.dir={root}{own}")
    if parsed.multirun:
        added += sweep_settings(overrides, given, root, own)
    alone = runs and not parsed.multirun and is_first_process()
    # The folder is held before Hydra writes settings and log into it, which may be those of another process.
    with (
        held(run_folder(name, [*overrides, *added])) if alone else nullcontext(),
        _hydras_environment(name, arguments, added),
        TemporaryDirectory(prefix="hwnas-sweep-") as failed,
    ):
        task = _Task(name, tell, Path(failed) if parsed.multirun else None)
        hydra.main(version_base="1.3", config_path=str(CONFIG_FOLDER), config_name="config")(task)()
        failures = len(list(Path(failed).iterdir()))
    if failures:
        raise HwnasError(f"{failures} of {len(jobs)} runs failed: mend what is said above, and run the same again")
    if task.error is not None:
        raise task.error
    return 0


class _Task:
    """What Hydra calls with the configuration of a run. A launcher may do so in another process, by a copy of this.

    Of a sweep, each run that fails leaves a file in the folder `failed`, which the first process counts.
    """

    def __init__(self, command: str, tell: Callable[[str], None], failed: Path | None) -> None:
        self.command, self.tell, self.failed = command, tell, failed
        self.error: Exception | None = None

    def __call__(self, config: DictConfig) -> None:
        logging.raiseExceptions = False  # a full disk is reported once, by what could not be written
        logging.captureWarnings(True)
        folder = Path(HydraConfig.get().runtime.output_dir)
        try:
            with held(folder) if is_first_process() else nullcontext():
                COMMANDS[self.command].load()(to_pipeline_config(config), folder)
        except (HwnasError, OSError) as error:
            if self.failed is None:
                self.error = error  # raised by who made this: Hydra would print lines of its own around it
                return
            job = HydraConfig.get().job
            self.tell(f"{job.override_dirname}: {error}")
            if not self.failed.is_dir():  # on another machine: what the launcher makes of it is all there is
                raise HwnasError(f"{job.override_dirname}: {error}") from None
            (self.failed / str(job.num)).touch()


def _parsed(name: str, arguments: Sequence[str]) -> Namespace:
    parser = get_args_parser()

    def refuse(message: str) -> NoReturn:
        raise ConfigError(f"{message}: hwnas {name} takes settings as key=value, --help, and -m for sweeps")

    parser.error = refuse  # type: ignore[method-assign]
    parsed: Namespace = parser.parse_args(arguments)
    return parsed


def _one_job(command: str, overrides: Sequence[str]) -> list[tuple[list[str], DictConfig]]:
    return [(list(overrides), compose_config(command, overrides))]


@contextmanager
def _hydras_environment(name: str, arguments: Sequence[str], added: Sequence[str]) -> Iterator[None]:
    """Hydra reads the process's arguments, and reports errors in its own words unless told to let them through."""
    former = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    saved_argv = sys.argv
    sys.argv = [f"hwnas {name}", *arguments, *added]
    try:
        yield
    finally:
        sys.argv = saved_argv
        if former is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = former
