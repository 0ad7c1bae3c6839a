"""BatchNorm calibration against once-for-all's rule written out."""

import pytest
import torch
from torch import nn

from hwnas.errors import DataError
from hwnas.supernet.calibrate import calibrate_batch_norm
from hwnas.supernet.extract import extract


def test_two_layers_by_hand():
    generator = torch.Generator().manual_seed(0)
    network = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.BatchNorm2d(3)).train()
    batches = [torch.randn(size, 3, 4, 4, generator=generator) * 2 + 1 for size in (8, 8, 3)]
    expected = [torch.zeros(3) for _ in range(4)]
    for batch in batches:
        x = batch
        for layer in range(2):
            mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
            expected[2 * layer] += mean * len(batch) / 19
            expected[2 * layer + 1] += variance * len(batch) / 19
            x = ((x - mean[:, None, None]) / (variance[:, None, None] + 1e-5).sqrt()).relu()
    calibrate_batch_norm(network, batches)
    for layer in range(2):
        torch.testing.assert_close(network[2 * layer].running_mean, expected[2 * layer])
        torch.testing.assert_close(network[2 * layer].running_var, expected[2 * layer + 1])
        assert network[2 * layer].momentum == 0.1
    assert network.training


def test_it_forgets_what_was_there(supernet, genotypes, images):
    one, other = extract(supernet, genotypes[0]), extract(supernet, genotypes[0])
    with torch.no_grad():
        other.stem.norm.running_mean += 7
    for subnet in (one, other):
        calibrate_batch_norm(subnet, images.split(3))
        assert not subnet.training
    torch.testing.assert_close(one(images), other(images))
    assert one(images).std() > 0


def test_without_images(supernet, genotypes):
    with pytest.raises(DataError, match="at least one batch"):
        calibrate_batch_norm(extract(supernet, genotypes[0]), [])
