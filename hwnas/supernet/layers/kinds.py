"""The layer of an operator of any kind, and of a place that may hold several operators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from hwnas.errors import ConfigError
from hwnas.operators import (
    UIB,
    AvgPool,
    Bottleneck,
    Conv,
    FactorizedReduce,
    FusedMBConv,
    GlobalPool,
    Identity,
    Linear,
    MaxPool,
    MBConv,
    NormAct,
    Operator,
    ReluConv,
    RepConv,
    SepConv,
)
from hwnas.supernet.layers import (
    avg_pool,
    bottleneck,
    conv,
    factorized_reduce,
    fused_mbconv,
    identity,
    linear,
    max_pool,
    mbconv,
    norm_act,
    pool,
    relu_conv,
    rep_conv,
    sep_conv,
    uib,
)
from hwnas.supernet.layers.choices import Choices
from hwnas.supernet.layers.elastic import ElasticLayer

__all__ = ["layer_of", "static_layer"]

_STATIC: dict[type[Operator], Callable[[Any], nn.Module]] = {
    AvgPool: avg_pool.static,
    Bottleneck: bottleneck.BottleneckBlock,
    Conv: conv.static,
    FactorizedReduce: factorized_reduce.static,
    FusedMBConv: fused_mbconv.FusedBottleneck,
    GlobalPool: pool.static,
    Identity: identity.static,
    Linear: linear.static,
    MBConv: mbconv.InvertedResidual,
    MaxPool: max_pool.static,
    NormAct: norm_act.static,
    ReluConv: relu_conv.static,
    SepConv: sep_conv.static,
    RepConv: rep_conv.RepConvBlock,
    UIB: uib.UniversalBottleneck,
}
"""By kind; kinds of others bring theirs as `Operator.layer`."""

_ELASTIC: dict[type[Operator], Callable[[Any], nn.Module]] = {
    Bottleneck: bottleneck.ElasticBottleneck,
    Conv: conv.ElasticConv,
    FusedMBConv: fused_mbconv.ElasticFusedBottleneck,
    Linear: linear.ElasticLinear,
    MBConv: mbconv.ElasticInvertedResidual,
    RepConv: rep_conv.elastic,
    UIB: uib.ElasticUniversalBottleneck,
}
"""By kind; kinds of others bring theirs as `Operator.elastic_layer`."""


def static_layer(operator: Operator) -> nn.Module:
    """The plain module of an operator, its weights as the constructors leave them."""
    make = _STATIC.get(type(operator))
    return operator.layer() if make is None else make(operator)


def layer_of(operators: Sequence[Operator]) -> nn.Module:
    """What stands where one of `operators` may be chosen: the static layer of one, else an `ElasticLayer`.

    Operators of a kind share weights where it has an elastic layer, and with those of a kind that holds it
    (`Operator.holds`); other kinds side by side have weights of their own.
    """
    if len(operators) == 1:
        return static_layer(operators[0])
    kinds: dict[type[Operator], list[Operator]] = {}
    for operator in operators:
        kinds.setdefault(type(operator), []).append(operator)
    for part in list(kinds):
        if host := next((other for other in kinds if part in other.holds), None):
            kinds[host] += kinds.pop(part)
    if len(kinds) > 1:
        return Choices([(own, layer_of(own)) for own in kinds.values()])
    [kind] = kinds
    alike = len({(operator.kind, *operator.own_fields().values()) for operator in operators}) == 1
    if alike and (first := static_layer(operators[0])) and not any(True for _ in first.parameters()):
        return first
    if kind in _ELASTIC:
        return _ELASTIC[kind](operators)
    elastic = kind.elastic_layer(operators)
    if elastic is None:
        return Choices([([operator], static_layer(operator)) for operator in operators])
    if not isinstance(elastic, ElasticLayer):
        raise ConfigError(
            f"operator kind {kind.kind!r}: expected an ElasticLayer (hwnas.supernet.layers.elastic) as its elastic"
            f" layer, got {type(elastic).__name__}"
        )
    return elastic
