"""What is fed, what torch answers, and when a file differs: by values that are worked out here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hwnas.data.image_set import ImageSet
from hwnas.data.preprocess import Preprocessing, prepare
from hwnas.errors import ExportError
from hwnas.export.check import answers as answers_module
from hwnas.export.check import feed as feed_module
from hwnas.export.check.answers import Answers, accuracy_of, batch_size, torch_answers
from hwnas.export.check.compare import allowed, difference
from hwnas.export.check.examine import examined, run_network
from hwnas.export.check.feed import Batch, Feed, NoiseFeed, PixelFeed, noise_images
from hwnas.export.check.parity import Parity, check_parity
from hwnas.export.config import ExportConfig
from hwnas.export.formats import model_format
from hwnas.export.request import ExportRequest
from hwnas.export.signature import Port, Signature
from hwnas.progress import no_progress

LOGITS = Port("logits", (1, 3))
IMAGE = Port("input", (1, 3, 8, 8))


class Rows(Feed):
    """Inputs `[N, 4]` that are given."""

    def __init__(self, values: Tensor, labels: Tensor, real: bool = True) -> None:
        self.values, self.labels, self.real = values, labels, real
        self.asked: list[tuple[int, int | None]] = []

    def __len__(self) -> int:
        return len(self.values)

    def batches(self, size: int, count: int | None = None) -> Iterator[Batch]:
        self.asked.append((size, count))
        for start in range(0, len(self.values) if count is None else min(count, len(self.values)), size):
            end = min(start + size, len(self.values) if count is None else count)
            yield [self.values[start:end]], self.labels[start:end]


def rows(count: int, real: bool = True) -> Rows:
    generator = torch.Generator().manual_seed(0)
    return Rows(torch.randn((count, 4), generator=generator), torch.arange(count) % 3, real)


def signature_of(*outputs: Port, logits: str | None = "logits") -> Signature:
    return Signature((Port("input", (1, 4)),), outputs, logits)


# ---- feed ---------------------------------------------------------------------------------------------------------


def test_noise_is_the_same_however_it_is_asked_for() -> None:
    ports = (Port("a", (1, 2, 3)), Port("b", (1, 50), "int64", 7))
    feed = NoiseFeed(ports, 10)
    whole = [torch.cat(parts) for parts in zip(*(inputs for inputs, _ in feed.batches(4)), strict=True)]
    assert [len(inputs[0]) for inputs, _ in feed.batches(4)] == [4, 4, 2]
    assert [tuple(values.shape) for values in whole] == [(10, 2, 3), (10, 50)]
    [(six, labels)] = list(feed.batches(99, 6))
    assert torch.equal(six[0], whole[0][:6])
    assert torch.equal(labels, torch.zeros(6, dtype=torch.int64))
    assert torch.equal(feed.first(3)[1], whole[1][:3])
    assert torch.equal(feed.first()[0], whole[0][:1])
    assert (int(whole[1].min()), int(whole[1].max())) == (0, 6)
    assert whole[1].dtype == torch.int64
    assert not torch.equal(whole[0][0], whole[0][1])
    assert len(feed) == 10
    assert not feed.real
    many = torch.cat([inputs[0] for inputs, _ in NoiseFeed((Port("a", (1, 1000)),), 5).batches(5)])
    assert [float(many.mean()), float(many.std())] == pytest.approx([0, 1], abs=0.05)


def test_noise_of_an_image_is_that_of_random_pixels() -> None:
    known = Preprocessing((0.5, 0.25, 0.0), (0.5, 0.25, 2.0), 8)
    [values] = NoiseFeed((Port("input", (1, 3, 64, 64)),), 2, known).first(1)
    pixels = values * torch.tensor([0.5, 0.25, 2.0]).reshape(1, 3, 1, 1) + torch.tensor([0.5, 0.25, 0.0]).reshape(
        1, 3, 1, 1
    )
    levels = pixels * 255
    assert torch.allclose(levels, levels.round(), atol=1e-3)
    assert (int(levels.round().min()), int(levels.round().max())) == (0, 255)


def test_noise_that_would_fill_the_memory_is_less() -> None:
    # 512 MiB hold 128 of 2^20 floats; whatever the size, four are kept.
    assert len(NoiseFeed((Port("a", (1, 1024, 1024)),), 1000)) == 128
    assert len(NoiseFeed((Port("a", (1, 1024, 1024)),) * 2, 1000)) == 64
    assert len(NoiseFeed((Port("a", (1, 2**15, 2**15)),), 1000)) == 4
    assert len(NoiseFeed((Port("a", (1, 2**15, 2**15)),), 2)) == 2
    assert feed_module._NOISE_BYTES == 512 * 2**20


@pytest.mark.parametrize("foreign", [False, True])
def test_pixels_are_prepared(foreign: bool) -> None:
    images = noise_images(5, 3, 12)
    known = Preprocessing((0.5,) * 3, (0.25,) * 3, 12)
    feed = PixelFeed(images, 8, known, foreign=foreign)
    assert (len(feed), feed.real) == (5, True)
    batches = list(feed.batches(2))
    assert [len(labels) for _, labels in batches] == [2, 3]  # no image is left alone
    values = torch.cat([inputs[0] for inputs, _ in batches])
    torch.testing.assert_close(values, prepare(images.images, 8, known))
    assert batches[0][0][0].is_contiguous() == foreign
    assert sum(len(inputs[0]) for inputs, _ in feed.batches(2, 3)) == 3
    assert len(feed.first(4)[0]) == 4


def test_noise_images_are_always_the_same() -> None:
    images = noise_images(6, 2, 5)
    assert images.images.shape == (6, 2, 5, 5)
    assert images.images.dtype == torch.uint8
    assert torch.equal(images.images, noise_images(6, 2, 5).images)
    many = noise_images(40, 3, 16).images
    assert (int(many.min()), int(many.max())) == (0, 255)


# ---- answers ------------------------------------------------------------------------------------------------------


def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(4, 3).eval()


def test_torch_answers_all_for_accuracy_and_some_for_outputs() -> None:
    network, feed, shares = linear(), rows(600), list[float]()
    found = torch_answers(network, signature_of(LOGITS), feed, 300, lambda share, _: shares.append(share))
    expected = network(feed.values).detach().numpy()
    assert found.outputs[0].shape == (300, 1, 3)
    np.testing.assert_allclose(found.outputs[0][:, 0], expected[:300], rtol=1e-6)
    assert found.logits is not None
    np.testing.assert_allclose(found.logits, expected, rtol=1e-6)
    assert np.array_equal(found.labels, feed.labels)
    assert (found.compared, found.real, found.together) == (300, True, True)
    assert found.accuracy == pytest.approx((expected.argmax(1) == feed.labels.numpy()).mean())
    assert shares == pytest.approx([256 / 600, 512 / 600, 1.0])
    noise = torch_answers(network, signature_of(LOGITS), rows(600, real=False), 300)
    assert noise.logits is not None
    assert (len(noise.logits), noise.compared, noise.accuracy) == (300, 300, None)
    few = torch_answers(network, signature_of(LOGITS), rows(5), 300)
    assert few.compared == 5


def test_without_logits_there_is_no_accuracy() -> None:
    found = torch_answers(linear(), signature_of(Port("output", (1, 3)), logits=None), rows(20), 9)
    assert (found.logits, found.accuracy, len(found.labels)) == (None, None, 9)
    with pytest.raises(TypeError, match="no classes"):
        found.logits_of(lambda _: [])
    assert found.accuracy_of(lambda _: np.zeros((1, 3), np.float32)) is None


def test_logits_are_picked_from_what_a_file_gives() -> None:
    both = signature_of(Port("features", (1, 2)), LOGITS)
    answers = Answers(
        rows(4), both, [np.zeros((4, 1, 2)), np.zeros((4, 1, 3))], np.zeros((4, 3), np.float32), np.arange(4) % 3
    )
    given = [np.ones((4, 1, 2)), np.arange(12.0).reshape(4, 1, 3)]
    run = answers.logits_of(lambda _: given)
    assert run(np.zeros((4, 4), np.float32)).tolist() == np.arange(12.0).reshape(4, 3).tolist()
    assert run(np.zeros((4, 4), np.float32)).dtype == np.float32
    assert answers.accuracy == 0.5  # class 0 four times, right of 0, 1, 2, 0


def test_accuracy_of_what_runs() -> None:
    feed, shares = rows(600), list[tuple[float, str]]()
    right = np.eye(3, dtype=np.float32)[np.arange(600) % 3]
    right[:60] = 0  # ties go to class 0, which every third of them is
    taken = iter(np.split(right, [256, 512]))
    found = accuracy_of(lambda _: next(taken), feed, lambda share, text: shares.append((share, text)))
    assert found == pytest.approx((540 + 20) / 600)
    assert shares[0][0] == pytest.approx(256 / 600)
    assert shares[0][1] == f"accuracy {(196 + 20) / 256:.3f}"
    assert feed.asked == [(256, None)]
    with pytest.raises(ExportError, match="expected images"):
        accuracy_of(lambda _: np.zeros((0, 3), np.float32), rows(0))
    with pytest.raises(ExportError, match="at least one image"):
        torch_answers(linear(), signature_of(LOGITS), rows(0), 9)


def test_large_outputs_are_compared_on_fewer_and_in_smaller_batches() -> None:
    # Eight bytes a value: 64 MiB a batch, 256 MiB kept.
    assert batch_size(signature_of(Port("map", (1, 2**20)))) == 8
    assert batch_size(signature_of(Port("map", (1, 2**20)), Port("b", (1, 2**20)))) == 4
    assert batch_size(signature_of(LOGITS)) == 256
    assert batch_size(signature_of(Port("huge", (1, 2**26)))) == 1
    assert batch_size(signature_of(Port("none", (1, 0)))) == 256
    assert (answers_module._COMPARED_BYTES, answers_module._BATCH_BYTES) == (256 * 2**20, 64 * 2**20)


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers_module, "_COMPARED_BYTES", 8 * 3 * 7)
    assert torch_answers(linear(), signature_of(LOGITS), rows(20), 20).compared == 7
    monkeypatch.setattr(answers_module, "_COMPARED_BYTES", 1)
    assert torch_answers(linear(), signature_of(LOGITS), rows(20), 20).compared == 4
    assert torch_answers(linear(), signature_of(LOGITS), rows(20), 2).compared == 2


class Code(nn.Module):
    """A forward that is given."""

    def __init__(self, forward: Any) -> None:
        super().__init__()
        self.linear, self.code, self.calls = linear(), forward, 0

    def forward(self, x: Tensor) -> Any:
        self.calls += 1
        return self.code(self, x)


MIXING = Code(lambda net, x: net.linear(x) - x.mean() / 10)
FIXED = Code(lambda net, x: net.linear(x.reshape(1, 4)))


@pytest.mark.parametrize("network", [MIXING, FIXED])
def test_what_does_not_batch_is_answered_one_by_one(network: nn.Module) -> None:
    feed = rows(5)
    found = torch_answers(network, signature_of(LOGITS), feed, 5)
    assert not found.together
    expected = torch.cat([network(row[None]) for row in feed.values]).detach().numpy()
    assert found.logits is not None
    np.testing.assert_allclose(found.logits, expected, rtol=1e-5, atol=1e-6)
    assert found.outputs[0].shape == (5, 1, 3)


def test_a_little_less_than_a_thousandth_apart_is_together() -> None:
    """Of the largest value, at least 1: sums in another order are as far apart."""
    for size, together in ((0.0009, True), (0.0011, False)):
        network = Code(lambda net, x, size=size: net.linear(x) * 0 + size * (len(x) > 1))
        assert torch_answers(network, signature_of(LOGITS), rows(3), 3).together is together
    for size, together in ((0.09, True), (0.11, False)):
        network = Code(lambda net, x, size=size: net.linear(x) * 0 + 100 + size * (len(x) > 1))
        assert torch_answers(network, signature_of(LOGITS), rows(3), 3).together is together
    whole = Port("classes", (1, 2000), "int64")
    for wrong, together in ((1, True), (3, False)):

        def classes(_: nn.Module, x: Tensor, wrong: int = wrong) -> Tensor:
            found = torch.zeros((len(x), 2000), dtype=torch.int64)
            found[:, : wrong * (len(x) > 1)] = 1
            return found

        network = Code(classes)
        assert torch_answers(network, signature_of(whole, logits=None), rows(3), 3).together is together


def test_one_image_is_enough_to_see_whether_it_batches() -> None:
    assert torch_answers(linear(), signature_of(LOGITS), rows(1), 9).together
    assert not torch_answers(FIXED, signature_of(LOGITS), rows(1), 9).together
    without = Port("scale", (3,))
    network = Code(lambda net, _: net.linear.bias * 1)
    assert not torch_answers(network, signature_of(without, logits=None), rows(3), 3).together


def test_chance_and_what_is_no_number_are_refused() -> None:
    noisy = Code(lambda net, x: net.linear(x) + torch.rand(1))
    with pytest.raises(ExportError, match="another logits for the same input each time"):
        torch_answers(noisy, signature_of(LOGITS), rows(3), 3)
    for value, output, logits, message in (
        (float("nan"), LOGITS, "logits", "gives logits that are no numbers"),
        (float("inf"), LOGITS, "logits", "gives logits that are no numbers"),
        (float("nan"), Port("mask", (1, 3)), None, "gives mask that are no numbers"),
    ):
        broken = Code(lambda net, x, value=value: net.linear(x) * 0 + value)
        with pytest.raises(ExportError, match=message):
            torch_answers(broken, signature_of(output, logits=logits), rows(3), 3)
    mask = Code(lambda net, x: net.linear(x) * 0 - float("inf"))
    found = torch_answers(mask, signature_of(Port("mask", (1, 3)), logits=None), rows(3), 3)
    assert np.isneginf(found.outputs[0]).all()


def test_shapes_that_change_are_refused() -> None:
    growing = Code(lambda net, x: net.linear(x)[:, : 1 + int(x[0, 0] > 0)])
    with pytest.raises(ExportError, match=r"another shape for each input, such as \[1, [12]\] and \[1, [12]\]"):
        torch_answers(growing, signature_of(Port("output", (1, 2)), logits=None), rows(9), 9)


# ---- parity -------------------------------------------------------------------------------------------------------


def test_difference_by_type() -> None:
    floats = Port("a", (1, 3))
    given, expected = np.array([[1.0, 2.0, 3.0]]), np.array([[1.5, 1.9, 3.0]])
    assert difference(floats, given, expected) == pytest.approx(0.5)
    assert difference(floats, -given, -expected) == pytest.approx(0.5)
    whole = Port("a", (1, 4), "int64")
    assert difference(whole, np.array([1, 2, 3, 4]), np.array([1, 9, 3, 4])) == 0.25
    assert difference(Port("a", (1, 2), "bool"), np.array([True, False]), np.array([False, True])) == 1.0
    infinite = np.array([np.inf, -np.inf])
    assert difference(floats, infinite, infinite) == 0.0
    assert difference(floats, infinite, -infinite) == np.inf
    assert np.isnan(difference(floats, np.array([np.nan]), np.array([1.0])))
    assert difference(floats, np.zeros((1, 0)), np.zeros((1, 0))) == 0.0
    # In float64: two float16 far apart don't overflow.
    assert difference(floats, np.array([6e4], np.float16), np.array([-6e4], np.float16)) == pytest.approx(
        1.2e5, rel=1e-3
    )


def test_what_is_allowed_grows_with_values_beyond_ten() -> None:
    port = Port("features", (1, 2))
    assert allowed(port, np.array([3.0, -10.0]), 0.01, logits=False) == pytest.approx(0.01)
    assert allowed(port, np.array([3.0, -50.0]), 0.01, logits=False) == pytest.approx(0.05)
    assert allowed(port, np.array([3.0, -np.inf]), 0.01, logits=False) == pytest.approx(0.01)
    assert allowed(port, np.array([np.inf]), 0.01, logits=False) == 0.01
    assert allowed(port, np.array([]), 0.01, logits=False) == 0.01
    assert allowed(port, np.array([500.0]), 0.01, logits=True) == 0.01
    assert allowed(Port("a", (1,), "int64"), np.array([500]), 0.01, logits=False) == 0.01


class Two(nn.Module):
    """Features, whose values are up to some forty, and logits of them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.conv, self.linear = nn.Conv2d(3, 4, 3, 2), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        features = self.conv(x).mean((2, 3)) * 40
        return {"features": features, "logits": self.linear(features)}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Answers]:
    feed = NoiseFeed((IMAGE,), 300)
    network, signature, _ = examined(Two().eval(), None, IMAGE, lambda _: feed.first(), 0)
    path = tmp_path_factory.mktemp("parity") / "two.onnx"
    request = ExportRequest(network, feed.first()[0], signature=signature, metadata={})
    return model_format("onnx").export(request, path), torch_answers(network, signature, feed, 300)


CONFIG = ExportConfig(parity_images=290)


def test_a_file_that_computes_the_same_passes(made: tuple[Path, Answers]) -> None:
    path, answers = made
    found = check_parity(path, answers, 1e-3, CONFIG)
    assert (found.images, found.real, found.top1_agreement) == (290, False, 1.0)
    assert set(found.outputs) == {"features", "logits"}
    assert found.max_abs == max(found.outputs.values()) < 1e-3
    assert set(found.to_dict()) == {"images", "real", "max_abs", "top1_agreement", "outputs"}
    assert check_parity(path, answers, 1e-3, replace(CONFIG, parity_images=9999)).images == 300
    assert Parity(1, True, 0.0, None).outputs == {}


def moved(answers: Answers, place: int, row: int, by: float) -> Answers:
    """Torch's answers, one value of one image moved."""
    outputs = [values.copy() for values in answers.outputs]
    outputs[place][row, 0, 1] += by
    return replace(answers, outputs=outputs)


def test_one_value_of_one_image_is_seen(made: tuple[Path, Answers]) -> None:
    path, answers = made
    logits = answers.signature.logits_place
    assert logits == 1
    # In the second batch as well: 256 go at once.
    for row in (0, 255, 256, 289):
        found = check_parity(path, moved(answers, logits, row, 0.5), 0.6, CONFIG)
        assert found.outputs["logits"] == pytest.approx(0.5, abs=1e-3)
        assert found.max_abs == pytest.approx(0.5, abs=1e-3)
        with pytest.raises(ExportError, match=r"differs from torch by 0\.5 in a logit, expected at most 0\.4"):
            check_parity(path, moved(answers, logits, row, 0.5), 0.4, CONFIG)
    assert check_parity(path, moved(answers, logits, 290, 0.5), 1e-3, CONFIG).max_abs < 1e-3


def test_other_outputs_may_differ_as_their_values_are_large(made: tuple[Path, Answers]) -> None:
    path, answers = made
    largest = float(np.abs(moved(answers, 0, 3, 0.5).outputs[0]).max())
    assert largest > 10
    within, beyond = 0.51 * 10 / largest, 0.48 * 10 / largest
    assert check_parity(path, moved(answers, 0, 3, 0.5), within, CONFIG).outputs["features"] == pytest.approx(
        0.5, abs=1e-3
    )
    with pytest.raises(ExportError, match="in the output 'features', expected at most"):
        check_parity(path, moved(answers, 0, 3, 0.5), beyond, CONFIG)


def test_classes_that_differ_are_counted(made: tuple[Path, Answers]) -> None:
    path, answers = made
    outputs = [values.copy() for values in answers.outputs]
    best = outputs[1][:, 0].argmax(1)
    for row in (1, 100, 280):
        outputs[1][row, 0, (best[row] + 1) % 3] = 1e6
    found = check_parity(path, replace(answers, outputs=outputs), float("inf"), CONFIG)
    assert found.top1_agreement == pytest.approx(287 / 290)


def test_what_is_no_number_never_passes(made: tuple[Path, Answers]) -> None:
    path, answers = made
    with pytest.raises(ExportError, match="differs from torch by nan"):
        check_parity(path, moved(answers, 1, 7, float("nan")), 1e9, CONFIG)


def test_outputs_of_another_number_or_shape_are_refused(made: tuple[Path, Answers]) -> None:
    path, answers = made
    one = Signature(answers.signature.inputs, answers.signature.outputs[:1], None)
    with pytest.raises(ExportError, match="expected 1 outputs, got 2"):
        check_parity(path, replace(answers, signature=one), 1e-3, CONFIG)
    wide = [answers.outputs[0], np.zeros((300, 1, 5), dtype=np.float32)]
    with pytest.raises(ExportError, match=r"expected logits \(1, 5\) an image, got \(1, 3\)"):
        check_parity(path, replace(answers, outputs=wide), 1e-3, CONFIG)


# ---- examine ------------------------------------------------------------------------------------------------------


def looked_at(network: nn.Module, classes: int = 0) -> tuple[nn.Module, Signature, list[str]]:
    return examined(network.eval(), None, IMAGE, lambda _: [torch.zeros(1, 3, 8, 8)], classes)


class Gives(nn.Module):
    """Gives what it was told, of an image."""

    def __init__(self, given: Any) -> None:
        super().__init__()
        self.given, self.conv = given, nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Any:
        return self.given(x)


def test_which_output_tells_classes() -> None:
    def logits(given: Any, classes: int = 0) -> str | None:
        return looked_at(Gives(given), classes)[1].logits

    ten, five, whole = torch.zeros(1, 10), torch.zeros(1, 5), torch.zeros(1, 10, dtype=torch.int64)
    assert logits(lambda _: ten) == "logits"
    assert logits(lambda _: {"a": ten, "b": five}) == "a"
    assert logits(lambda _: {"a": ten, "b": five}, 5) == "b"
    assert logits(lambda _: {"a": ten, "b": five}, 7) is None
    assert logits(lambda _: {"a": ten, "logits": five}) == "logits"
    assert logits(lambda _: {"a": whole, "b": five}) == "b"
    assert logits(lambda _: {"a": torch.zeros(2, 5), "b": torch.zeros(1, 5, 1)}) is None
    assert logits(lambda _: five, 7) == "logits"  # of one output, classes are its own


def test_what_is_said_of_outputs() -> None:
    ten, five = torch.zeros(1, 10), torch.zeros(1, 5)
    assert looked_at(Gives(lambda _: ten))[2] == []
    assert looked_at(Gives(lambda _: {"a": ten, "b": five}), 5)[2] == ["outputs a, b: classes are told by b"]
    assert looked_at(Gives(lambda _: {"a": ten, "b": five}), 7)[2] == ["outputs a, b: none of them tells classes"]
    notes = looked_at(Gives(lambda _: {"a": ten, "n": 3, "c": torch.zeros(1, dtype=torch.complex64)}))[2]
    assert notes == ["not in the files, since no tensors: n (int), c (complex64)"]


def test_a_network_is_run_in_the_order_of_its_outputs() -> None:
    network, signature, _ = looked_at(Gives(lambda x: {"b": x * 2, "a": x[:, :1]}))
    image = torch.ones(1, 3, 8, 8)
    first, second = run_network(network, [image])
    assert [port.name for port in signature.outputs] == ["b", "a"]
    assert torch.equal(first, 2 * image)
    assert torch.equal(second, image[:, :1])
    [alone] = run_network(looked_at(Gives(lambda x: x * 3))[0], [image])
    assert torch.equal(alone, 3 * image)
    with pytest.raises(ExportError, match="forward failed with RuntimeError"):
        run_network(Gives(lambda x: x @ torch.zeros(5, 5)), [image])


def test_weights_of_doubles_are_exported_as_floats_unless_forward_counts_on_them() -> None:
    network, _, notes = looked_at(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()).double())
    assert notes == ["weights of float64 are exported as float32"]
    assert {one.dtype for one in network.parameters()} == {torch.float32}

    class Cast(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4, dtype=torch.float64))

        def forward(self, x: Tensor) -> Tensor:
            if self.weight.dtype != torch.float64:
                raise ValueError("expected doubles")
            return (x.double().mean((2, 3))[:, :1] * self.weight).float()

    kept, _, notes = looked_at(Cast())
    assert notes == []
    assert {one.dtype for one in kept.parameters()} == {torch.float64}
    assert looked_at(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()))[2] == []


def test_lazy_weights_are_made_once() -> None:
    network = nn.Sequential(nn.LazyConv2d(4, 3), nn.Flatten(), nn.LazyLinear(2))
    made, signature, _ = looked_at(network)
    assert signature.outputs == (Port("logits", (1, 2)),)
    image = torch.ones(1, 3, 8, 8)
    torch.testing.assert_close(run_network(made, [image])[0], network(image))


@pytest.mark.parametrize(
    "images", [ImageSet(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64))]
)
def test_feeds_of_real_images_are_real(images: ImageSet) -> None:
    feed = PixelFeed(images, 8, Preprocessing((0.5,) * 3, (0.5,) * 3, 8))
    signature = Signature((IMAGE,), (LOGITS,), "logits")
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 3)).eval()
    found = torch_answers(network, signature, feed, 2, no_progress)
    assert found.real
    assert found.accuracy in (0.0, 1.0)
    run = found.logits_of(lambda inputs: [network(torch.tensor(inputs[0]))[:, None].detach().numpy()])
    assert found.accuracy_of(run) == found.accuracy


@pytest.mark.parametrize("size", [224, 32, 28, 64, 96, 128, 256, 299, 384, 512])
def test_usual_sizes_are_told(size: int) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * size * size, 2))
    with pytest.raises(
        ExportError, match=rf"it takes \[1, 3, {size}, {size}\]: give data=none data.image_size={size}, or"
    ):
        looked_at(network)


@pytest.mark.parametrize("size", [2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 32, 64])
def test_usual_numbers_of_images_are_told(size: int) -> None:
    with pytest.raises(ExportError, match=f"takes {size} images at a time and no other number"):
        looked_at(Gives(lambda x: x.reshape(size, 192)))


def test_inputs_that_are_no_images_are_advised_where_types_are_wrong_alone() -> None:
    def looked_up(x: Tensor) -> Tensor:
        return nn.functional.embedding(x, torch.zeros(5, 5))

    with pytest.raises(ExportError, match=r"export\.inputs='\{input"):
        looked_at(Gives(looked_up))
    with pytest.raises(ExportError, match="KeyError") as told:
        looked_at(Gives(lambda _: dict[str, Tensor]()["absent"]))
    assert "export.inputs" not in str(told.value)


def test_a_sum_over_a_batch_is_no_number_of_images() -> None:
    """What gives one number for any number of images has not fixed how many it takes."""

    def summed(x: Tensor) -> Tensor:
        return nn.functional.linear(x.flatten(1), torch.zeros(2, 7)) if len(x) == 1 else x.sum()

    with pytest.raises(ExportError, match=r"does not take images \[1, 3, 8, 8\]"):
        looked_at(Gives(summed))


def test_an_image_among_other_inputs_is_no_image_alone() -> None:
    class Both(nn.Module):
        def forward(self, image: Tensor, other: Tensor) -> Tensor:
            return image.flatten(1) @ other

    ports = (replace(IMAGE, name="image"), replace(IMAGE, name="other", shape=(1, 7)))
    with pytest.raises(ExportError, match=r"does not take inputs image \[1, 3, 8, 8\], other \[1, 7\]"):
        examined(Both().eval(), ports, IMAGE, lambda _: [torch.zeros(1, 3, 8, 8), torch.zeros(1, 7)], 0)


def test_outputs_of_another_shape_are_not_alike() -> None:
    assert not answers_module._alike(torch.zeros(2), torch.zeros(1))
    assert not answers_module._alike(torch.zeros(2, dtype=torch.int64), torch.zeros(1, dtype=torch.int64))


def test_pixels_are_of_ones_own_networks_unless_said_otherwise() -> None:
    images = ImageSet(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64))
    assert not PixelFeed(images, 8, Preprocessing((0.5,) * 3, (0.5,) * 3, 8)).foreign


def test_a_feed_says_how_its_batches_come() -> None:
    class Half(Feed):
        def __len__(self) -> int:
            return 0

    with pytest.raises(TypeError, match="abstract"):
        Half()  # type: ignore[abstract]
