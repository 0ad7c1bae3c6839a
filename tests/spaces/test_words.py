"""Blocks that choose a kernel and an expansion, as words."""

from __future__ import annotations

import numpy as np
import pytest

from hwnas.spaces import OfaMbv3Config, OfaProxylessConfig, OfaResNet50Config, make_space
from hwnas.spaces.categorical import CategoricalSpace
from hwnas.spaces.nasbench201 import NasBench201Space


@pytest.mark.parametrize(
    "config",
    [
        OfaMbv3Config(resolution=(160, 224)),
        OfaProxylessConfig(),
        OfaMbv3Config(largest_depths=(2, 3, 4, 4, 2), largest_kernels=(3, 5, *(7,) * 13)),
    ],
)
def test_a_word_says_block_kernel_and_expansion(config: OfaMbv3Config | OfaProxylessConfig) -> None:
    space = make_space(config)
    blocks = space.blocks
    assert (blocks.count, blocks.pairs, blocks.size) == (sum(blocks.depths), 9, 9 * blocks.count)
    rows = space.sample(30, np.random.default_rng(0))
    words = blocks.words(rows, space.active(rows))
    assert words.shape == (30, blocks.count)
    for row, own in zip(rows, words, strict=True):
        arch = space.arch(row).to_dict()
        depths = np.repeat(arch["d"], blocks.depths)
        place = np.concatenate([np.arange(depth) for depth in blocks.depths])
        for block, word in enumerate(own):
            if place[block] >= depths[block]:
                assert word == blocks.size
                continue
            number, pair = divmod(int(word), blocks.pairs)
            kernel, expand = divmod(pair, blocks.expands)
            assert number == block
            assert (config.kernel_sizes[kernel], config.expand_ratios[expand]) == (arch["ks"][block], arch["e"][block])
    assert [space.resolutions[choice] for choice in rows[:, blocks.resolution]] == [
        space.arch(row).to_dict()["r"] for row in rows
    ]


def test_other_spaces_have_no_such_blocks() -> None:
    for space in (
        make_space(OfaResNet50Config(resolution=(128,))),
        NasBench201Space(),
        CategoricalSpace("mine", {"op": ["a", "b"]}),
    ):
        assert space.blocks is None
