"""The fast BatchNorms are the plain ones, and their gradients are autograd's."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import gradcheck

from hwnas.supernet.batch_norm import _ConvNormAct, _NormAct, conv_norm_act, norm_act
from hwnas.supernet.layers.blocks import ConvBlock

ACTIVATIONS = {"relu": F.relu, "h_swish": F.hardswish}


def a_norm(channels: int) -> nn.BatchNorm2d:
    """With two channels more than are used, which must stay as they are."""
    norm = nn.BatchNorm2d(channels + 2)
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    nn.init.normal_(norm.bias)
    return norm


def images(batch: int, channels: int, height: int, width: int) -> Tensor:
    """Correlated channels with means far from zero: what rounding errors grow from."""
    mixing = torch.randn(channels, channels)
    x = torch.einsum("bchw,dc->bdhw", torch.randn(batch, channels, height, width), mixing) + 3 * torch.randn(
        1, channels, 1, 1
    )
    return x.contiguous(memory_format=torch.channels_last)


def outcome(
    function: Callable[..., Tensor], x: Tensor, weight: Tensor | None, norm: nn.BatchNorm2d, dtype: torch.dtype
) -> list[Tensor]:
    """Output, gradients and running statistics in `dtype`."""
    generator = torch.Generator().manual_seed(3)
    inputs = [value.to(dtype).detach().requires_grad_() for value in (x, weight) if value is not None]
    result = function(*inputs, norm)
    weights = torch.randn(result.shape, generator=generator).to(dtype)
    gradients = torch.autograd.grad((result * weights).sum(), [*inputs, norm.weight, norm.bias])
    return [result, *gradients, *(value for name, value in norm.named_buffers() if name.startswith("running_"))]


def assert_equal_to_double(
    fast: Callable[..., Tensor], plain: Callable[..., Tensor], x: Tensor, weight: Tensor | None, norm: nn.BatchNorm2d
) -> None:
    """`fast` in single precision against `plain`, autograd's way, in double precision."""
    doubled = copy.deepcopy(norm).double()
    expected = outcome(plain, x, weight, doubled, torch.float64)
    found = outcome(fast, x, weight, norm, torch.float32)
    for ours, theirs in zip(found, expected, strict=True):
        scale = float(theirs.detach().abs().max())
        torch.testing.assert_close(ours.double(), theirs, atol=2e-5 * max(1.0, scale), rtol=1e-4)


def plain_norm(x: Tensor, norm: nn.BatchNorm2d) -> Tensor:
    channels = x.shape[1]
    assert norm.running_mean is not None
    assert norm.running_var is not None
    running = norm.running_mean[:channels], norm.running_var[:channels]
    return F.batch_norm(x, *running, norm.weight[:channels], norm.bias[:channels], True, 0.1, norm.eps)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("batch", "size"), [(2, 3), (4, 16)])  # below and above what is worth the fast path
def test_conv_norm_act(activation: str, batch: int, size: int) -> None:
    torch.manual_seed(0)
    act = ACTIVATIONS[activation]
    assert_equal_to_double(
        lambda x, weight, norm: conv_norm_act(x, weight, norm, activation),
        lambda x, weight, norm: act(plain_norm(F.conv2d(x, weight), norm)),
        images(batch, 8, size, size + 1),
        torch.randn(24, 8, 1, 1),
        a_norm(24),
    )


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_norm_act(activation: str) -> None:
    torch.manual_seed(1)
    act = ACTIVATIONS[activation]
    assert_equal_to_double(
        lambda x, norm: norm_act(x, norm, activation),
        lambda x, norm: act(plain_norm(x, norm)),
        images(4, 16, 5, 6),
        None,
        a_norm(16),
    )


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("function", [_ConvNormAct, _NormAct])
def test_gradients(activation: str, function: type[torch.autograd.Function]) -> None:
    """Of the formulas, in double precision, without the rounding that the others measure."""
    torch.manual_seed(6)
    norm = a_norm(5).double()
    x = images(3, 5, 5, 6).double()
    weight = [torch.randn(5, 5, 1, 1).double()] if function is _ConvNormAct else []
    inputs = [x, *weight, norm.weight.detach()[:5].clone(), norm.bias.detach()[:5].clone()]

    def apply(*given: Tensor) -> Tensor:
        # Copies: the checker moves the inputs in place.
        result: Tensor = function.apply(*(value.clone() for value in given), norm, activation)
        return result

    assert gradcheck(apply, [value.requires_grad_() for value in inputs])


def test_a_filter_whose_output_hardly_varies() -> None:
    """Its variance is a millionth of the inputs', which products in single precision would lose."""
    torch.manual_seed(2)
    x = images(4, 4, 16, 16)
    x[:, 1] = x[:, 0] + 1e-3 * torch.randn(4, 16, 16)
    weight = torch.tensor([[1.0, -1.0, 0.0, 0.0]]).reshape(1, 4, 1, 1)
    norm = a_norm(1)
    assert_equal_to_double(
        lambda x, weight, norm: conv_norm_act(x, weight, norm, "relu"),
        lambda x, weight, norm: F.relu(plain_norm(F.conv2d(x, weight), norm)),
        x,
        weight,
        norm,
    )


def test_no_gradient_wanted_and_evaluation() -> None:
    torch.manual_seed(4)
    x, weight, norm = images(4, 8, 16, 16), torch.randn(24, 8, 1, 1), a_norm(24)
    norm.eval()
    expected = F.relu(norm(F.pad(F.conv2d(x, weight), (0, 0, 0, 0, 0, 2)))[:, :24])
    torch.testing.assert_close(conv_norm_act(x, weight.requires_grad_(), norm, "relu"), expected)
    norm.train()
    with torch.no_grad():
        trained = conv_norm_act(x, weight, norm, "relu")
    torch.testing.assert_close(trained, conv_norm_act(x.requires_grad_(), weight, norm, "relu"), atol=1e-4, rtol=1e-4)


def test_the_same_bits_each_time() -> None:
    """What lets a resumed training end with the weights of one that was never stopped."""
    torch.manual_seed(5)
    x, weight = images(4, 8, 16, 16), torch.randn(24, 8, 1, 1)
    norm = a_norm(24)

    def once() -> list[Tensor]:
        act = "h_swish"
        return outcome(
            lambda x, weight, norm: conv_norm_act(x, weight, norm, act), x, weight, copy.deepcopy(norm), torch.float32
        )

    for one, other in zip(once(), once(), strict=True):
        assert torch.equal(one, other)


def test_plain_means_of_batches_are_kept_by_static_blocks() -> None:
    block = ConvBlock(3, 8, act="relu").train()
    block.norm.momentum = None
    images = torch.randn(2, 4, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    for batch in images:
        block(batch)
    means = torch.stack([block.conv(batch).mean((0, 2, 3)) for batch in images])
    torch.testing.assert_close(block.norm.running_mean, means.mean(0).detach())
