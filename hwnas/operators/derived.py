"""What an operator costs, found out by running its layer once, where a kind does not say it.

On torch's meta device, on which tensors have shapes and no numbers: nothing is computed, and no weights are drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from hwnas.errors import ConfigError
from hwnas.operators.fusible import fuse

if TYPE_CHECKING:
    from torch import nn

    from hwnas.operators.operator import Operator

__all__ = ["Derived", "derived", "traced"]


@dataclass(frozen=True)
class Derived:
    """What `Operator` says under the same names."""

    out_channels: int
    out_height: int
    out_width: int
    macs: int
    parameters: int
    norm_channels: int
    peak_activations: int


@cache
def derived(operator: Operator) -> Derived:
    """The figures of `operator.layer()`. Raises ConfigError, naming the operator, where that is not as it says."""
    import torch

    with torch.device("meta"):
        layer = operator.layer()
    found = traced(layer, operator)
    if found.out_channels != operator.out_channels:
        raise ConfigError(
            f"operator {operator}: its layer gives {found.out_channels} channels, but out_channels is"
            f" {operator.out_channels}: mend the layer, or what the space says of it"
        )
    return found


def traced(layer: nn.Module, operator: Operator) -> Derived:
    """The figures of `layer`, fused, which takes what `operator` takes. Raises ConfigError where it does not run."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from hwnas.operators.activations import PeakCounter

    shape = operator.shape[:2] if operator.takes_flat else operator.shape
    layer = fuse(layer.eval()).to("meta").eval()
    counter, peak = FlopCounterMode(display=False), PeakCounter(layer)
    try:
        with torch.no_grad(), counter, peak:
            given = torch.empty(shape, device="meta")
            peak.given(given)
            result: Any = layer(given)
    except Exception as cause:  # a layer of anyone's may raise anything
        reason = " ".join(str(cause).split())[:200] or type(cause).__name__
        raise ConfigError(f"operator {operator}: its layer does not take {list(shape)}: {reason}") from cause
    if not isinstance(result, torch.Tensor) or result.ndim != (2 if operator.takes_flat else 4):
        got = list(result.shape) if isinstance(result, torch.Tensor) else type(result).__name__
        raise ConfigError(f"operator {operator}: expected its layer to give one tensor [B, C, H, W], got {got}")
    norms = [one for one in layer.modules() if isinstance(one, torch.nn.modules.batchnorm._NormBase)]
    height, width = result.shape[2:] if result.ndim == 4 else (1, 1)
    return Derived(
        result.shape[1], height, width, counter.get_total_flops() // 2,
        sum(one.numel() for one in layer.parameters()), sum(one.num_features for one in norms), peak.most,
    )  # fmt: skip
