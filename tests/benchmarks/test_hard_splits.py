"""The rule for splits where what teaches misleads gives what it says, from the published measurements."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hard_splits import HardSplit, hard_splits
from scipy.stats import spearmanr

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def splits(reference_data: Path) -> list[HardSplit]:
    return hard_splits(reference_data, ROOT / "latency_tables")


def test_sources_agree_with_each_other_and_not_with_the_target(splits: list[HardSplit]) -> None:
    for split in splits:
        if not split.name.startswith("cells"):
            continue  # the others are correlated by latency per multiplication
        pool = split.data.measured[: split.data.pool]
        columns = pool[:, [split.data.devices.index(name) for name in split.data.train_devices]]
        target = pool[:, split.data.devices.index(split.data.test_devices[0])]
        known = ~np.isnan(target)
        assert max(spearmanr(column[known], target[known]).statistic for column in columns.T) <= 0.7 + 0.01, split.name
        among = np.atleast_2d(spearmanr(columns).statistic)
        assert among.min() >= 0.9 - 0.01, split.name
        assert not any("energy" in name for name in split.data.train_devices)


def test_halves_share_no_target(splits: list[HardSplit]) -> None:
    assert len(splits) >= 8
    by_half = {half: {split.family for split in splits if split.half == half} for half in ("choosing", "held")}
    assert not by_half["choosing"] & by_half["held"]
    counts = [sum(split.half == half for split in splits) for half in by_half]
    assert abs(counts[0] - counts[1]) <= 3
    assert {"edgegpu_latency", "edgegpu_energy", "edgetpu_latency", "eyeriss_energy"} <= {
        device for split in splits for device in split.data.test_devices
    }
    for split in splits:
        assert np.isfinite(split.data.column(split.data.test_devices[0])).all()
