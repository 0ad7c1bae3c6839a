"""Measuring on a made-up device whose latencies are known: what comes out is what went in, drift divided out."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from dataclasses import FrozenInstanceError, fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hwnas.devices.profile import load_profile
from hwnas.errors import ConfigError, DeviceError
from hwnas.latency.config import OnboardConfig
from hwnas.latency.tables.table import read_table, table_path
from hwnas.operators import Conv
from hwnas.profiling.agent import REFERENCE
from hwnas.profiling.build import build_table
from hwnas.profiling.config import ProfilingConfig
from hwnas.profiling.drivers import parse_benchmark
from hwnas.profiling.files import _REFERENCE_SPACE, FileLatencies, FileLatency, measure_files
from hwnas.profiling.journal import Journal
from hwnas.profiling.measure import measure_models, probe
from hwnas.profiling.networks import input_shape, networks_at_most, reference_network, spread_networks
from hwnas.profiling.onboard import known_devices, learnt, onboard
from hwnas.profiling.runtimes import RUNTIMES, model_writer, runtime_named
from hwnas.profiling.samples import Measurements, evaluate_samples, percentage_errors, rank_correlation
from hwnas.profiling.validate import measure_networks, validate_table
from hwnas.progress import Progress, no_progress
from hwnas.spaces import OfaMbv3Space, make_space
from tests.profiling.board import Board

CONFIG = ProfilingConfig(networks=10, rounds=4, max_rounds=4, folds=2)


def files(folder: Path, **sizes: int) -> dict[str, Path]:
    found = {}
    for name, size in sizes.items():
        found[name] = folder / f"{name}.onnx"
        found[name].write_bytes(b"x" * size)
    return found


def measured(
    board: Board, models: dict[str, Path], folder: Path, config: ProfilingConfig = CONFIG,
    progress: Progress = no_progress, **more: Any,
) -> Measurements:  # fmt: skip
    [reference] = files(folder, reference=1000).values()
    journal = Journal(folder / "journal.jsonl", {"of": "a test"})
    try:
        return measure_models(board, models, reference, config, seed=3, journal=journal, progress=progress, **more)
    finally:
        journal.close()


def test_a_slowing_device_is_measured_as_if_it_were_not(tmp_path: Path) -> None:
    board = Board(drift=0.01)
    found = measured(board, files(tmp_path, a=2000, b=5000), tmp_path, reference_ms=1.0)
    # Each copy of the reference counts by its own median, which is of another moment of the round than its fellows'.
    assert found.latencies["a"].median_ms == pytest.approx(2.0, rel=0.01)
    assert found.latencies["b"].median_ms == pytest.approx(5.0, rel=0.01)
    assert found.latencies["b"].p10_ms / found.latencies["b"].median_ms == pytest.approx(0.9, rel=0.02)
    assert found.latencies["b"].p90_ms / found.latencies["b"].median_ms == pytest.approx(1.3, rel=0.02)
    assert found.latencies["a"].raw_ms > 2.05
    assert (found.latencies["a"].samples, found.latencies["a"].rounds) == (28, 4)
    assert found.facts == {"runtime": "onnxruntime", "soc": "board", "runtime_version": "9",
                           "at_end": {"elapsed_s": 1.0, "temperature_c": 50}}  # fmt: skip
    assert found.reference_ms == 1.0
    assert found.reference_now_ms > 1.05
    assert found.disturbed_share == pytest.approx(0.25)
    [job] = board.jobs
    keys = ("runtime", "threads", "pin", "seed", "slice_ms", "min_repeats", "max_retries")
    assert {key: job[key] for key in keys} == {
        "runtime": "onnxruntime", "threads": 1, "pin": True, "seed": 3, "slice_ms": 3.0, "min_repeats": 5,
        "max_retries": 2,
    }  # fmt: skip
    assert (job["reference_every"], job["reference_copies"], job["warm_up_ms"]) == (2, 4, 20.0)
    assert job["models"][0] == {"id": "a", "file": str(tmp_path / "a.onnx"), "shape": None, "rounds": [0, 1, 2, 3]}


def test_what_is_not_sure_is_measured_in_five_rounds_more(tmp_path: Path) -> None:
    unsteady = [0.8, 1.2, 0.9, 1.1, 1.0]
    board = Board(noise={"b": unsteady})
    config = replace(CONFIG, rounds=4, max_rounds=16, interval=0.02)
    found = measured(board, files(tmp_path, a=2000, b=3000), tmp_path, config)
    assert [[(model["id"], model["rounds"]) for model in job["models"]] for job in board.jobs] == [
        [("a", [0, 1, 2, 3]), ("b", [0, 1, 2, 3])],
        [("b", [4, 5, 6, 7, 8])],
        [("b", [9, 10, 11, 12, 13])],
    ]
    assert (found.latencies["a"].rounds, found.latencies["b"].rounds) == (4, 14)
    assert found.sure_share(0.02) == 0.5
    # Of 14 rounds: the median is 1, the median deviation 0.1.
    expected = 1.96 * 1.2533 * 1.4826 * 0.1 / np.sqrt(14)
    assert found.latencies["b"].interval == pytest.approx(expected, rel=0.01)
    assert found.latencies["a"].interval == pytest.approx(0, abs=1e-9)


def test_models_go_in_groups_of_so_many_and_so_much(tmp_path: Path) -> None:
    board = Board()
    models = files(tmp_path, a=2000, b=2000, c=2000, d=2000, e=2000)
    measured(board, models, tmp_path, replace(CONFIG, chunk_models=2))
    assert [[model["id"] for model in job["models"]] for job in board.jobs] == [["a", "b"], ["c", "d"], ["e"]]
    board = Board()
    folder = tmp_path / "by_size"
    folder.mkdir()
    measured(board, files(folder, a=2000, b=2000, c=4000, d=1000), folder, replace(CONFIG, chunk_mib=4000 / 2**20))
    assert [[model["id"] for model in job["models"]] for job in board.jobs] == [["a", "b"], ["c"], ["d"]]


def test_shapes_go_to_the_device(tmp_path: Path) -> None:
    board = Board()
    measured(board, files(tmp_path, a=2000), tmp_path, shapes={"a": (1, 3, 8, 8), REFERENCE: (1, 3, 4, 4)})
    assert board.jobs[0]["models"][0]["shape"] == [1, 3, 8, 8]
    assert board.jobs[0]["reference_shape"] == [1, 3, 4, 4]


def test_progress_is_of_all_that_is_to_be_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hwnas.profiling.measure.time.monotonic", iter(np.arange(2.0, 9999, 2)).__next__)
    told: list[tuple[float, str]] = []
    models = files(tmp_path, a=2000, b=2000)
    measured(
        Board(), models, tmp_path, replace(CONFIG, chunk_models=1), lambda share, status: told.append((share, status))
    )
    shares = [share for share, _ in told]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    assert (0.0, "loading 1/2") in told
    assert (0.125, "measuring") in told


def test_a_model_that_ends_the_device_is_rejected_and_the_rest_measured(tmp_path: Path) -> None:
    board = Board(dies_on="b")
    found = measured(board, files(tmp_path, a=2000, b=3000, c=4000), tmp_path)
    assert set(found.latencies) == {"a", "c"}
    assert found.rejected == {"b": "crashed the runtime: died"}
    assert len(board.jobs) == 2
    with pytest.raises(ValueError, match="no model may be named 'reference'"):
        measured(board, files(tmp_path, reference=9), tmp_path)
    assert probe(Board(), CONFIG)["soc"] == "board"


def test_other_protocols_are_refused(tmp_path: Path) -> None:
    class Old(Board):
        def run(self, script: Path, job: Mapping[str, Any]) -> Generator[str, None, None]:  # noqa: ARG002
            yield json.dumps({"event": "facts", "protocol": 1})

    with pytest.raises(DeviceError, match="speaks protocol 1, expected 2"):
        measured(Old(), files(tmp_path, a=2000), tmp_path)

    class Mute(Board):
        def run(self, script: Path, job: Mapping[str, Any]) -> Generator[str, None, None]:  # noqa: ARG002
            yield "nothing"

    with pytest.raises(DeviceError, match="ended without a word about onnxruntime"):
        probe(Mute(), CONFIG)


def test_a_table_is_what_the_device_takes(space: OfaMbv3Space, tmp_path: Path) -> None:
    board, told = Board(drift=0.0005), list[tuple[float, str]]()
    device = load_profile("local")
    table = build_table(space, device, board, CONFIG, tmp_path, 4, lambda share, status: told.append((share, status)))
    write = model_writer(CONFIG)
    for place in (0, 7, len(space.operators) - 1):
        size = write([space.operators[place]], tmp_path / "one.onnx", 4).stat().st_size
        nominal = table.operators.median_ms[place] / (1e-3 * size)
        middle = space.operators_of(reference_network(space))
        of_reference = write(middle, tmp_path / "middle.onnx", 4).stat().st_size * 1e-3
        assert nominal == pytest.approx(table.reference["latency_ms"] / of_reference, rel=1e-3)
    assert table.operators.samples.tolist() == [28] * len(space.operators)
    genotypes = np.stack([space.genotype(arch) for arch in table.networks.archs])
    sums = space.sum_over_operators(genotypes, table.operators.median_ms)
    np.testing.assert_allclose(table.networks.isolated_sum_ms, sums)
    facts = table.provenance
    errors = percentage_errors(sums, table.networks.median_ms)
    assert facts["correction"]["mape_raw"] == pytest.approx(errors.mean())
    assert facts["correction"]["spearman_raw"] == rank_correlation(sums, table.networks.median_ms)
    held_out = percentage_errors(table.networks.held_out_ms, table.networks.median_ms)
    assert facts["correction"]["mape_corrected"] == pytest.approx(held_out.mean())
    assert facts["correction"]["within_10_percent"] == pytest.approx((held_out <= 0.1).mean())
    relative = table.networks.held_out_ms / table.networks.median_ms - 1
    assert facts["correction"]["held_out_std"] == pytest.approx(np.sqrt((relative**2).mean()))
    assert facts["correction"]["folds"] == 2
    assert (facts["operators"], facts["networks"], facts["rejected_operators"]) == (len(space.operators), 10, 0)
    assert facts["noise"]["mape_test_retest_networks"] == pytest.approx(0, abs=1e-3)
    assert facts["noise"]["disturbed_share"] == pytest.approx(0.25)
    assert facts["noise"]["sure_share"] == 1.0
    assert (facts["soc"], facts["runtime_version"], facts["tvm_target"], facts["batch"]) == ("board", "9", None, 1)
    assert facts["reference"]["seed"] == 4
    shares = [share for share, _ in told]
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    assert max(share for share, status in told if status.startswith("writing")) <= 0.1
    assert min(share for share, status in told if "ing" in status and not status.startswith("writing")) >= 0.1
    again = read_table(table_path(tmp_path, "local", "onnxruntime-fp32-1t"))
    np.testing.assert_array_equal(again.operators.median_ms, table.operators.median_ms)


def test_an_operator_that_is_rejected_is_named_and_networks_of_it_are_left_out(
    space: OfaMbv3Space, tmp_path: Path
) -> None:
    table = build_table(space, load_profile("local"), Board(dies_on="o3"), CONFIG, tmp_path, 0, no_progress)
    assert table.provenance["rejected_operators"] == 1
    assert table.operators.errors[3].startswith("crashed the runtime: died")
    assert [place for place, text in enumerate(table.operators.errors) if text] == [3]
    assert np.isnan(table.operators.median_ms[3])
    assert np.isnan(table.operators.in_network_ms[3])
    assert table.operators.samples[3] == 0
    lost = space.operators[3]
    assert all(lost not in space.operators_of(space.genotype(arch)) for arch in table.networks.archs)
    assert len(table.networks.archs) < 10


def test_validation_compares_in_the_tables_clock(space: OfaMbv3Space, tmp_path: Path) -> None:
    """The device is half as fast as it was for the table: its latencies are doubled, the comparison is not."""
    table = build_table(space, load_profile("local"), Board(), CONFIG, tmp_path, 0, no_progress)
    slow = Board()
    slow.slowness = lambda: 2.0  # type: ignore[method-assign]
    slow.sample_at = 0  # type: ignore[attr-defined]
    ticking = slow.sample

    def sample(name: str, number: int, copy: int | None = None) -> str:
        slow.at += 1
        return ticking(name, number, copy)

    slow.sample = sample  # type: ignore[method-assign]
    found = validate_table(table, space, 3, slow, CONFIG, tmp_path / "v", 5, no_progress)
    assert found.drift == pytest.approx((2.0,) * 3)
    actual = np.array(found.measured_ms) / 2
    errors = np.abs(np.array(found.predicted_ms) - actual) / actual
    assert found.mape == pytest.approx(errors.mean())
    assert found.within_10_percent == pytest.approx((errors <= 0.1).mean())
    assert found.spearman == rank_correlation(np.array(found.predicted_ms), actual)
    assert found.mape_test_retest == pytest.approx(0, abs=1e-9)
    # Three files: four copies of each, in fifty rounds, 600 samples in all.
    [job] = slow.jobs
    assert len(job["models"]) == 12
    assert all(len(model["rounds"]) == 50 for model in job["models"])
    model = {"net": tmp_path / "net.onnx"}
    model_writer(CONFIG)(space.operators_of(space.extreme(True)), model["net"], 0)
    slow.jobs.clear()
    own = measure_networks(model, table, space, slow, CONFIG, tmp_path / "w", 0, no_progress)["net"]
    ms = 1e-3 * model["net"].stat().st_size
    assert [own.measured_ms, own.drift, own.latency_ms] == pytest.approx([2 * ms, 2, ms])
    assert [own.p10_ms, own.p90_ms] == pytest.approx([1.8 * ms, 2.6 * ms])
    assert own.samples == 4 * 60 * 7
    assert [len(one["rounds"]) for one in slow.jobs[0]["models"]] == [60] * 4
    with pytest.raises(ConfigError, match="the table is of"):
        measure_networks(model, table, space, slow, replace(CONFIG, batch=2), tmp_path / "w", 0, no_progress)


def test_files_are_measured_as_they_are(tmp_path: Path) -> None:
    board = Board(drift=0.01)
    models = files(tmp_path, a=20_000, b=50_000)
    shapes = {"a": (1, 3, 8, 8), "b": (1, 3, 8, 8)}
    config = replace(CONFIG, precision="int8", batch=4)
    found = measure_files(models, shapes, board, config, tmp_path / "work", 0, no_progress)
    assert found.latencies["b"].median_ms / found.latencies["a"].median_ms == pytest.approx(2.5, rel=0.02)
    assert found.latencies["a"].median_ms > 20.5
    assert found.latencies["a"].p90_ms / found.latencies["a"].median_ms == pytest.approx(1.3, rel=0.02)
    assert found.latencies["a"].p10_ms / found.latencies["a"].median_ms == pytest.approx(0.9, rel=0.02)
    assert found.latencies["a"].samples == 28
    assert board.jobs[0]["reference_shape"] == [1, 3, 32, 32]
    assert not (tmp_path / "work").exists()


def test_onboarding_measures_what_it_chose_and_checks_on_others(space: OfaMbv3Space, tmp_path: Path) -> None:
    said, told = list[str](), list[float]()
    board = Board(drift=1e-4)
    found = onboard(
        space, load_profile("local"), board, CONFIG, OnboardConfig(candidates=40, check_networks=6), 5, tmp_path, 0,
        lambda share, _: told.append(share), said.append,
    )  # fmt: skip
    assert len(found.latency_ms) == len(found.genotypes) == found.session.measured == 5
    assert len(found.check_ms) == len(found.check_genotypes) == 6
    together = np.concatenate([found.genotypes, found.check_genotypes])
    assert len(space.unique(together)) == 11
    assert told == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])
    assert not found.stopped_early
    assert found.facts["taught_by"] == []
    assert said[0].startswith("prior knowledge: no latency tables")
    sizes = [
        model_writer(CONFIG)(space.operators_of(row), tmp_path / "m.onnx", 0).stat().st_size for row in found.genotypes
    ]
    # In one clock: that of the first measurement, whatever the device does later.
    assert found.latency_ms / np.array(sizes) == pytest.approx(found.latency_ms[0] / sizes[0], rel=2e-3)
    early = onboard(
        space, load_profile("local"), Board(), CONFIG, OnboardConfig(candidates=40, target_mape=0.99), 9,
        tmp_path / "early", 0, no_progress, said.append,
    )  # fmt: skip
    assert early.stopped_early
    assert early.session.measured == 3
    assert len(early.check_ms) == 0


def test_tables_teach_with_the_networks_that_a_space_has(space: OfaMbv3Space, tmp_path: Path) -> None:
    config = replace(CONFIG, networks=30, rounds=2, max_rounds=2)
    table = build_table(space, load_profile("local"), Board(), config, tmp_path, 0, no_progress)
    names, genotypes, latency = known_devices(tmp_path, space)
    assert names == ["local/onnxruntime-fp32-1t"]
    assert len(genotypes) == 30
    assert latency.shape == (30, 1)
    np.testing.assert_allclose(latency[:, 0], table.networks.median_ms)
    assert [space.arch(row).to_dict() for row in genotypes] == list(table.networks.archs)
    few = tmp_path / "few"
    build_table(space, load_profile("local"), Board(), replace(config, networks=29), few, 0, no_progress)
    assert known_devices(few, space)[0] == []


def event(name: str, at: float, ms: float, number: int = 0, **more: Any) -> dict[str, Any]:
    return {"event": "sample", "id": name, "round": number, "at": at, "ms": ms, "p10": ms, "p90": ms, "repeats": 1,
            "disturbed": False, **more}  # fmt: skip


def test_drift_is_read_between_references_copy_by_copy() -> None:
    """Copies of 1 and 3 ms; the second is half slower at its second sample. In between drift rises by the clock."""
    samples = [
        event(REFERENCE, 0, 1.0, copy=0), event(REFERENCE, 10, 3.0, copy=1), event("m", 15, 5.0),
        event(REFERENCE, 20, 1.0, 1, copy=0), event(REFERENCE, 30, 3.0, 1, copy=1), event("m", 25, 8.0, 1),
        event(REFERENCE, 40, 1.5, 2, copy=0), event("m", 35, 10.0, 2), event(REFERENCE, 50, 3.0, 2, copy=1),
    ]  # fmt: skip
    found = evaluate_samples(samples, {}, {})
    assert found.reference_ms == 2.0  # the mean of 1 and 3
    # At 35 half way between 30, no drift, and 40, half slower: 10 / 1.25.
    assert found.latencies["m"].median_ms == pytest.approx(8.0)
    assert found.latencies["m"].odd_ms == pytest.approx(8.0)
    assert found.latencies["m"].even_ms == pytest.approx((5 + 8) / 2)
    assert found.latencies["m"].raw_ms == 8.0
    assert evaluate_samples(samples, {}, {}, reference_ms=4.0).latencies["m"].median_ms == pytest.approx(16.0)
    # One round says nothing of its own error.
    one = evaluate_samples([event(REFERENCE, 0, 1.0, copy=0), event("m", 1, 5.0)], {}, {})
    assert np.isnan(one.latencies["m"].odd_ms)
    assert one.latencies["m"].interval == float("inf")
    assert np.isnan(one.test_retest_mape(["m"]))
    assert one.sure_share(1.0) == 0.0
    assert replace(one, latencies={}).sure_share(0.1) == 1.0


def test_correlations_and_errors() -> None:
    assert percentage_errors(np.array([1.0, 3.0]), np.array([2.0, 2.0])).tolist() == [0.5, 0.5]
    assert rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([1.0, 9.0, 5.0])) == pytest.approx(0.5)
    assert rank_correlation(np.array([1.0, 2.0]), np.array([5.0, 9.0])) == pytest.approx(1)
    assert rank_correlation(np.array([1.0, 1.0]), np.array([5.0, 9.0])) is None
    assert rank_correlation(np.array([1.0, 2.0]), np.array([5.0, 5.0])) is None
    assert rank_correlation(np.array([1.0]), np.array([5.0])) is None


def test_percentiles_of_benchmark_model_are_a_normals_within_its_ends() -> None:
    found = parse_benchmark("count=50 min=3000 max=4500 avg=4000 std=100")
    assert found == {"ms": 4.0, "p10": pytest.approx(3.87184), "p90": pytest.approx(4.12816), "repeats": 50}
    wide = parse_benchmark("count=7 min=3950 max=4040 avg=4000 std=100")
    assert (wide["p10"], wide["p90"]) == (3.95, 4.04)
    assert parse_benchmark("count=3 min=1 max=9 avg=4")["p10"] == pytest.approx(0.004)
    with pytest.raises(RuntimeError, match="gave no times: it said nothing"):
        parse_benchmark(" ")


def test_spread_networks_are_one_for_each_part_of_the_range(space: OfaMbv3Space) -> None:
    found = spread_networks(space, 8, np.random.default_rng(0))
    every = space.every(10_000)
    assert every is not None
    size = np.log(space.macs(found).astype(float))
    ends = np.log(space.macs(every).astype(float))
    place = np.sort((size - ends.min()) / np.ptp(ends))
    assert np.abs(place - (np.arange(8) + 0.5) / 8).max() < 0.13
    along = spread_networks(space, 8, np.random.default_rng(0), along=lambda rows: rows[:, 0].astype(float))
    assert 2 <= along[:, 0].sum() <= 6
    assert networks_at_most(space, 5) == 5
    assert networks_at_most(space, 10**6) == len(every)
    assert input_shape(Conv(8, 12, 3, 4), 2) == (2, 3, 8, 12)


def test_runtimes_and_their_files() -> None:
    assert {name: (one.suffix, one.extra) for name, one in RUNTIMES.items()} == {
        "onnxruntime": (".onnx", "onnxruntime"), "litert": (".tflite", "litert"), "tvm": (".so", "tvm"),
        "executorch": (".pte", "executorch"),
    }  # fmt: skip
    assert runtime_named("litert").distribution == "ai-edge-litert"
    with pytest.raises(ConfigError, match="did you mean 'tvm'"):
        runtime_named("tmv")


@pytest.mark.parametrize(
    ("key", "allowed", "refused"),
    [
        ("threads", 1, 0), ("batch", 1, 0), ("networks", 0, -1), ("networks", 10, 9), ("rounds", 2, 1),
        ("min_repeats", 1, 0), ("max_retries", 0, -1), ("reference_every", 1, 0), ("reference_copies", 1, 0),
        ("chunk_models", 1, 0), ("slice_ms", 1e-9, 0.0), ("warm_up_ms", 1e-9, 0.0), ("chunk_mib", 1e-9, 0.0),
        ("interval", 1e-9, 0.0), ("folds", 2, 1),
    ],
)  # fmt: skip
def test_settings_to_the_edge(key: str, allowed: Any, refused: Any) -> None:
    assert getattr(ProfilingConfig(**{key: allowed}), key) == allowed
    with pytest.raises(ConfigError, match=rf"profiling\.{key}: expected"):
        ProfilingConfig(**{key: refused})


def test_defaults_are_those_that_the_shipped_tables_were_measured_with() -> None:
    assert vars(ProfilingConfig()) == {
        "runtime": "onnxruntime", "precision": "fp32", "threads": 1, "batch": 1, "networks": 200, "rounds": 10,
        "max_rounds": 20, "interval": 0.02, "slice_ms": 3.0, "min_repeats": 5, "reference_every": 2,
        "reference_copies": 4, "warm_up_ms": 20.0, "max_retries": 2, "pin": True, "chunk_models": 600,
        "chunk_mib": 512.0, "folds": 5,
    }  # fmt: skip
    assert ProfilingConfig(batch=4, threads=2).setting == "onnxruntime-fp32-2t-4b"
    with pytest.raises(ConfigError, match="tvm is measured in fp32, got int8"):
        ProfilingConfig(runtime="tvm", precision="int8")


def test_a_journal_is_cut_where_it_is_torn(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    journal = Journal(path, {"a": 1})
    journal.append({"event": "one"})
    journal.append({"event": "two"})
    journal.close()
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"event": "thr')
    again = Journal(path, {"a": 1})
    again.append({"event": "three"})
    again.close()
    assert again.events == [{"event": "one"}, {"event": "two"}, {"event": "three"}]
    assert path.read_bytes() == whole + b'{"event": "three"}\n'


@pytest.mark.parametrize("settings", [ProfilingConfig(), FileLatency(1.0, 1.0, 1.0, 1), FileLatencies({}, {}, 1.0, {})])
def test_what_was_checked_or_measured_stays(settings: Any) -> None:
    with pytest.raises(FrozenInstanceError):
        setattr(settings, fields(settings)[0].name, 0)


def test_the_reference_beside_files_is_what_it_always_was() -> None:
    """Latencies in the manifests of older bundles are relative to it."""
    space = make_space(_REFERENCE_SPACE)
    middle = reference_network(space)[None]
    assert (int(space.macs(middle)[0]), int(space.parameters(middle)[0])) == (7_526_784, 195_458)


def learner(none: float, undecided: bool = False) -> Any:
    """A session that says what it is told."""
    return SimpleNamespace(
        hypotheses={"no_device": none, "all_devices": 1 - none, "some_devices": 0.0}, expected_mape=lambda: 0.123,
        undecided=undecided, disagreement=lambda: 0.04, measured=10,
    )  # fmt: skip


def test_who_taught_is_said_by_shares() -> None:
    teachers = {"a": 0.4, "b": 0.05, "c": 0.049, "d": 0.1, "e": 0.2, "f": 0.06}
    assert learnt(learner(0.05), teachers) == (
        "taught by a 40%, e 20%, d 10%, f 6% (5%: by none); expected error 12.3%"
    )
    assert learnt(learner(0.049), {"a": 0.9}) == "taught by a 90%; expected error 12.3%"
    assert learnt(learner(0.5), {"a": 0.5}).startswith("taught by a 50% (50%: by none)")
    assert learnt(learner(0.51), {"a": 0.49}).startswith("known devices teach little about this one (51% sure)")
    assert learnt(learner(0.2), {"a": 0.04}).startswith("known devices teach little about this one (20% sure)")
    assert learnt(learner(1.0), {}).startswith("learnt from these measurements and the architecture's features alone")
    assert learnt(learner(0.1, undecided=True), {"a": 0.9}).endswith(
        "whom to believe is not decided yet, which makes 4.0% of it: measurements=15 would tell"
    )
