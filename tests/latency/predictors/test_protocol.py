"""What a predictor may see of a target, and what its trials come to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwnas.errors import ConfigError, DataError
from hwnas.latency.estimate import LatencyEstimate
from hwnas.latency.predictors.dataset import LatencyData, load_latency_data
from hwnas.latency.predictors.dataset_config import LatencyDataConfig
from hwnas.latency.predictors.fewshot import few_devices_note
from hwnas.latency.predictors.interface import Adapted, Target
from hwnas.latency.predictors.metrics import Scores
from hwnas.latency.predictors.protocol import ProtocolResult, Trial, run_protocol
from hwnas.latency.predictors.registry import METHODS, make_method
from hwnas.progress import Progress, no_progress
from hwnas.spaces import Genotypes
from hwnas.spaces.nasbench201 import NasBench201Space
from tests.latency.families import cell_devices

SPACE = NasBench201Space()


def cells(pool: int = 60, **changes: Any) -> LatencyData:
    genotypes, latency = cell_devices(4, 100, 0)
    names = ("a", "b", "c", "d")
    values: dict[str, Any] = {"trim": 0.0, "references": ()} | changes
    return LatencyData("cells", SPACE, genotypes, names, latency, names[:2], names[2:], pool, (pool, 100), **values)


class Lookup:
    """A method that measures as many rows as it may and then knows the truth of one device, off by a factor."""

    in_ms, least, extra_measurements = True, 2, 0
    notes: tuple[str, ...] = ("a note",)

    def __init__(self) -> None:
        self.measured: list[list[int]] = []
        self.draws: list[float] = []

    def teach(self, data: LatencyData, rng: np.random.Generator, progress: Progress) -> None:
        progress(0.5, "half way")
        self.data, self.first = data, float(rng.random())

    def adapt(self, target: Target, count: int, rng: np.random.Generator) -> Adapted:
        self.draws.append(float(rng.random()))
        rows = target.pool[:count]
        seen = np.array([target(int(row)) for row in rows])
        self.measured.append(rows.tolist())
        [device] = [n for n in self.data.test_devices if np.array_equal(self.data.column(n)[rows], seen)]
        known = {row.tobytes(): ms for row, ms in zip(self.data.genotypes, self.data.column(device), strict=True)}

        def predict(genotypes: Genotypes) -> LatencyEstimate:
            mean = 1.1 * np.array([known[row.tobytes()] for row in genotypes])
            return LatencyEstimate(mean, None, np.ones(len(mean), dtype=bool))

        return predict


def test_every_test_device_is_adapted_to_with_every_seed() -> None:
    method, told = Lookup(), []
    result = run_protocol(cells(), method, 5, 3, 7, False, lambda share, status: told.append((share, status)))
    assert [(trial.device, trial.seed) for trial in result.trials] == [
        (device, seed) for seed in (7, 8, 9) for device in ("c", "d")
    ]
    assert method.measured == [[0, 1, 2, 3, 4]] * 6
    assert {trial.measurements_used for trial in result.trials} == {5}
    assert all(trial.rows == (0, 1, 2, 3, 4) for trial in result.trials)
    assert [share for share, _ in told] == pytest.approx([0.25, *(0.5 + 0.5 * done / 6 for done in range(6))])
    assert told[1][1] == "c, seed 7"
    found = result.to_dict()
    assert found["mean_spearman"] == pytest.approx(1)
    assert found["mape"] == pytest.approx(0.1)
    assert found["interval_coverage"] is None
    assert (found["seeds"], found["measurements_used"], found["notes"]) == (3, 5, ["a note"])
    # A seed and a device draw the same, whatever others there are.
    assert method.first == np.random.default_rng(7).random()
    assert method.draws == [np.random.default_rng([seed, number]).random() for seed in (7, 8, 9) for number in (0, 1)]


def test_means_are_over_devices_and_their_interval_over_seeds() -> None:
    def trial(device: str, seed: int, spearman: float, mape: float | None, used: int, weight: float) -> Trial:
        scores = Scores(spearman, spearman / 2, mape, 0.9)
        return Trial(device, seed, scores, used, (1, 2), {"no_device": weight, "some": 1 - weight})

    result = ProtocolResult(
        (trial("x", 0, 0.8, 0.1, 4, 0.2), trial("y", 0, 0.6, 0.3, 6, 0.4), trial("x", 1, 1.0, 0.1, 5, 0.6))
    )
    found = result.to_dict()
    assert found["mean_spearman"] == pytest.approx((0.7 + 1.0) / 2)
    half = 12.7062 * 0.15
    assert found["ci95"] == pytest.approx([0.85 - half, 0.85 + half], abs=1e-3)
    assert found["mean_kendall_tau"] == pytest.approx(0.4)
    assert found["mape"] == pytest.approx(0.5 / 3)
    assert found["measurements_used"] == 6
    assert found["hypotheses"] == pytest.approx({"no_device": 0.4, "some": 0.6})
    assert found["per_device"]["x"]["spearman"] == pytest.approx(0.9)
    assert found["per_device"]["x"]["hypotheses"]["no_device"] == pytest.approx(0.4)
    assert found["per_device"]["y"]["ci95"] == [0.6, 0.6]
    assert found["trials"][1]["rows"] == [1, 2]
    lacking = ProtocolResult((*result.trials, trial("y", 1, 0.5, None, 5, 0.0))).to_dict()
    assert lacking["mape"] is None


def test_measurements_that_cannot_be_are_refused() -> None:
    data = cells()
    for count, message in ((1, "needs at least 2"), (61, "the pool has 60")):
        with pytest.raises(DataError, match=message):
            run_protocol(data, Lookup(), count, 1, 0, False, no_progress)
    assert len(run_protocol(data, Lookup(), 60, 1, 0, False, no_progress).trials) == 2
    measured = data.measured.copy()
    measured[10:60, 2] = np.nan
    lacking = LatencyData(**{**vars(data), "measured": measured})
    with pytest.raises(DataError, match="c has 10 values among the pool's rows and 40 among the test rows"):
        run_protocol(lacking, Lookup(), 11, 1, 0, False, no_progress)
    run_protocol(lacking, Lookup(), 10, 1, 0, False, no_progress)
    measured = data.measured.copy()
    measured[62:, 2] = np.nan
    with pytest.raises(DataError, match="and 2 among the test rows"):
        run_protocol(LatencyData(**{**vars(data), "measured": measured}), Lookup(), 5, 1, 0, False, no_progress)
    measured[62, 2] = 3.0
    run_protocol(LatencyData(**{**vars(data), "measured": measured}), Lookup(), 5, 1, 0, False, no_progress)


def test_a_target_counts_what_is_asked_of_it() -> None:
    latency = np.array([3.0, 4.0, np.nan, 5.0, 6.0, 7.0])
    honest = Target(latency, 4, 3)
    assert honest.pool.tolist() == [0, 1, 3]
    assert (honest.pool_rows, honest.pool_range_ms) == (None, None)
    assert (honest(1), honest(3)) == (4.0, 5.0)
    with pytest.raises(ValueError, match="row 4 may not be measured: 2 of 3"):
        honest(4)
    with pytest.raises(DataError, match=r"row 2, .* has no value"):
        honest(2)
    assert honest(0) == 3.0
    assert honest.rows == [1, 3, 0]
    with pytest.raises(ValueError, match="3 of 3"):
        honest(0)
    published = Target(latency, 4, 5, np.array([1, 3]))
    assert published.pool_range_ms == (4.0, 5.0)
    assert published(5) == 7.0  # a reference may be any row
    with pytest.raises(ValueError, match="may not be measured"):
        published(6)


def test_rows_are_trimmed_at_either_end_of_a_devices_range() -> None:
    data = cells(trim=0.1)
    column = data.column("c")
    kept = data.pool_rows("c")
    assert len(kept) == 60 - 2 * 6
    assert kept.tolist() == sorted(kept.tolist())
    left = np.setdiff1d(np.arange(60), kept)
    assert (column[left] < column[kept].min()).sum() == (column[left] > column[kept].max()).sum() == 6
    tests = data.test_rows("d")
    assert len(tests) == 40 - 2 * 4
    assert tests.min() >= 60
    assert data.train_pool.shape == (60, 2)
    assert np.array_equal(data.train_pool[:, 1], data.column("b")[:60])
    measured = data.measured.copy()
    measured[:20, 2] = np.nan
    assert len(LatencyData(**{**vars(data), "measured": measured}).pool_rows("c")) == 40 - 2 * 4


@pytest.mark.parametrize("name", ["macs", "parameters"])
def test_counting_is_right_where_latency_is_a_count(name: str) -> None:
    genotypes, _ = cell_devices(1, 100, 0)
    counts = getattr(SPACE, name)(genotypes) + 0.0
    # One of eleven is off by far: the median factor is not.
    latency = np.stack([3e-7 * counts, 5e-7 * counts], axis=1)
    latency[3, 1] *= 50
    data = LatencyData("c", SPACE, genotypes, ("a", "b"), latency, ("a",), ("b",), 60, (60, 100), 0.0, ())
    result = run_protocol(data, make_method(name), 11, 3, 0, False, no_progress).to_dict()
    assert result["mape"] == pytest.approx(0, abs=1e-9)
    assert result["measurements_used"] == 11


def test_the_nearest_device_is_the_one_that_ranks_alike() -> None:
    genotypes, latency = cell_devices(3, 200, 5, noise=0.0)
    rows = np.column_stack([latency[:, 0], latency[:, 2], 7 * latency[:, 2]])
    data = LatencyData("c", SPACE, genotypes, ("a", "b", "t"), rows, ("a", "b"), ("t",), 120, (120, 200), 0.0, ())
    found = run_protocol(data, make_method("nearest_device"), 8, 2, 0, False, no_progress).to_dict()
    assert found["mape"] < 0.05
    assert found["mean_spearman"] > 0.98
    # With two measurements there is no rank correlation: then the first.
    two = run_protocol(data, make_method("nearest_device"), 2, 2, 0, False, no_progress).to_dict()
    assert two["mean_spearman"] < found["mean_spearman"]
    alone = LatencyData("c", SPACE, genotypes, ("b", "t"), rows[:, 1:], ("b",), ("t",), 120, (120, 200), 0.0, ())
    assert run_protocol(alone, make_method("nearest_device"), 3, 1, 0, False, no_progress).to_dict()["mape"] < 0.05


def test_a_forest_learns_from_the_measurements_alone() -> None:
    pytest.importorskip("sklearn")
    found = run_protocol(cells(), make_method("forest"), 40, 1, 0, False, no_progress).to_dict()
    assert found["mean_spearman"] > 0.7
    assert found["mape"] < 0.3


def test_methods_say_what_they_need() -> None:
    needs = {name: make_method(name) for name in METHODS}
    assert {name: (one.least, one.extra_measurements, one.in_ms) for name, one in needs.items()} == {
        "fewshot": (3, 0, True), "help": (10, 0, True), "macs": (1, 0, True), "parameters": (1, 0, True),
        "forest": (2, 0, True), "nearest_device": (1, 0, True),
    }  # fmt: skip
    published = make_method("help", published=True)
    assert (published.least, published.extra_measurements) == (1, 10)
    with pytest.raises(ConfigError, match="did you mean 'macs'"):
        make_method("mac")
    assert few_devices_note(1).startswith("1 training device: at least 2")
    assert few_devices_note(0).startswith("0 training devices: at least 2")


@pytest.mark.parametrize(
    ("allowed", "refused", "key"),
    [
        ({"test": (0, 1)}, {"test": (1, 1)}, "data.test"),
        ({"test": (5, 7)}, {"test": (-1, 4)}, "data.test"),
        ({"pool": 0}, {"test": (1, 2, 3)}, "data.test"),
        ({"pool": 1}, {"pool": -1}, "data.test"),
        ({"trim": 0.0}, {"trim": -0.01}, "data.trim"),
        ({"trim": 0.499}, {"trim": 0.5}, "data.trim"),
        ({"references": (0, 4)}, {"references": (-1, 4)}, "data.references"),
        ({"references": (4,)}, {"references": (4, 4)}, "data.references"),
        ({"quantity": "energy", "unit": "mJ"}, {"quantity": "energy"}, "data.quantity"),
        ({"quantity": "latency"}, {"quantity": ""}, "data.quantity"),
        ({"train_devices": ("a",), "test_devices": ("b",)}, {"train_devices": ("a",), "test_devices": ("a",)},
         "data.train_devices"),
        ({"genes": ("a", "b")}, {"genes": ("a", "a")}, "data.genes"),
        ({"genes": ("a", "b"), "numeric": ("b",)}, {"genes": ("a", "b"), "numeric": ("c",)}, "data.numeric"),
        ({"genes": ("a",), "values": {"a": ["x"]}}, {"genes": ("a", "b"), "values": {"a": ["x"]}}, "data.values"),
        ({"space": "ofa_mbv3"}, {"space": "ofa"}, "data.space"),
    ],
)  # fmt: skip
def test_settings_of_data_to_the_edge(allowed: dict[str, Any], refused: dict[str, Any], key: str) -> None:
    assert LatencyDataConfig(**allowed)
    with pytest.raises(ConfigError, match=key):
        LatencyDataConfig(**refused)
    assert LatencyDataConfig().unit_name == "ms"
    assert LatencyDataConfig(quantity="energy", unit="mJ").unit_name == "mJ"


@pytest.mark.parametrize(
    ("changes", "pool", "test"),
    [({}, 30, (0, 30)), ({"test": (20, 26)}, 20, (20, 26)), ({"pool": 12, "test": (20, 30)}, 12, (20, 30)),
     ({"pool": 12}, 12, (0, 30)), ({"pool": 20, "test": (20, 30)}, 20, (20, 30))],
)  # fmt: skip
def test_the_pool_is_what_stands_before_the_test_rows(
    tmp_path: Path, changes: dict[str, Any], pool: int, test: tuple[int, int]
) -> None:
    path = tmp_path / "d.csv"
    rows = [f"{a},{b},{1 + a + b / 7},{2 + a * b if a + b < 9 else ''}" for a in range(5) for b in range(6)]
    path.write_text("\n".join(["a,b,x,y", *rows]))
    given: dict[str, Any] = {"path": str(path), "genes": ("a", "b"), "train_devices": ("y",), "test_devices": ("x",)}
    data = load_latency_data(LatencyDataConfig(**{**given, **changes}))
    assert (data.pool, data.test, data.train_devices, data.devices) == (pool, test, ("y",), ("y", "x"))
    assert data.column("x")[:2] == pytest.approx([1, 1 + 1 / 7])
    assert np.isnan(data.column("y")).sum() == 1
    assert data.notes == ("y: 1 of 30 rows left out: 1 empty",)
    with pytest.raises(ConfigError, match="overlaps the pool"):
        load_latency_data(LatencyDataConfig(**{**given, "pool": 21, "test": (20, 30)}))
    with pytest.raises(ConfigError, match="expected rows within the file's 30"):
        load_latency_data(LatencyDataConfig(**{**given, "test": (20, 31)}))
    with pytest.raises(ConfigError, match="expected rows below 30, got 30"):
        load_latency_data(LatencyDataConfig(**{**given, "references": (30,)}))


@pytest.mark.parametrize(("known", "teaches"), [(10, True), (9, False)])
def test_ten_rows_of_the_pool_teach(tmp_path: Path, known: int, teaches: bool) -> None:
    path = tmp_path / "d.csv"
    rows = [f"{a},{1 + a},{2 + a if a < known else ''}" for a in range(20)]
    path.write_text("\n".join(["a,x,y", *rows]))
    config = LatencyDataConfig(path=str(path), genes=("a",), train_devices=("y",), test_devices=("x",))
    data = load_latency_data(config)
    assert data.train_devices == (("y",) if teaches else ())
    assert (
        any("teaches nothing, since it has 9 of the pool's rows, and 10 are needed" in note for note in data.notes)
        != teaches
    )
