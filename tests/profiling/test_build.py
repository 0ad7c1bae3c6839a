"""Tables are built, resumed, reused and validated on this machine, in each runtime."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwnas.devices.profile import DeviceProfile
from hwnas.devices.transport import Transport
from hwnas.errors import ConfigError, DeviceError, StorageError
from hwnas.latency.tables.lookup import TableEstimator
from hwnas.latency.tables.table import LatencyTable, read_table, table_path
from hwnas.profiling.build import build_table
from hwnas.profiling.config import ProfilingConfig
from hwnas.profiling.networks import reference_network
from hwnas.profiling.runtimes import model_writer, runtime_named
from hwnas.profiling.validate import measure_networks, validate_table
from hwnas.progress import no_progress
from hwnas.spaces import OfaMbv3Config, OfaMbv3Space, make_space, space_from_dict
from tests.narrow import present
from tests.running import held_by_another

Build = tuple[LatencyTable, Path]
"""A table and the folder of tables that it is in."""


@pytest.fixture(scope="module")
def built(
    space: OfaMbv3Space,
    device: DeviceProfile,
    transport: Transport,
    quick: ProfilingConfig,
    tmp_path_factory: pytest.TempPathFactory,
) -> Build:
    folder = tmp_path_factory.mktemp("tables")
    return build_table(space, device, transport, quick, folder, 0, no_progress), folder


class Unplugged(Transport):
    """A device that is not there."""

    def stage(self, files: Mapping[str, Path]) -> dict[str, str]:
        raise DeviceError(f"unplugged before {len(files)} files")

    def run(self, script: Path, job: Mapping[str, Any]) -> Generator[str, None, None]:
        raise DeviceError(f"unplugged before {script} ran {job}")

    def close(self) -> None:
        """Nothing to end."""


def test_a_table_has_every_operator_and_its_provenance(
    built: Build, space: OfaMbv3Space, quick: ProfilingConfig
) -> None:
    table, folder = built
    path = table_path(folder, "local", quick.setting)
    assert table.operators.operators == space.operators
    assert (table.operators.median_ms > 0).all()
    assert (table.operators.in_network_ms >= 0).all()
    assert len(table.networks.archs) == 10
    estimator = TableEstimator(table, space)
    assert estimator.missing == ()
    genotypes = np.stack([space.genotype(arch) for arch in table.networks.archs])
    # A few hasty rounds: it is about the size of the numbers, not about their precision.
    np.testing.assert_allclose(estimator.latency_ms(genotypes), table.networks.median_ms, rtol=0.5)
    provenance = read_table(path).provenance
    assert space_from_dict(provenance["spaces"][0]).operators == space.operators
    assert provenance["operators"] == len(space.operators)
    assert provenance["reference"]["arch"] == space.arch(reference_network(space)).to_dict()
    assert 0 <= provenance["noise"]["mape_test_retest_networks"] < 0.5
    assert 0 <= provenance["correction"]["mape_corrected"] < 0.5
    assert provenance["soc"]
    assert [entry.name for entry in path.parent.iterdir() if entry.name.endswith(".work")] == []


def test_a_finished_table_is_not_measured_again(
    built: Build, space: OfaMbv3Space, device: DeviceProfile, quick: ProfilingConfig
) -> None:
    table, folder = built
    again = build_table(space, device, Unplugged(), quick, folder, 0, no_progress)
    np.testing.assert_array_equal(again.operators.median_ms, table.operators.median_ms)
    with pytest.raises(DeviceError, match="unplugged"):
        build_table(space, device, Unplugged(), quick, folder, 1, no_progress)
    with pytest.raises(DeviceError, match="unplugged"):
        build_table(space, device, Unplugged(), replace(quick, rounds=3), folder, 0, no_progress)


def test_exported_files_are_measured_against_the_tables_reference(
    built: Build, space: OfaMbv3Space, transport: Transport, quick: ProfilingConfig, tmp_path: Path
) -> None:
    table, _ = built
    middle = space.operators_of(reference_network(space))
    path = tmp_path / "exports" / f"m{runtime_named(quick.runtime).suffix}"
    models = {"middle": model_writer(quick)(middle, path, 5)}
    found = measure_networks(
        models, table, space, transport, quick, tmp_path / "exports", 0, no_progress, {"middle": (1, 1, 16, 16)}
    )["middle"]
    # The file is the reference network but for its weights: its latency, drift divided out, is the reference's.
    assert found.latency_ms == pytest.approx(table.reference["latency_ms"], rel=0.3)
    assert found.p10_ms <= found.measured_ms <= found.p90_ms
    assert found.latency_ms * found.drift == pytest.approx(found.measured_ms)
    assert list((tmp_path / "exports").iterdir()) == [models["middle"]]


def test_a_file_that_the_runtime_rejects_is_named(
    built: Build, space: OfaMbv3Space, transport: Transport, quick: ProfilingConfig, tmp_path: Path
) -> None:
    suffix = runtime_named(quick.runtime).suffix
    broken = tmp_path / f"broken{suffix}"
    broken.write_bytes(b"no model")
    good = model_writer(quick)(space.operators_of(space.extreme(False)), tmp_path / f"good{suffix}", 0)
    other = replace(quick, threads=2)
    with pytest.raises(DeviceError, match=f"rejects .*{broken.name}"):
        measure_networks({"b": broken}, built[0], space, transport, quick, tmp_path / "v", 0, no_progress)
    with pytest.raises(DeviceError, match=f"rejects .*{broken.name}"):
        measure_networks(
            {"good": good, "b": broken}, built[0], space, transport, quick, tmp_path / "v", 0, no_progress,
            dict.fromkeys(("good", "b"), (1, 1, 16, 16)),
        )  # fmt: skip
    with pytest.raises(ConfigError, match="the table is of"):
        measure_networks({"b": broken}, built[0], space, transport, other, tmp_path / "v", 0, no_progress)


def test_validation_measures_networks_that_the_table_does_not_hold(
    built: Build, space: OfaMbv3Space, transport: Transport, quick: ProfilingConfig, tmp_path: Path
) -> None:
    table, _ = built
    found = validate_table(table, space, 12, transport, quick, tmp_path / "v", 1, no_progress)
    known = [str(arch) for arch in table.networks.archs]
    assert len(found.archs) == len({str(arch.to_dict()) for arch in found.archs} - set(known)) == 12
    assert 0 < found.mape < 0.5
    assert present(found.spearman) > 0.5
    assert 0 <= found.mape_test_retest < 0.5
    assert 0 <= found.within_10_percent <= 1


def test_without_networks_costs_alone_stand(
    space: OfaMbv3Space, device: DeviceProfile, transport: Transport, quick: ProfilingConfig, tmp_path: Path
) -> None:
    table = build_table(space, device, transport, replace(quick, networks=0), tmp_path, 0, no_progress)
    np.testing.assert_array_equal(table.operators.in_network_ms, table.operators.median_ms)
    assert table.provenance["correction"] is None
    assert TableEstimator(table, space).estimate(space.extreme(True)[None]).std_ms is None


def test_two_at_once_are_refused(
    space: OfaMbv3Space, device: DeviceProfile, transport: Transport, quick: ProfilingConfig, tmp_path: Path
) -> None:
    path = table_path(tmp_path, "local", quick.setting)
    lock = path.with_name(f".{path.stem}.lock")
    with held_by_another(lock), pytest.raises(StorageError, match="another hwnas process"):
        build_table(space, device, transport, quick, tmp_path, 0, no_progress)


BUILD = """
import sys
from pathlib import Path
from hwnas.devices.config import DeviceConfig
from hwnas.devices.connect import connect
from hwnas.devices.profile import load_profile
from hwnas.profiling.build import build_table
from hwnas.profiling.config import ProfilingConfig
from hwnas.spaces import space_from_dict
space, config, folder = space_from_dict({space!r}), ProfilingConfig(**{config!r}), Path({folder!r})
device = load_profile("local")
with connect(device, DeviceConfig()) as transport:
    build_table(space, device, transport, config, folder, 0, lambda share, status: None)
"""


# What is kept in a journal does not depend on the runtime.
@pytest.mark.parametrize(
    "quick",
    ["onnxruntime", *(pytest.param(name, marks=pytest.mark.slow) for name in ("litert", "tvm", "executorch"))],
    indirect=True,
)
def test_a_killed_build_goes_on_where_it_was(
    space: OfaMbv3Space, device: DeviceProfile, transport: Transport, quick: ProfilingConfig, tmp_path: Path
) -> None:
    config = replace(quick, rounds=12, slice_ms=3.0)
    text = BUILD.format(space=space.config(), config=asdict(config), folder=str(tmp_path))
    journal = tmp_path / "local" / f".{config.setting}.work" / "journal.jsonl"
    process = subprocess.Popen([sys.executable, "-c", text])
    deadline = time.monotonic() + 300  # compilers write the models
    while not (journal.exists() and journal.read_text().count('"sample"') > 60):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(0.2)  # the agent notices with its next line that nobody reads
    before = [line for line in journal.read_text().splitlines(keepends=True) if line.endswith("\n")]
    kept: list[str] = []

    def watch(share: float, status: str) -> None:
        if status == "measuring" and not kept:
            kept.extend(journal.read_text().splitlines(keepends=True)[: len(before)])

    table = build_table(space, device, transport, config, tmp_path, 0, watch)
    assert kept == before
    assert {int(n) >= 12 * config.min_repeats for n in table.operators.samples} == {True}


@pytest.mark.parametrize("networks", [1, 2])
def test_a_space_of_few_networks_gets_a_table_of_all_of_them(
    device: DeviceProfile, transport: Transport, tmp_path: Path, networks: int
) -> None:
    space = make_space(
        OfaMbv3Config(
            name="few", resolution=(16, 24)[:networks], widths=(8, 8, 16, 24, 32, 32), strides=(1, 2, 2),
            in_channels=1, classes=10, activations=("relu", "relu", "h_swish"), se=(False, False, True),
            kernel_sizes=(3,), depths=(1,), expand_ratios=(3,),
        )
    )  # fmt: skip
    config = ProfilingConfig(networks=30, rounds=4, max_rounds=4, slice_ms=0.5)
    table = build_table(space, device, transport, config, tmp_path, 0, no_progress)
    measured, every = table.networks.median_ms, space.every(10)
    assert every is not None
    assert len(measured) == networks
    correction = table.provenance["correction"]
    assert correction["mape_corrected"] is correction["spearman_corrected"] is None
    # What was measured of the whole network is the estimate, not the sum of what its operators take alone.
    again = TableEstimator(read_table(table_path(tmp_path, "local", config.setting)), space)
    known = [space.genotype(arch) for arch in table.networks.archs]
    assert again.latency_ms(np.array(known)) == pytest.approx(measured, rel=0.05)
    assert again.estimate(every).std_ms is not None
