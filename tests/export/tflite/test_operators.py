"""What the operators of a file are called."""

from __future__ import annotations

import pytest

from hwnas.export.tflite.operators import layer_of


@pytest.mark.parametrize(
    ("tensor", "layer"),
    [
        ("a.Wrapper/hwnas.supernet.subnet.Subnet_wrapped/h.ConvBlock_stem/torch.nn.modules.conv.Conv2d_conv;2", "stem"),
        ("a.W/h.Subnet_wrapped/h.Residual_block3/h.ConvBlock_depthwise/torch.nn.a.ReLU_act;;a.W/x", "block3.depthwise"),
        ("a.W/h.Subnet_wrapped/torch.nn.modules.linear.Linear_classifier;1", "classifier"),
        ("serving_default_output_0_output", "serving_default_output_0_output"),
    ],
)
def test_layers_are_named_by_modules(tensor: str, layer: str) -> None:
    assert layer_of(tensor) == layer
