"""How exported files are checked."""

from __future__ import annotations

from dataclasses import dataclass

from hwnas.errors import ConfigError

__all__ = ["ExportConfig"]


@dataclass(frozen=True)
class ExportConfig:
    """`parity_images` real images go through the file and through torch; logits may differ by `parity_tolerance`.

    float32 runtimes sum in another order than torch, which moves logits near 10 by about 1e-5.
    """

    parity_images: int = 256
    parity_tolerance: float = 1e-3

    def __post_init__(self) -> None:
        if self.parity_images < 1:
            raise ConfigError(f"export.parity_images: expected at least 1, got {self.parity_images}")
        if not self.parity_tolerance > 0:
            raise ConfigError(f"export.parity_tolerance: expected more than 0, got {self.parity_tolerance}")
