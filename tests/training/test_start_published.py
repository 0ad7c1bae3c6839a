"""Starts from what once-for-all's own code saves: its supernets, and networks taken out of them."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hwnas.spaces import FAMILIES, OfaProxylessConfig, make_space
from hwnas.training.config import TrainingConfig
from hwnas.training.networks import make_network
from hwnas.training.start import space_of_checkpoint
from tests.supernet import ofa_oracle

pytest.importorskip("ofa", reason="the reference implementation is not installed: pip install -e '.[all,test]'")


@pytest.mark.parametrize("family", ["ofa_mbv3", "ofa_proxyless", "ofa_resnet50"])
def test_spaces_and_weights_of_published_supernets_and_networks(family: str, tmp_path: Path) -> None:
    network = ofa_oracle.build(family, classes=10)
    path = tmp_path / f"{family}.pth"
    torch.save({"state_dict": network.state_dict()}, path)
    published = replace(FAMILIES[family](), in_channels=0, classes=0)
    if isinstance(published, OfaProxylessConfig):
        published = replace(published, width_mult=1.0)
    assert space_of_checkpoint(path) == published

    random.seed(1)
    network.sample_active_subnet()
    subnet = network.get_active_subnet().eval()
    alone = tmp_path / "alone.pth"
    torch.save(subnet.state_dict(), alone)
    space = make_space(replace(space_of_checkpoint(alone), in_channels=3, classes=10))
    supernet = make_network(TrainingConfig(), space, 0, None, alone).eval()
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(supernet(images, space.extreme(True)), subnet(images), atol=1e-5, rtol=1e-4)
