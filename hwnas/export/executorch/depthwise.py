"""Large depthwise convolutions of a traced network as sums of ones that XNNPACK has kernels for.

Why: `hwnas.export.tflite.depthwise`; which: `hwnas.export.convolutions.row_groups`.
"""

from __future__ import annotations

from dataclasses import replace
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, fx

from hwnas.export.convolutions import row_dilation, row_groups
from hwnas.export.request import ExportState

__all__ = ["split_depthwise"]

_CONVOLUTION = torch.ops.aten.conv2d.default


def split_depthwise(state: ExportState) -> ExportState:
    """The same program with depthwise convolutions of more than 25 taps as sums of ones that have fewer."""
    traced: fx.GraphModule = state.model.module()
    found = [node for node in traced.graph.nodes if node.op == "call_function" and node.target == _CONVOLUTION]
    split = [_split(traced, node) for node in found]
    if not any(split):
        return state
    traced.recompile()
    return replace(state, model=torch.export.export(traced, state.examples, strict=False))


def _split(traced: fx.GraphModule, whole: fx.Node) -> bool:
    """One convolution for each of `row_groups`, dilated as they lie about the middle row, and their sum."""
    defaults: tuple[Any, ...] = (None, None, None, [1, 1], [0, 0], [1, 1], 1)
    given: tuple[Any, ...] = whole.args
    source, filters, bias, stride, padding, dilation, groups = (*given, *defaults[len(given) :])
    if not isinstance(filters, fx.Node) or filters.op != "get_attr":
        return False
    weights: Tensor = attrgetter(str(filters.target))(traced)
    channels, inputs, kernel, columns = weights.shape
    depthwise = (inputs, groups) == (1, channels) and kernel == columns and list(dilation) == [1, 1]
    if not depthwise or list(padding) != [kernel // 2] * 2 or not (rows_of := row_groups(kernel)):
        return False
    total: Any = None
    with traced.graph.inserting_before(whole):
        for rows in rows_of:
            name = f"{whole.name}_rows{rows[0]}"
            traced.register_buffer(name, weights.detach()[:, :, list(rows)].contiguous())
            part = traced.graph.call_function(
                _CONVOLUTION,
                (
                    source, traced.graph.get_attr(name), bias if total is None else None, stride,
                    [kernel // 2 - rows[0], kernel // 2], [row_dilation(rows), 1], groups,
                ),
            )  # fmt: skip
            total = part if total is None else traced.graph.call_function(torch.ops.aten.add.Tensor, (total, part))
            part.meta, total.meta = dict(whole.meta), dict(whole.meta)  # of the same layer
    whole.replace_all_uses_with(total)
    traced.graph.erase_node(whole)
    return True
