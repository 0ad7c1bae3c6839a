"""Where a search's accuracies and latencies come from, by name."""

from __future__ import annotations

from dataclasses import dataclass

from hwnas.errors import ConfigError, choices

__all__ = ["LATENCY_BASELINES", "LATENCY_FORMATS", "AccuracyConfig", "LatencyConfig"]

ACCURACY_FORMATS = ("learned", "ofa")
LATENCY_FORMATS = ("hwnas", "ofa", "roofline", "fewshot")
LATENCY_BASELINES = ("help", "macs", "parameters", "forest", "nearest_device")
PATHLESS_FORMATS = ("learned", "hwnas", "roofline")


@dataclass(frozen=True)
class AccuracyConfig:
    """Where the search's accuracies come from. `learned`: the predictor that `hwnas evaluate` wrote (path None: beside
    it); `ofa`: the published network's `accuracy_predictor.npz`.
    """

    format: str = "learned"
    path: str | None = None

    def __post_init__(self) -> None:
        _check_source("accuracy", self.format, ACCURACY_FORMATS, self.path)


@dataclass(frozen=True)
class LatencyConfig:
    """Where the search's latencies come from. `hwnas`: the folder of tables that `hwnas profile` wrote (path None:
    beside it); `ofa`: a folder of tables that once-for-all published, one file a resolution; `roofline`: a rough
    estimate from the public facts in the device's profile, no measurement; `fewshot`: the predictor that `hwnas
    onboard` wrote. `hwnas evaluate-latency` scores `fewshot`, `help` and baselines, and needs no path.
    """

    format: str = "hwnas"
    path: str | None = None

    def __post_init__(self) -> None:
        valid = (*LATENCY_FORMATS, *LATENCY_BASELINES)
        if self.format not in valid:
            raise ConfigError(f"latency.format: {self.format!r} unknown; {choices(self.format, valid)}")
        if self.format == "ofa":
            _check_source("latency", self.format, LATENCY_FORMATS, self.path)


def _check_source(key: str, given: str, formats: tuple[str, ...], path: str | None) -> None:
    if given not in formats:
        raise ConfigError(f"{key}.format: {given!r} unknown; {choices(given, formats)}")
    if given not in PATHLESS_FORMATS and not path:
        raise ConfigError(f"{key}.format={given}: where are the published files? give {key}.path=PATH")
