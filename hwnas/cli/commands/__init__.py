"""The commands: what each is for, which settings it uses, and where its code is (imported when it runs)."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["COMMANDS", "COMMON_KEYS", "Command"]

COMMON_KEYS = ("experiment", "name", "seed")


@dataclass(frozen=True)
class Command:
    """One command. `keys` are the top-level settings that it uses beside `COMMON_KEYS`; without any, it only prints.

    `positional` is the one that an argument without a key stands for.
    """

    summary: str
    keys: tuple[str, ...]
    module: str
    positional: str | None = None

    def load(self) -> Callable[..., object]:
        """The function that runs it: `(config, run directory)`, or without arguments where it only prints."""
        run: Callable[..., object] = importlib.import_module(self.module).run
        return run


def _command(module: str, summary: str, *keys: str, positional: str | None = None) -> Command:
    return Command(summary, keys, f"hwnas.cli.commands.{module}", positional)


_TRAIN = ("space", "data", "training")
_DEVICE = ("device", "runtime", "profiling")
_JUDGE = ("evaluation", "predictor")

COMMANDS = {
    "run": _command(
        "run",
        "The whole way: train, evaluate, profile, search, finetune, export, validate and report",
        *_TRAIN, *_JUDGE, *_DEVICE, "search", "finetune", "formats", "precisions", "export",
    ),
    "train": _command(
        "train", "Train a once-for-all supernet, or one network of its space", "checkpoint", "arch", *_TRAIN
    ),
    "evaluate": _command(
        "evaluate", "Measure the accuracy of subnets and fit the accuracy predictor",
        "checkpoint", "space", "data", *_JUDGE,
    ),
    "profile": _command("profile", "Measure a device into latency tables, one a runtime", "space", "data", *_DEVICE),
    "import-table": _command(
        "import_table", "Bring a published latency table (ofa, proxyless or csv) into hwnas's format",
        "format", "path", "device", "space", "data", positional="path",
    ),
    "search": _command(
        "search", "Choose the most accurate network within each latency budget",
        "accuracy", "latency", "checkpoint", "space", "data", "evaluation", "devices", *_DEVICE, "search",
    ),
    "finetune": _command(
        "finetune", "Train each network that was chosen on alone, before it is exported",
        "checkpoint", "targets", *_TRAIN, "finetune",
    ),
    "onboard": _command(
        "onboard", "Adapt a latency predictor to a new device from a few measurements",
        "space", "data", *_DEVICE, "measurements", "onboard",
    ),
    "evaluate-latency": _command(
        "evaluate_latency", "Score latency predictors on devices that they have not seen",
        "data", "latency", "measurements", "seeds", "protocol",
    ),
    "export": _command(
        "export", "Write chosen networks, or a torch module, as checked model files in bundles",
        "checkpoint", "targets", "arch", "module", "formats", "precisions", "space", "data", "evaluation", *_DEVICE,
        "export",
    ),
    "verify-bundle": _command(
        "verify_bundle", "Check a bundle: every hash, what the file computes, and its latency on the device",
        "folder", "device", "profiling", "verify", positional="folder",
    ),
    "validate": _command(
        "validate", "Measure exported files on device and test images; with table=FILE, check a latency table",
        "table", "n",
        "checkpoint", "targets", "exported", "latency", "space", "data", "evaluation", *_DEVICE,
    ),
    "report": _command(
        "report", "Draw the plots and write report.html from a run's result files", "folder", positional="folder"
    ),
    "devices": _command("devices", "List the device profiles"),
    "doctor": _command("doctor", "Say which runtimes and transports answer here, and what to install for the rest"),
}  # fmt: skip
