"""What was found in several supernets for the same budgets, and which of them has the best network of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from hwnas.errors import InfeasibleBudgetError, StorageError, listed
from hwnas.pipeline.search.devices import SearchedTarget
from hwnas.pipeline.search.result import ComparedFamilies, FamilyBest, SearchedSupernet, SearchEntry
from hwnas.pipeline.search.sources import Setting
from hwnas.pipeline.search.supernets import Supernet
from hwnas.search.budgets import Budget
from hwnas.search.quantities import parse_quantity

__all__ = ["Family", "budgets_of", "check_same_settings", "check_within_reach", "compared", "labelled"]

_SHOWN = 3


@dataclass(frozen=True)
class Family:
    """What was found in one supernet, of each of its targets."""

    supernet: Supernet
    settings: tuple[Setting, ...]
    searched: list[SearchedTarget]

    @property
    def name(self) -> str:
        """That of its space."""
        return self.supernet.space.name

    def of(self, setting: Setting) -> SearchedTarget:
        """What was found for the setting."""
        return self.searched[self._places[setting.name]]

    @cached_property
    def _places(self) -> dict[str, int]:
        return {setting.name: place for place, setting in enumerate(self.settings)}


def check_same_settings(supernets: Sequence[Supernet], settings: Sequence[Sequence[Setting]]) -> None:
    """Raise StorageError where a supernet has tables of other settings than the first."""
    known = [{setting.name: setting for setting in own} for own in settings]
    for supernet, own in zip(supernets[1:], known[1:], strict=True):
        for missing, found, there, lacks in (
            (set(known[0]) - set(own), known[0], supernets[0], supernet),
            (set(own) - set(known[0]), own, supernet, supernets[0]),
        ):
            if missing:
                names = [name for name in found if name in missing]
                raise StorageError(
                    f"runs: {_run(lacks)} has no latencies of {listed(names, _SHOWN)}, and {_run(there)} has: profile"
                    " both on the same devices, or give device=… and runtime=… that both have"
                )


def check_within_reach(families: Sequence[Family]) -> None:
    """Raise InfeasibleBudgetError for a budget that no family has a network for."""
    for setting in families[0].settings:
        lacking = [{one["name"]: str(one["reason"]) for one in family.of(setting)[0].lacking} for family in families]
        for name in lacking[0]:
            if all(name in own for own in lacking):
                raise InfeasibleBudgetError("; ".join(own[name] for own in lacking))


def budgets_of(family: Family) -> dict[str, list[Budget]]:
    """The budgets of each target, by its name."""
    return {setting.name: family.of(setting)[0].asked for setting in family.settings}


def labelled(family: Family, found: Mapping[str, Any]) -> dict[str, Any]:
    """An entry of `front` or `history`, with the space that it is of where there are several."""
    return dict(found) if family.supernet.origin is None else {**found, "space": family.name}


def compared(families: Sequence[Family], objective: str) -> tuple[list[SearchEntry], list[ComparedFamilies]]:
    """The best network of any family for each target and budget, and how the families compare there.

    Budgets are the first family's.
    """
    chosen, contests = [], []
    for setting in families[0].settings:
        for budget in families[0].of(setting)[0].asked:
            found = {family.name: _found(family, setting, budget) for family in families}
            entries = {name: one for name, one in found.items() if isinstance(one, SearchEntry)}
            lacking = {name: one for name, one in found.items() if isinstance(one, str)}
            ranked = sorted(entries, key=lambda name: _rank(entries[name], objective), reverse=True)
            best = entries[ranked[0]]
            chosen.append(best)
            contests.append(
                ComparedFamilies(
                    id=best.id,
                    device=best.device,
                    runtime=best.runtime,
                    precision=best.precision,
                    threads=best.threads,
                    budget=best.budget,
                    budget_ms=best.budget_ms,
                    winner=ranked[0],
                    compared_by=_value(best, objective)[0],
                    best=tuple(_best(name, entries[name], objective) for name in ranked),
                    lacking=lacking,
                )
            )
    return chosen, contests


def _found(family: Family, setting: Setting, budget: Budget) -> SearchEntry | str:
    """The family's network for the budget, or why it has none."""
    found, entries = family.of(setting)
    for entry in entries:
        if entry.budget == budget.name:
            return replace(entry, supernet=family.supernet.origin)
    return next(str(one["reason"]) for one in found.lacking if one["name"] == budget.name)


def _value(entry: SearchEntry, objective: str) -> tuple[str, float]:
    """What the entry was chosen by within its own supernet, and its value."""
    if entry.accuracy_measured is not None:
        return "accuracy_measured", entry.accuracy_measured
    if objective == "accuracy":
        return "accuracy_predicted", entry.accuracy_predicted
    if objective == "latency_ms":
        return objective, entry.latency_ms
    return objective, (entry.quantities or {})[objective]


def _rank(entry: SearchEntry, objective: str) -> tuple[float, float]:
    """More is better; of equals the faster."""
    by, value = _value(entry, objective)
    less_is_better = by == objective and not parse_quantity("search.objectives", objective)[0].more_is_better
    return -value if less_is_better else value, -entry.latency_ms


def _best(name: str, entry: SearchEntry, objective: str) -> FamilyBest:
    _, value = _value(entry, objective)
    return FamilyBest(space=name, arch=entry.arch, value=value, accuracy=entry.accuracy, latency_ms=entry.latency_ms)


def _run(supernet: Supernet) -> str:
    origin: SearchedSupernet | None = supernet.origin
    return supernet.space.name if origin is None else origin.run
