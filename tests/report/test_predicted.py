"""What the page makes of predictions: which images are shown, which classes are confused, and how it looks in HTML."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hwnas.errors import StorageError
from hwnas.report.class_plots import CONFUSION, SIZES, short_names
from hwnas.report.html import write_report
from hwnas.report.plots import draw_all
from hwnas.report.predicted import (
    Predicted,
    balanced_of,
    distinct_predictions,
    is_imbalanced,
    predicted_of,
    shown_images,
)

NAMES = ["<b>a</b>", "çà 中文", "x" * 90, "{{ 7 * 7 }}"]


def predicted(
    labels: list[int], answers: list[int], shares: list[float], classes: int = 3, files: int = 1
) -> Predicted:
    images = [f"{row}.jpg" for row in range(len(labels))]
    return Predicted(images, np.array(labels), np.array(answers), np.array(shares), classes, files)


def with_predictions(result: dict[str, Any], names: list[str], images: int, seed: int = 0) -> dict[str, Any]:
    """`result` with what each file would answer: two thirds right, small classes less often."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, len(names), images) * rng.integers(0, 2, images)
    entries = []
    for target in range(len(result["targets"])):
        wrong = rng.random(images) < 1 / 3
        answers = np.where(wrong, rng.integers(0, len(names), images), labels)
        entries.append(
            {
                "target": target,
                "image": [f"test/{names[label]}/{row}.jpg" for row, label in enumerate(labels)],
                "label": labels.tolist(),
                "predicted": answers.tolist(),
                "probability": rng.uniform(0.3, 1, images).tolist(),
            }
        )
    by_class = {"train": (10 + 7 * np.arange(len(names))).tolist(), "test": np.bincount(labels).tolist()}
    data = result["data"] | {"classes": names, "images_by_class": by_class}
    return result | {"data": data, "classes": names, "predictions": entries}


def pictures_of(result: dict[str, Any], folder: Path, side: int = 96) -> dict[str, Path]:
    """A picture of its own of every image that the page shows."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    found = predicted_of(result["predictions"], len(result["classes"]))
    paths = {}
    for row in shown_images(found):
        path = folder / f"{row}.jpg"
        coarse = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8))
        coarse.resize((side, side), Image.Resampling.BICUBIC).save(path, quality=78)
        paths[found[0].images[row]] = path
    return paths


def test_examples_are_the_surest_mistakes_the_least_sure_and_the_typical() -> None:
    labels, answers = [0, 0, 0, 1, 1, 1, 2, 2], [0, 0, 0, 1, 2, 0, 1, 0]
    one = predicted(labels, answers, [0.5, 0.9, 0.7, 0.4, 0.6, 0.8, 0.8, float("nan")])
    chosen = one.examples()
    assert chosen == {"wrong": [6, 5, 4, 7], "unsure": [3, 0, 2, 1], "typical": [2, 3]}
    assert one.examples() == chosen
    assert one.recall.tolist() == pytest.approx([1, 1 / 3, 0])
    assert balanced_of(one.recall) == pytest.approx(4 / 9)


def test_pairs_are_told_both_ways_with_an_image_of_each_side() -> None:
    one = predicted([0, 0, 1, 1, 1, 2], [1, 0, 0, 0, 1, 2], [0.6, 0.9, 0.5, 0.7, 0.8, 0.9], classes=4)
    (pair,) = one.confused()
    assert (pair.first, pair.second, pair.first_taken, pair.second_taken) == (0, 1, 1, 2)
    assert (pair.first_row, pair.second_row) == (0, 3)
    (lone,) = predicted([0, 0], [0, 2], [0.9, 0.8]).confused()  # class 2 has no image
    assert (lone.second, lone.first_row, lone.second_row) == (2, 1, None)
    right = predicted([0, 1], [0, 1], [0.9, 0.8])
    assert right.confused() == []
    assert right.examples()["wrong"] == []
    assert balanced_of(right.recall) == 1.0  # of the two that have images


def test_a_thousand_classes_are_counted_at_once_and_fewer_pictures_are_of_many_files() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 1000, 50_000).tolist()
    answers = rng.integers(0, 1000, 50_000).tolist()
    one = predicted(labels, answers, rng.random(50_000).tolist(), classes=1000, files=50)
    assert one.matrix.sum() == 50_000
    assert [len(rows) for rows in one.examples().values()] == [1, 1, 1]
    assert len(one.confused()) == 1


def test_three_times_as_many_images_are_imbalanced() -> None:
    assert is_imbalanced({"train": [10, 30], "test": [5, 5]})
    assert is_imbalanced({"train": [10, 10], "test": [0, 5]})
    assert not is_imbalanced({"train": [10, 29], "test": [5, 5]})
    assert not is_imbalanced({})
    assert not is_imbalanced(None)


@pytest.mark.parametrize("classes", [2, 12, 30, 1000])
def test_plots_of_few_and_of_many_classes(result: dict[str, Any], tmp_path: Path, classes: int) -> None:
    shown = with_predictions(result | {"targets": result["targets"][:1]}, [f"class {n}" for n in range(classes)], 3000)
    plots = draw_all(shown, tmp_path)
    assert {"confusion-1", "class_sizes"} <= set(plots)
    for name in ("confusion-1", "class_sizes"):
        pixels = np.asarray(Image.open(plots[name]).convert("RGB")).astype(int)
        assert pixels.shape == (902, 924, 3)
        assert 0.005 < (pixels.sum(-1) < 700).mean() < 0.7


def test_classes_of_one_size_have_no_plot_by_size(result: dict[str, Any], tmp_path: Path) -> None:
    shown = with_predictions(result, ["a", "b"], 40)
    shown["data"]["images_by_class"] = {"train": [5, 5], "test": [20, 20]}
    plots = draw_all(shown, tmp_path)
    assert "class_sizes" not in plots
    text = write_report(shown, plots, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "balanced" not in text


def test_the_page_shows_each_file_and_every_class(result: dict[str, Any], tmp_path: Path) -> None:
    shown = with_predictions(result, NAMES, 200)
    shown["targets"] = [target | {"balanced_accuracy_exported": 0.4321} for target in shown["targets"]]
    pictures = pictures_of(shown, tmp_path / "pictures")
    page = write_report(shown, draw_all(shown, tmp_path), tmp_path / "report.html", None, pictures)
    text = page.read_text(encoding="utf-8")
    assert text.count('class="card answers"') == 4
    assert text.count("43.21 %") == 4
    assert "<b>a</b>" not in text
    assert all(text.count(name) > 8 for name in ("&lt;b&gt;a&lt;/b&gt;", "çà 中文", "x" * 90, "{{ 7 * 7 }}"))
    found = predicted_of(shown["predictions"], len(NAMES))
    tiles = sum(len(rows) for one in found for rows in one.examples().values())
    tiles += sum(
        (pair.first_row is not None) + (pair.second_row is not None) for one in found for pair in one.confused()
    )
    assert text.count('class="tile ') == text.count("data:image/jpeg;base64") == tiles
    rows = re.findall(r'<tr><td class="text first"><bdi>(.*?)</bdi></td>(.*?)</tr>', text[text.index('id="classes"') :])
    means = [np.mean([float(share) for share in re.findall(r'data-value="([\d.]+)"', row)][2:]) for _, row in rows]
    assert len(rows) == 4
    assert means == sorted(means)
    assert page.stat().st_size < 3_000_000


def test_pages_of_many_files_stay_small(large_result: dict[str, Any], tmp_path: Path) -> None:
    shown = with_predictions(large_result, [f"class {n}" for n in range(100)], 1000)
    pictures = pictures_of(shown, tmp_path / "pictures")
    plots = draw_all(shown, tmp_path)
    others = {name: path for name, path in plots.items() if name != SIZES and not name.startswith(CONFUSION)}
    without = write_report(large_result, others, tmp_path / "a.html")
    page = write_report(shown, plots, tmp_path / "b.html", None, pictures)
    assert page.stat().st_size - without.stat().st_size < 2_500_000
    text = page.read_text(encoding="utf-8")
    assert text.count('class="card answers"') == 50
    assert text.count("Confusion matrix") == 8
    assert "of 50 files the first 8 have a matrix and a column" in text


def test_a_network_that_several_devices_chose_is_shown_once(result: dict[str, Any], tmp_path: Path) -> None:
    shown = with_predictions(result, ["a", "b", "c"], 60)
    alone = len(distinct_predictions(shown))
    assert alone == 4
    # The same answers on another device are the same network; of one device they are shown for each budget.
    on_board = [{**target, "device": "board"} for target in shown["targets"][:2]]
    shown["targets"] = [*shown["targets"], *on_board]
    shown["predictions"] = [
        *shown["predictions"],
        *({**one, "target": n} for n, one in enumerate(shown["predictions"][:2], 4)),
    ]
    shown["predictions"][1] = {**shown["predictions"][0], "target": 1}
    entries = distinct_predictions(shown)
    assert [entry["targets"] for entry in entries] == [[0, 4], [1], [2], [3], [5]]
    pictures = pictures_of(shown, tmp_path / "pictures")
    plots = draw_all(shown, tmp_path)
    assert sorted(name for name in plots if name.startswith("confusion")) == [f"confusion-{n}" for n in (1, 2, 3, 4, 6)]
    text = write_report(shown, plots, tmp_path / "report.html", None, pictures).read_text(encoding="utf-8")
    assert text.count('class="card answers"') == 5
    assert "no picture" not in text
    heading = re.search(r'card answers">\s*<h3>(.*?)</h3>', text)
    assert heading is not None
    assert re.sub("<.*?>", "", heading[1]).startswith("onnxruntime on local, 0.320 ms; on board, 0.320 ms")


def test_without_pictures_and_without_predictions(result: dict[str, Any], tmp_path: Path) -> None:
    bare = write_report(result, {}, tmp_path / "a.html").read_text(encoding="utf-8")
    assert "get right and wrong" not in bare
    shown = with_predictions(result, ["a", "b"], 30)
    del shown["data"]["images_by_class"]
    text = write_report(shown, {}, tmp_path / "b.html").read_text(encoding="utf-8")
    assert "no picture" in text
    gone = dict.fromkeys(shown["predictions"][0]["image"], tmp_path / "gone.jpg")
    with pytest.raises(StorageError, match=r"picture .*gone\.jpg cannot be read"):
        write_report(shown, {}, tmp_path / "c.html", None, gone)


def test_long_names_stay_apart_in_a_matrix() -> None:
    names = ["Apple", "Arla-Ecological-Sour-Cream", "Arla-Ecological-Medium-Fat-Milk", "x" * 60 + "1", "x" * 60 + "2"]
    assert short_names([f"Arla-Long-Product-Name-{n}-Yoghurt" for n in (11, 25)]) == [
        "…me-11-Yoghurt",
        "…me-25-Yoghurt",
    ]
    short = short_names([*names, "two\nlines", "a" * 16, "Arla-Standard-Sour-Cream"])
    assert short == [
        "Apple", "Arla-Ecol…-Cream", "Arla-Ecol…t-Milk", "xxxxxxxxx…xxxxx1", "xxxxxxxxx…xxxxx2",
        "two lines", "a" * 16, "Arla-Stan…-Cream",
    ]  # fmt: skip
