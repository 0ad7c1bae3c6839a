"""A predictor from a few measurements: what it reaches, what it claims, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from hwnas.errors import CheckpointError, DataError
from hwnas.latency.fewshot.calibration import taught_prior
from hwnas.latency.fewshot.method import FewShotSession
from hwnas.latency.fewshot.predictor_file import load_predictor_file, save_predictor_file
from hwnas.latency.fewshot.prior import LatencyPrior
from hwnas.latency.fewshot.teaching import fit_prior
from hwnas.spaces import OfaMbv3Config, make_space
from hwnas.spaces.nasbench201 import NasBench201Space
from tests.latency.families import cell_devices

FACTS = {"device": "made up", "runtime": "none", "precision": "fp32", "threads": 1}


@pytest.fixture(scope="module")
def family() -> tuple[np.ndarray, np.ndarray]:
    return cell_devices(devices=9, rows=500, seed=0)


@pytest.fixture(scope="module")
def prior(family: tuple[np.ndarray, np.ndarray]) -> LatencyPrior:
    """Taught by seven devices on the first 300 rows; the last two devices are new."""
    genotypes, latency_ms = family
    return fit_prior(NasBench201Space(), genotypes[:300], latency_ms[:300, :7], np.random.default_rng(0))


def session_of(prior: LatencyPrior, family: tuple[np.ndarray, np.ndarray], device: int, count: int) -> FewShotSession:
    session = FewShotSession(NasBench201Space(), prior, family[0][:300])
    for _ in range(count):
        chosen = session.next()
        session.tell(chosen, family[1][chosen, device])
    return session


@pytest.mark.parametrize("device", [7, 8], ids=["runs dead code", "removes dead code"])
def test_ten_measurements_rank_and_predict_a_new_device(
    prior: LatencyPrior, family: tuple[np.ndarray, np.ndarray], device: int
) -> None:
    genotypes, latency_ms = family[0][300:], family[1][300:, device]
    found = session_of(prior, family, device, 10).predictor().estimate(genotypes)
    assert found.covered.all()
    assert found.std_ms is not None
    assert spearmanr(found.mean_ms, latency_ms).statistic > 0.97
    assert np.mean(np.abs(found.mean_ms - latency_ms) / latency_ms) < 0.08
    assert np.mean(np.abs(found.mean_ms - latency_ms) < 1.645 * found.std_ms) > 0.8
    assert np.mean(found.std_ms / found.mean_ms) < 0.15


def test_devices_teach_with_whichever_rows_they_measured(family: tuple[np.ndarray, np.ndarray]) -> None:
    genotypes, latency_ms = family
    torn = latency_ms[:300, :7].copy()
    rng = np.random.default_rng(1)
    for device in range(7):  # the slowest rows of some, the fastest of others, and random ones are missing
        order = np.argsort(torn[:, device])
        torn[[order[:120], order[180:], rng.permutation(300)[:250]][device % 3], device] = np.nan
    torn_prior = taught_prior(NasBench201Space(), genotypes[:300], torn, rng)
    for device in (7, 8):
        found = session_of(torn_prior, family, device, 10).predictor().estimate(genotypes[300:])
        assert spearmanr(found.mean_ms, latency_ms[300:, device]).statistic > 0.96
        assert np.mean(np.abs(found.mean_ms / latency_ms[300:, device] - 1)) < 0.1


def test_the_choice_of_measurements_beats_random_ones(
    prior: LatencyPrior, family: tuple[np.ndarray, np.ndarray]
) -> None:
    genotypes, latency_ms = family[0][300:], family[1][300:, 7]
    chosen = session_of(prior, family, 7, 5).predictor().latency_ms(genotypes)
    errors = []
    for seed in range(5):
        session = FewShotSession(NasBench201Space(), prior, family[0][:300])
        for row in np.random.default_rng(seed).choice(300, 5, replace=False):
            session.tell(int(row), family[1][row, 7])
        errors.append(np.mean(np.abs(session.predictor().latency_ms(genotypes) - latency_ms) / latency_ms))
    assert np.mean(np.abs(chosen - latency_ms) / latency_ms) < np.mean(errors)


def test_more_measurements_are_expected_to_err_less(prior: LatencyPrior, family: tuple[np.ndarray, np.ndarray]) -> None:
    assert session_of(prior, family, 7, 20).expected_mape() < session_of(prior, family, 7, 3).expected_mape()


def test_unit_of_latency_does_not_matter(prior: LatencyPrior, family: tuple[np.ndarray, np.ndarray]) -> None:
    thousandfold = (family[0], 1000 * family[1])
    found = session_of(prior, family, 7, 6).predictor().estimate(family[0][:20])
    scaled = session_of(prior, thousandfold, 7, 6).predictor().estimate(family[0][:20])
    np.testing.assert_allclose(scaled.mean_ms, 1000 * found.mean_ms, rtol=1e-6)


def test_whole_milliseconds_are_less_certain(prior: LatencyPrior, family: tuple[np.ndarray, np.ndarray]) -> None:
    unit = 3 / np.median(family[1][:, 7])
    exact = (family[0], family[1] * unit)
    rounded = (family[0], np.maximum(np.round(family[1] * unit), 1.0))
    spread = [session_of(prior, one, 7, 10).expected_mape() for one in (exact, rounded)]
    assert spread[1] > 1.5 * spread[0]
    found = session_of(prior, rounded, 7, 10).predictor().estimate(family[0][300:])
    assert found.std_ms is not None
    assert np.mean(np.abs(found.mean_ms - rounded[1][300:, 7]) < 1.645 * found.std_ms) > 0.8


def test_one_measurement_far_off_does_little(prior: LatencyPrior, family: tuple[np.ndarray, np.ndarray]) -> None:
    genotypes, latency_ms = family
    spoilt = latency_ms.copy()
    session = session_of(prior, family, 7, 12)
    spoilt[session._chosen[5], 7] *= 6
    found = session_of(prior, (genotypes, spoilt), 7, 12).predictor().latency_ms(genotypes[300:])
    assert spearmanr(found, latency_ms[300:, 7]).statistic > 0.93


@pytest.mark.parametrize("devices", [0, 1])
def test_without_devices_to_learn_from_features_alone_must_do(
    family: tuple[np.ndarray, np.ndarray], devices: int
) -> None:
    genotypes, latency_ms = family
    alone = fit_prior(NasBench201Space(), genotypes[:300], latency_ms[:300, :devices], np.random.default_rng(0))
    session = session_of(alone, family, 7, 15)
    assert not session.uses_devices
    found = session.predictor().latency_ms(genotypes[300:])
    assert spearmanr(found, latency_ms[300:, 7]).statistic > 0.9


def test_the_mean_alone_is_the_estimates_mean(prior: LatencyPrior, family: tuple[np.ndarray, np.ndarray]) -> None:
    predictor = session_of(prior, family, 8, 5).predictor()
    sample = NasBench201Space().sample(3000, np.random.default_rng(1))
    np.testing.assert_allclose(predictor.latency_ms(sample), predictor.estimate(sample).mean_ms)
    fastest, fastest_ms = predictor.fastest()
    assert fastest_ms <= predictor.latency_ms(sample).min() * (1 + 1e-9)
    assert predictor.latency_ms(fastest[None])[0] == pytest.approx(fastest_ms)


def test_a_file_holds_the_predictor(prior: LatencyPrior, family: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    predictor = session_of(prior, family, 7, 5).predictor()
    path = save_predictor_file(tmp_path / "p.safetensors", predictor, FACTS)
    read, facts = load_predictor_file(path, NasBench201Space())
    assert facts == FACTS
    before, after = predictor.estimate(family[0][:50]), read.estimate(family[0][:50])
    np.testing.assert_array_equal(before.mean_ms, after.mean_ms)
    np.testing.assert_array_equal(before.std_ms, after.std_ms)
    with pytest.raises(CheckpointError, match="another space"):
        load_predictor_file(path, make_space(OfaMbv3Config()))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(CheckpointError, match="not a complete"):
        load_predictor_file(path, NasBench201Space())
    with pytest.raises(CheckpointError, match="hwnas onboard"):
        load_predictor_file(tmp_path / "none", NasBench201Space())


def test_measurements_that_teach_nothing_are_refused(
    prior: LatencyPrior, family: tuple[np.ndarray, np.ndarray]
) -> None:
    session = FewShotSession(NasBench201Space(), prior, family[0][:10])
    with pytest.raises(DataError, match="at least 3 measurements, got 0"):
        session.predictor()
    for wrong in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(DataError, match="positive number"):
            session.tell(0, wrong)
    session.tell(0, 2.0)
    with pytest.raises(DataError, match="measured twice"):
        session.tell(0, 2.0)
    session.tell(1, 2.0)
    session.tell(2, 2.0)
    with pytest.raises(DataError, match="all 3 measurements are 2"):
        session.predictor()
    for row in range(3, 10):
        session.tell(row, 1.0 + row)
    with pytest.raises(DataError, match="all 10 candidates"):
        session.next()
