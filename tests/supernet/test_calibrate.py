"""BatchNorm calibration against once-for-all's rule written out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from hwnas.errors import DataError
from hwnas.spaces import Genotypes
from hwnas.supernet.calibrate import calibrate_batch_norm
from hwnas.supernet.extract import extract
from hwnas.supernet.supernet import Supernet


def test_two_layers_by_hand() -> None:
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
    for norm, mean, variance in zip((network[0], network[2]), expected[::2], expected[1::2], strict=True):
        assert isinstance(norm, nn.BatchNorm2d)
        torch.testing.assert_close(norm.running_mean, mean)
        torch.testing.assert_close(norm.running_var, variance)
        assert norm.momentum == 0.1
    assert network.training


def test_it_forgets_what_was_there(supernet: Supernet, genotypes: Genotypes, images: Tensor) -> None:
    one, other = extract(supernet, genotypes[0]), extract(supernet, genotypes[0])
    with torch.no_grad():
        other.get_buffer("stem.norm.running_mean").add_(7)
    for subnet in (one, other):
        calibrate_batch_norm(subnet, images.split(3))
        assert not subnet.training
    torch.testing.assert_close(one(images), other(images))
    assert one(images).std() > 0


def test_without_images(supernet: Supernet, genotypes: Genotypes) -> None:
    with pytest.raises(DataError, match="at least one batch"):
        calibrate_batch_norm(extract(supernet, genotypes[0]), [])
