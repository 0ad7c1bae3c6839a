"""How a supernet is trained. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, field

from hwnas.errors import ConfigError, choices

__all__ = ["PRECISIONS", "SAMPLERS", "PhaseConfig", "TrainingConfig"]

SAMPLERS = ("uniform", "sandwich")
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
ACCELERATORS = ("auto", "cpu", "cuda", "mps")


@dataclass(frozen=True)
class PhaseConfig:
    """One phase of progressive shrinking.

    `kernel_sizes`, `expand_ratios` and `depths` are what subnets are drawn from; empty means only the space's largest.
    `epochs` include `warmup_epochs`, in which the learning rate rises linearly to `learning_rate`; a cosine follows.
    The gradients of a step's `subnets_per_step` add up. Samplers: `uniform`; `sandwich` takes the largest and the
    smallest of the phase, and draws the rest.
    """

    name: str
    epochs: float
    learning_rate: float
    warmup_epochs: float = 0.0
    subnets_per_step: int = 1
    sampler: str = "uniform"
    kernel_sizes: tuple[int, ...] = ()
    expand_ratios: tuple[int, ...] = ()
    depths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.epochs <= 0 or not 0 <= self.warmup_epochs < self.epochs:
            raise ConfigError(
                f"training phase {self.name!r}: expected epochs > warmup_epochs >= 0, got epochs={self.epochs},"
                f" warmup_epochs={self.warmup_epochs}"
            )
        if self.learning_rate <= 0 or self.subnets_per_step < 1:
            raise ConfigError(
                f"training phase {self.name!r}: expected learning_rate > 0 and subnets_per_step >= 1,"
                f" got {self.learning_rate}, {self.subnets_per_step}"
            )
        if self.sampler not in SAMPLERS:
            raise ConfigError(
                f"training phase {self.name!r}: sampler {self.sampler!r}; {choices(self.sampler, SAMPLERS)}"
            )
        if self.sampler == "sandwich" and self.subnets_per_step < 2:
            raise ConfigError(
                f"training phase {self.name!r}: the sandwich sampler needs subnets_per_step >= 2, the largest and the"
                f" smallest; got {self.subnets_per_step}"
            )


def published_phases() -> tuple[PhaseConfig, ...]:
    """The schedule of the published once-for-all training (Cai et al., 2020), at 64 images a step."""
    kernels, two, three = (3, 5, 7), (3, 4), (2, 3, 4)
    return (
        PhaseConfig("full", 185, 0.08, warmup_epochs=5),
        PhaseConfig("kernel", 125, 0.03, warmup_epochs=5, kernel_sizes=kernels),
        PhaseConfig("depth1", 25, 2.5e-3, subnets_per_step=2, kernel_sizes=kernels, depths=two),
        PhaseConfig("depth2", 125, 7.5e-3, 5, 2, kernel_sizes=kernels, depths=three),
        PhaseConfig("expand1", 25, 2.5e-3, 0, 4, kernel_sizes=kernels, depths=three, expand_ratios=(4, 6)),
        PhaseConfig("expand2", 125, 7.5e-3, 5, 4, kernel_sizes=kernels, depths=three, expand_ratios=(3, 4, 6)),
    )


@dataclass(frozen=True)
class TrainingConfig:
    """Progressive shrinking. The first phase trains the network that the later ones distil from.

    SGD with Nesterov momentum; `weight_decay` spares BatchNorm and biases. The loss is cross-entropy with
    `label_smoothing`, plus `distillation_weight` times the soft cross-entropy against the largest network as it stood
    after the first phase. `calibration_images` training images set BatchNorm statistics where a subnet is evaluated.
    `accelerator` and `precision` are Lightning Fabric's.

    `shards` threads, on a CPU only, each take an equal part of every batch, with BatchNorm statistics of its own: for
    small networks much faster than threads inside each operator. The result depends on their number.
    """

    phases: tuple[PhaseConfig, ...] = field(default_factory=published_phases)
    batch_size: int = 64
    momentum: float = 0.9
    weight_decay: float = 3e-5
    label_smoothing: float = 0.1
    distillation_weight: float = 1.0
    dropout: float = 0.0
    accelerator: str = "auto"
    precision: str = "32-true"
    shards: int = 1
    calibration_images: int = 2000
    log_every: int = 50
    checkpoint_every: int = 500

    def __post_init__(self) -> None:
        names = [phase.name for phase in self.phases]
        if not names or len(set(names)) != len(names):
            raise ConfigError(f"training.phases: expected at least one phase, each with a name of its own; got {names}")
        for key, least in (("batch_size", 2), ("calibration_images", 2), ("log_every", 1), ("checkpoint_every", 1)):
            if getattr(self, key) < least:
                raise ConfigError(f"training.{key}: expected at least {least}, got {getattr(self, key)}")
        for key in ("momentum", "label_smoothing", "dropout"):
            if not 0 <= getattr(self, key) < 1:
                raise ConfigError(f"training.{key}: expected a value in [0, 1), got {getattr(self, key)}")
        for key in ("weight_decay", "distillation_weight"):
            if getattr(self, key) < 0:
                raise ConfigError(f"training.{key}: expected 0 or more, got {getattr(self, key)}")
        for key, valid in (("precision", PRECISIONS), ("accelerator", ACCELERATORS)):
            if getattr(self, key) not in valid:
                raise ConfigError(f"training.{key}: got {getattr(self, key)!r}; {choices(getattr(self, key), valid)}")
        if self.shards < 1 or self.batch_size % self.shards or self.batch_size < 2 * self.shards:
            raise ConfigError(
                f"training.shards: expected a divisor of training.batch_size that leaves 2 images or more each, got"
                f" {self.shards} for {self.batch_size}"
            )
        if self.shards > 1 and (self.dropout or self.precision != "32-true" or self.accelerator != "cpu"):
            raise ConfigError(
                "training.shards above 1 needs training.accelerator=cpu, precision=32-true and dropout=0, got"
                f" {self.accelerator}, {self.precision}, {self.dropout}"
            )
