"""What may be built, as numbers. No torch in here."""

from __future__ import annotations

from hwnas.spaces.arch import Arch
from hwnas.spaces.build import FAMILIES, SpaceConfig, make_space, settings_of, space_from_dict
from hwnas.spaces.darts import DartsConfig, DartsSpace
from hwnas.spaces.from_file import FileSpaceConfig
from hwnas.spaces.genes import Gene, Genotypes
from hwnas.spaces.mobilenet_v4 import MobileNetV4Config, MobileNetV4Space, StageConfig
from hwnas.spaces.nasbench201_networks import NasBench201Config, NasBench201NetworkSpace
from hwnas.spaces.nasbench_macro import NasBenchMacroConfig, NasBenchMacroSpace
from hwnas.spaces.ofa_mbv3 import OfaMbv3Config, OfaMbv3Space
from hwnas.spaces.ofa_proxyless import OfaProxylessConfig, OfaProxylessSpace
from hwnas.spaces.ofa_resnet50 import OfaResNet50Config, OfaResNet50Space
from hwnas.spaces.placed import Place, PlacedSpace
from hwnas.spaces.reparameterised import ReparameterisedConfig, ReparameterisedSpace, RepStageConfig
from hwnas.spaces.slots import Slot
from hwnas.spaces.space import Space

__all__ = [
    "FAMILIES",
    "Arch",
    "DartsConfig",
    "DartsSpace",
    "FileSpaceConfig",
    "Gene",
    "Genotypes",
    "MobileNetV4Config",
    "MobileNetV4Space",
    "NasBench201Config",
    "NasBench201NetworkSpace",
    "NasBenchMacroConfig",
    "NasBenchMacroSpace",
    "OfaMbv3Config",
    "OfaMbv3Space",
    "OfaProxylessConfig",
    "OfaProxylessSpace",
    "OfaResNet50Config",
    "OfaResNet50Space",
    "Place",
    "PlacedSpace",
    "RepStageConfig",
    "ReparameterisedConfig",
    "ReparameterisedSpace",
    "Slot",
    "Space",
    "SpaceConfig",
    "StageConfig",
    "make_space",
    "settings_of",
    "space_from_dict",
]
