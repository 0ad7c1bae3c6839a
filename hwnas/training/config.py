"""How a supernet, or one network, is trained. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hwnas.errors import ConfigError, choices

__all__ = ["PRECISIONS", "SAMPLERS", "SCHEDULES", "TEACHERS", "FinetuneConfig", "PhaseConfig", "TrainingConfig"]

SAMPLERS = ("uniform", "sandwich", "shifted")
TEACHERS = ("first_phase", "in_place", "start", "none")
SCHEDULES = ("cosine", "exponential")
OPTIMISERS = ("sgd", "adamw")
NETWORKS = ("supernet", "subnet")
STARTS = ("auto", "fresh", "checkpoint")
QUANTISATIONS = ("none", "int8")
PRECISIONS = ("32-true", "bf16-mixed")
ACCELERATORS = ("auto", "cpu", "cuda", "mps")


@dataclass(frozen=True)
class PhaseConfig:
    """One phase of training.

    `kernel_sizes`, `expand_ratios`, `width_mults` and `depths` are what subnets are drawn from; empty means only the
    space's largest. `opens` names kinds of genes (`ks`, `e`, `w`, `d`, …, `all`) of which all that the space has are
    drawn from. `resolutions` are what a batch's is drawn from; empty means all of the space. The gradients of a
    step's `subnets_per_step` add up. Samplers: `uniform`; `sandwich` takes the largest and the smallest of the phase,
    and draws the rest; `shifted` draws by complexity (see `hwnas.training.samplers`).

    Teachers: `first_phase`, the largest network as the first phase left it (there is none within the first phase),
    whose soft labels are added to the labels; `in_place`, the largest network of the same step, which alone learns
    from the labels; `start`, the network (of a supernet: the largest) as the run found it, not quantised; `none`.

    `epochs` include `warmup_epochs`, in which the learning rate rises linearly to `learning_rate`. Then it falls to
    `ending` × `learning_rate`: along a cosine to the phase's end, or exponentially over `decay_epochs` (0: two thirds
    of the phase's rest, as BigNAS does), constant from there on.
    """

    name: str
    epochs: float
    learning_rate: float
    warmup_epochs: float = 0.0
    subnets_per_step: int = 1
    sampler: str = "uniform"
    kernel_sizes: tuple[int, ...] = ()
    expand_ratios: tuple[float, ...] = ()
    width_mults: tuple[float, ...] = ()
    depths: tuple[int, ...] = ()
    resolutions: tuple[int, ...] = ()
    teacher: str = "first_phase"
    schedule: str = "cosine"
    ending: float = 0.0
    decay_epochs: float = 0.0
    opens: tuple[str, ...] = field(default=(), metadata={"optional": True})

    def __post_init__(self) -> None:
        where = f"training phase {self.name!r}"
        if self.epochs <= 0 or not 0 <= self.warmup_epochs < self.epochs:
            raise ConfigError(
                f"{where}: expected epochs > warmup_epochs >= 0, got epochs={self.epochs},"
                f" warmup_epochs={self.warmup_epochs}"
            )
        if self.learning_rate <= 0 or self.subnets_per_step < 1:
            raise ConfigError(
                f"{where}: expected learning_rate > 0 and subnets_per_step >= 1, got {self.learning_rate},"
                f" {self.subnets_per_step}"
            )
        for key, valid in (("sampler", SAMPLERS), ("teacher", TEACHERS), ("schedule", SCHEDULES)):
            if getattr(self, key) not in valid:
                given = getattr(self, key)
                raise ConfigError(f"{where}: {key} {given!r}; {choices(given, valid)}")
        if self.sampler == "sandwich" and self.subnets_per_step < 2:
            raise ConfigError(
                f"{where}: the sandwich sampler needs subnets_per_step >= 2, the largest and the smallest; got"
                f" {self.subnets_per_step}"
            )
        if self.teacher == "in_place" and self.sampler != "sandwich":
            raise ConfigError(
                f"{where}: teacher in_place needs sampler=sandwich, whose first subnet is the largest; got"
                f" {self.sampler}"
            )
        if not 0 <= self.ending < 1 or (self.schedule == "exponential" and not self.ending):
            raise ConfigError(
                f"{where}: expected ending, a share of learning_rate, in [0, 1), above 0 for schedule=exponential; got"
                f" {self.ending}"
            )
        if not 0 <= self.decay_epochs <= self.epochs - self.warmup_epochs:
            raise ConfigError(
                f"{where}: expected decay_epochs from 0 to epochs - warmup_epochs, got {self.decay_epochs}"
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
    """What is trained, and how.

    `network`: the `supernet`, or one `subnet` alone (the arch given, else the space's largest) as a plain network; then
    all phases train that one, at its own resolution. `start`: `fresh` weights, or those of a `checkpoint`; `auto`:
    a checkpoint's where one is given. For the first `freeze_epochs` of the first phase only what was not in the
    checkpoint learns (a new classifier, new blocks), and its BatchNorm statistics stay; then everything does.
    `quantisation`: `int8` trains a subnet as its int8 file will compute (Jacob et al., 2018): weights and activations
    are rounded in the forward pass, and the gradients of what is rounded are taken for those of the weights.

    `optimiser`: `sgd` with Nesterov momentum, or `adamw`, whose first beta is `momentum`; `weight_decay` spares
    BatchNorm and biases. The loss is cross-entropy with `label_smoothing`, plus `distillation_weight` times the soft
    cross-entropy against the phase's teacher. `gradient_clip` limits the norm of a step's whole gradient; 0 doesn't.
    With `ema_decay` above 0 each phase averages the weights exponentially over its steps, and its evaluations and its
    end use the average. `calibration_images` training images set BatchNorm statistics where a subnet is evaluated;
    `random_subnets` random ones are, beside the largest and the smallest, at each phase's end, and within it every
    `evaluate_every_epochs` (0: not). Losses and accuracies go to `training.csv` and, with `tensorboard`, to its files.
    `dropout` is before the classifier. A loss is noted every `log_every` steps, a checkpoint written every
    `checkpoint_every`.

    A step takes `batch_size` images, or all where a data set has fewer, in `accumulate` equal parts one after another.
    A phase's epochs are passes over the training images, or, where these are fewer than `epoch_images`, over so many,
    each seen several times: a schedule for a large data set then trains a small one as well.
    `accelerator` and `precision` are Lightning Fabric's; under torchrun each process takes an equal part of every
    batch. `shards` threads of a process, on a CPU only, take an equal part each, with BatchNorm statistics of its own:
    for small networks much faster than threads inside each operator. The result depends on the number of parts.
    """

    phases: tuple[PhaseConfig, ...] = field(default_factory=published_phases)
    network: str = "supernet"
    start: str = "auto"
    freeze_epochs: float = 0.0
    quantisation: str = "none"
    batch_size: int = 64
    epoch_images: int = 0
    accumulate: int = 1
    optimiser: str = "sgd"
    momentum: float = 0.9
    weight_decay: float = 3e-5
    gradient_clip: float = 0.0
    ema_decay: float = 0.0
    label_smoothing: float = 0.1
    distillation_weight: float = 1.0
    dropout: float = 0.0
    accelerator: str = "auto"
    precision: str = "32-true"
    shards: int = 1
    calibration_images: int = 2000
    random_subnets: int = 20
    evaluate_every_epochs: float = 0.0
    tensorboard: bool = True
    log_every: int = 50
    checkpoint_every: int = 500

    def __post_init__(self) -> None:
        names = [phase.name for phase in self.phases]
        if not names or len(set(names)) != len(names):
            raise ConfigError(f"training.phases: expected at least one phase, each with a name of its own; got {names}")
        for key, valid in (
            ("network", NETWORKS), ("start", STARTS), ("optimiser", OPTIMISERS), ("precision", PRECISIONS),
            ("accelerator", ACCELERATORS), ("quantisation", QUANTISATIONS),
        ):  # fmt: skip
            if getattr(self, key) not in valid:
                raise ConfigError(f"training.{key}: got {getattr(self, key)!r}; {choices(getattr(self, key), valid)}")
        for key, least in (
            ("batch_size", 2), ("accumulate", 1), ("calibration_images", 2), ("random_subnets", 1), ("log_every", 1),
            ("checkpoint_every", 1),
        ):  # fmt: skip
            if getattr(self, key) < least:
                raise ConfigError(f"training.{key}: expected at least {least}, got {getattr(self, key)}")
        for key in ("momentum", "ema_decay", "label_smoothing", "dropout"):
            if not 0 <= getattr(self, key) < 1:
                raise ConfigError(f"training.{key}: expected a value in [0, 1), got {getattr(self, key)}")
        for key in ("weight_decay", "distillation_weight", "gradient_clip", "evaluate_every_epochs", "epoch_images"):
            if getattr(self, key) < 0:
                raise ConfigError(f"training.{key}: expected 0 or more, got {getattr(self, key)}")
        if not 0 <= self.freeze_epochs <= self.phases[0].epochs:
            raise ConfigError(
                f"training.freeze_epochs: expected 0 to the {self.phases[0].epochs:g} epochs of phase"
                f" {self.phases[0].name!r}, the first, got {self.freeze_epochs:g}"
            )
        self._check_parts()
        if self.quantisation != "none" and (self.network != "subnet" or self.precision != "32-true"):
            raise ConfigError(
                "training.quantisation=int8 needs training.network=subnet and training.precision=32-true, got"
                f" {self.network}, {self.precision}"
            )
        if self.start == "fresh":
            self.check_fresh()
        if self.network == "subnet":
            drawing = [phase.name for phase in self.phases if phase.sampler != "uniform" or phase.subnets_per_step > 1]
            if drawing:
                raise ConfigError(
                    f"training.network=subnet trains one network: phases {drawing} need sampler=uniform and"
                    " subnets_per_step=1"
                )

    def started(self, checkpoint: object | None) -> TrainingConfig:
        """The same, with `start` settled by whether there is a `checkpoint`. Raises ConfigError where it says another
        thing, and where what needs a checkpoint has none.
        """
        settled = "fresh" if checkpoint is None else "checkpoint"
        if self.start not in ("auto", settled):
            raise ConfigError(
                f"training.start={self.start}: expected checkpoint=PATH with start=checkpoint and none with"
                f" start=fresh, got {checkpoint}"
            )
        return replace(self, start=settled)

    def epoch_steps(self, images: int) -> int:
        """The steps of one of a phase's epochs where there are so many training images, a batch or more."""
        return max(images, self.epoch_images) // self.batch_size

    def check_fresh(self) -> None:
        """Raise ConfigError where something is to be learnt, or kept, of weights that training starts from."""
        if taught := [phase.name for phase in self.phases if phase.teacher == "start"]:
            raise ConfigError(f"training.phases {taught}: teacher=start needs checkpoint=PATH to learn from")
        if self.freeze_epochs:
            raise ConfigError(
                f"training.freeze_epochs={self.freeze_epochs:g}: nothing is loaded that could be kept: give"
                " checkpoint=PATH, or training.freeze_epochs=0"
            )

    def _check_parts(self) -> None:
        parts = self.shards * self.accumulate
        if self.shards < 1 or self.batch_size % parts or self.batch_size < 2 * parts:
            raise ConfigError(
                "training.shards × training.accumulate: expected a divisor of training.batch_size that leaves 2 images"
                f" or more each, got {self.shards} × {self.accumulate} for {self.batch_size}"
            )
        if self.shards > 1 and (self.dropout or self.accelerator != "cpu"):
            raise ConfigError(
                "training.shards above 1 needs training.accelerator=cpu and dropout=0, got"
                f" {self.accelerator}, {self.dropout}"
            )


@dataclass(frozen=True)
class FinetuneConfig:
    """How chosen networks are trained on, each alone, before they are exported; `epochs` 0: not at all.

    The rate falls from `learning_rate` to 0 along a cosine; everything else is the supernet's recipe. With
    `quantisation=int8` those chosen for int8 are trained as their int8 files compute, learning from themselves too.
    """

    epochs: float = 0.0
    learning_rate: float = 0.02
    quantisation: str = "none"

    def __post_init__(self) -> None:
        if self.epochs < 0 or self.learning_rate <= 0:
            raise ConfigError(
                f"finetune: expected epochs of 0 or more and learning_rate > 0, got {self.epochs}, {self.learning_rate}"
            )
        if self.quantisation not in QUANTISATIONS:
            given = self.quantisation
            raise ConfigError(f"finetune.quantisation: got {given!r}; {choices(given, QUANTISATIONS)}")

    def recipe(self, training: TrainingConfig, precision: str | None) -> TrainingConfig:
        """The training of a network chosen for `precision`, out of a supernet trained by `training`."""
        int8 = self.quantisation == "int8" and precision == "int8"
        phase = PhaseConfig("finetune", self.epochs, self.learning_rate, teacher="start" if int8 else "none")
        return replace(
            training, network="subnet", start="checkpoint", freeze_epochs=0.0, phases=(phase,),
            quantisation="int8" if int8 else "none",
        )  # fmt: skip
