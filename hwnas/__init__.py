"""Hardware-aware neural architecture search: one supernet in, one verified model file per device out.

The Python API. A step takes its own config, or all settings as `load_config` composes them, and the folder that it
writes; what it returns, `result.json` in that folder holds as well, and a second call reads it::

    config = hwnas.load_config(["experiment=smoke"])
    hwnas.train(config, "runs/mine/train")
    ...
    found = hwnas.search(config, "runs/mine/search")
    found.to_frame()

Nothing is imported before it is used: neither torch nor a runtime.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from hwnas.version import __version__

_HOMES = {
    # What can be done, step by step.
    "run": "hwnas.pipeline.run",
    "train": "hwnas.pipeline.train",
    "evaluate": "hwnas.pipeline.evaluate",
    "profile": "hwnas.pipeline.profile",
    "import_published": "hwnas.pipeline.import_table",
    "onboard": "hwnas.pipeline.onboard",
    "evaluate_latency": "hwnas.pipeline.evaluate_latency",
    "search": "hwnas.pipeline.search.step",
    "finetune": "hwnas.pipeline.finetune",
    "export": "hwnas.pipeline.export.step",
    "verify_bundle": "hwnas.pipeline.verify_bundle",
    "validate": "hwnas.pipeline.validate",
    "validate_table": "hwnas.pipeline.validate_table",
    "report": "hwnas.pipeline.report",
    # What it is done with.
    "load_config": "hwnas.cli.load",
    "make_space": "hwnas.pipeline.space",
    "LatencyTable": "hwnas.latency.tables.table",
    "TableEstimator": "hwnas.latency.tables.lookup",
    "RooflineEstimator": "hwnas.latency.roofline",
    "load_profile": "hwnas.devices.profile",
    "profile_names": "hwnas.devices.profile",
    "packaged": "hwnas.files",
    "load_supernet": "hwnas.pipeline.networks",
    "read_runs": "hwnas.pipeline.runs",
    "ConsoleReporter": "hwnas.cli.console",
    "HwnasError": "hwnas.errors",
} | {
    f"{step}Step": "hwnas.pipeline.config"
    for step in (
        "EvaluateLatency", "Evaluate", "Export", "Finetune", "ImportTable", "Onboard", "Profile", "Report", "Run",
        "Search", "Train", "ValidateTable", "Validate", "VerifyBundle",
    )
}  # fmt: skip
"""Where each public name lives."""

__all__ = ["__version__", *sorted(_HOMES)]

if TYPE_CHECKING:
    from hwnas.cli.console import ConsoleReporter as ConsoleReporter
    from hwnas.cli.load import load_config as load_config
    from hwnas.devices.profile import load_profile as load_profile
    from hwnas.devices.profile import profile_names as profile_names
    from hwnas.errors import HwnasError as HwnasError
    from hwnas.files import packaged as packaged
    from hwnas.latency.roofline import RooflineEstimator as RooflineEstimator
    from hwnas.latency.tables.lookup import TableEstimator as TableEstimator
    from hwnas.latency.tables.table import LatencyTable as LatencyTable
    from hwnas.pipeline.config import EvaluateLatencyStep as EvaluateLatencyStep
    from hwnas.pipeline.config import EvaluateStep as EvaluateStep
    from hwnas.pipeline.config import ExportStep as ExportStep
    from hwnas.pipeline.config import FinetuneStep as FinetuneStep
    from hwnas.pipeline.config import ImportTableStep as ImportTableStep
    from hwnas.pipeline.config import OnboardStep as OnboardStep
    from hwnas.pipeline.config import ProfileStep as ProfileStep
    from hwnas.pipeline.config import ReportStep as ReportStep
    from hwnas.pipeline.config import RunStep as RunStep
    from hwnas.pipeline.config import SearchStep as SearchStep
    from hwnas.pipeline.config import TrainStep as TrainStep
    from hwnas.pipeline.config import ValidateStep as ValidateStep
    from hwnas.pipeline.config import ValidateTableStep as ValidateTableStep
    from hwnas.pipeline.config import VerifyBundleStep as VerifyBundleStep
    from hwnas.pipeline.evaluate import evaluate as evaluate
    from hwnas.pipeline.evaluate_latency import evaluate_latency as evaluate_latency
    from hwnas.pipeline.export.step import export as export
    from hwnas.pipeline.finetune import finetune as finetune
    from hwnas.pipeline.import_table import import_published as import_published
    from hwnas.pipeline.networks import load_supernet as load_supernet
    from hwnas.pipeline.onboard import onboard as onboard
    from hwnas.pipeline.profile import profile as profile
    from hwnas.pipeline.report import report as report
    from hwnas.pipeline.run import run as run
    from hwnas.pipeline.runs import read_runs as read_runs
    from hwnas.pipeline.search.step import search as search
    from hwnas.pipeline.space import make_space as make_space
    from hwnas.pipeline.train import train as train
    from hwnas.pipeline.validate import validate as validate
    from hwnas.pipeline.validate_table import validate_table as validate_table
    from hwnas.pipeline.verify_bundle import verify_bundle as verify_bundle


if not TYPE_CHECKING:  # a type checker that saw this would take any name

    def __getattr__(name: str) -> Any:
        """A public name, imported when it is first asked for (PEP 562)."""
        if name not in _HOMES:
            raise AttributeError(f"module 'hwnas' has no attribute {name!r}; it has {', '.join(sorted(_HOMES))}")
        found = import_module(f"hwnas.{name}") if name in _ROOMS else getattr(import_module(_HOMES[name]), name)
        setattr(sys.modules[__name__], name, found)
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})


_ROOMS = ("export", "report", "search")
"""Packages that are called as their step is: `hwnas.search(…)` searches, and `hwnas.search.config` is a module."""


class _Room(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        name = self.__name__.rpartition(".")[2]
        return getattr(import_module(_HOMES[name]), name)(*args, **kwargs)


class _Facade(ModuleType):
    def __setattr__(self, name: str, value: Any) -> None:
        # As the import system binds a package to its parent.
        if name in _ROOMS and isinstance(value, ModuleType):
            value.__class__ = _Room
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Facade
