"""A small space, quick settings, and this machine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hwnas.devices.config import DeviceConfig
from hwnas.devices.connect import connect
from hwnas.devices.profile import DeviceProfile, load_profile
from hwnas.devices.transport import Transport
from hwnas.profiling.config import ProfilingConfig
from hwnas.spaces import OfaMbv3Config, OfaMbv3Space, make_space


@pytest.fixture(scope="module")
def space() -> OfaMbv3Space:
    return make_space(
        OfaMbv3Config(
            name="tiny", resolution=(16,), widths=(8, 8, 16, 24, 32, 32), strides=(1, 2, 2), in_channels=1, classes=10,
            activations=("relu", "relu", "h_swish"), se=(False, False, True), kernel_sizes=(3, 5), depths=(1, 2),
            expand_ratios=(3, 6),
        )
    )  # fmt: skip


@pytest.fixture(scope="module")
def device() -> DeviceProfile:
    return load_profile("local")


@pytest.fixture(scope="module")
def transport(device: DeviceProfile) -> Iterator[Transport]:
    with connect(device, DeviceConfig(silence_s=60)) as connected:
        yield connected


@pytest.fixture(
    scope="module",
    params=["onnxruntime", "litert", *(pytest.param(name, marks=pytest.mark.slow) for name in ("tvm", "executorch"))],
)
def quick(request: pytest.FixtureRequest) -> ProfilingConfig:
    return ProfilingConfig(
        runtime=request.param, networks=10, rounds=2, max_rounds=2, slice_ms=0.3, warm_up_ms=1.0, folds=2
    )
