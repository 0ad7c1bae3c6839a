"""What networks are made of: one file a kind of operator, and their registry. No torch in here."""

from __future__ import annotations

from hwnas.operators.bottleneck import Bottleneck
from hwnas.operators.conv import Conv
from hwnas.operators.fused_mbconv import FusedMBConv
from hwnas.operators.fusible import Fusible
from hwnas.operators.linear import Linear
from hwnas.operators.max_pool import MaxPool
from hwnas.operators.mbconv import MBConv
from hwnas.operators.operator import ACTIVATIONS, Operator
from hwnas.operators.pool import GlobalPool
from hwnas.operators.registry import operator_kind
from hwnas.operators.rep_conv import RepConv
from hwnas.operators.uib import UIB
from hwnas.operators.widths import make_divisible

__all__ = [
    "ACTIVATIONS",
    "UIB",
    "Bottleneck",
    "Conv",
    "FusedMBConv",
    "Fusible",
    "GlobalPool",
    "Linear",
    "MBConv",
    "MaxPool",
    "Operator",
    "RepConv",
    "make_divisible",
    "operator_kind",
]
