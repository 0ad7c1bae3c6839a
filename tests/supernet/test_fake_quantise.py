"""Fake quantisation against torch's own, and against an int8 file in ONNX Runtime."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hwnas.errors import DataError
from hwnas.export.formats import model_format
from hwnas.export.request import ExportRequest
from hwnas.operators import MBConv, Operator
from hwnas.spaces import Genotypes, OfaProxylessConfig, OfaResNet50Config, make_space
from hwnas.supernet import fake_quantise
from hwnas.supernet.build import build_subnet
from hwnas.supernet.calibrate import calibrate_batch_norm
from hwnas.supernet.extract import extract
from hwnas.supernet.fake_quantise import FakeQuantiser, fake_quantised, quantise_activation, quantise_weight
from hwnas.supernet.fold import fold_batch_norm
from hwnas.supernet.initialise import initialise
from hwnas.supernet.layers.kinds import static_layer
from hwnas.supernet.supernet import Supernet


@pytest.mark.parametrize(("low", "high"), [(-1.0, 2.0), (0.0, 3.0), (-2.5, 0.0), (-0.375, 6.0)])
def test_activations_and_their_gradients_are_torchs(low: float, high: float) -> None:
    values = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 3
    ours, theirs = values.clone().requires_grad_(), values.clone().requires_grad_()
    scale = (high - low) / 255
    zero = max(-128, min(127, round(-128 - low / scale)))
    rounded = quantise_activation(ours, low, high)
    expected = torch.fake_quantize_per_tensor_affine(theirs, scale, zero, -128, 127)
    torch.testing.assert_close(rounded, expected)
    weights = torch.randn(values.shape, generator=torch.Generator().manual_seed(1))
    (rounded * weights).sum().backward()
    (expected * weights).sum().backward()
    assert ours.grad is not None
    assert theirs.grad is not None
    assert torch.equal(ours.grad, theirs.grad)
    assert 0 < (ours.grad == 0).float().mean() < 1
    assert bool((quantise_activation(torch.zeros(3), low, high) == 0).all())


def test_a_range_without_extent_changes_nothing() -> None:
    values = torch.randn(4)
    assert quantise_activation(values, 0.0, 0.0) is values


def test_weights_are_torchs_and_their_gradient_is_straight() -> None:
    weight = torch.randn(6, 3, 3, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    with torch.no_grad():
        weight[2] = 0
    scales = (weight.detach().abs().amax(dim=(1, 2, 3)) / 127).clamp_min(1e-12)
    expected = torch.fake_quantize_per_channel_affine(
        weight.detach(), scales, torch.zeros(6, dtype=torch.int32), 0, -127, 127
    )
    rounded = quantise_weight(weight)
    torch.testing.assert_close(rounded, expected)
    rounded.sum().backward()
    assert weight.grad is not None
    assert bool((weight.grad == 1).all())


def test_batch_norm_rounds_alike_folded_or_not(supernet: Supernet, genotypes: Genotypes, images: Tensor) -> None:
    subnet = extract(supernet, genotypes[0])
    apart, folded = fake_quantised(subnet, [images]), fake_quantised(fold_batch_norm(subnet), [images])
    torch.testing.assert_close(apart.quantiser.ranges, folded.quantiser.ranges, atol=1e-4, rtol=1e-4)
    with torch.no_grad():
        difference = (apart(images) - folded(images)).abs().max()
        error = (subnet(images) - folded(images)).abs().max()
    assert difference < 0.3 * error  # a value on the edge between two levels may fall to either side


def test_gradients_reach_every_parameter(supernet: Supernet, genotypes: Genotypes, images: Tensor) -> None:
    subnet = extract(supernet, genotypes[-2]).train()
    quantiser = FakeQuantiser(subnet).train()
    quantiser(subnet, images).square().sum().backward()
    for name, parameter in subnet.named_parameters():
        assert parameter.grad is not None, name
        assert float(parameter.grad.abs().sum()) > 0, name


def test_running_ranges_follow_what_is_seen(supernet: Supernet, genotypes: Genotypes, images: Tensor) -> None:
    subnet = extract(supernet, genotypes[0]).train()
    quantiser = FakeQuantiser(subnet).train()
    with torch.no_grad():
        quantiser(subnet, images)
        first = quantiser.take_seen()
        quantiser.advance(first)
        assert torch.equal(quantiser.ranges, first)
        quantiser(subnet, 2 * images)
        second = quantiser.take_seen()
        quantiser.advance(second)
    limit = float(images.abs().quantile(0.999))
    assert first[0].tolist() == pytest.approx([-limit, limit], rel=0.02)
    torch.testing.assert_close(quantiser.ranges[0], 0.95 * first[0] + 0.05 * second[0])


def test_ranges_need_images(supernet: Supernet, genotypes: Genotypes) -> None:
    with pytest.raises(DataError, match="ranges of activations"):
        fake_quantised(extract(supernet, genotypes[0]), [])


@pytest.mark.parametrize("config", [OfaProxylessConfig(width_mult=0.3), OfaResNet50Config()], ids=lambda c: c.family)
def test_other_spaces(config: OfaProxylessConfig | OfaResNet50Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fake_quantise, "INSIDE", 1.0)  # of untrained networks the outermost values say most
    space = make_space(config)
    subnet = build_subnet(space, space.extreme(largest=False), 0.0, torch.Generator().manual_seed(0)).eval()
    images = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    calibrate_batch_norm(subnet, [images])
    quantised = fake_quantised(subnet, [images])
    assert bool((quantised.quantiser.ranges[:, 0] < quantised.quantiser.ranges[:, 1]).all())
    with torch.no_grad():
        error = (quantised(images) - subnet(images)).std() / subnet(images).std()
    assert 0 < error < 0.5


BLOCK = MBConv(24, 24, 8, 8, mid_channels=24, kernel=5, residual=True, se=True, activation="h_swish")


@pytest.mark.parametrize("layer", [BLOCK, replace(BLOCK, se=False, activation="relu", stride=2, residual=False)])
def test_it_is_the_integer_arithmetic_of_a_file(
    layer: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against ONNX Runtime's own quantiser, with all values in the ranges, and its integer kernels."""
    monkeypatch.setattr(fake_quantise, "INSIDE", 1.0)
    monkeypatch.setattr(fake_quantise, "_LOOKED_AT", 2**30)
    pytest.importorskip("onnxruntime", reason="install hwnas[onnxruntime]")
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    generator = torch.Generator().manual_seed(2)
    images = torch.randn(64, 8, 24, 24, generator=generator)
    network = nn.Sequential(static_layer(layer)).eval()
    initialise(network, generator)
    calibrate_batch_norm(network, [images])
    chosen = model_format("onnx")
    plain = chosen.export(ExportRequest(network, images[:1]), tmp_path / "float.onnx")

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left = iter(images.numpy())

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self._left, None)
            return None if image is None else {"input": image[None]}

    quantize_static(
        plain, tmp_path / "int8.onnx", Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
        activation_type=QuantType.QInt8, weight_type=QuantType.QInt8,
    )  # fmt: skip
    given = chosen.load_runner(tmp_path / "int8.onnx")(images.numpy())
    quantised = fake_quantised(fold_batch_norm(network), [images])
    with torch.no_grad():
        expected, exact = quantised(images).numpy(), network(images).numpy()
    low, high = quantised.quantiser.ranges[-1].tolist()
    levels = np.abs(given - expected) / (high - low) * 255
    # Biases are rounded there and not here, and values on the edge between two levels fall to either side.
    assert (levels < 0.5).mean() > 0.95
    assert levels.max() < 4
    assert ((np.abs(given - exact) / (high - low) * 255) < 0.1).mean() < 0.5
