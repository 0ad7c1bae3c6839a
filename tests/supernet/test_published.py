"""Public checkpoints: what is read from them, and what is said of wrong ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from hwnas.errors import CheckpointError
from hwnas.spaces import OfaMbv3Config, OfaMbv3Space, OfaProxylessConfig, OfaResNet50Config, SpaceConfig, make_space
from hwnas.supernet.build import build_supernet
from hwnas.supernet.published import is_ofa_checkpoint, load_ofa_checkpoint, load_ofa_state_dict
from tests.supernet import ofa_oracle

pytest.importorskip("ofa", reason="the reference implementation is not installed: pip install -e '.[all,test]'")


@pytest.fixture(scope="module")
def space() -> OfaMbv3Space:
    return make_space(OfaMbv3Config(classes=10))


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    return dict(ofa_oracle.build("ofa_mbv3", classes=10).state_dict())


def older(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The layout of the files published in 2020."""
    return {
        key.replace(".conv.", ".mobile_inverted_conv.", 1) if key.startswith("blocks.") else key: value
        for key, value in weights.items()
    }


@pytest.mark.parametrize("form", ["older", "module", "without counters", "file"])
def test_every_layout_gives_the_same_weights(
    form: str, space: OfaMbv3Space, weights: dict[str, Tensor], tmp_path: Path
) -> None:
    expected = build_supernet(space)
    load_ofa_state_dict(expected, weights)
    network = build_supernet(space)
    if form == "older":
        assert "blocks.1.mobile_inverted_conv.depth_conv.conv.7to5_matrix" in older(weights)
        load_ofa_state_dict(network, older(weights))
    elif form == "module":
        load_ofa_state_dict(network, {"state_dict": {f"module.{key}": value for key, value in weights.items()}})
    elif form == "without counters":
        load_ofa_state_dict(network, {k: v for k, v in weights.items() if not k.endswith("num_batches_tracked")})
    else:
        path = tmp_path / "ofa_mbv3_d234_e346_k357_w1.0"
        torch.save({"state_dict": older(weights), "epoch": 3}, path)
        assert is_ofa_checkpoint(path)
        network = load_ofa_checkpoint(path, space)
        assert not network.training
    for key, value in expected.state_dict().items():
        assert torch.equal(network.state_dict()[key], value), key


def test_another_number_of_classes_keeps_its_own_classifier(weights: dict[str, Tensor]) -> None:
    network = build_supernet(make_space(OfaMbv3Config(classes=3)))
    before = network.get_parameter("layers.classifier.weight").clone()
    with pytest.raises(CheckpointError, match=r"for 10 classes, expected 3: give space\.classes=10"):
        load_ofa_state_dict(network, weights)
    load_ofa_state_dict(network, weights, classifier=False)
    assert torch.equal(network.get_parameter("layers.classifier.weight"), before)
    assert torch.equal(network.get_parameter("layers.stem.conv.weight"), weights["first_conv.conv.weight"])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (OfaMbv3Config(classes=10, width_mult=1.2), r"another width .*expected \[24, 3, 3, 3\].*space\.width_mult"),
        (OfaProxylessConfig(classes=10), "weights of ofa_mbv3, expected those of ofa_proxyless"),
        (OfaResNet50Config(classes=10), "weights of ofa_mbv3, expected those of ofa_resnet50"),
        (OfaMbv3Config(classes=10, depths=(2, 3)), r"unknown: blocks\.1[67]\."),
        (OfaMbv3Config(classes=10, kernel_sizes=(3, 5, 7, 9)), r"missing: blocks\..*9to7_matrix"),
    ],
)
def test_weights_of_another_space_are_refused(config: SpaceConfig, message: str, weights: dict[str, Tensor]) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        load_ofa_state_dict(build_supernet(make_space(config)), weights)
    assert "\n" not in str(caught.value)


def test_missing_and_unknown_names_are_counted_and_nothing_is_copied(
    space: OfaMbv3Space, weights: dict[str, Tensor]
) -> None:
    network = build_supernet(space)
    before = network.get_parameter("layers.stem.conv.weight").clone()
    changed = {**weights, "extra.weight": torch.zeros(1)}
    del changed["classifier.linear.bias"]
    with pytest.raises(CheckpointError, match=r"1 missing: classifier\.linear\.bias; 1 unknown: extra\.weight"):
        load_ofa_state_dict(network, changed)
    assert torch.equal(network.get_parameter("layers.stem.conv.weight"), before)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 truncated", b"\x80\x02nothing"])
def test_files_that_are_no_checkpoints(content: bytes, tmp_path: Path, space: OfaMbv3Space) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="truncated or no file of weights"):
        load_ofa_checkpoint(path, space)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        load_ofa_checkpoint(tmp_path / "missing.pth", space)


def test_nothing_in_a_file_is_run(tmp_path: Path, space: OfaMbv3Space) -> None:
    path, witness = tmp_path / "weights.pth", tmp_path / "run"

    class Attack:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return Path.touch, (witness,)

    torch.save({"state_dict": Attack()}, path)
    with pytest.raises(CheckpointError, match="no file of weights"):
        load_ofa_checkpoint(path, space)
    assert not witness.exists()
