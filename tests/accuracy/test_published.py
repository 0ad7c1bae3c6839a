"""The published accuracy network, read from its weights."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hwnas.accuracy.published import PublishedPredictor
from hwnas.errors import CheckpointError
from hwnas.spaces import OfaMbv3Config, OfaMbv3Space, make_space

Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def space() -> OfaMbv3Space:
    return make_space(OfaMbv3Config(resolution=(128, 140, 144, 160, 176, 192, 208, 224)))


@pytest.fixture(scope="module")
def arrays() -> Arrays:
    rng = np.random.default_rng(0)
    widths = [128, 24, 16, 1]
    made: Arrays = {}
    for number in range(3):
        made[f"{2 * number}.weight"] = rng.normal(size=(widths[number + 1], widths[number])).astype(np.float32)
        made[f"{2 * number}.bias"] = rng.normal(size=widths[number + 1]).astype(np.float32)
    return made


@pytest.fixture
def file(arrays: Arrays, tmp_path: Path) -> Path:
    np.savez(tmp_path / "accuracy_predictor.npz", allow_pickle=True, **arrays)
    return tmp_path / "accuracy_predictor.npz"


def textbook(arrays: Arrays, arch: dict[str, list[int]], resolution: int) -> float:
    """The published features one by one, then layer by layer, in float64."""
    units = np.zeros(128)
    for block in range(20):
        if block % 4 < arch["d"][block // 4]:
            units[3 * block + (3, 5, 7).index(arch["ks"][block])] = 1
            units[60 + 3 * block + (3, 4, 6).index(arch["e"][block])] = 1
    units[120 + (resolution - 112) // 16] = 1
    last = len(arrays) - 2
    for number in range(0, len(arrays), 2):
        units = arrays[f"{number}.weight"].astype(np.float64) @ units + arrays[f"{number}.bias"]
        units = units if number == last else np.maximum(units, 0)
    return float(units[0])


def test_equals_the_network_written_out(file: Path, arrays: Arrays, space: OfaMbv3Space) -> None:
    predictor = PublishedPredictor.load(file, space)
    rows = space.sample(1100, np.random.default_rng(1))
    archs = [space.arch(row).values for row in rows]
    expected = [textbook(arrays, arch, arch["r"]) for arch in archs]
    assert np.allclose(predictor.mean(rows), expected, rtol=0, atol=1e-3)
    assert np.std(expected) > 1
    assert predictor.predict(rows).std is None
    assert predictor.mean(rows[:0]).shape == (0,)


def test_layers_and_encoding_make_the_same_output(file: Path, space: OfaMbv3Space) -> None:
    # What a bound is worked out from.
    predictor = PublishedPredictor.load(file, space)
    rows = space.sample(50, np.random.default_rng(1))
    units = predictor.network.encode(rows)
    assert units.shape == (50, len(predictor.network.encoding.conditions)) == (50, 128)
    assert set(np.unique(units)) == {0.0, 1.0}
    for number, (weight, bias) in enumerate(predictor.network.layers):
        units = (np.maximum(units, 0) if number else units) @ weight.T + bias
    assert np.allclose(units[:, 0], predictor.mean(rows), rtol=0, atol=1e-4)


def test_genes_without_effect_do_not_matter(file: Path, space: OfaMbv3Space) -> None:
    predictor = PublishedPredictor.load(file, space)
    rows = space.sample(50, np.random.default_rng(1))
    other = np.where(space.active(rows), rows, 2)
    assert np.array_equal(predictor.mean(rows), predictor.mean(other))


@pytest.mark.parametrize("width", [1.0, 1.2])
def test_spaces_of_fewer_choices_and_other_widths_are_covered(file: Path, space: OfaMbv3Space, width: float) -> None:
    small = make_space(OfaMbv3Config(width_mult=width, kernel_sizes=(5, 7), expand_ratios=(6,), resolution=(176,)))
    rows = small.sample(20, np.random.default_rng(0))
    same = np.stack([space.genotype(small.arch(row)) for row in rows])
    found = PublishedPredictor.load(file, small).mean(rows)
    assert np.allclose(found, PublishedPredictor.load(file, space).mean(same), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (OfaMbv3Config(resolution=(96, 224)), "r of 128 to 224, got 96"),
        (OfaMbv3Config(resolution=(224, 256)), "r of 128 to 224, got 256"),
        (OfaMbv3Config(kernel_sizes=(3, 9)), "ks0 of 3, 5, 7, got 9"),
        (OfaMbv3Config(expand_ratios=(2, 6)), "e0 of 3, 4, 6, got 2"),
        (OfaMbv3Config(depths=(1, 4)), "d0 of 2, 3, 4, got 1"),
        (OfaMbv3Config(depths=(2, 3)), "20 blocks"),
    ],
)
def test_spaces_that_it_does_not_know_are_refused(file: Path, config: OfaMbv3Config, message: str) -> None:
    with pytest.raises(CheckpointError, match=f"another space: expected .*{message}") as caught:
        PublishedPredictor.load(file, make_space(config))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("keep", [0, 4, 200, 0.5, -1])
def test_truncated_files_are_refused(file: Path, space: OfaMbv3Space, keep: float) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: int(keep * len(content)) if 0 < keep < 1 else int(keep)])
    with pytest.raises(CheckpointError, match=r"accuracy_predictor\.npz is not a complete") as caught:
        PublishedPredictor.load(file, space)
    assert "\n" not in str(caught.value)


def test_damaged_and_pickled_files_are_refused(file: Path, space: OfaMbv3Space) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 255
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match="not a complete"):
        PublishedPredictor.load(file, space)
    np.savez(file, **{"0.weight": np.array([{"code": 1}], dtype=object)})  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match="not a complete"):
        PublishedPredictor.load(file, space)
    np.save(file.with_suffix(".npy"), np.zeros(3))
    with pytest.raises(CheckpointError, match="not a complete"):
        PublishedPredictor.load(file.with_suffix(".npy"), space)


def _without(name: str) -> Callable[[Arrays], Arrays]:
    return lambda arrays: {key: array for key, array in arrays.items() if key != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without("2.bias"), "expected arrays named"),
        (_without("0.weight"), "expected arrays named"),
        (lambda _: {"weights": np.zeros(3)}, "expected arrays named .* got weights"),
        (lambda arrays: {**arrays, "0.weight": arrays["0.weight"][:, :100]}, "128 features to 1 output"),
        (lambda arrays: {**arrays, "2.weight": arrays["2.weight"].T}, "for layer 2, which is given 24"),
        (lambda arrays: {**arrays, "4.weight": np.zeros((2, 16)), "4.bias": np.zeros(2)}, "for layer 4"),
        (lambda arrays: {**arrays, "2.bias": np.full(16, np.nan)}, "layer 2 holds values that are not numbers"),
        (lambda arrays: {**arrays, "2.bias": np.full(16, "x")}, "layer 2 holds values that are not numbers"),
    ],
)
def test_other_files_are_refused(
    file: Path, arrays: Arrays, space: OfaMbv3Space, change: Callable[[Arrays], Arrays], message: str
) -> None:
    np.savez(file, **change(arrays))  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match=message) as caught:
        PublishedPredictor.load(file, space)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path, space: OfaMbv3Space) -> None:
    with pytest.raises(CheckpointError, match=r"no accuracy predictor at .*absent\.npz"):
        PublishedPredictor.load(tmp_path / "absent.npz", space)


@pytest.fixture(scope="module")
def published(reference_data: Path, space: OfaMbv3Space) -> PublishedPredictor:
    path = reference_data / "ofa" / "accuracy_predictor.npz"
    if not path.exists():
        pytest.skip(f"no {path}")
    return PublishedPredictor.load(path, space)


@pytest.mark.parametrize(
    ("kernel", "expand", "depth", "resolution", "expected"),
    [(7, 6, 4, 224, 0.836), (3, 3, 2, 160, 0.753), (5, 4, 3, 192, 0.806)],
)
def test_published_check_values(
    published: PublishedPredictor, kernel: int, expand: int, depth: int, resolution: int, expected: float
) -> None:
    arch = {"ks": [kernel] * 20, "e": [expand] * 20, "d": [depth] * 5, "r": resolution}
    found = published.mean(published.space.genotype(arch)[None])
    assert found[0] == pytest.approx(expected, abs=0.0005)


def test_fifty_thousand_a_second(published: PublishedPredictor) -> None:
    rows = published.space.sample(20_000, np.random.default_rng(0))
    published.mean(rows)
    started = time.process_time()
    published.mean(rows)
    # 50,000 a second would be 0.4 s; alone it takes 0.14 s on one core, and this runs beside other tests.
    assert time.process_time() - started < 1.0
