"""What predictors are made of, held against values worked out here: features, fits, training and scores."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from torch import nn

from hwnas.accuracy.config import EnsembleConfig, NetworkTrainingConfig, PredictorConfig
from hwnas.accuracy.encoding import gene_encoding, path_encoding
from hwnas.accuracy.features import GeneFeatures, Layout
from hwnas.accuracy.gaussian_process import GaussianProcess
from hwnas.accuracy.known import holds_whole_space
from hwnas.accuracy.labels import checked_rows, distinct_rows
from hwnas.accuracy.network import GeneNetwork
from hwnas.accuracy.networks import Networks, fit_ensemble
from hwnas.accuracy.predictor import AccuracyPredictor
from hwnas.accuracy.ridge import Ridge
from hwnas.accuracy.scoring import cross_validate, nothing_scored, score
from hwnas.accuracy.training import initial_layers, train_networks
from hwnas.errors import DataError
from hwnas.spaces import OfaMbv3Config, OfaMbv3Space, make_space
from hwnas.spaces.space import Floats

TWO_GROUPS = Layout(unit=np.array([0, 1, 1]), group=np.array([0, 1, 1]))


@pytest.fixture(scope="module")
def space() -> OfaMbv3Space:
    return make_space(OfaMbv3Config())


def test_features_of_one_network(space: OfaMbv3Space) -> None:
    row = space.genotype({"ks": [3, 5, 7, 7] * 5, "e": [3, 4, 6, 6] * 5, "d": [2, 3, 4, 2, 2], "r": 160})[None]
    encode = GeneFeatures(space)
    found, genes = encode(row)[0], len(space.genes)
    one_hot = int(space.cardinalities.sum())
    assert len(found) == one_hot + genes + 3
    assert np.array_equal(found[:one_hot], 0.7 * space.features(row)[0])
    by_value = dict(zip((gene.name for gene in space.genes), found[one_hot : one_hot + genes], strict=True))
    far = np.sqrt(1.5)  # 3, 5 and 7 are -2, 0 and 2 around their mean, whose spread is the root of 8/3
    assert [by_value[f"ks{block}"] for block in (0, 1)] == pytest.approx([-far, 0])
    assert by_value["ks10"] == pytest.approx(far)
    assert by_value["ks2"] == 0  # the first stage is two blocks deep: the third is without effect
    spread = np.sqrt(14 / 9)  # of 3, 4 and 6 around 13/3
    assert [by_value[f"e{block}"] for block in (0, 1, 10)] == pytest.approx(
        [-4 / 3 / spread, -1 / 3 / spread, 5 / 3 / spread]
    )
    quantities = [np.log1p(space.macs(row)[0]), np.log1p(space.parameters(row)[0]), 2 * (2 + 3 + 4 + 2 + 2) + 5 + 1]
    assert found[-3:] == pytest.approx(quantities)


def test_features_are_scaled_by_gene_and_grouped_by_kind(space: OfaMbv3Space) -> None:
    layout, genes = GeneFeatures(space).layout, len(space.genes)
    numbers = np.arange(genes)
    assert layout.unit.tolist() == [*np.repeat(numbers, space.cardinalities), *numbers, *range(genes, genes + 3)]
    kinds = [gene.kind for gene in space.genes]
    first = {kind: number for number, kind in enumerate(dict.fromkeys(kinds))}
    of_gene = np.array([first[kind] for kind in kinds])
    assert layout.group.tolist() == [*np.repeat(of_gene, space.cardinalities), *of_gene, *[len(first)] * 3]


def test_terms_of_the_first_layer_stay_small(space: OfaMbv3Space) -> None:
    """Two blocks of kernel and expansion, each with a state "without effect", are 4^4 = 256 joint states: one term."""
    encoding = gene_encoding(space)
    tables = encoding.tables(np.zeros((1, encoding.features), dtype=np.float32))
    assert max(map(len, tables)) == 256
    assert sum(len(table) == 256 for table in tables) >= 10


def test_scales_give_genes_unit_variance_and_groups_a_unit_norm() -> None:
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(200, 3)) * [5.0, 0.1, 3.0] + [1.0, 2.0, 3.0]
    process = GaussianProcess.fit(inputs, inputs[:, 0], TWO_GROUPS, 1, 600, rng)
    scaled = process.arrays["inputs"]
    assert np.allclose(scaled.mean(axis=0), 0, atol=1e-9)
    assert (scaled[:, 0] ** 2).mean() == pytest.approx(1)
    assert (scaled[:, 1:] ** 2).sum(axis=1).mean() == pytest.approx(1)
    # Columns of one gene keep their proportion.
    assert scaled[:, 2].std() / scaled[:, 1].std() == pytest.approx(inputs[:, 2].std() / inputs[:, 1].std())


def test_hyperparameters_are_where_the_posterior_is_highest() -> None:
    """Likelihood by scipy's normal density, prior as documented: the slope in each logarithm is none."""
    rng = np.random.default_rng(4)
    inputs = rng.uniform(-2, 2, size=(40, 3))
    labels = np.sin(2 * inputs[:, 0]) + 0.5 * inputs[:, 1] + 0.3 * rng.normal(size=40)
    arrays = GaussianProcess.fit(inputs, labels, TWO_GROUPS, 500, 600, rng).arrays
    matern, noise, mean, spread = arrays["scalars"]
    assert (mean, spread) == pytest.approx((labels.mean(), labels.std()))
    targets, scaled = (labels - labels.mean()) / labels.std(), arrays["inputs"]
    found = np.log(
        [*arrays["linear_scale"][:2] ** 2, *arrays["distance_scale"][:2] ** 2, matern, noise]  # groups 0 and 1
    )
    centre = np.log([0.5, 0.5, 0.125, 0.125, 0.3, 0.03])
    width = np.array([1, 1, 1, 1, 2, 2])

    def posterior(theta: Floats) -> float:
        first, second, near, far, *_ = values = np.exp(theta)
        linear = (scaled * np.array([first, second, second])) @ scaled.T
        apart = ((scaled[:, None] - scaled) ** 2 * np.array([near, far, far])).sum(axis=-1)
        reach = np.sqrt(5 * apart)
        covariance = linear + values[4] * (1 + reach + reach**2 / 3) * np.exp(-reach)
        covariance += (values[5] + 1e-6) * np.eye(len(targets))
        return float(multivariate_normal.logpdf(targets, cov=covariance) - (((theta - centre) / width) ** 2).sum() / 2)

    slopes = [(posterior(found + step) - posterior(found - step)) / 2e-4 for step in 1e-4 * np.eye(6)]
    assert np.allclose(slopes, 0, atol=0.01)


def test_noise_stays_where_the_factor_bears_it() -> None:
    inputs = np.random.default_rng(0).uniform(-2, 2, size=(60, 3))
    process = GaussianProcess.fit(inputs, inputs[:, 0], TWO_GROUPS, 500, 600, np.random.default_rng(0))
    assert process.arrays["scalars"][1] == pytest.approx(np.exp(-10))


def test_ridge_takes_the_penalty_of_the_least_leave_one_out_error() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(14, 8))
    labels = features @ rng.normal(size=8) + 2 * rng.normal(size=14) + 5

    def slope(rows: Floats, values: Floats, penalty: float) -> Floats:
        centred = rows - rows.mean(axis=0)
        return np.linalg.solve(centred.T @ centred + penalty * np.eye(8), centred.T @ (values - values.mean()))

    def left_out(penalty: float) -> float:
        errors = []
        for one in range(14):
            rows, values = np.delete(features, one, axis=0), np.delete(labels, one)
            told = (features[one] - rows.mean(axis=0)) @ slope(rows, values, penalty) + values.mean()
            errors.append((labels[one] - told) ** 2)
        return float(np.mean(errors))

    penalties = np.logspace(-3, 3, 25)
    best = min(penalties, key=left_out)
    assert penalties[0] < best < penalties[-1]
    ridge = Ridge.fit(features, labels)
    assert np.allclose(ridge.arrays["slope"], slope(features, labels, best))
    expected = (features - features.mean(axis=0)) @ slope(features, labels, best) + labels.mean()
    assert np.allclose(ridge.predict(features, with_std=True)[0], expected)


@pytest.mark.parametrize(("inputs", "hidden", "active"), [(200, (300, 250), 20.0), (100, (400,), 5.0)])
def test_layers_begin_with_hes_spread_and_a_small_last_one(inputs: int, hidden: tuple[int, ...], active: float) -> None:
    layers = initial_layers(inputs, hidden, 60, active, np.random.default_rng(0))
    widths = [inputs, *hidden, 60]
    assert [weight.shape for weight, _ in layers] == [(after, before) for before, after in pairwise(widths)]
    spreads = [np.sqrt(2 / fan) for fan in (active, *hidden[:-1])] + [0.1 / np.sqrt(hidden[-1])]
    assert [float(weight.std()) for weight, _ in layers] == pytest.approx(spreads, rel=0.02)
    assert all(not bias.any() and len(bias) == len(weight) for weight, bias in layers)


@pytest.mark.parametrize("frozen_share", [0.0, 0.5])
def test_networks_are_trained_as_one_by_one_with_torchs_own_parts(frozen_share: float) -> None:
    """AdamW on Huber's loss, the rate by a cosine; 10 rows in batches of at most 4 are 3, 3 and 4."""
    rng = np.random.default_rng(0)
    inputs, targets = rng.normal(size=(12, 5)).astype(np.float32), rng.normal(size=(12, 2)).astype(np.float32)
    rows = np.stack([np.arange(10), np.arange(2, 12)])
    networks = [initial_layers(5, (6, 4), 2, 5.0, rng) for _ in range(2)]
    config = NetworkTrainingConfig(epochs=4, batch=4, learning_rate=0.05, weight_decay=0.5)
    found = train_networks(networks, inputs, targets, rows, config, np.random.default_rng(7), frozen_share=frozen_share)
    rng = np.random.default_rng(7)
    orders = [rng.permuted(rows, axis=1) for _ in range(4)]
    for k, layers in enumerate(networks):
        linears = [nn.Linear(5, 6), nn.Linear(6, 4), nn.Linear(4, 2)]
        net = nn.Sequential(linears[0], nn.ReLU(), linears[1], nn.ReLU(), linears[2])
        with torch.no_grad():
            for linear, (weight, bias) in zip(linears, layers, strict=True):
                linear.weight.copy_(torch.tensor(weight))
                linear.bias.copy_(torch.tensor(bias))
        optimiser = torch.optim.AdamW(net.parameters(), weight_decay=0.5)
        for step in range(12):
            order = orders[step // 3][k]
            batch = [order[:3], order[3:6], order[6:]][step % 3]
            optimiser.zero_grad()
            nn.HuberLoss(delta=0.5)(net(torch.tensor(inputs[batch])), torch.tensor(targets[batch])).backward()
            if step // 3 < 4 * frozen_share:
                linears[0].weight.grad = linears[0].bias.grad = None
            optimiser.param_groups[0]["lr"] = 0.05 * (1 + np.cos(np.pi * step / 12)) / 2
            optimiser.step()
        for linear, (weight, bias) in zip(linears, found[k], strict=True):
            assert np.allclose(weight, linear.weight.detach(), rtol=0, atol=1e-5)
            assert np.allclose(bias, linear.bias.detach(), rtol=0, atol=1e-5)


def test_networks_mean_and_spread_by_hand(space: OfaMbv3Space) -> None:
    encoding = path_encoding(space)
    arrays = {
        "scalars": np.array([0.7, 0.02, 0.25]),
        "weight0": np.zeros((3, 1, encoding.features)),
        "bias0": np.array([[1.0], [2.0], [6.0]]),
    }
    mean, std = Networks(encoding, arrays).predict(space.sample(4, np.random.default_rng(0)), with_std=True)
    assert mean == pytest.approx([0.76] * 4)  # 0.7 + 0.02 × 3
    assert std == pytest.approx([0.02 * np.sqrt(7 + 0.25)] * 4)  # the variance of 1, 2 and 6 is (4 + 1 + 9) / 2
    assert Networks(encoding, arrays).predict(space.sample(1, np.random.default_rng(0)), with_std=False)[1] is None


def test_an_ensemble_of_noise_says_the_mean_and_the_noise(space: OfaMbv3Space) -> None:
    """What can't be predicted is stretched down, and its whole variance is uncertainty."""
    rng = np.random.default_rng(0)
    rows = space.unique(space.sample(200, rng))
    labels = 0.5 + 0.1 * rng.normal(size=len(rows))
    config = EnsembleConfig(
        networks=4, hidden=(8,), training=NetworkTrainingConfig(epochs=20, learning_rate=3e-3, weight_decay=3)
    )
    mean, std = fit_ensemble(space, rows, labels, config, rng).predict(space.sample(500, rng), with_std=True)
    assert std is not None
    assert mean.mean() == pytest.approx(0.5, abs=0.02)
    assert mean.std() < 0.05
    assert np.median(std) == pytest.approx(0.1, rel=0.15)


class Fixed:
    """A model that says what it is told."""

    def __init__(self, mean: Floats, std: Floats | None) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self._said = mean, std

    def predict(self, inputs: object, with_std: bool) -> tuple[Floats, Floats | None]:  # noqa: ARG002
        return self._said


def test_scores_by_hand(space: OfaMbv3Space) -> None:
    rows = space.unique(space.sample(4, np.random.default_rng(0)))
    predicted, std = np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.1, 0.1, 0.1, 0.1])
    # Off by 0.16, 0.17, 0, 0: within 1.6449 deviations three times. Ranks 2 3 1 4: four of six pairs in order.
    measured = np.array([0.26, 0.37, 0.3, 0.4])
    measured[2] = 0.14
    predictor = AccuracyPredictor(space, PredictorConfig(), Fixed(predicted, std), 4)
    found = score(predictor, rows, measured)
    assert found.kendall_tau == pytest.approx((4 - 2) / 6)
    assert found.spearman == pytest.approx(1 - 6 * (1 + 1 + 4 + 0) / (4 * 15))
    assert found.mae == pytest.approx((0.16 + 0.17 + 0.16 + 0) / 4)
    assert found.interval_coverage == 0.75
    assert found.rows == 4
    assert (
        score(AccuracyPredictor(space, PredictorConfig(), Fixed(predicted, None), 4), rows, measured).interval_coverage
        is None
    )
    two = AccuracyPredictor(space, PredictorConfig(), Fixed(predicted[:2], None), 2)
    assert score(two, rows[:2], measured[:2]).kendall_tau == 1


@pytest.mark.parametrize("method", ["gp", "ridge"])
def test_a_cross_validation_is_what_its_rows_say(space: OfaMbv3Space, method: str) -> None:
    """With folds of one size the mean over folds is the mean over rows."""
    rng = np.random.default_rng(0)
    rows = space.unique(space.sample(20, rng))
    labels = 0.7 + 1e-10 * space.macs(rows) + 0.01 * rng.normal(size=20)
    found = cross_validate(space, rows, labels, PredictorConfig(method=method), rng)
    error = np.abs(found.predicted - labels)
    assert found.score.mae == pytest.approx(error.mean())
    if method == "ridge":
        assert (found.std, found.score.interval_coverage) == (None, None)
    else:
        assert found.std is not None
        assert (found.std > 0).all()
        assert found.score.interval_coverage == pytest.approx(np.mean(error <= 1.6449 * found.std))


def test_one_value_is_no_equality() -> None:
    assert (nothing_scored(np.array([0.5])).mae, nothing_scored(np.array([0.5])).rows) == (None, 0)
    assert (nothing_scored(np.array([0.5, 0.5])).mae, nothing_scored(np.array([0.5, 0.5])).rows) == (0.0, 2)


def test_rows_are_checked_to_the_edge(space: OfaMbv3Space) -> None:
    rows = space.unique(space.sample(10, np.random.default_rng(0)))[:8]
    edge = np.array([0, 1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5])
    kept, labels = checked_rows(space, rows, edge)
    assert np.array_equal(kept, rows)
    assert np.array_equal(labels, edge)
    for wrong in (np.nextafter(1, 2), -1e-9):
        with pytest.raises(DataError, match=r"fractions from 0 to 1, got .* in row 6"):
            checked_rows(space, rows, np.where(np.arange(8) >= 6, wrong, edge))
    with pytest.raises(DataError, match=r"got 1\.5 in row 2"):
        checked_rows(space, rows, np.where(np.arange(8) == 2, 1.5, np.where(np.arange(8) == 5, -3, edge)))
    with pytest.raises(DataError, match="2 of 8 are not numbers, the first in row 3"):
        checked_rows(space, rows, np.where(np.arange(8) % 4 == 3, np.nan, edge))
    twice = np.concatenate([rows[[5, 2]], rows[[5, 7, 2]]])
    kept, labels = checked_rows(space, twice, np.array([0.1, 0.2, 0.3, 0.4, 0.8]))
    assert np.array_equal(kept, rows[[5, 2, 7]])
    assert labels == pytest.approx([0.2, 0.5, 0.4])


def test_little_spread_is_learnt_from_and_none_is_not(space: OfaMbv3Space) -> None:
    rows = space.unique(space.sample(10, np.random.default_rng(0)))[:8]
    barely = 0.7 + np.where(np.arange(8) == 0, 2e-9, 0)
    assert len(distinct_rows(space, rows, barely)[0]) == 8
    with pytest.raises(DataError, match=r"all 8 subnets have the same accuracy 0\.7,"):
        distinct_rows(space, rows, np.full(8, 0.7) + np.where(np.arange(8) == 0, 5e-10, 0))


def test_twelve_networks_are_enough_to_learn_from_in_five_folds() -> None:
    resolutions = tuple(16 + 8 * number for number in range(12))
    space = make_space(
        OfaMbv3Config(
            name="few", resolution=resolutions, widths=(8, 8, 16, 24, 32, 40), strides=(1, 2, 1),
            activations=("relu", "relu", "h_swish"), se=(False, True, False), kernel_sizes=(3,), expand_ratios=(2,),
            depths=(1,), classes=4,
        )
    )  # fmt: skip
    every = space.every(100)
    assert every is not None
    assert len(every) == 12
    assert not holds_whole_space(space, every, folds=5)
    assert holds_whole_space(space, every, folds=10)  # which take twenty


def test_a_network_has_as_many_outputs_as_its_last_layer(space: OfaMbv3Space) -> None:
    encoding = gene_encoding(space)
    layers = initial_layers(encoding.features, (8, 5), 2, 10.0, np.random.default_rng(0))
    rows = space.sample(6, np.random.default_rng(1))
    units = encoding.encode(rows)
    for number, (weight, bias) in enumerate(layers):
        units = (np.maximum(units, 0) if number else units) @ weight.T + bias
    assert units.shape == (6, 2)
    assert np.allclose(GeneNetwork(encoding, layers)(rows), units, rtol=0, atol=1e-6)
