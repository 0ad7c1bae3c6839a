"""The search of every device: one after the other in this process, or handed to an executor's workers.

A device's targets are its settings. A later one starts from what the earlier ones of that device found; devices know
nothing of each other, so that each has the networks that a search of it alone finds, whoever searches it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from hwnas.errors import CoverageError
from hwnas.executors.choose import open_executor
from hwnas.pipeline.search.entries import Measured, entries_of
from hwnas.pipeline.search.quantities import Quantities
from hwnas.pipeline.search.result import SearchEntry
from hwnas.pipeline.search.sources import Predictor, Setting, Targets, accuracy_file, latency_targets, load_predictor
from hwnas.pipeline.search.supernets import Supernet
from hwnas.pipeline.search.target import Found, Rivals, kept, search_target
from hwnas.progress import Progress, no_progress, part

__all__ = ["DeviceSearch", "Means", "SearchedTarget", "search_devices"]

STATE = "state"
_DEVICES_PER_WORKER = 8  # a worker takes as long to start as it does to search for so many

SearchedTarget = tuple[Found, list[SearchEntry]]


@dataclass(frozen=True)
class Means:
    """What a search of one supernet is made with."""

    predictor: Predictor
    targets: Targets

    @classmethod
    def opened(cls, supernet: Supernet, settings: Sequence[Setting] | None = None) -> Means:
        """From their files; `settings` of the targets, where they are known."""
        config, beside, space = supernet.config, supernet.beside, supernet.space
        predictor = load_predictor(config, accuracy_file(config, beside), space)
        try:
            return cls(predictor, Targets(latency_targets(config, beside, space), settings))
        except CoverageError as error:
            if supernet.origin is None:
                raise
            raise CoverageError(f"{supernet.origin.run}: {error}") from error


class DeviceSearch:
    """Searches devices in the process that calls it; a copy in another process opens its files itself.

    `measured`: see `entries_of`; None where that is not known yet, and no entries are made. `rivals`: see
    `search_target`.
    """

    def __init__(self, supernet: Supernet, means: Means, measured: Measured | None, rivals: Rivals | None) -> None:
        self._supernet, self._measured, self._rivals = supernet, measured, rivals
        self._settings = means.targets.settings
        self._means: Means | None = means

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_means": None}

    def __call__(self, numbers: Sequence[int], progress: Progress = no_progress) -> list[SearchedTarget]:
        """Of the targets `numbers`, all of one device. What an interrupted run found is read."""
        if self._means is None:
            self._means = Means.opened(self._supernet, self._settings)
        with threadpool_limits(1):  # the same sums on any number of cores; the matrices are small
            return self._search(self._means, numbers, progress)

    def _search(self, means: Means, numbers: Sequence[int], progress: Progress) -> list[SearchedTarget]:
        config, space = self._supernet.config, self._supernet.space
        found: list[SearchedTarget] = []
        for place, number in enumerate(numbers):
            quantities = Quantities(space, means.predictor, means.targets.open(number), means.targets, config.search)
            pareto = [row for one, _ in found for row in one.pareto]
            known = space.unique(np.array(pareto, dtype=np.int64)) if pareto else None
            rng = np.random.default_rng([config.seed, place])
            bar = part(progress, place, len(numbers))
            one = kept(
                self._supernet.work / STATE / f"{place}-{self._settings[number].name}.json",
                lambda quantities=quantities, rng=rng, bar=bar, known=known: (  # type: ignore[misc]
                    search_target(quantities, rng, bar, known, self._rivals)
                ),
            )
            entries: list[SearchEntry] = []
            if self._measured is not None:
                entries = entries_of(one, quantities, self._measured, np.random.default_rng([config.seed, place, 1]))
            found.append((one, entries))
        return found


def search_devices(
    supernet: Supernet, means: Means, measured: Measured | None, rivals: Rivals | None, progress: Progress
) -> list[SearchedTarget]:
    """What was found of each target, in their order, and its entries where `measured` is known.

    Raises what a search raises, and ExecutorError where a worker died; what was found before is kept.
    """
    devices = means.targets.by_device()
    work, config = DeviceSearch(supernet, means, measured, rivals), supernet.config
    found: dict[int, SearchedTarget] = {}
    executor = config.executor.limited(
        max(1, len(devices) if config.executor.is_asked else len(devices) // _DEVICES_PER_WORKER)
    )
    if len(devices) == 1 or executor.is_this_process:
        for place, numbers in enumerate(devices):
            found |= zip(numbers, work(numbers, part(progress, place, len(devices))), strict=True)
    else:
        with open_executor(executor) as workers:
            for done, (place, one) in enumerate(workers.each("search", work, devices), 1):
                found |= zip(devices[place], one, strict=True)
                progress(done / len(devices), f"{done} of {len(devices)} devices")
    return [found[number] for number in range(len(found))]
