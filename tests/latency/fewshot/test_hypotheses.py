"""Devices that mislead are not believed: what is predicted then, what is said, and how sure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from hwnas.latency.fewshot.calibration import taught_prior
from hwnas.latency.fewshot.features import cost_figures, feature_groups
from hwnas.latency.fewshot.hypotheses import GROUPS, KINDS
from hwnas.latency.fewshot.method import FewShotPredictor, FewShotSession
from hwnas.latency.fewshot.predictor_file import load_predictor_file, save_predictor_file
from hwnas.latency.fewshot.prior import LatencyPrior, joined, without
from hwnas.latency.fewshot.teaching import fit_prior
from hwnas.latency.predictors.dataset import LatencyData
from hwnas.latency.predictors.protocol import run_protocol
from hwnas.latency.predictors.registry import make_method
from hwnas.progress import no_progress
from hwnas.spaces import OfaMbv3Config, Space, make_space
from hwnas.spaces.categorical import CategoricalSpace
from hwnas.spaces.nasbench201 import NasBench201Space

ROWS, POOL = 500, 300
SPACE = NasBench201Space()


def odd_family(seed: int, teachers: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Cells, and latencies on teachers that pay by the operator, then on one device that pays by 3×3 convolutions."""
    rng = np.random.default_rng(seed)
    genotypes = SPACE.unique(SPACE.sample(2 * ROWS, rng))[:ROWS]
    counts = np.eye(5)[genotypes].sum(axis=1)
    calls = np.array([0.0, 1.0, 0.9, 1.0, 1.1]) * np.exp(rng.normal(0, 0.05, (teachers, 5)))
    odd = np.array([0.0, 0.05, 0.4, 2.5, 0.1])
    latency = np.concatenate([2 + counts @ calls.T, (0.5 + counts @ odd)[:, None]], axis=1)
    return genotypes, latency * np.exp(rng.normal(0, 0.02, latency.shape))


def session_of(prior: LatencyPrior, genotypes: np.ndarray, latency_ms: np.ndarray, count: int) -> FewShotSession:
    session = FewShotSession(SPACE, prior, genotypes)
    for _ in range(count):
        chosen = session.next()
        session.tell(chosen, float(latency_ms[chosen]))
    return session


@pytest.fixture(scope="module", params=[0, 1])
def misled(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray, LatencyPrior]:
    genotypes, latency = odd_family(request.param)
    assert spearmanr(latency[:, 0], latency[:, -1]).statistic < 0.7
    prior = taught_prior(SPACE, genotypes[:POOL], latency[:POOL, :-1], np.random.default_rng(0))
    return genotypes, latency, prior


def test_teachers_that_mislead_are_not_believed(misled: tuple[np.ndarray, np.ndarray, LatencyPrior]) -> None:
    genotypes, latency, prior = misled
    target = latency[:, -1]
    session = session_of(prior, genotypes[:POOL], target, 10)
    found = session.predictor().estimate(genotypes[POOL:])
    alone = fit_prior(SPACE, genotypes[:POOL], latency[:POOL, :0], np.random.default_rng(0))
    by_itself = session_of(alone, genotypes[:POOL], target, 10).predictor().latency_ms(genotypes[POOL:])
    reached = spearmanr(found.mean_ms, target[POOL:]).statistic
    assert reached > 0.97
    assert reached > spearmanr(by_itself, target[POOL:]).statistic - 0.01
    assert session.hypotheses["no_device"] > 0.8
    assert session.taught().sum() == pytest.approx(1 - session.hypotheses["no_device"])
    assert found.std_ms is not None
    assert np.mean(np.abs(found.mean_ms - target[POOL:]) < 1.645 * found.std_ms) > 0.85


def test_teachers_that_resemble_are_believed() -> None:
    genotypes, latency = odd_family(2, teachers=6)
    prior = fit_prior(SPACE, genotypes[:POOL], latency[:POOL, :5], np.random.default_rng(0))
    session = session_of(prior, genotypes[:POOL], latency[:, 5], 10)
    assert sum(session.hypotheses.values()) == pytest.approx(1)
    assert session.hypotheses["no_device"] < 0.5
    assert session.taught().sum() > 0.5


def test_one_of_the_teachers_is_believed() -> None:
    genotypes, latency = odd_family(3)
    rng = np.random.default_rng(0)
    brother = 3 * latency[:, -1] * np.exp(rng.normal(0, 0.01, ROWS))
    teachers = np.column_stack([latency[:, :-1], brother])
    prior = fit_prior(SPACE, genotypes[:POOL], teachers[:POOL], rng)
    session = session_of(prior, genotypes[:POOL], latency[:, -1], 8)
    taught = session.taught()
    assert taught.argmax() == 4
    assert taught[4] > 0.5
    assert spearmanr(session.predictor().latency_ms(genotypes[POOL:]), latency[POOL:, -1]).statistic > 0.97


def test_before_it_is_decided_more_measurements_are_worth_their_time(
    misled: tuple[np.ndarray, np.ndarray, LatencyPrior],
) -> None:
    genotypes, latency, prior = misled
    early, late = (session_of(prior, genotypes[:POOL], latency[:, -1], count) for count in (3, 15))
    assert early.disagreement() > late.disagreement()
    assert early.expected_mape() > late.expected_mape()
    assert not late.undecided


def test_the_protocol_says_what_was_believed(misled: tuple[np.ndarray, np.ndarray, LatencyPrior]) -> None:
    genotypes, latency, _ = misled
    names = (*(f"teacher{number}" for number in range(4)), "odd")
    data = LatencyData("odd", SPACE, genotypes, names, latency, names[:-1], names[-1:], POOL, (POOL, ROWS), 0.0, ())
    result = run_protocol(data, make_method("fewshot"), 10, 2, 0, False, no_progress).to_dict()
    assert tuple(result["hypotheses"]) == KINDS
    assert result["hypotheses"]["no_device"] > 0.8
    assert result["per_device"]["odd"]["hypotheses"] == pytest.approx(result["hypotheses"])
    assert 0.8 < result["per_device"]["odd"]["interval_coverage"] <= 1
    assert run_protocol(data, make_method("macs"), 10, 1, 0, False, no_progress).to_dict()["hypotheses"] == {}


def test_left_out_devices_leave_their_kin(misled: tuple[np.ndarray, np.ndarray, LatencyPrior]) -> None:
    genotypes, _, prior = misled
    assert prior.groups.sum() == len(prior.devices)
    features = joined(feature_groups(SPACE)(genotypes))
    assert 1 <= len(without(prior, 0, features).devices) < len(prior.devices)


def test_figures_of_cost_are_relative_and_told_apart() -> None:
    rng = np.random.default_rng(0)
    for space in (SPACE, make_space(OfaMbv3Config(resolution=(160, 224)))):
        genotypes = space.sample(200, rng)
        figures = cost_figures(space, genotypes)
        np.testing.assert_allclose(figures.mean(axis=0), 1)
        assert (figures >= 0).all()
        macs = space.macs(genotypes)
        assert max(np.corrcoef(macs, column)[0, 1] for column in figures.T) > 0.999
    none = CategoricalSpace("mine", {"a": ["x", "y"], "b": ["x", "y"]})
    assert cost_figures(none, none.sample(5, rng)).shape == (5, 0)


def test_numeric_genes_count_as_numbers() -> None:
    rng = np.random.default_rng(0)
    widths = [str(width) for width in range(64, 64 + 24 * 16, 24)]
    space = CategoricalSpace("mine", {f"w{i}": widths for i in range(4)} | {"codes": ["0", "1", "2"]})
    genotypes = space.unique(space.sample(400, rng))
    numbers = np.array([float(width) for width in widths])[genotypes[:, :4]]
    latency = (numbers @ np.array([1.0, 2.0, 0.5, 1.5]) + 100 * genotypes[:, 4]) / 50
    groups = feature_groups(space)(genotypes)
    assert groups["numbers"].shape[1] == 4  # 0, 1, 2 are codes
    assert groups["genes"].shape[1] == 3  # sixteen widths are no sixteen unrelated values
    prior = fit_prior(space, genotypes[:200], latency[:200, None][:, :0], rng)
    session = FewShotSession(space, prior, genotypes[:200])
    for _ in range(12):
        chosen = session.next()
        session.tell(chosen, float(latency[chosen]))
    assert spearmanr(session.predictor().latency_ms(genotypes[200:]), latency[200:]).statistic > 0.97


def test_files_of_the_format_before_are_read(tmp_path: Path) -> None:
    """Written out as that format had it: no figures of cost, and the spread of all devices alone."""
    predictor, reference = _before(SPACE)
    genotypes = SPACE.sample(50, np.random.default_rng(1))
    facts = {"device": "made up", "runtime": "none", "precision": "fp32", "threads": 1}
    path = save_predictor_file(tmp_path / "p.safetensors", predictor, facts)
    content = path.read_bytes()
    assert content.count(b"hwnas latency predictor 3") == 1
    path.write_bytes(content.replace(b"hwnas latency predictor 3", b"hwnas latency predictor 2"))
    read, _ = load_predictor_file(path, SPACE)
    np.testing.assert_allclose(read.latency_ms(genotypes), reference(genotypes), rtol=1e-9)
    found = read.estimate(genotypes)
    assert found.std_ms is not None
    assert (found.std_ms > 0).all()


class _Before:
    """A predictor whose `arrays` are of the format before."""

    def __init__(self, space: Space, held: dict[str, np.ndarray]) -> None:
        self.space = space
        self._held = held

    def arrays(self) -> dict[str, np.ndarray]:
        return self._held


def _before(space: Space) -> tuple[FewShotPredictor, Callable[[np.ndarray], np.ndarray]]:
    rng = np.random.default_rng(0)
    groups = feature_groups(space)(space.sample(100, rng))
    sizes = [part.shape[1] for part in groups.values()]
    group = np.repeat(np.arange(len(sizes)), sizes)
    features, devices = len(group), 2
    widths = rng.uniform(0.01, 0.1, (3, 4 + len(sizes)))
    lines = np.concatenate([np.ones((devices, 1)), rng.normal(0, 0.02, (devices, features))], axis=1)
    coefficients = rng.normal(0, 0.3, 3 + devices + features)
    centre, scale = rng.uniform(0, 1, features), rng.uniform(0.5, 1, features)
    held = {
        "prior.centre": centre, "prior.scale": scale, "prior.group": group, "prior.devices": lines,
        "prior.mean": lines.mean(axis=0), "prior.widths": widths, "prior.noise": np.array([-6.0, 2.0]),
        "prior.spread": np.ones(4), "posterior.coefficients": coefficients,
        "posterior.diagonal": np.full(len(coefficients), 1.0), "posterior.directions": np.eye(len(coefficients))[:3],
        "posterior.signs": np.full(3, -0.5), "posterior.noise": np.asarray(1e-3), "posterior.scale_ms": np.asarray(7.0),
        "posterior.spread": np.asarray(1.1),
    }  # fmt: skip

    def latency_ms(genotypes: np.ndarray) -> np.ndarray:
        inputs = (joined(feature_groups(space)(genotypes)) - centre) * scale
        known = lines[:, 0] + inputs @ lines[:, 1:].T
        mean = known.mean(axis=1)
        columns = np.column_stack([mean, np.ones(len(inputs)), mean - 1, known - mean[:, None], inputs])
        part = np.r_[0, 1, 2, np.full(devices, 3), 4 + group]
        unit = np.sqrt(widths.mean(axis=0)[part] / np.where(part == 3, devices, 1))
        found: np.ndarray = 7.0 * np.maximum(mean + (columns * unit) @ coefficients, 0.01)
        return found

    return _Before(space, held), latency_ms  # type: ignore[return-value]


def test_parts_of_the_prior_stand_in_the_order_of_its_columns(
    misled: tuple[np.ndarray, np.ndarray, LatencyPrior],
) -> None:
    genotypes, _, prior = misled
    features = joined(feature_groups(SPACE)(genotypes))
    mean, columns = prior.basis(features)
    assert columns.shape == (ROWS, len(prior.part))
    assert prior.widths.shape[1] == GROUPS + prior.group.max() + 1
    rng = np.random.default_rng(0)
    coefficients = rng.normal(0, 1, columns.shape[1])
    constant, weights = prior.collapsed(coefficients)
    np.testing.assert_allclose(constant + features @ weights, mean + columns @ coefficients)
    lines = prior.hypotheses.lines[:3]
    inputs = (features - prior.centre) * prior.scale
    expected = lines[:, :1] + lines[:, 1:] @ inputs.T
    np.testing.assert_allclose(mean + prior.starting(lines) @ columns.T, expected, rtol=1e-9)


def test_a_teacher_that_takes_the_same_for_all_teaches_nothing() -> None:
    genotypes, latency = odd_family(4)
    teachers = np.column_stack([latency[:, :2], np.full(ROWS, 3.0)])
    prior = taught_prior(SPACE, genotypes[:60], teachers[:60], np.random.default_rng(0))
    session = session_of(prior, genotypes[:60], latency[:60, 2], 6)
    assert np.isfinite(session.predictor().latency_ms(genotypes)).all()
    assert session.taught()[2] < 0.2
