"""What a search chose, as later steps, `result.json` and a notebook have it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hwnas.errors import ConfigError, InfeasibleBudgetError, choices
from hwnas.pipeline.store.plain import optional, to_plain

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

    from hwnas.data.config import DataConfig
    from hwnas.pipeline.config import ExportStep, RunStep
    from hwnas.supernet.single import TrainedNetwork

__all__ = [
    "ChosenNetwork",
    "ComparedFamilies",
    "EvaluatedNetworks",
    "FamilyBest",
    "SearchEntry",
    "Searched",
    "SearchedSupernet",
]


@dataclass(frozen=True, kw_only=True)
class SearchedSupernet:
    """One of several supernets that were searched together: the `name` of its space, by which they are told apart, the
    folder of its `run`, its `checkpoint` there, and its `space` (`Space.config()`).
    """

    name: str
    run: str
    checkpoint: str
    space: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class ChosenNetwork:
    """A network for a device setting. What published tables don't say of that is None, as is what was not searched for.

    `id`: device, runtime (and precision, unless fp32) and budget. `arch` as `Arch.to_dict()` gives it. `checkpoint`:
    where its own weights are, if it was fine-tuned. `supernet`: the one that it is of, where several were searched.
    """

    id: str
    device: str
    runtime: str
    precision: str | None
    threads: int | None
    budget: str
    arch: dict[str, Any]
    budget_ms: float | None = None
    latency_ms: float | None = None
    accuracy_predicted: float | None = None
    macs: int | None = None
    parameters: int | None = None
    checkpoint: str | None = optional()
    supernet: SearchedSupernet | None = optional()

    @property
    def predicted(self) -> dict[str, float]:
        """What is predicted of it, as a manifest says it."""
        values = {
            "latency_ms": self.latency_ms, "accuracy": self.accuracy_predicted, "budget_ms": self.budget_ms,
            "macs": self.macs, "parameters": self.parameters,
        }  # fmt: skip
        return {key: value for key, value in values.items() if value is not None}


@dataclass(frozen=True)
class EvaluatedNetworks:
    """The best networks of a budget, best prediction first, measured on held-out images."""

    accuracy_predicted: tuple[float, ...]
    accuracy_measured: tuple[float, ...]
    latency_ms: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class SearchEntry(ChosenNetwork):
    """The network chosen for a budget of a target.

    `upper_bound`: the accuracy that no network within the budget exceeds, where that is proven. `random_archs` have
    about its latency. `quantities`: what else was asked for by name. `accuracy_measured` on held-out images, computed
    as `accuracy_measured_as`, where `search.evaluate_top` asks for it; `accuracy_inherited` and `accuracy_finetuned`
    before and after fine-tuning.
    """

    budget_ms: float
    latency_ms: float
    accuracy_predicted: float
    macs: int
    parameters: int
    upper_bound: float | None = None
    accuracy_predicted_std: float | None = None
    random_archs: tuple[dict[str, Any], ...] = ()
    quantities: dict[str, float] | None = optional()
    accuracy_measured: float | None = optional()
    accuracy_measured_as: str | None = optional()
    evaluated: EvaluatedNetworks | None = optional()
    accuracy_inherited: float | None = optional()
    accuracy_finetuned: float | None = optional()

    @property
    def target(self) -> str:
        """Device and runtime (and precision, unless fp32), as `id` begins."""
        return self.id.removesuffix(f"-{self.budget}")

    @property
    def accuracy(self) -> float:
        """As measured on held-out images where it was, else as predicted."""
        return self.accuracy_predicted if self.accuracy_measured is None else self.accuracy_measured

    def row(self) -> dict[str, Any]:
        """It as a row of a table, without what other networks are held against it."""
        row = {key: value for key, value in to_plain(self).items() if key not in ("random_archs", "evaluated")}
        return row if self.supernet is None else {**row, "supernet": self.supernet.name}

    def module(
        self, trained: TrainedNetwork, images: DataConfig | ExportStep | RunStep | None = None, seed: int = 0
    ) -> nn.Module:
        """The network itself, with the weights in `trained`: see `hwnas.pipeline.networks.network_of`."""
        from hwnas.pipeline.networks import network_of

        return network_of(self.arch, trained, images, seed)


@dataclass(frozen=True, kw_only=True)
class FamilyBest:
    """The best network of one supernet for a budget: the name of its `space`, its `arch`, the `value` that it was
    compared by, and its held-out accuracy, as measured where it was, else as predicted.
    """

    space: str
    arch: dict[str, Any]
    value: float
    accuracy: float
    latency_ms: float


@dataclass(frozen=True, kw_only=True)
class ComparedFamilies:
    """Which of several supernets has the best network for a budget of a target: the `winner`, by its space's name.

    `best` of each, the winner's first; `lacking`: why another has none within the budget, by name. `compared_by`:
    `accuracy_measured` on held-out images, the same for all; `accuracy_predicted`, each by its own predictor, where
    nothing was measured; or the first of the objectives, where that is another.
    """

    id: str
    device: str
    runtime: str
    precision: str | None
    threads: int | None
    budget: str
    budget_ms: float
    winner: str
    compared_by: str
    best: tuple[FamilyBest, ...]
    lacking: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Searched:
    """The result of a search: the network `selected` for each target and budget.

    `front` and `history`: one entry a target, see `hwnas.report.shape`. `objectives` and `constraints` as they were
    asked for, with their units. `evaluations`: networks evaluated, of all targets. `space`: its config.
    `latency_is_estimate`: latencies are of public facts, none was measured. `families`: where several `supernets` were
    searched, how they compare; `front` and `history` have an entry of each, and `space` is the first one's.
    """

    selected: tuple[SearchEntry, ...]
    objectives: tuple[dict[str, str], ...] = ()
    constraints: tuple[dict[str, Any], ...] = ()
    front: tuple[dict[str, Any], ...] = ()
    history: tuple[dict[str, Any], ...] = ()
    evaluations: int = 0
    elapsed_s: float = 0.0
    space: dict[str, Any]
    latency_is_estimate: bool = False
    families: tuple[ComparedFamilies, ...] | None = optional()
    supernets: tuple[SearchedSupernet, ...] | None = optional()

    def best(self, *, budget_ms: float, target: str | None = None) -> SearchEntry:
        """The most accurate network of at most `budget_ms`; `target`, such as `local-onnxruntime`, where there are
        several. Of equals the fastest.

        Raises ConfigError for an unknown target or none among several, InfeasibleBudgetError where none is that fast.
        """
        return best(self.selected, budget_ms, target)

    def to_frame(self) -> pd.DataFrame:
        """One row a chosen network, without what other networks are held against it; of several supernets the name."""
        import pandas as pd

        return pd.DataFrame([entry.row() for entry in self.selected])


def best(selected: Sequence[SearchEntry], budget_ms: float, target: str | None = None) -> SearchEntry:
    """See `Searched.best`."""
    targets = sorted({entry.target for entry in selected})
    if target is None and len(targets) > 1:
        raise ConfigError(f"target: which? give one of {', '.join(targets)}")
    if target is not None and target not in targets:
        raise ConfigError(f"target: {target!r} unknown; {choices(target, targets)}")
    mine = [entry for entry in selected if target in (None, entry.target)]
    within = [entry for entry in mine if entry.latency_ms <= budget_ms]
    if not within:
        fastest = min(mine, key=lambda entry: entry.latency_ms)
        raise InfeasibleBudgetError(
            f"budget_ms={budget_ms:g}: none of the {len(mine)} networks chosen for {fastest.target} is that fast; the"
            f" fastest takes {fastest.latency_ms:.4g} ms: search with search.budgets=[{budget_ms:g}]"
        )
    return max(within, key=lambda entry: (entry.accuracy, -entry.latency_ms))
