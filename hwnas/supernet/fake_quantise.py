"""Networks computed as their int8 files compute them, in floating point: to judge them by, and to fine-tune them.

Affine quantisation as in Jacob et al., CVPR 2018, and as ONNX (QDQ) and TFLite files have it: weights int8, symmetric,
one scale an output channel; activations int8 with a zero point, one range a tensor, zero in it. What a runtime fuses
into one operator is rounded once: convolution, batch norm and ReLU; addition and ReLU. Everything else that computes
(h-swish, the pooled mean, squeeze-and-excitation's gate and product) has a rounded output of its own. Biases, int32 in
a file, are exact here.

Batch norm scales an output channel's filter as a whole, and so its scale of quantisation alike: the rounded filter is
the same whether batch norm is folded before or not. So networks in training keep theirs. Branches that are fused have
no filter to be rounded before theirs are added up: they are fused in every step, with the statistics of its images
(Krishnamoorthi, 2018, section 3.2.2).

Shapes: A activations that are rounded, B images.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from hwnas.errors import DataError
from hwnas.supernet.depthwise import depthwise_conv
from hwnas.supernet.layers.branches import Branches

__all__ = ["FakeQuantised", "FakeQuantiser", "fake_quantised", "quantise_activation", "quantise_weight"]

MOMENTUM = 0.05
"""The weight of a step's ranges in their running mean."""

INSIDE = 0.999
"""The share of a tensor's values, by size, that its range holds: the outermost would make all levels coarser."""

_LOOKED_AT = 2**16  # values of a tensor, at even distances, that tell which size so many stay below

_WEIGHTED = (nn.Conv2d, nn.Linear)
_FUSED_FROM = (*_WEIGHTED, nn.BatchNorm2d, Branches)
_FUSED_INTO = (nn.BatchNorm2d, nn.ReLU, nn.ReLU6)
_PASSING = (nn.Dropout, nn.Flatten, nn.Identity, nn.MaxPool2d)  # give values that they were given

_Bounds = tuple[float, float]


class FakeQuantiser(nn.Module):
    """Where a network's activations are rounded, and the ranges `[A, 2]` that they are rounded in: lowest and highest.

    It goes with networks of the structure of the one that it is made from. In training mode a call also notes the
    ranges that it sees; `advance` takes them into the running means, which the next calls round with.
    """

    ranges: Tensor

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        was_training = network.training
        self._graph = _Tracer().trace(network.eval())
        network.train(was_training)
        rounded = [node.name for node in self._graph.nodes if _is_rounded(node, dict(network.named_modules()))]
        self._places = {name: place for place, name in enumerate(rounded)}
        self.register_buffer("ranges", torch.zeros(len(rounded), 2))
        self.seen: list[Tensor] = []

    def forward(self, network: nn.Module, x: Tensor) -> Tensor:
        """What `network` gives for `x` `[B, C, H, W]`, its weights and activations rounded; gradients pass straight."""
        bounds: list[_Bounds] = [(low, high) for low, high in self.ranges.tolist()]
        seen = self.ranges.new_zeros(self.ranges.shape) if self.training else None

        def activation(name: str, values: Tensor) -> Tensor:
            place = self._places[name]
            low, high = bounds[place]
            if seen is not None:
                seen[place] = _range_of(values)
                if low == high:  # nothing seen before: the first step's own
                    low, high = seen[place].tolist()
            return quantise_activation(values, low, high)

        result = _Walk(network, self._graph, self._places, quantise_weight, activation).run(x)
        if seen is not None:
            self.seen.append(seen)
        return result  # type: ignore[no-any-return]

    @torch.no_grad()
    def calibrate(self, network: nn.Module, batches: Iterable[Tensor]) -> None:
        """Set the ranges to what `network`, not rounded, gives for `batches` of images, their mean by sample count.

        DataError without any.
        """
        total, count = torch.zeros_like(self.ranges), 0
        for images in batches:
            size = len(images)

            def observe(name: str, values: Tensor, size: int = size) -> Tensor:
                total[self._places[name]] += size * _range_of(values)
                return values

            _Walk(network, self._graph, self._places, lambda weight: weight, observe).run(images)
            count += size
        if not count:
            raise DataError("ranges of activations: expected at least one batch of images, got none")
        self.ranges.copy_(total / count)

    @torch.no_grad()
    def advance(self, seen: Tensor) -> None:
        """Take the ranges `seen` `[A, 2]` of a step into the running means; the first ones become them."""
        fresh = (self.ranges[:, :1] == self.ranges[:, 1:]).expand_as(self.ranges)
        self.ranges.copy_(torch.where(fresh, seen, torch.lerp(self.ranges, seen, MOMENTUM)))

    def take_seen(self) -> Tensor:
        """The sum of the ranges noted since the last time `[A, 2]`, one after another."""
        total = torch.stack(self.seen).sum(dim=0) if len(self.seen) > 1 else self.seen[0]
        self.seen = []
        return total


class FakeQuantised(nn.Module):
    """`network` with a quantiser of its own, as one module: images `[B, C, H, W]` to logits `[B, K]`."""

    def __init__(self, network: nn.Module, quantiser: FakeQuantiser) -> None:
        super().__init__()
        self.network, self.quantiser = network, quantiser

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.quantiser(self.network, x)
        return logits


def fake_quantised(network: nn.Module, batches: Iterable[Tensor]) -> FakeQuantised:
    """`network`, in eval mode, as its int8 file with ranges read off `batches` of prepared images would compute."""
    quantiser = FakeQuantiser(network)
    quantiser.calibrate(network, batches)
    return FakeQuantised(network, quantiser).eval()


def quantise_weight(weight: Tensor) -> Tensor:
    """`[M, …]` rounded to 255 levels, symmetric about 0, one scale for each of M; the gradient is as if not."""
    with torch.no_grad():
        scale = weight.detach().abs().amax(dim=tuple(range(1, weight.ndim)), keepdim=True).clamp_min(1e-12) / 127
        error = torch.round(weight / scale) * scale - weight
    return weight + error


def quantise_activation(values: Tensor, low: float, high: float) -> Tensor:
    """`values` rounded to 256 levels from `low` to `high`, one of which is 0; the gradient is 0 outside of the range.

    A range without extent leaves values as they are.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    if low == high:
        return values
    scale = (high - low) / 255
    least = -128 - max(-128, min(127, round(-128 - low / scale)))  # the lowest level, in steps from 0
    rounded: Tensor = _Rounded.apply(values, scale, least)  # type: ignore[no-untyped-call]
    return rounded


class _Rounded(torch.autograd.Function):
    """As `torch.fake_quantize_per_tensor_affine`, which takes four times as long on a CPU (measured)."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, scale: float, least: int) -> Tensor:
        ctx.save_for_backward(values)
        ctx.bounds = (least - 0.5) * scale, (least + 255.5) * scale
        return torch.mul(values, 1 / scale).round_().clamp_(least, least + 255).mul_(scale)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (values,) = ctx.saved_tensors
        return torch.ops.aten.hardtanh_backward(gradient, values, *ctx.bounds), None, None


class _Tracer(fx.Tracer):
    """Branches are one convolution in a file, whatever they are made of."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, Branches) or super().is_leaf_module(m, module_qualified_name)


class _Walk(fx.Interpreter):
    """One pass through a network, `weight` and `activation` applied on the way."""

    def __init__(
        self,
        network: nn.Module,
        graph: fx.Graph,
        rounded: Iterable[str],
        weight: Callable[[Tensor], Tensor],
        activation: Callable[[str, Tensor], Tensor],
    ) -> None:
        super().__init__(network, graph=graph)
        self._rounded, self._weight, self._activation = rounded, weight, activation

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        return self._activation(n.name, result) if n.name in self._rounded else result

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        module = self.fetch_attr(target)
        if isinstance(module, nn.Linear):
            return F.linear(args[0], self._weight(module.weight), module.bias)
        if isinstance(module, nn.Conv2d):
            return _convolve(args[0], self._weight(module.weight), module)
        if isinstance(module, Branches):
            weight, bias = module.merged(args[0])
            padding = module.kernel // 2
            return F.conv2d(args[0], self._weight(weight), bias, module.stride, padding, groups=module.groups)
        return super().call_module(target, args, kwargs)


def _convolve(x: Tensor, weight: Tensor, conv: nn.Conv2d) -> Tensor:
    if conv.bias is None and conv.groups == x.shape[1] == len(weight) and conv.dilation == (1, 1):
        return depthwise_conv(x, weight, conv.stride[0])
    return F.conv2d(x, weight, conv.bias, conv.stride, conv.padding, conv.dilation, conv.groups)


def _is_rounded(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    """Whether a runtime writes the node's output down as int8 values with a range of their own."""

    def calls(one: fx.Node, kinds: tuple[type[nn.Module], ...]) -> bool:
        return one.op == "call_module" and isinstance(modules[str(one.target)], kinds)

    if node.op in ("output", "get_attr") or calls(node, _PASSING):
        return False
    next_ones = list(node.users)
    goes_on = len(next_ones) == 1 and (calls(next_ones[0], _FUSED_INTO) or next_ones[0].target is F.relu)
    return not (goes_on and (calls(node, _FUSED_FROM) or node.target is operator.add))


def _range_of(values: Tensor) -> Tensor:
    """`[2]`: the least and the largest, 0 among them, but no larger in size than `INSIDE` of the values are."""
    values = values.detach()
    low, high = values.aminmax()
    flat = (values.permute(0, 2, 3, 1) if values.ndim == 4 else values).reshape(-1)
    sizes = flat[:: max(1, len(flat) // _LOOKED_AT)].abs()
    limit = sizes.kthvalue(math.ceil(INSIDE * len(sizes))).values
    return torch.stack([torch.maximum(low.clamp_max(0), -limit), torch.minimum(high.clamp_min(0), limit)])
