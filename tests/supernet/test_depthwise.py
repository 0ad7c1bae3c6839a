"""The fast weight gradient is the library's."""

import pytest
import torch
import torch.nn.functional as F

from hwnas.supernet.depthwise import depthwise_conv


@pytest.mark.parametrize("kernel", [3, 5, 7, 9])
@pytest.mark.parametrize("size", [1, 3, 4, 6, 8, 11])
@pytest.mark.parametrize("stride", [1, 2])
def test_gradients(kernel, size, stride):
    generator = torch.Generator().manual_seed(kernel * size)
    x = torch.randn(4, 16, size, size + 1, generator=generator).contiguous(memory_format=torch.channels_last)
    filters = torch.randn(16, 1, kernel, kernel, generator=generator)
    inputs = (x.requires_grad_(), filters.requires_grad_())
    expected = F.conv2d(x, filters, stride=stride, padding=kernel // 2, groups=16)
    result = depthwise_conv(x, filters, stride)
    torch.testing.assert_close(result, expected, atol=1e-4, rtol=1e-4)
    weights = torch.randn(expected.shape, generator=generator)
    for ours, theirs in zip(
        torch.autograd.grad((result * weights).sum(), inputs),
        torch.autograd.grad((expected * weights).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
