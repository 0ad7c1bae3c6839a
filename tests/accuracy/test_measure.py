"""Measured accuracy of subnets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from hwnas.accuracy.measure import calibrate_subnet, measure_accuracies, measure_accuracy
from hwnas.accuracy.measure_config import MeasureConfig
from hwnas.data.config import AugmentConfig
from hwnas.data.inputs import calibration_inputs
from hwnas.data.load import ImageData, ImageSet
from hwnas.data.preprocess import prepare
from hwnas.errors import ArchError, ConfigError, DataError
from hwnas.progress import no_progress
from hwnas.spaces import Genotypes, OfaMbv3Config, OfaMbv3Space
from hwnas.supernet.build import build_supernet
from hwnas.supernet.fake_quantise import fake_quantised
from hwnas.supernet.fold import fold_batch_norm
from hwnas.supernet.layout import batches_of
from hwnas.supernet.supernet import Supernet
from tests.narrow import images_of


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Set by each test that wants more; on a busy machine tiny networks wait for their threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def supernet() -> Supernet:
    config = OfaMbv3Config(
        name="tiny", resolution=(8, 12), widths=(8, 8, 8, 16, 16, 16), stem_stride=1, strides=(2, 1, 2),
        activations=("relu", "relu", "h_swish"), se=(False, False, True), kernel_sizes=(3, 5), expand_ratios=(2, 3),
        depths=(1, 2), in_channels=1, classes=3,
    )  # fmt: skip
    return build_supernet(OfaMbv3Space(config), generator=torch.Generator().manual_seed(0)).eval()


@pytest.fixture(scope="module")
def data() -> ImageData:
    generator = torch.Generator().manual_seed(1)
    train, held_out, test = (
        ImageSet(
            torch.randint(0, 256, (count, 1, 12, 12), generator=generator, dtype=torch.uint8),
            torch.randint(0, 3, (count,), generator=generator),
        )
        for count in (20, 70, 50)
    )
    return ImageData("tiny", train, held_out, test, ("a", "b", "c"), (0.5,), (0.3,), AugmentConfig())


SMALL = MeasureConfig(calibration_images=40, calibration_batch=20, batch_size=16)


def by_hand(supernet: Supernet, genotype: Genotypes, data: ImageData, split: str, balanced: bool = False) -> float:
    subnet = calibrate_subnet(supernet, genotype, data, SMALL)
    part = data.split(split)
    resolution = supernet.space.genes[-1].choices[genotype[-1]]
    with torch.no_grad():
        logits = subnet(prepare(images_of(part), resolution, data.preprocessing))
    right = (logits.argmax(1) == part.labels).float()
    if balanced:
        return float(np.mean([right[part.labels == label].mean() for label in part.labels.unique()]))
    return float(right.mean())


@pytest.mark.parametrize("split", ["held_out", "test"])
def test_it_is_the_accuracy_of_the_calibrated_network(supernet: Supernet, data: ImageData, split: str) -> None:
    genotypes = supernet.space.sample(6, np.random.default_rng(0))
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    accuracies, balanced = measure_accuracies(supernet, genotypes, data, split, SMALL, no_progress)
    # A class counts as much, however many images it has.
    weighted = [by_hand(supernet, row, data, split, balanced=True) for row in genotypes]
    assert balanced == pytest.approx(weighted, abs=1e-6)
    assert accuracies == pytest.approx([by_hand(supernet, row, data, split) for row in genotypes], abs=1e-6)
    assert len(set(accuracies)) > 1
    assert all(torch.equal(value, before[name]) for name, value in supernet.state_dict().items())


def test_known_accuracies_are_taken_over_and_new_ones_told(supernet: Supernet, data: ImageData) -> None:
    genotypes = supernet.space.sample(4, np.random.default_rng(0))
    whole = measure_accuracy(supernet, genotypes, data, "held_out", SMALL, no_progress)
    known = np.array([np.nan, 0.123, np.nan, 0.456])
    told: dict[int, float] = {}
    shares: list[float] = []
    accuracies = measure_accuracy(
        supernet, genotypes, data, "held_out", SMALL, lambda share, _: shares.append(share), known, told.__setitem__
    )
    assert accuracies[[1, 3]].tolist() == [0.123, 0.456]
    assert accuracies[[0, 2]].tolist() == whole[[0, 2]].tolist()
    assert told == {0: whole[0], 2: whole[2]}
    assert shares == [0.5, 1.0]
    assert np.isnan(known[0])


def test_several_threads_measure_the_same(supernet: Supernet, data: ImageData) -> None:
    genotypes = supernet.space.sample(6, np.random.default_rng(0))
    one = measure_accuracy(supernet, genotypes, data, "held_out", SMALL, no_progress)
    torch.set_num_threads(3)
    assert measure_accuracy(supernet, genotypes, data, "held_out", SMALL, no_progress).tolist() == one.tolist()
    assert torch.get_num_threads() == 3


def test_an_interruption_keeps_what_was_told(supernet: Supernet, data: ImageData) -> None:
    genotypes = supernet.space.sample(40, np.random.default_rng(0))
    told: dict[int, float] = {}

    def interrupt(share: float, status: str) -> None:
        if len(told) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure_accuracy(supernet, genotypes, data, "held_out", SMALL, interrupt, None, told.__setitem__)
    assert len(told) == 5


def test_fewer_images(supernet: Supernet, data: ImageData) -> None:
    genotype = supernet.space.extreme(True)[None]
    config = MeasureConfig(calibration_images=40, calibration_batch=20, images=1)
    assert measure_accuracy(supernet, genotype, data, "test", config, no_progress)[0] in (0.0, 1.0)


def test_a_calibrated_subnet_ignores_the_supernets_statistics(supernet: Supernet, data: ImageData) -> None:
    genotype = supernet.space.extreme(True)
    first = calibrate_subnet(supernet, genotype, data, SMALL)
    other = build_supernet(supernet.space)
    other.load_state_dict(supernet.state_dict())
    other.get_buffer("layers.stem.norm.running_mean").add_(5)
    second = calibrate_subnet(other.eval(), genotype, data, SMALL)
    images = prepare(images_of(data.test), 12, data.preprocessing)
    assert not first.training
    with torch.no_grad():
        torch.testing.assert_close(first(images), second(images))


def test_bad_input(supernet: Supernet, data: ImageData) -> None:
    genotype = supernet.space.extreme(True)[None]
    with pytest.raises(DataError, match="held_out"):
        measure_accuracy(supernet, genotype, data, "validation", SMALL, no_progress)
    with pytest.raises(ArchError):
        measure_accuracy(supernet, genotype + 9, data, "test", SMALL, no_progress)
    with pytest.raises(ConfigError, match="calibration_images"):
        MeasureConfig(calibration_images=0)
    with pytest.raises(ConfigError, match="images"):
        MeasureConfig(images=-1)


def test_a_split_too_large_for_memory_is_streamed_to_the_same_accuracies(supernet: Supernet, data: ImageData) -> None:
    generator = torch.Generator().manual_seed(2)
    many = ImageSet(
        torch.randint(0, 256, (2400, 1, 12, 12), generator=generator, dtype=torch.uint8),
        torch.randint(0, 3, (2400,), generator=generator),
    )
    large = replace(data, test=many)  # 1.3 MiB of floats at 12×12, 0.6 at 8×8
    genotypes = np.array([supernet.space.extreme(True), *supernet.space.sample(5, np.random.default_rng(0))])
    kept, balanced = measure_accuracies(supernet, genotypes, large, "test", SMALL, no_progress)
    told: dict[int, float] = {}
    config = replace(SMALL, memory_limit_mib=1)
    streamed, also_balanced = measure_accuracies(
        supernet, genotypes, large, "test", config, no_progress, None, told.__setitem__
    )
    assert also_balanced.tolist() == pytest.approx(balanced.tolist(), abs=1e-12)
    assert streamed.tolist() == pytest.approx(kept.tolist(), abs=1e-12)
    assert told == dict(enumerate(streamed.tolist()))
    with pytest.raises(ConfigError, match="memory_limit_mib"):
        replace(SMALL, memory_limit_mib=0)


def test_as_int8_it_is_the_accuracy_of_the_rounded_network(supernet: Supernet, data: ImageData) -> None:
    """Known values are taken over as they are, whatever they were measured as."""
    genotypes = supernet.space.sample(5, np.random.default_rng(3))
    known = np.array([np.nan, 0.5, np.nan, np.nan, np.nan])
    found = measure_accuracy(supernet, genotypes, data, "test", SMALL, no_progress, known, int8=True)
    assert found[1] == 0.5
    part, batch = data.held_out.first(SMALL.calibration_images), SMALL.calibration_batch
    for row in (0, 2, 3, 4):
        subnet = fold_batch_norm(calibrate_subnet(supernet, genotypes[row], data, SMALL))
        resolution = supernet.space.genes[-1].choices[genotypes[row][-1]]
        inputs = calibration_inputs(part, resolution, data, SMALL.calibration_images, torch.device("cpu"))
        rounded = fake_quantised(subnet, batches_of(next(inputs)[0], batch))
        with torch.no_grad():
            logits = rounded(prepare(images_of(data.test), resolution, data.preprocessing))
        assert found[row] == pytest.approx(float((logits.argmax(1) == data.test.labels).float().mean()), abs=0.03)
