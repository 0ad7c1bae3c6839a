"""Quantisation of traced networks for ExecuTorch: in int8 what XNNPACK runs, and which layers that costs the most."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
    QuantizationConfig,
    XNNPACKQuantizer,
    get_symmetric_quantization_config,
)
from torch import Tensor, fx
from torchao.quantization.pt2e.observer import MinMaxObserver, PerChannelMinMaxObserver
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

from hwnas.errors import ConfigError, choices
from hwnas.export.sampled_range import SampledRange

__all__ = ["layer_errors", "quantise", "read_ranges"]

_ATEN = torch.ops.aten
_QUANTISED = (
    _ATEN.conv2d.default, _ATEN.linear.default, _ATEN.add.Tensor, _ATEN.mul.Tensor, _ATEN.adaptive_avg_pool2d.default,
    _ATEN.cat.default,
)  # fmt: skip
"""What makes a layer of its own. Activations are fused with it, or take the integers that it gives."""


Ranges = Mapping[str, SampledRange]
"""Where the values of each node lie, by its name in the traced network."""


def read_ranges(traced: fx.GraphModule, batches: Iterable[Tensor]) -> Ranges:
    """The ranges of all float values of `traced` on `batches` `[N, C, H, W]` of the size that it was traced with."""
    reader = _RangeReader(traced)
    with torch.no_grad():
        for images in batches:
            reader.run(images)
    return reader.ranges


class _RangeReader(fx.Interpreter):
    """Runs a network and takes samples of what its nodes give."""

    def __init__(self, traced: fx.GraphModule) -> None:
        super().__init__(traced)
        self.ranges: dict[str, SampledRange] = {}
        self._rng = np.random.default_rng(0)

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if n.op in ("placeholder", "call_function") and isinstance(value, Tensor) and value.is_floating_point():
            self.ranges.setdefault(n.name, SampledRange()).add(value.numpy(), self._rng)
        return value


def quantise(traced: fx.GraphModule, ranges: Ranges, float_layers: Collection[str] = (), *, fold: bool = True) -> Any:
    """`traced` with weights quantised for each channel and activations for each tensor, a module of the same input.

    `ranges` are those of its activations. `float_layers`, paths of modules, stay as they are. With `fold` weights
    become integers. Raises ConfigError for a layer that isn't there.
    """
    layers = dict.fromkeys(filter(None, map(_layer, traced.graph.nodes)))
    for layer in float_layers:
        if layer not in layers:
            raise ConfigError(f"float_layers: {layer!r} is no layer of the network: {choices(layer, layers)}")
    quantiser = XNNPACKQuantizer().set_global(_scales())
    quantiser.set_filter_function(lambda node: _layer(node) not in float_layers)
    prepared = prepare_pt2e(traced, quantiser)
    _observe(prepared, ranges)
    return convert_pt2e(prepared, fold_quantize=fold)


def _observe(prepared: fx.GraphModule, ranges: Ranges) -> None:
    """Give the observers in `prepared` what they would have seen in runs: `ranges`, and weights.

    One observer may stand at several tensors, which share a scale then. Numbers that values are added to or multiplied
    by are tensors too.
    """
    rng = np.random.default_rng(0)
    for node in prepared.graph.nodes:
        if node.op != "call_module":
            continue
        observer, source = prepared.get_submodule(node.target), node.args[0]
        stored = _attribute(prepared, source.target) if source.op == "get_attr" else None
        if isinstance(observer, PerChannelMinMaxObserver):
            observer(stored)
        elif isinstance(observer, _SampledObserver) and stored is not None:
            observer.range.add(stored.detach().numpy()[None], rng)
        elif isinstance(observer, _SampledObserver):
            observer.range.include(ranges[source.name])


def _attribute(module: Any, path: str) -> Any:
    for name in path.split("."):
        module = getattr(module, name)
    return module


def _scales() -> QuantizationConfig:
    """XNNPACK's, with ranges of activations as TFLite files have them.

    Its own, of least squared error by histograms, lost 0.8 points on the smallest CIFAR-10 net; these 0.2.
    """
    config = get_symmetric_quantization_config(is_per_channel=True)
    activation = replace(config.input_activation, observer_or_fake_quant_ctr=_SampledObserver.with_args(eps=2**-12))
    return replace(config, input_activation=activation, output_activation=activation)


class _SampledObserver(MinMaxObserver):  # type: ignore[misc] # torchao has no types
    """Scale and zero point from a `SampledRange`."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.range = SampledRange()

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:
        self.min_val, self.max_val = map(torch.tensor, self.range.bounds())
        scale, zero_point = super().calculate_qparams()
        return scale, zero_point


def layer_errors(
    traced: fx.GraphModule, images: Tensor, ranges: Ranges, float_layers: Collection[str] = ()
) -> dict[str, float]:
    """The error that each layer causes when it alone is quantised, by the path of its module; worst first.

    The squared error of the logits over their variance in float32. `traced` takes all of `images` `[N, C, H, W]` at
    once. `float_layers` are left out.
    """
    layers = dict.fromkeys(filter(None, map(_layer, traced.graph.nodes)))
    with torch.no_grad():
        exact = traced(images)
        quantised = quantise(traced, ranges, float_layers, fold=False)
        spread = float(exact.var()) or 1.0
        errors = {
            layer: float((_OneLayer(quantised, layer).run(images) - exact).square().mean()) / spread
            for layer in layers
            if layer not in float_layers
        }
    return dict(sorted(errors.items(), key=lambda entry: -entry[1]))


class _OneLayer(fx.Interpreter):
    """Runs a network with quantised values, of which only those are rounded that `layer` reads or gives."""

    def __init__(self, quantised: fx.GraphModule, layer: str) -> None:
        super().__init__(quantised)
        self.layer = layer

    def run_node(self, n: fx.Node) -> Any:
        kind = str(n.target).removeprefix("quantized_decomposed.")
        if kind.startswith("quantize_"):
            return self.fetch_args_kwargs_from_env(n)[0][0]
        if not kind.startswith("dequantize_"):
            return super().run_node(n)
        (value, *grid), _ = self.fetch_args_kwargs_from_env(n)
        stored: Any = n.args[0]
        if self.layer not in {_giver(stored.args[0]), *map(_layer, n.users)}:
            return value
        from_integer: Any = n.target
        return from_integer(stored.target(value, *grid), *grid)


def _giver(source: Any) -> str | None:
    """The layer that computed a value, activations that are fused with it included."""
    while isinstance(source, fx.Node) and source.op == "call_function" and "quantize_" not in str(source.target):
        if layer := _layer(source):
            return layer
        source = source.args[0] if source.args else None
    return None


def _layer(node: fx.Node) -> str | None:
    """The path of the module that `node` is the work of; None for what is no layer of its own."""
    if node.op != "call_function" or node.target not in _QUANTISED:
        return None
    stack: dict[str, tuple[str, Any]] = node.meta.get("nn_module_stack", {})
    return [path for path, _ in stack.values()][-1] if stack else None
