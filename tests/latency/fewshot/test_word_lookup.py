"""Predictions by lookup equal those by the basis, which holds one column a coefficient."""

from __future__ import annotations

import numpy as np
import pytest

from hwnas.latency.fewshot.features import WordSums, feature_groups
from hwnas.latency.fewshot.method import FewShotSession
from hwnas.latency.fewshot.prior import joined
from hwnas.latency.fewshot.teaching import fit_prior
from hwnas.latency.fewshot.word_lookup import WordLookup
from hwnas.spaces import OfaMbv3Config, OfaProxylessConfig, SpaceConfig, make_space
from hwnas.spaces.mobile import MobileSpace

SPACES: dict[str, SpaceConfig] = {
    "ofa_mbv3": OfaMbv3Config(resolution=(160, 192, 224)),
    "one resolution": OfaMbv3Config(resolution=(128,)),
    "ofa_proxyless": OfaProxylessConfig(),
}


@pytest.fixture(params=SPACES)
def space(request: pytest.FixtureRequest) -> MobileSpace:
    made = make_space(SPACES[request.param])
    assert isinstance(made, MobileSpace)
    return made


def test_sums_over_words_are_the_features(space: MobileSpace) -> None:
    genotypes = space.sample(50, np.random.default_rng(0))
    sums = WordSums.of(space)
    resolution, words = sums.words(genotypes)
    found = sums.constant[resolution] + sums.rows[resolution[:, None], words].sum(axis=1)
    np.testing.assert_allclose(found, joined(feature_groups(space)(genotypes)), atol=1e-12)


@pytest.mark.parametrize("devices", [0, 3], ids=["no other devices", "three other devices"])
def test_lookup_is_the_posterior(space: MobileSpace, devices: int) -> None:
    rng = np.random.default_rng(1)
    candidates = space.sample(60, rng)
    macs = space.macs(candidates) / 1e7
    known = macs[:, None] ** (0.8 + 0.1 * np.arange(devices)) * rng.uniform(0.9, 1.1, (60, devices))
    prior = fit_prior(space, candidates, known, rng)
    session = FewShotSession(space, prior, candidates)
    for _ in range(8):
        chosen = session.next()
        session.tell(chosen, float(macs[chosen] * rng.uniform(0.95, 1.05)))
    posterior = session.predictor().posterior
    genotypes = space.sample(200, rng)
    mean, columns = prior.basis(joined(feature_groups(space)(genotypes)))
    expected_ms, std_ms = posterior.moments(mean, columns)
    lookup = WordLookup.of(WordSums.of(space), prior, posterior)
    relative = lookup.mean(genotypes)
    np.testing.assert_allclose(posterior.expected_ms(relative), expected_ms, rtol=1e-9)
    found_ms = posterior.std_ms(lookup.variance(genotypes), prior.noise_shape(relative))
    np.testing.assert_allclose(found_ms, std_ms, rtol=1e-6)
    np.testing.assert_allclose(session.predictor().estimate(genotypes).mean_ms, expected_ms, rtol=1e-9)
