"""How predictors of new devices are scored, and a new device is onboarded."""

from __future__ import annotations

from dataclasses import dataclass

from hwnas.errors import ConfigError, choices

__all__ = ["OnboardConfig", "ProtocolConfig"]

SCALINGS = ("honest", "published")


@dataclass(frozen=True)
class ProtocolConfig:
    """`scaling`: what a predictor may know of the target beside its own measurements."""

    scaling: str = "honest"

    def __post_init__(self) -> None:
        if self.scaling not in SCALINGS:
            raise ConfigError(f"protocol.scaling: {self.scaling!r} unknown; {choices(self.scaling, SCALINGS)}")


@dataclass(frozen=True)
class OnboardConfig:
    """How a device is onboarded. `candidates`: networks of the space among which those to measure are chosen.

    `target_mape`: stop before all measurements once this mean relative error, a fraction, is expected. `tables`: a
    folder of latency tables whose networks teach how devices differ (None: nothing but the space is known).
    `check_networks`: networks measured besides, to score the predictor on; they teach it nothing.
    """

    candidates: int = 300
    target_mape: float | None = None
    tables: str | None = None
    check_networks: int = 0

    def __post_init__(self) -> None:
        if self.candidates < 20:
            raise ConfigError(f"onboard.candidates: expected at least 20, got {self.candidates}")
        if self.target_mape is not None and not 0 < self.target_mape < 1:
            raise ConfigError(f"onboard.target_mape: expected a fraction above 0 and below 1, got {self.target_mape}")
        if self.check_networks < 0:
            raise ConfigError(f"onboard.check_networks: expected 0 or more, got {self.check_networks}")
