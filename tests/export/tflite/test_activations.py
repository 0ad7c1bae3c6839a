"""Graphs without HARD_SWISH compute what they did."""

from __future__ import annotations

from collections import Counter

import numpy as np
import torch
from ai_edge_litert.interpreter import Interpreter
from torch import nn

from hwnas.export.tflite.activations import lower_activations
from hwnas.export.tflite.flatbuffer import unpack
from hwnas.export.tflite.operators import operator_names
from tests.export.tflite.conftest import Precisions, run


def test_lowered_activations_compute_the_same(net: Precisions) -> None:
    plain = net.files["fp32"].read_bytes()
    lowered = lower_activations(plain)
    names = Counter(operator_names(lowered))
    assert "HARD_SWISH" not in names
    # Squeeze-and-excitation lost its product with 1/6. No value needed one but the stem's, which a residual adds.
    before = Counter(operator_names(plain))
    assert names["MUL"] == before["MUL"] // 2 + before["HARD_SWISH"] + 1
    assert names["ADD"] == before["ADD"] + before["HARD_SWISH"]
    for image in net.images[:4].transpose(0, 2, 3, 1):
        np.testing.assert_allclose(run(lowered, image[None]), run(plain, image[None]), atol=1e-4)
    model = unpack(lowered)
    used = {int(number) for one in model.subgraphs[0].operators for number in (*one.inputs, *one.outputs)}
    assert used - {-1} == set(range(len(model.subgraphs[0].tensors)))


class Awkward(nn.Module):
    """h-swish where nothing that follows has weights: added, given out, multiplied with itself."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = nn.functional.hardswish(x.mean((2, 3)))
        return nn.functional.hardswish(y * y + y)


def test_a_factor_that_no_weights_take_is_divided_out() -> None:
    import litert_torch

    image = torch.randn(1, 4, 4, 6) * 3
    module = litert_torch.to_channel_last_io(Awkward(), args=[0]).eval()
    plain = litert_torch.convert(module, (image,)).model_content()
    lowered = lower_activations(plain)
    assert "HARD_SWISH" not in operator_names(lowered)
    np.testing.assert_allclose(run(lowered, image.numpy()), run(plain, image.numpy()), atol=1e-5)
    interpreter = Interpreter(model_content=lowered)
    runner = interpreter.get_signature_runner("serving_default")
    (given,) = runner(args_0=image.numpy()).values()
    np.testing.assert_allclose(given, run(plain, image.numpy()), atol=1e-5)
