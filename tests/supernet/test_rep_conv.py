"""Branches in training, one convolution when deployed."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision_operators import declare_torchvision_operators

from hwnas.export.formats import model_format
from hwnas.export.request import ExportRequest
from hwnas.operators import Fusible, Operator, RepConv, operator_kind
from hwnas.operators.strided import Strided
from hwnas.spaces import ReparameterisedConfig, RepStageConfig, Space, make_space
from hwnas.spaces.reparameterised import PUBLISHED
from hwnas.supernet.build import build_subnet, build_supernet
from hwnas.supernet.evaluate import calibrated_subnet
from hwnas.supernet.extract import extract
from hwnas.supernet.fake_quantise import FakeQuantiser, fake_quantised
from hwnas.supernet.fit import fit
from hwnas.supernet.fold import fold_batch_norm
from hwnas.supernet.layers.branches import Branches
from hwnas.supernet.layers.kinds import static_layer
from hwnas.supernet.reorder import reorder_channels
from hwnas.supernet.source import source_of
from tests.supernet.randomised import randomised

SMALL = ReparameterisedConfig(
    name="small", resolution=(16, 24), stem_widths=(8,), branches=2, classes=5,
    stages=(RepStageConfig((16, 24), (1, 2), 1, dense=True), RepStageConfig((24, 32), (1, 2))),
)  # fmt: skip


@pytest.fixture(scope="module")
def timm() -> Any:
    declare_torchvision_operators()
    return pytest.importorskip("timm", reason="install hwnas[test]")


@pytest.fixture
def space() -> Space:
    return make_space(SMALL)


@pytest.mark.parametrize("activation", ["relu", "none"])
@pytest.mark.parametrize(
    ("out", "stride", "kernel", "depthwise"),
    [
        (12, 1, 3, False), (12, 1, 5, True), (12, 1, 1, False), (20, 1, 3, False), (12, 2, 3, False), (20, 2, 5, False),
        (12, 2, 3, True), (12, 2, 7, True), (12, 1, 1, True),
    ],
)  # fmt: skip
@pytest.mark.parametrize("branches", [1, 3])
def test_the_fused_layer_computes_what_the_branches_do(
    out: int, stride: int, kernel: int, depthwise: bool, branches: int, activation: str
) -> None:
    operator = RepConv(
        11, 9, 12, out, kernel=kernel, stride=stride, depthwise=depthwise, branches=branches, activation=activation
    )
    layer = trained(static_layer(operator), operator)
    images = torch.randn(4, *operator.shape[1:], generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        expected = layer(images)
        fused = fold_batch_norm(layer)
        torch.testing.assert_close(fused(images), expected, rtol=1e-5, atol=1e-5)
    [conv] = [one for one in fused.modules() if isinstance(one, nn.Conv2d)]
    assert not [one for one in fused.modules() if isinstance(one, nn.BatchNorm2d)]
    assert sum(one.numel() for one in conv.parameters()) == operator.parameters
    assert len([one for one in layer.modules() if isinstance(one, nn.Conv2d)]) == branches + (kernel > 1)
    assert hasattr(layer.branches, "identity") == (stride == 1 and out == 12)


def trained(layer: Any, operator: Operator) -> Any:
    """After some steps, which have moved weights, and statistics away from 0 and 1."""
    layer.train()
    optimiser = torch.optim.SGD(layer.parameters(), lr=0.5)
    generator = torch.Generator().manual_seed(1)
    for _ in range(5):
        optimiser.zero_grad()
        given = torch.randn(4, *operator.shape[1:], generator=generator) * 2 + 1
        (layer(given) - 1).square().mean().backward()
        optimiser.step()
    assert all(float((norm.running_mean).abs().max()) > 0.01 for norm in layer.branches.norms)
    return layer.eval()


@pytest.mark.parametrize("name", ["s0", *(pytest.param(one, marks=pytest.mark.slow) for one in ("s1", "s2", "s3"))])
def test_published_mobileones_compute_what_timms_compute(timm: Any, name: str) -> None:
    space = make_space(ReparameterisedConfig(branches=4 if name == "s0" else 1))
    theirs = randomised(timm.create_model(f"mobileone_{name}"), torch.Generator().manual_seed(0))
    check_equal(timm, theirs, space, PUBLISHED[name])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "widths", "depths"),
    [
        ("a0", (48, 48, 96, 192, 1280), (2, 4, 14)), ("a1", (64, 64, 128, 256, 1280), (2, 4, 14)),
        ("a2", (64, 96, 192, 384, 1408), (2, 4, 14)), ("b0", (64, 64, 128, 256, 1280), (4, 6, 16)),
    ],
)  # fmt: skip
def test_published_repvggs_compute_what_timms_compute(
    timm: Any, name: str, widths: tuple[int, ...], depths: tuple[int, ...]
) -> None:
    space = make_space(from_yaml("rep_vgg"))
    theirs = randomised(timm.create_model(f"repvgg_{name}"), torch.Generator().manual_seed(0))
    check_equal(timm, theirs, space, {"w": list(widths), "d": list(depths)})


def from_yaml(name: str) -> ReparameterisedConfig:
    from hwnas import load_config

    settings = load_config([f"space={name}"]).space
    assert isinstance(settings, ReparameterisedConfig)
    return settings


def check_equal(timm: Any, theirs: nn.Module, space: Space, arch: dict[str, Any]) -> None:
    """With weights copied by their order, which is that of the layers in both; as they are, and fused."""
    genotype = space.genotype({**arch, "r": 224})
    ours = build_subnet(space, genotype).eval()
    given, taken = list(theirs.state_dict().values()), ours.state_dict()
    assert [tuple(one.shape) for one in given] == [tuple(one.shape) for one in taken.values()]
    ours.load_state_dict(dict(zip(taken, given, strict=True)))
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    fused = timm.utils.reparameterize_model(theirs)
    assert sum(one.numel() for one in fused.parameters()) == int(space.parameters(genotype[None])[0])
    with torch.no_grad():
        expected = theirs(images)
        limit = 1e-5 * float(expected.abs().max())
        for network in (ours, fold_batch_norm(ours)):
            torch.testing.assert_close(network(images), expected, rtol=1e-5, atol=limit)


def test_a_network_is_calibrated_with_its_branches_and_deployed_without(space: Space, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    supernet = randomised(build_supernet(space, generator=generator), generator)
    onnx = pytest.importorskip("onnx")
    for row in [space.extreme(True), *space.sample(4, np.random.default_rng(0))]:
        size = space.resolutions[int(row[-1])]
        images = torch.randn(16, 3, size, size, generator=generator)
        subnet = calibrated_subnet(supernet, row, [images])
        folded = fold_batch_norm(subnet)
        with torch.no_grad():
            expected = subnet(images)
            torch.testing.assert_close(folded(images), expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))
        path = model_format("onnx").export(ExportRequest(subnet, images[:1]), tmp_path / "network.onnx")
        graph = onnx.load(path).graph
        convolutions = [operator for operator in space.operators_of(row) if isinstance(operator, RepConv)]
        assert [node.op_type for node in graph.node].count("Conv") == len(convolutions)
        assert not {"Add", "BatchNormalization"} & {node.op_type for node in graph.node}
        weights = [tensor for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT]
        assert sum(int(np.prod(one.dims)) for one in weights) == int(space.parameters(row[None])[0])


def test_sorted_channels_change_nothing(space: Space) -> None:
    generator = torch.Generator().manual_seed(0)
    supernet = randomised(build_supernet(space, generator=generator), generator)
    rows = [space.extreme(True), *space.sample(6, np.random.default_rng(1))]
    images = torch.randn(2, 3, 16, 16, generator=generator)
    with torch.no_grad():
        before = [supernet(images, row) for row in rows]
        reorder_channels(supernet, {})
        for row, expected in zip(rows, before, strict=True):
            if (row[:3] == space.cardinalities[:3] - 1).all():
                torch.testing.assert_close(supernet(images, row), expected, rtol=1e-4, atol=1e-4)
        reorder_channels(supernet, {"w": {16, 24, 32}})
        after = [supernet(images, row) for row in rows]
        reorder_channels(supernet, {"w": {16, 24, 32}})
        for row, expected in zip(rows, after, strict=True):
            torch.testing.assert_close(supernet(images, row), expected, rtol=1e-4, atol=1e-4)


def test_a_stage_of_elastic_width_is_sorted_where_the_input_is_a_branch_of_all() -> None:
    """Within a stage, where widths are those of the stage before at no place."""
    stages = (RepStageConfig((24, 32), (2,), 1, dense=True), RepStageConfig((40,), (2,)))
    space = make_space(ReparameterisedConfig(resolution=(16,), stem_widths=(8,), stages=stages, classes=5))
    generator = torch.Generator().manual_seed(0)
    supernet = randomised(build_supernet(space, generator=generator), generator)
    images = torch.randn(2, 3, 16, 16, generator=generator)
    largest = space.extreme(True)
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    with torch.no_grad():
        expected = supernet(images, largest)
        reorder_channels(supernet, {"w": {32}})
        torch.testing.assert_close(supernet(images, largest), expected, rtol=1e-4, atol=1e-4)
    moved = {name for name, value in supernet.state_dict().items() if not torch.equal(value, before[name])}
    assert {"layers.stage1_2.full.branches.identity.weight", "layers.stage1_1.full.branches.scale.norm.bias"} <= moved
    assert any(name.startswith("layers.stage2_1_depthwise") for name in moved)


@pytest.mark.parametrize("activation", ["relu", "h_swish"])
def test_an_int8_file_is_imitated_with_branches_as_without(activation: str) -> None:
    stages = (RepStageConfig((16,), (1,), 1, dense=True), RepStageConfig((16,), (2,)))
    settings = ReparameterisedConfig(
        resolution=(16,), stem_widths=(8,), stages=stages, branches=2, classes=5, activation=activation
    )
    space = make_space(settings)
    generator = torch.Generator().manual_seed(0)
    network = randomised(build_subnet(space, space.extreme(True), generator=generator), generator)
    images = torch.randn(16, 3, 16, 16, generator=generator)
    quantiser = FakeQuantiser(network)
    quantiser.calibrate(network, [images])
    quantiser.eval()
    deployed = fake_quantised(fold_batch_norm(network), [images])
    with torch.no_grad():
        assert len(quantiser.ranges) == len(deployed.quantiser.ranges)
        torch.testing.assert_close(quantiser.ranges, deployed.quantiser.ranges, rtol=1e-4, atol=1e-4)
        expected = deployed(images)
        found = quantiser(network, images)
    # A value between two levels may fall on either, by rounding.
    assert float((found - expected).abs().mean()) < 0.01 * float(expected.abs().mean())


def test_training_as_int8_learns_and_keeps_statistics_as_float_training_does() -> None:
    operator = RepConv(9, 9, 8, 8, kernel=3, branches=2, activation="relu")
    generator = torch.Generator().manual_seed(0)
    layer: Any = randomised(static_layer(operator), generator)
    plain = copy.deepcopy(layer)
    quantiser = FakeQuantiser(layer).train()
    images = torch.randn(8, 8, 9, 9, generator=generator)
    expected = plain.train()(images)
    found = quantiser(layer.train(), images)
    found.square().mean().backward()
    assert float((found - expected).detach().abs().mean()) < 0.02 * float(expected.detach().abs().mean())
    assert not torch.equal(found, expected)
    for norm, same in zip(layer.branches.norms, plain.branches.norms, strict=True):
        # The images, too, are rounded.
        torch.testing.assert_close(norm.running_mean, same.running_mean, rtol=0.01, atol=1e-3)
        torch.testing.assert_close(norm.running_var, same.running_var, rtol=0.01, atol=1e-3)
    expected.square().mean().backward()
    for one, other in zip(layer.parameters(), plain.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        torch.testing.assert_close(one.grad, other.grad, rtol=0.3, atol=0.3 * float(other.grad.abs().max()))


def test_weights_go_into_a_larger_space_and_compute_the_same() -> None:
    """Larger kernels, more branches, further blocks and widths; the given ones as they were."""
    stages = (RepStageConfig((16,), (1,), 1, dense=True), RepStageConfig((24,), (1,)))
    small = make_space(
        ReparameterisedConfig(resolution=(16,), stem_widths=(8,), stages=stages, kernel_sizes=(3,), classes=5)
    )
    large = make_space(
        ReparameterisedConfig(
            resolution=(16,), stem_widths=(8,), stages=stages, kernel_sizes=(3, 5), branches=2, classes=5
        )
    )
    generator = torch.Generator().manual_seed(0)
    given = randomised(build_supernet(small, generator=generator), generator)
    taken = build_supernet(large, generator=generator).eval()
    fit(taken, source_of(given, "given"))
    images = torch.randn(2, 3, 16, 16, generator=generator)
    with torch.no_grad():
        expected = given(images, small.extreme(True))
        torch.testing.assert_close(taken(images, large.extreme(True)), expected, rtol=1e-5, atol=1e-5)
        smaller = build_supernet(small, generator=generator).eval()
        fit(smaller, source_of(given, "given"))
        torch.testing.assert_close(smaller(images, small.extreme(True)), expected, rtol=1e-5, atol=1e-5)


def test_extracted_networks_compute_what_the_supernet_computes(space: Space) -> None:
    generator = torch.Generator().manual_seed(0)
    supernet = randomised(build_supernet(space, generator=generator), generator)
    for name, value in supernet.named_parameters():
        if "transforms" in name:
            nn.init.normal_(value, std=0.2, generator=generator)
    for row in space.sample(8, np.random.default_rng(2)):
        images = torch.randn(2, 3, 16, 16, generator=generator)
        with torch.no_grad():
            expected = supernet(images, row)
            limit = 1e-5 * float(expected.abs().max())
            torch.testing.assert_close(extract(supernet, row)(images), expected, rtol=1e-5, atol=limit)


class Twice(nn.Module, Fusible):
    """A layer of a user's own: two 1×1 convolutions that are one."""

    def __init__(self, operator: Operator) -> None:
        super().__init__()
        self.first = nn.Conv2d(operator.in_channels, operator.out_channels, 1)
        self.second = nn.Conv2d(operator.in_channels, operator.out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.first(x) + self.second(x)  # type: ignore[no-any-return]

    def fused(self) -> nn.Module:
        made = copy.deepcopy(self.first)
        with torch.no_grad():
            made.weight += self.second.weight
            made.bias += self.second.bias  # type: ignore[operator]
        return made


@operator_kind("twice_of_tests")
class TwiceConv(Strided):
    """No more than a layer, which fuses: what it costs is derived."""

    def layer(self) -> nn.Module:
        return nn.Sequential(Twice(self), nn.ReLU())


def test_a_layer_of_ones_own_fuses_by_the_same_method(tmp_path: Path) -> None:
    operator = TwiceConv(6, 6, 8, 12)
    assert (operator.macs, operator.parameters, operator.norm_channels) == (36 * 96, 96 + 12, 0)
    layer = static_layer(operator).eval()
    onnx = pytest.importorskip("onnx")
    image = torch.randn(1, 8, 6, 6, generator=torch.Generator().manual_seed(0))
    path = model_format("onnx").export(ExportRequest(layer, image, plain_layout=False), tmp_path / "twice.onnx")
    assert [node.op_type for node in onnx.load(path).graph.node].count("Conv") == 1
    [found] = model_format("onnx").open(path)([image.numpy()])
    np.testing.assert_allclose(found.reshape(1, 12, 6, 6), layer(image).detach().numpy(), atol=1e-5)
    assert isinstance(layer[0], Twice), "the caller's layer stays as it was"  # type: ignore[index]
    assert isinstance(fold_batch_norm(layer[0]), nn.Conv2d)  # type: ignore[index]


def test_wrong_operators_are_refused() -> None:
    with pytest.raises(ValueError, match="as many channels as it takes"):
        RepConv(8, 8, 8, 16, kernel=3, depthwise=True)
    with pytest.raises(ValueError, match="expected 1 branch or more, got 0"):
        RepConv(8, 8, 8, 8, kernel=3, branches=0)
    branches = Branches(4, 4, 3)
    branches.kernels[0].norm.running_mean = None  # type: ignore[union-attr]
    with pytest.raises(TypeError, match="expected BatchNorm that tracks them"):
        branches.eval().fused()
