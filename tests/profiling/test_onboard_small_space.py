"""Onboarding on this machine, of spaces that have fewer networks than it asks for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hwnas.devices.profile import DeviceProfile
from hwnas.devices.transport import Transport
from hwnas.errors import ConfigError
from hwnas.latency.config import OnboardConfig
from hwnas.profiling.config import ProfilingConfig
from hwnas.profiling.onboard import Onboarded, onboard
from hwnas.progress import no_progress
from hwnas.spaces import OfaMbv3Space, make_space

QUICK = ProfilingConfig(rounds=2, max_rounds=2, slice_ms=0.3, warm_up_ms=1.0)
NETWORKS = 6


@pytest.fixture
def few(space: OfaMbv3Space) -> OfaMbv3Space:
    """A space of six networks: as many resolutions."""
    settings = replace(space.settings, kernel_sizes=(3,), expand_ratios=(3,), depths=(1,))
    return make_space(replace(settings, resolution=tuple(range(16, 16 + 8 * NETWORKS, 8))))


def onboarded(
    few: OfaMbv3Space, device: DeviceProfile, transport: Transport, folder: Path, measurements: int, checks: int
) -> Onboarded:
    config = OnboardConfig(check_networks=checks)
    return onboard(
        few, device, transport, QUICK, config, measurements, folder, 0, no_progress, lambda _: None
    )  # fmt: skip


@pytest.mark.parametrize("measurements", [4, NETWORKS])
def test_all_networks_of_a_small_space_are_candidates(
    few: OfaMbv3Space, device: DeviceProfile, transport: Transport, tmp_path: Path, measurements: int
) -> None:
    pytest.importorskip("onnxruntime")
    found = onboarded(few, device, transport, tmp_path, measurements, checks=10)
    assert len(found.latency_ms) == measurements
    assert len(found.check_ms) == NETWORKS - measurements
    every = np.concatenate([found.genotypes, found.check_genotypes])
    assert len(few.unique(every)) == NETWORKS
    assert (found.session.predictor().latency_ms(every) > 0).all()


def test_more_measurements_than_networks_are_refused_before_any_is_made(
    few: OfaMbv3Space, space: OfaMbv3Space, device: DeviceProfile, transport: Transport, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=f"at most the {NETWORKS} networks to choose from, got 7: space .* no more"):
        onboarded(few, device, transport, tmp_path, NETWORKS + 1, checks=0)
    with pytest.raises(ConfigError, match=r"at most the 20 networks .* got 21: raise onboard\.candidates"):
        onboard(
            space, device, transport, QUICK, OnboardConfig(candidates=20), 21, tmp_path, 0, no_progress, lambda _: None
        )  # fmt: skip
    assert not list(tmp_path.iterdir())
