"""Training that starts from a checkpoint of another space, with other classes, or from a published one."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import hwnas
from hwnas.data.load import ImageData
from hwnas.errors import CheckpointError, ConfigError
from hwnas.progress import no_progress
from hwnas.spaces import OfaMbv3Config, OfaMbv3Space, OfaProxylessConfig, OfaProxylessSpace, Space, make_space
from hwnas.spaces.mobile import MobileConfig
from hwnas.supernet.build import build_subnet, build_supernet
from hwnas.supernet.extract import extract
from hwnas.supernet.single import SingleNetwork
from hwnas.training.checkpoint import load_supernet, save_supernet
from hwnas.training.config import PhaseConfig, TrainingConfig
from hwnas.training.engine import train
from hwnas.training.networks import make_network
from hwnas.training.start import arch_of_checkpoint, check_start, space_of_checkpoint, space_within_checkpoint
from tests.supernet.published_w03 import Published, images, weights_file
from tests.supernet.randomised import randomised


@pytest.fixture(scope="module")
def published(reference_data: Path) -> Path:
    return weights_file(reference_data)


def packaged() -> OfaProxylessConfig:
    settings = hwnas.load_config(["space=ofa_proxyless_w03"]).space
    assert isinstance(settings, OfaProxylessConfig)
    return settings


def w03(classes: int) -> OfaProxylessSpace:
    space = make_space(replace(packaged(), in_channels=3, classes=classes))
    assert isinstance(space, OfaProxylessSpace)
    return space


def own_row(path: Path, space: Space) -> list[int]:
    genotype = arch_of_checkpoint(path, space)
    assert genotype is not None
    row: list[int] = genotype.tolist()
    return row


def features(network: torch.nn.Module, arguments: tuple[object, ...]) -> Tensor:
    """What the classifier reads."""
    found: list[Tensor] = []
    classifier = next(module for name, module in network.named_modules() if name.endswith("classifier"))
    hook = classifier.register_forward_pre_hook(lambda _, given: found.append(given[0]))
    with torch.no_grad():
        network.eval()(*arguments)
    hook.remove()
    return found[0]


# ---- the published network ----------------------------------------------------------------------------------------


def test_the_published_network_is_one_of_its_space_and_computes_what_it_did(published: Path) -> None:
    space, reference = w03(1000), Published(published)
    supernet = make_network(TrainingConfig(), space, 0, None, published).eval()
    genotype = arch_of_checkpoint(published, space)
    assert genotype is not None
    arch = space.arch(genotype).to_dict()
    assert (arch["d"], arch["r"]) == ([2, 4, 4, 4, 4, 1], 176)
    assert (arch["ks"][:2], arch["e"][:2], arch["ks"][-1], arch["e"][-1]) == ([5, 3], [3, 3], 7, 6)
    expected = reference.logits(images())
    with torch.no_grad():
        for one in (genotype, space.extreme(largest=True)):
            torch.testing.assert_close(supernet(images(), one), expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(extract(supernet, genotype)(images()), expected, atol=1e-5, rtol=1e-5)


def test_with_other_classes_all_but_the_classifier_is_loaded_and_said(published: Path) -> None:
    space, lines = w03(81), list[str]()
    supernet = make_network(
        TrainingConfig(), space, 0, None, published, (("a",) * 81,), lambda loaded: lines.append(loaded.line)
    )
    assert lines == [f"loaded 305 of 307 tensors of {published}; new: block2, block3, classifier (81 classes)"]
    expected = Published(published).features(images())
    torch.testing.assert_close(features(supernet, (images(), space.extreme(True))), expected, atol=1e-5, rtol=1e-5)


def test_one_network_alone_is_the_published_one(published: Path) -> None:
    finetune = TrainingConfig((PhaseConfig("finetune", 1, 0.01, teacher="none"),), network="subnet")
    single = make_network(finetune, w03(1000), 0, None, published)
    assert isinstance(single, SingleNetwork)
    assert single.genotype.tolist() == own_row(published, single.space)
    with torch.no_grad():
        torch.testing.assert_close(
            single.eval()(images(), single.genotype), Published(published).logits(images()), atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize("described", [True, False])
def test_the_space_of_the_published_file(published: Path, described: bool, tmp_path: Path) -> None:
    path = published
    if not described:
        path = tmp_path / published.name
        path.symlink_to(published)
    settings = space_of_checkpoint(path)
    expected = packaged()
    usual = expected.resolution if described else OfaProxylessConfig().resolution
    assert settings == replace(expected, name="proxyless_w0.3_r176_imagenet", resolution=usual)


def test_the_space_within_the_published_network(published: Path) -> None:
    settings = space_within_checkpoint(published)
    space = make_space(replace(settings, in_channels=3, classes=1000))
    largest = space.extreme(largest=True)
    assert own_row(published, space) == largest.tolist()
    around = w03(1000)
    (given,) = around.macs(np.array([own_row(published, around)]))
    assert space.macs(largest[None]) == given  # both at 176 pixels
    supernet = make_network(TrainingConfig(), space, 0, None, published).eval()
    expected = Published(published).logits(images())
    with torch.no_grad():
        torch.testing.assert_close(supernet(images(), largest), expected, atol=1e-5, rtol=1e-5)


def test_weights_that_are_sorted_for_smaller_expansions(published: Path) -> None:
    # The first channels of a block with a choice are those that its projection reads most of.
    supernet = make_network(TrainingConfig(), w03(10), 0, None, published)
    read = supernet.get_parameter("layers.block8.full.projection.conv.weight").abs().sum(dim=(0, 2, 3))
    assert torch.equal(read, read.sort(descending=True).values)


# ---- spaces of other shapes ---------------------------------------------------------------------------------------

BASE = OfaMbv3Config(
    name="base", resolution=(8, 12), widths=(8, 8, 16, 16, 24, 32), stem_stride=1, strides=(2, 1, 2),
    activations=("relu", "relu", "h_swish"), se=(False, False, True), kernel_sizes=(3, 5), expand_ratios=(2, 4),
    depths=(1, 2), in_channels=1, classes=3,
)  # fmt: skip
PIXELS = torch.randn(3, 1, 12, 12, generator=torch.Generator().manual_seed(3))


def noise() -> torch.Generator:
    return torch.Generator().manual_seed(11)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    supernet = randomised(build_supernet(BASE.space(), generator=torch.Generator().manual_seed(5)), noise())
    path = tmp_path_factory.mktemp("base") / "supernet.safetensors"
    return save_supernet(path, supernet, {"classes": ["a", "b", "c"]})


LARGER: dict[str, Any] = {
    "kernels": {"kernel_sizes": (3, 5, 7)},
    "kernel between": {"kernel_sizes": (3, 5, 9)},
    "expansions": {"expand_ratios": (2, 4, 6)},
    "depths": {"depths": (1, 2, 3)},
    "widths": {"widths": (16, 8, 24, 16, 40, 48)},
    "squeeze and excitation": {"se": (False, True, True)},
    "everything": {
        "kernel_sizes": (3, 5, 7), "expand_ratios": (2, 4, 6), "depths": (2, 3, 4), "widths": (16, 16, 24, 24, 40, 48),
        "resolution": (12,), "width_mult": 1.5,
    },
}  # fmt: skip


@pytest.mark.parametrize("change", LARGER)
def test_the_largest_of_a_larger_space_computes_what_was_loaded(change: str, base: Path) -> None:
    source, _ = load_supernet(base)
    space = replace(BASE, name="larger", **LARGER[change]).space()
    lines: list[str] = []
    target = make_network(TrainingConfig(), space, 0, None, base, (), lambda loaded: lines.append(loaded.line)).eval()
    with torch.no_grad():
        expected = source(PIXELS, source.space.extreme(True))
        torch.testing.assert_close(target(PIXELS, space.extreme(True)), expected, atol=1e-5, rtol=1e-5)
    count = len([name for name in source.state_dict() if not name.endswith("num_batches_tracked")])
    assert lines[0].startswith(f"loaded {count} of {count} tensors of {base}")


@pytest.mark.parametrize("change", ["kernels", "kernel between", "depths"])
def test_smaller_networks_of_a_larger_space_are_those_that_were_loaded(change: str, base: Path) -> None:
    source, _ = load_supernet(base)
    space = replace(BASE, name="larger", **LARGER[change]).space()
    target = make_network(TrainingConfig(), space, 0, None, base).eval()
    for drawn in source.space.sample(8, np.random.default_rng(0)):
        arch = source.space.arch(drawn).to_dict()
        own = {"ks": [], "e": []} | {"d": arch["d"], "r": arch["r"]}
        for stage in range(2):
            more = space.settings.depths[-1] - 2
            own["ks"] += [*arch["ks"][2 * stage : 2 * stage + 2], *[3] * more]
            own["e"] += [*arch["e"][2 * stage : 2 * stage + 2], *[2] * more]
        with torch.no_grad():
            expected = source(PIXELS, drawn)
            torch.testing.assert_close(target(PIXELS, space.genotype(own)), expected, atol=1e-5, rtol=1e-5)


SMALLER: dict[str, Any] = {
    "kernels": {"kernel_sizes": (3,)},
    "expansions": {"expand_ratios": (2,)},
    "depths": {"depths": (1,)},
    "nothing but names": {"name": "other"},
}


@pytest.mark.parametrize("change", SMALLER)
def test_a_smaller_space_has_the_subnet_that_fits(change: str, base: Path) -> None:
    source, _ = load_supernet(base)
    space = replace(BASE, **{"name": "smaller", **SMALLER[change]}).space()
    target = make_network(TrainingConfig(), space, 0, None, base).eval()
    largest = space.arch(space.extreme(True)).to_dict()
    settings = source.space.settings  # type: ignore[attr-defined]
    arch = {
        "ks": [space.settings.kernel_sizes[-1]] * 4, "e": [space.settings.expand_ratios[-1]] * 4,
        "d": [space.settings.depths[-1]] * 2, "r": 12,
    }  # fmt: skip
    assert largest["r"] == settings.resolution[-1]
    with torch.no_grad():
        expected = source(PIXELS, source.space.genotype(arch))
        torch.testing.assert_close(target(PIXELS, space.extreme(True)), expected, atol=1e-5, rtol=1e-5)


def test_narrower_is_the_leading_part(base: Path) -> None:
    source, _ = load_supernet(base)
    space = replace(BASE, name="narrow", widths=(8, 8, 8, 8, 16, 16)).space()
    target = make_network(TrainingConfig(), space, 0, None, base)
    for name, value in target.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            part = tuple(slice(size) for size in value.shape)
            assert torch.equal(value, source.state_dict()[name][part]), name


def test_a_missing_stage_and_missing_blocks_are_new_and_named(base: Path) -> None:
    space = replace(
        BASE, name="longer", widths=(8, 8, 16, 16, 24, 24, 32), strides=(2, 1, 2, 1), depths=(1, 2, 3),
        activations=("relu", "relu", "h_swish", "h_swish"), se=(False, False, True, True), classes=5,
    ).space()  # fmt: skip
    lines: list[str] = []
    make_network(TrainingConfig(), space, 0, None, base, (tuple("vwxyz"),), lambda loaded: lines.append(loaded.line))
    assert lines[0].endswith("; new: block2, block5, block6, block7, block8, classifier (5 classes)")


def test_grey_images_take_the_sum_of_a_colour_stem_and_back(base: Path) -> None:
    source, _ = load_supernet(base)
    space = replace(BASE, name="colour", in_channels=3).space()
    target = make_network(TrainingConfig(), space, 0, None, base).eval()
    with torch.no_grad():
        expected = source(PIXELS, source.space.extreme(True))
        torch.testing.assert_close(
            target(PIXELS.expand(-1, 3, -1, -1), space.extreme(True)), expected, atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize(
    ("labels", "loads"), [(("a", "b", "c"), True), (("a", "c", "b"), False), (("x", "y", "z"), False)]
)
def test_a_classifier_is_loaded_where_the_classes_are_the_same(
    labels: tuple[str, ...], loads: bool, base: Path
) -> None:
    source, _ = load_supernet(base)
    network = make_network(TrainingConfig(), BASE.space(), 0, None, base, (labels,))
    same = torch.equal(*(one.get_parameter("layers.classifier.weight") for one in (source, network)))
    assert same == loads
    assert torch.equal(*(one.get_parameter("layers.stem.conv.weight") for one in (source, network)))


def test_one_network_of_a_run_starts_a_supernet(base: Path, tmp_path: Path) -> None:
    space = BASE.space()
    genotype = space.genotype({"ks": [3, 5, 3, 3], "e": [2, 4, 4, 2], "d": [2, 1], "r": 12})
    network = randomised(SingleNetwork(space, genotype, build_subnet(space, genotype)), noise())
    path = save_supernet(tmp_path / "subnet.safetensors", network, {})
    assert own_row(path, space) == genotype.tolist()
    supernet = make_network(TrainingConfig(), space, 0, None, path).eval()
    with torch.no_grad():
        for one in (genotype, space.extreme(True)):
            torch.testing.assert_close(supernet(PIXELS, one), network(PIXELS, genotype), atol=1e-5, rtol=1e-5)


def test_own_files_say_their_space(base: Path) -> None:
    assert space_of_checkpoint(base) == replace(BASE, in_channels=0, classes=0)
    assert space_within_checkpoint(base) == space_of_checkpoint(base)  # of a supernet, all of it


# ---- training ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def other(space: OfaMbv3Space, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A supernet of a shallower space than the tests', for other classes."""
    settings = replace(space.settings, name="other", depths=(1,), classes=4)
    supernet = build_supernet(settings.space(), generator=torch.Generator().manual_seed(2))
    return save_supernet(
        tmp_path_factory.mktemp("other") / "supernet.safetensors", supernet, {"classes": ["v", "w", "x", "y"]}
    )


def test_what_was_loaded_stays_while_it_is_frozen(
    config: TrainingConfig, space: OfaMbv3Space, data: ImageData, other: Path, tmp_path: Path
) -> None:
    first = replace(config.phases[0], epochs=1, warmup_epochs=0, teacher="none")
    frozen = replace(config, phases=(first,), freeze_epochs=1)
    lines: list[str] = []
    result = train(frozen, space, data, tmp_path / "all", 0, no_progress, None, other, None, lines.append)
    assert "new: block1, block3, classifier (3 classes)" in lines[0]
    before = make_network(TrainingConfig(), space, 0, None, other).state_dict()
    new = ("layers.block1.", "layers.block3.", "layers.classifier.")
    for name, value in result.supernet.state_dict().items():
        if "transforms" not in name and not name.endswith("num_batches_tracked") and not name.startswith(new):
            assert torch.equal(value, before[name]), name
    for name in ("layers.block1.full.projection.norm.weight", "layers.classifier.weight"):
        assert not torch.equal(result.supernet.get_parameter(name), before[name]), name
    assert all(parameter.requires_grad for parameter in result.supernet.parameters())
    thawed = train(replace(frozen, freeze_epochs=0.5), space, data, tmp_path / "half", 0, no_progress, None, other)
    assert not torch.equal(thawed.supernet.get_parameter("layers.stem.conv.weight"), before["layers.stem.conv.weight"])


@pytest.mark.parametrize("stop", [1, 2, 3, 4])
def test_frozen_training_goes_on_from_any_step(
    stop: int, config: TrainingConfig, space: OfaMbv3Space, data: ImageData, other: Path, tmp_path: Path
) -> None:
    first = replace(config.phases[0], epochs=2, warmup_epochs=0)
    frozen = replace(config, phases=(first,), freeze_epochs=1, checkpoint_every=1, momentum=0.9, optimiser="adamw")
    whole = train(frozen, space, data, tmp_path / "whole", 0, no_progress, None, other)

    class StopError(Exception):
        pass

    def progress(done: float, status: str) -> None:
        if done >= stop / 6 - 1e-9:
            raise StopError

    stopping = replace(frozen, log_every=1)
    with pytest.raises(StopError):
        train(stopping, space, data, tmp_path / "parts", 0, progress, None, other)
    resumed = train(frozen, space, data, tmp_path / "parts", 0, no_progress, None, other)
    for name, value in whole.supernet.state_dict().items():
        assert torch.equal(value, resumed.supernet.state_dict()[name]), name


def test_freezing_is_part_of_what_a_run_is(
    config: TrainingConfig, space: OfaMbv3Space, data: ImageData, other: Path, tmp_path: Path
) -> None:
    short = replace(config, phases=(replace(config.phases[0], epochs=1, warmup_epochs=0),))
    train(replace(short, freeze_epochs=0.5), space, data, tmp_path, 0, no_progress, None, other)
    with pytest.raises(CheckpointError, match=r"freeze_epochs"):
        train(short, space, data, tmp_path, 0, no_progress, None, other)


def test_freezing_needs_something_that_was_loaded(
    config: TrainingConfig, space: OfaMbv3Space, data: ImageData, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"freeze_epochs=0\.5: nothing is loaded .* checkpoint=PATH"):
        train(replace(config, freeze_epochs=0.5), space, data, tmp_path, 0, no_progress)
    with pytest.raises(ConfigError, match=r"freeze_epochs: expected 0 to the 2 epochs of phase 'full'"):
        replace(config, freeze_epochs=2.5)


def test_where_all_was_loaded_nothing_is_frozen(
    config: TrainingConfig, space: OfaMbv3Space, data: ImageData, tmp_path: Path
) -> None:
    same = save_supernet(tmp_path / "same.safetensors", build_supernet(space), {})
    short = replace(config, phases=(replace(config.phases[0], epochs=1, warmup_epochs=0),), freeze_epochs=1)
    lines: list[str] = []
    result = train(short, space, data, tmp_path / "run", 0, no_progress, None, same, None, lines.append)
    assert lines == [
        f"loaded all of {same}",
        f"training.freeze_epochs=1: all of {same} was loaded, so nothing is frozen",
    ]
    before = load_supernet(same)[0].get_parameter("layers.stem.conv.weight")
    assert not torch.equal(before, result.supernet.get_parameter("layers.stem.conv.weight"))


# ---- what can't be started from ------------------------------------------------------------------------------------


def test_another_family_is_named_with_the_choices(base: Path, published: Path) -> None:
    with pytest.raises(CheckpointError, match=r"of ofa_mbv3, expected those of ofa_proxyless, .*space=ofa_mbv3"):
        check_start(base, w03(3))
    with pytest.raises(CheckpointError, match=r"of ofa_proxyless, expected those of ofa_mbv3, .*space=ofa_pr"):
        check_start(published, BASE.space())


def test_files_that_hold_nothing_to_start_from(published: Path, tmp_path: Path) -> None:
    space = w03(3)
    truncated = tmp_path / "truncated.safetensors"
    truncated.write_bytes(published.read_bytes()[:200_000])
    module = tmp_path / "module.safetensors"
    save_file({"features.0.weight": torch.zeros(3, 3), "features.0.bias": torch.zeros(3)}, module)
    pickled = tmp_path / "module.pt"
    torch.save(torch.nn.Linear(2, 2), pickled)
    for path, message in (
        (truncated, "truncated"),
        (module, "2 weights named as features.0"),
        (pickled, "whole pickled module"),
        (tmp_path / "none.safetensors", "no such checkpoint"),
    ):
        for ask in (lambda path: check_start(path, space), space_of_checkpoint):
            with pytest.raises(CheckpointError, match=re.escape(message)) as caught:
                ask(path)
            assert "\n" not in str(caught.value)


def test_weights_named_as_a_familys_that_no_space_has(published: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    weights = load_file(published)
    partial = tmp_path / "partial.safetensors"
    save_file({name: value for name, value in weights.items() if "feature_mix" not in name}, partial)
    with pytest.raises(CheckpointError, match="no layer 'feature_mix'"):
        space_of_checkpoint(partial)
    partial.with_suffix(".json").write_text(json.dumps({"blocks": "none"}))
    save_file(weights, partial)
    found = space_of_checkpoint(partial)
    assert isinstance(found, MobileConfig)
    assert found.widths == packaged().widths
