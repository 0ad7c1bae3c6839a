"""Training a network as its int8 file computes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hwnas.data.inputs import network_inputs
from hwnas.data.load import ImageData
from hwnas.errors import ConfigError
from hwnas.progress import no_progress
from hwnas.spaces import Genotypes, OfaMbv3Space
from hwnas.supernet.build import build_subnet
from hwnas.supernet.evaluate import calibrated_subnet, right_by_class
from hwnas.supernet.fake_quantise import fake_quantised
from hwnas.supernet.fold import fold_batch_norm
from hwnas.supernet.layers.mbconv import InvertedResidual
from hwnas.supernet.single import SingleNetwork, TrainedNetwork
from hwnas.training.checkpoint import load_supernet, save_supernet
from hwnas.training.config import PhaseConfig, TrainingConfig
from hwnas.training.engine import train
from hwnas.training.gradients import Gradients
from hwnas.training.loss import LossRule
from tests.training import tiny

PHASE = PhaseConfig("quantisation_aware", 10, 0.02, teacher="start")

SHORT = replace(PHASE, epochs=3)


@pytest.fixture(scope="module")
def quantised(config: TrainingConfig) -> TrainingConfig:
    return replace(
        config, phases=(PHASE,), network="subnet", start="checkpoint", quantisation="int8", dropout=0.0,
        weight_decay=0.0,
    )  # fmt: skip


@pytest.fixture(scope="module")
def arch(space: OfaMbv3Space) -> Genotypes:
    return space.genotype({"ks": [3, 5, 3, 3], "e": [2, 3, 2, 2], "d": [2, 2], "r": 12})


@pytest.fixture(scope="module")
def fragile(space: OfaMbv3Space, data: ImageData, arch: Genotypes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained network of which rounding leaves little: within a tensor, channels differ in size by powers of ten.

    ReLU lets a positive factor pass, which the next layer's weights take back: in float nothing changes.
    """
    folder = tmp_path_factory.mktemp("fragile")
    settings = replace(
        tiny.progressive_shrinking(), network="subnet", dropout=0.0, phases=(PhaseConfig("one", 12, 0.05),)
    )
    network = train(settings, space, data, folder, 0, no_progress, arch).supernet
    assert isinstance(network, SingleNetwork)
    before = accuracy(network, data, arch, int8=False)
    with torch.no_grad():
        for block in (one for one in network.network if isinstance(one, InvertedResidual)):
            if not isinstance(block.depthwise.act, nn.ReLU):
                continue
            factor = torch.logspace(-1.5, 1.5, block.projection.conv.in_channels)
            for name, values in block.named_parameters():
                if name.startswith(("expansion.norm.", "depthwise.norm.")):
                    values.mul_(factor)
            block.projection.conv.weight.div_(factor[:, None, None])
    assert accuracy(network, data, arch, int8=False) == pytest.approx(before, abs=0.02)
    return save_supernet(folder / "fragile.safetensors", network, {})


def accuracy(network: TrainedNetwork, data: ImageData, arch: Genotypes, int8: bool) -> float:
    resolution = network.space.resolutions[int(arch[-1])]
    (images,) = (images for images, _ in network_inputs(data.train, resolution, data.preprocessing, 500))
    subnet = fold_batch_norm(calibrated_subnet(network, arch, [images]))
    if int8:
        subnet = fake_quantised(subnet, [images])
    ((held_out, labels),) = network_inputs(data.held_out, resolution, data.preprocessing, 500)
    return right_by_class(subnet, held_out, labels).accuracy


def test_fine_tuning_mends_what_rounding_breaks(
    quantised: TrainingConfig, space: OfaMbv3Space, data: ImageData, arch: Genotypes, fragile: Path, tmp_path: Path
) -> None:
    before, _ = load_supernet(fragile)
    float_before, int8_before = (accuracy(before, data, arch, int8) for int8 in (False, True))
    assert int8_before < float_before - 0.2
    result = train(quantised, space, data, tmp_path / "int8", 0, no_progress, arch, fragile)
    after, _ = load_supernet(result.path)
    int8_after = accuracy(after, data, arch, int8=True)
    assert int8_after > int8_before + 0.2
    # What the run says of itself is the accuracy as int8, on ranges of training images.
    assert result.history[-1]["largest_accuracy"] == pytest.approx(int8_after, abs=0.2)
    # The weights are float ones, under the names of any other network.
    assert isinstance(after, SingleNetwork)
    assert after.quantiser is None
    assert after.network.state_dict().keys() == build_subnet(space, arch).state_dict().keys()
    weight = after.network.get_parameter("stem.conv.weight")[0]
    assert len(weight.unique()) == weight.numel()


@pytest.mark.parametrize(("shards", "accumulate"), [(1, 1), (2, 1), (1, 2)])
def test_an_interrupted_run_ends_with_the_same_weights(
    shards: int,
    accumulate: int,
    quantised: TrainingConfig,
    space: OfaMbv3Space,
    data: ImageData,
    arch: Genotypes,
    fragile: Path,
    tmp_path: Path,
) -> None:
    config = replace(quantised, shards=shards, accumulate=accumulate, checkpoint_every=3, phases=(SHORT,))
    whole = train(config, space, data, tmp_path / "whole", 3, no_progress, arch, fragile)
    with pytest.raises(StopError):
        train(config, space, data, tmp_path / "cut", 3, stop_half_way, arch, fragile)
    resumed = train(config, space, data, tmp_path / "cut", 3, no_progress, arch, fragile)
    first, second = whole.supernet.state_dict(), resumed.supernet.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert bool((first["quantiser.ranges"][:, 1] > first["quantiser.ranges"][:, 0]).all())


def test_parts_round_alike_whether_side_by_side_or_one_after_another(space: OfaMbv3Space, arch: Genotypes) -> None:
    """Two steps, so that the second rounds with the running ranges of the first."""
    images, labels = torch.randn(8, 1, 12, 12), torch.arange(8) % 3
    found = []
    for shards, accumulate in ((2, 1), (1, 2)):
        network = SingleNetwork(space, arch, build_subnet(space, arch, 0.0, torch.Generator().manual_seed(0)), True)
        gradients = Gradients(network, shards, accumulate)
        for _ in range(2):
            gradients(arch[None], images, labels, LossRule())
        assert network.quantiser is not None
        found.append([network.quantiser.ranges, *(parameter.grad for parameter in network.parameters())])
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


def test_the_teacher_is_the_network_as_it_was(
    quantised: TrainingConfig,
    space: OfaMbv3Space,
    data: ImageData,
    arch: Genotypes,
    fragile: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    softened: list[tuple[Tensor, Tensor]] = []

    def soft_labels(teacher: Teacher, images: Tensor) -> Tensor:
        labels = original(teacher, images)
        softened.append((images, labels))
        return labels

    from hwnas.training.teacher import Teacher

    original = Teacher.soft_labels
    monkeypatch.setattr(Teacher, "soft_labels", soft_labels)
    train(replace(quantised, phases=(SHORT,)), space, data, tmp_path, 0, no_progress, arch, fragile)
    start, _ = load_supernet(fragile)
    expected = Teacher(start, data, quantised.calibration_images, torch.device("cpu"))
    images, labels = softened[-1]
    torch.testing.assert_close(labels, original(expected, images))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": "supernet", "quantisation": "int8"}, "needs training.network=subnet"),
        ({"network": "subnet", "quantisation": "int8", "precision": "bf16-mixed"}, "precision=32-true"),
        ({"quantisation": "int4"}, "'int4'.*none, int8"),
        ({"phases": (PHASE,), "start": "fresh"}, "teacher=start needs checkpoint=PATH"),
    ],
)
def test_what_does_not_go_together(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainingConfig(**changes)


class StopError(Exception):
    """Raised half way."""


def stop_half_way(share: float, status: str) -> None:
    if share >= 0.5:
        raise StopError
