"""The commands: what each is for, which settings it uses, and where its code is (imported when it runs)."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, fields

__all__ = ["COMMANDS", "COMMON_KEYS", "Command"]

COMMON_KEYS = ("experiment", "name", "seed")


@dataclass(frozen=True)
class Command:
    """One command. `steps`: the configs, in `hwnas.pipeline.config`, of what it does; without any, it only prints.

    `positional` is the setting that an argument without a key stands for.
    """

    summary: str
    module: str
    steps: tuple[str, ...] = ()
    positional: str | None = None

    @property
    def keys(self) -> tuple[str, ...]:
        """The top-level settings that it uses beside `COMMON_KEYS`."""
        from hwnas.pipeline import config

        names = (one.name for step in self.steps for one in fields(getattr(config, step)))
        return tuple(name for name in dict.fromkeys(names) if name not in COMMON_KEYS)

    def load(self) -> Callable[..., object]:
        """The function that runs it: `(config, run directory)`, or without arguments where it only prints."""
        run: Callable[..., object] = importlib.import_module(f"{__name__}.{self.module}").run
        return run


COMMANDS = {
    "run": Command(
        "The whole way: train, evaluate, profile, search, finetune, export, validate and report",
        "run", ("RunStep",),
    ),
    "train": Command("Train a once-for-all supernet, or one network of its space", "train", ("TrainStep",)),
    "evaluate": Command(
        "Measure the accuracy of subnets and fit the accuracy predictor", "evaluate", ("EvaluateStep",)
    ),
    "profile": Command("Measure devices into latency tables, one a runtime", "profile", ("ProfileStep",)),
    "import-table": Command(
        "Bring a published latency table (ofa, proxyless or csv) into hwnas's format",
        "import_table", ("ImportTableStep",), positional="path",
    ),
    "search": Command("Choose the most accurate network within each latency budget", "search", ("SearchStep",)),
    "finetune": Command(
        "Train each network that was chosen on alone, before it is exported", "finetune", ("FinetuneStep",)
    ),
    "onboard": Command(
        "Adapt a latency predictor to a new device from a few measurements", "onboard", ("OnboardStep",)
    ),
    "evaluate-latency": Command(
        "Score latency predictors on devices that they have not seen", "evaluate_latency", ("EvaluateLatencyStep",)
    ),
    "export": Command(
        "Write chosen networks, or a torch module, as checked model files in bundles", "export", ("ExportStep",)
    ),
    "verify-bundle": Command(
        "Check a bundle: every hash, what the file computes, and its latency on the device",
        "verify_bundle", ("VerifyBundleStep",), positional="folder",
    ),
    "validate": Command(
        "Measure exported files on device and test images; with table=FILE, check a latency table",
        "validate", ("ValidateTableStep", "ValidateStep"),
    ),
    "report": Command(
        "Draw the plots and write report.html from a run's result files",
        "report", ("ReportStep",), positional="folder",
    ),
    "devices": Command("List the device profiles", "devices"),
    "doctor": Command("Say which runtimes and transports answer here, and what to install for the rest", "doctor"),
}  # fmt: skip
