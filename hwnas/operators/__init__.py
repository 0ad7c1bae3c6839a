"""What networks are made of: one file a kind of operator, and their registry. No torch in here."""

from __future__ import annotations

from hwnas.operators.avg_pool import AvgPool
from hwnas.operators.bottleneck import Bottleneck
from hwnas.operators.conv import Conv
from hwnas.operators.factorized_reduce import FactorizedReduce
from hwnas.operators.fused_mbconv import FusedMBConv
from hwnas.operators.fusible import Fusible
from hwnas.operators.identity import Identity
from hwnas.operators.linear import Linear
from hwnas.operators.max_pool import MaxPool
from hwnas.operators.mbconv import MBConv
from hwnas.operators.norm_act import NormAct
from hwnas.operators.operator import ACTIVATIONS, Operator
from hwnas.operators.pool import GlobalPool
from hwnas.operators.registry import operator_kind
from hwnas.operators.relu_conv import ReluConv
from hwnas.operators.rep_conv import RepConv
from hwnas.operators.sep_conv import SepConv
from hwnas.operators.uib import UIB
from hwnas.operators.widths import make_divisible

__all__ = [
    "ACTIVATIONS",
    "UIB",
    "AvgPool",
    "Bottleneck",
    "Conv",
    "FactorizedReduce",
    "FusedMBConv",
    "Fusible",
    "GlobalPool",
    "Identity",
    "Linear",
    "MBConv",
    "MaxPool",
    "NormAct",
    "Operator",
    "ReluConv",
    "RepConv",
    "SepConv",
    "make_divisible",
    "operator_kind",
]
