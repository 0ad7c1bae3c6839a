"""The fast weight gradient is the true one."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import gradcheck

from hwnas.supernet.depthwise import depthwise_conv

CHANNELS = 16


@pytest.mark.parametrize("kernel", [3, 5, 7, 9])
@pytest.mark.parametrize("size", [1, 3, 4, 6, 8, 11])
@pytest.mark.parametrize("stride", [1, 2])
def test_gradients(kernel: int, size: int, stride: int) -> None:
    generator = torch.Generator().manual_seed(kernel * size)
    x = torch.randn(4, CHANNELS, size, size + 1, generator=generator, dtype=torch.float64)
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    filters = torch.randn(CHANNELS, 1, kernel, kernel, generator=generator, dtype=torch.float64).requires_grad_()

    def single(x: Tensor, filters: Tensor) -> Tensor:
        """In single precision, which alone has the fast way."""
        return depthwise_conv(x.float(), filters.float(), stride).double()

    expected = F.conv2d(x, filters, stride=stride, padding=kernel // 2, groups=CHANNELS)
    torch.testing.assert_close(single(x, filters), expected, atol=1e-4, rtol=1e-4)
    # Linear in the images, and in the filters: steps may be as long as single precision needs them.
    assert gradcheck(single, (x, filters), eps=1.0, atol=1e-4, rtol=1e-4, fast_mode=True)
