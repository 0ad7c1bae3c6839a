"""Networks that once-for-all's code saved, supernets and single ones, read layer by layer, and the space they are of.

The names tell the family; the shapes tell widths, kernels and expansions; what shapes don't tell, the network's
description does, where it lies beside the weights as JSON with the same name, else the family's published network.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from torch import Tensor

from hwnas.errors import CheckpointError, ConfigError
from hwnas.operators import make_divisible
from hwnas.spaces import OfaMbv3Config, OfaProxylessConfig, OfaResNet50Config, SpaceConfig
from hwnas.supernet.published import family_of, own_name, published_tensors
from hwnas.supernet.source import Source
from hwnas.supernet.state_dicts import read_state_dict

__all__ = ["published_source"]

_STAGE_DEPTH = 4
"""Blocks a stage in the public code, those that were left out counted."""

Layers = dict[str, dict[str, Tensor]]


def published_source(path: Path) -> Source:
    """What a public checkpoint holds, to start from. Nothing in the file is run.

    Raises CheckpointError where it is none, and where no space can be read off it.
    """
    try:
        weights = read_state_dict(path)
        tensors = published_tensors(weights)
        family = family_of(tensors)
        named = _by_slot(tensors, family)
        blocks = {int(slot.removeprefix("block")): named.pop(slot) for slot in list(named) if slot.startswith("block")}
        description = _description(path)
        name = re.sub(r"[^\w.-]", "_", path.stem)
        if family == "ofa_resnet50":
            stages = _split(sorted(blocks), [n for n in blocks if "downsample.project.conv.weight" in blocks[n]])
            settings: SpaceConfig = _resnet_settings(named, blocks, stages, name)
        else:
            stages = _stages(blocks, description)
            settings = _settings(family, named, blocks, stages, description, name)
    except CheckpointError as error:
        raise CheckpointError(str(error) if str(path) in str(error) else f"{path}: {error}") from error
    except (KeyError, IndexError, ValueError, TypeError, ConfigError) as error:
        reason = f"no layer {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"{path}: weights named as {family}'s, of which no space can be made ({reason}): expected a network of"
            f" once-for-all's code as space={family} has them"
        ) from error
    layers = {f"stage{s + 1}.{p}": blocks[number] for s, stage in enumerate(stages) for p, number in enumerate(stage)}
    elastic = any(".bn.bn." in key for key in weights)  # what an elastic layer wraps has the same name again
    return Source(str(path), settings, {**named, **layers}, frozenset(), elastic)


def _by_slot(tensors: Mapping[str, Tensor], family: str) -> Layers:
    found: Layers = {}
    short = not any(name.startswith("input_stem.2.") for name in tensors)  # a ResNet's, its residual part left out
    for name, value in tensors.items():
        if short and name.startswith("input_stem.1."):
            name = name.replace("input_stem.1.", "input_stem.2.", 1)
        slot, rest = own_name(family, name)
        found.setdefault(slot, {})[rest] = value
    return found


def _description(path: Path) -> dict[str, Any]:
    beside = path.with_suffix(".json")
    try:
        description = json.loads(beside.read_text())
    except (OSError, ValueError):
        return {}
    return description if isinstance(description, dict) and isinstance(description.get("blocks"), list) else {}


def _described_blocks(description: Mapping[str, Any]) -> dict[int, Mapping[str, Any]]:
    """The elastic blocks that a description has, by their numbers; those that were left out are left out."""
    inner = [block.get("mobile_inverted_conv") or block.get("conv") or {} for block in description["blocks"]]
    return {number - 1: block for number, block in enumerate(inner) if number and "kernel_size" in block}


def _stages(blocks: Mapping[int, Mapping[str, Tensor]], description: Mapping[str, Any]) -> list[list[int]]:
    """The numbers of each stage's blocks. A stage starts where stride or width changes, as no block inside one does."""
    numbers = sorted(blocks)
    if description:
        known = _described_blocks(description)
        starts = [
            n for n in numbers if n not in known or known[n]["stride"] != 1
            or known[n]["in_channels"] != known[n]["out_channels"]
        ]  # fmt: skip
        if list(known) == numbers:
            return _split(numbers, starts)
    changes = [n for n in numbers if _inputs(blocks[n]) != _outputs(blocks[n])]
    regular = range(0, numbers[-1] + 1, _STAGE_DEPTH)
    if set(changes) <= set(regular) <= set(numbers) and numbers[-1] % _STAGE_DEPTH in (0, _STAGE_DEPTH - 1):
        return _split(numbers, regular)
    return _split(numbers, sorted({numbers[0], *changes, *(b for a, b in pairwise(numbers) if b > a + 1)}))


def _split(numbers: Sequence[int], starts: Sequence[int]) -> list[list[int]]:
    stages: list[list[int]] = []
    for number in numbers:
        if number in starts or not stages:
            stages.append([])
        stages[-1].append(number)
    return stages


def _inputs(block: Mapping[str, Tensor]) -> int:
    return block["expansion.conv.weight"].shape[1]


def _outputs(block: Mapping[str, Tensor]) -> int:
    return len(block["projection.conv.weight"])


def _settings(
    family: str,
    named: Layers,
    blocks: Mapping[int, Mapping[str, Tensor]],
    stages: Sequence[Sequence[int]],
    description: Mapping[str, Any],
    name: str,
) -> SpaceConfig:
    usual = OfaMbv3Config() if family == "ofa_mbv3" else OfaProxylessConfig()
    heads = ["final_expand", "feature_mix"] if family == "ofa_mbv3" else ["feature_mix"]
    widths = [
        len(named["stem"]["conv.weight"]),
        len(named["first_block"]["projection.conv.weight"]),
        *(_outputs(blocks[stage[0]]) for stage in stages),
        *(len(named[head]["conv.weight"]) for head in heads),
    ]
    if odd := [width for width in widths if make_divisible(width) != width]:
        raise CheckpointError(f"widths {odd} are no multiples of 8, which every space's are")
    counted = stages if family == "ofa_mbv3" else stages[:-1]  # the last stage has one block in each ProxylessNAS
    deepest, least = max(map(len, counted)), min(map(len, counted))
    return replace(
        usual,
        name=name,
        width_mult=1.0,
        widths=tuple(widths),
        strides=_strides(usual, len(stages), description, stages),
        kernel_sizes=_kernels(blocks.values()),
        expand_ratios=_ratios(blocks.values(), usual.expand_ratios),
        depths=tuple(range(min(least, 1 if deepest == 1 else 2), deepest + 1)),
        resolution=_resolutions(usual, description),
        in_channels=0,
        classes=0,
        **_styles(family, named, blocks, stages, description),
    )


def _resnet_settings(
    named: Layers, blocks: Mapping[int, Mapping[str, Tensor]], stages: Sequence[Sequence[int]], name: str
) -> OfaResNet50Config:
    usual = OfaResNet50Config()
    counts, base, more = [len(stage) for stage in stages], usual.base_depths, usual.depths[-1]
    if len(base) != len(counts) or not all(least <= n <= least + more for least, n in zip(base, counts, strict=True)):
        base, more = tuple(counts), 0
    extra = max(n - least for least, n in zip(base, counts, strict=True))
    widths = tuple(len(blocks[stage[0]]["conv3.conv.weight"]) for stage in stages)
    shares = {round(len(b["conv1.conv.weight"]) / len(b["conv3.conv.weight"]), 4) for b in blocks.values()}
    ratios = {min(usual.expand_ratios, key=lambda usual: abs(usual - share)) for share in shares}
    return replace(
        usual,
        name=name,
        stem_width=len(named["stem_out"]["conv.weight"]),
        widths=widths,
        strides=(*usual.strides, *(2,) * len(stages))[: len(stages)],
        base_depths=base,
        depths=tuple(range(extra + 1)),
        expand_ratios=tuple(ratio for ratio in usual.expand_ratios if ratio <= max(ratios)),
        in_channels=0,
        classes=0,
    )


def _strides(
    usual: OfaMbv3Config | OfaProxylessConfig,
    stages: int,
    description: Mapping[str, Any],
    numbers: Sequence[Sequence[int]],
) -> tuple[int, ...]:
    if description:
        known = _described_blocks(description)
        first = description["blocks"][0].get("mobile_inverted_conv") or description["blocks"][0]["conv"]
        if all(stage[0] in known for stage in numbers):
            return (int(first["stride"]), *(int(known[stage[0]]["stride"]) for stage in numbers))
    return (*usual.strides, *(1,) * stages)[: stages + 1]


def _resolutions(usual: OfaMbv3Config | OfaProxylessConfig, description: Mapping[str, Any]) -> tuple[int, ...]:
    largest = description.get("resolution")
    if not isinstance(largest, int) or largest < 32:
        return usual.resolution
    return tuple(size for size in range(largest - 64, largest + 1, 16) if size >= 32)


def _kernels(blocks: Collection[Mapping[str, Tensor]]) -> tuple[int, ...]:
    """A supernet's own, as its transforms tell; of a single network all odd ones from 3 up to the largest."""
    largest = max(block["depthwise.conv.weight"].shape[-1] for block in blocks)
    steps = {int(name.rpartition("to")[2]) for block in blocks for name in block if name.startswith("transforms.")}
    return tuple(sorted({largest, *(steps or range(3, largest, 2))}))


def _ratios(blocks: Collection[Mapping[str, Tensor]], usual: Sequence[int | float]) -> tuple[int | float, ...]:
    """The usual ratios up to the largest block's, and those that blocks have beside them."""
    found: set[int | float] = set()
    for block in blocks:
        inputs, mid = _inputs(block), len(block["depthwise.conv.weight"])
        fitting = [ratio for ratio in (*usual, 2, 5, 7, 8) if make_divisible(round(inputs * ratio)) == mid]
        found.add(fitting[0] if fitting else round(mid / inputs, 4))
    return tuple(sorted(found | {ratio for ratio in usual if ratio < max(found)}))


def _styles(
    family: str,
    named: Layers,
    blocks: Mapping[int, Mapping[str, Tensor]],
    stages: Sequence[Sequence[int]],
    description: Mapping[str, Any],
) -> dict[str, Any]:
    if family != "ofa_mbv3":
        return {}
    usual = OfaMbv3Config()
    activations = (*usual.activations, *usual.activations[-1:] * len(stages))[: len(stages) + 1]
    if description:
        known = _described_blocks(description)
        names = [known[stage[0]].get("act_func") if stage[0] in known else None for stage in stages]
        activations = (activations[0], *(name or usual for name, usual in zip(names, activations[1:], strict=True)))
    se = [
        any(name.startswith("se.") for name in layer)
        for layer in (named["first_block"], *(blocks[s[0]] for s in stages))
    ]
    return {"activations": activations, "se": tuple(se)}
