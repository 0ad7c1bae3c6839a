"""What counts as changed is what a step reads; a checkpoint is held against the classes and pixels that it meets."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hwnas.cli.main import main
from hwnas.data.config import DataDescription, FashionMnistConfig, ImageFolderConfig
from hwnas.data.load import ImageData, load_data
from hwnas.devices.config import DeviceConfig
from hwnas.errors import CheckpointError
from hwnas.pipeline.inputs import data_inputs
from hwnas.pipeline.trained_on import TrainedOn, read_trained_on
from hwnas.pipeline.units import device_inputs
from hwnas.progress import no_progress
from hwnas.training.checkpoint import read_checkpoint, write_checkpoint
from tests.data.trees import make_tree

PHASES = "training.phases=[{name: full, epochs: 1, learning_rate: 0.1}]"


def hwnas(command: str, run: Path, root: str | Path, *arguments: str) -> int:
    data = ("data=image_folder", f"data.root={root}", "data.image_size=24", "data.held_out=6")
    return main([command, "experiment=smoke", f"hydra.run.dir={run / command}", *data, *arguments])


def train(run: Path, root: str | Path, *arguments: str) -> int:
    return hwnas("train", run, root, "training.batch_size=12", PHASES, *arguments)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `photos/` and a supernet trained on them in `run/`."""
    folder = tmp_path_factory.mktemp("trained")
    make_tree(folder / "photos", ("train", "test"))
    names = "".join(f"{colour} {colour.title()}\n" for colour in ("blue", "green", "red"))
    (folder / "names.txt").write_text(names)
    assert train(folder / "run", folder / "photos") == 0
    return folder


@pytest.fixture
def own(trained: Path, tmp_path: Path) -> Path:
    """A copy that a test may change; times of files are kept."""
    return Path(shutil.copytree(trained, tmp_path / "own", symlinks=True))


def swap(one: Path, other: Path) -> None:
    one.rename(one.with_name("between"))
    other.rename(one)
    one.with_name("between").rename(other)


def test_what_is_not_read_is_no_change(
    own: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (".DS_Store", "train/red/Thumbs.db", "train/README.md", "train/red/.ipynb_checkpoints/0.png"):
        (own / "photos" / path).parent.mkdir(exist_ok=True)
        (own / "photos" / path).write_text("no image")
    (own / "link").symlink_to(own / "photos")
    monkeypatch.chdir(own)
    for spelled in ("photos", "./photos/", f"{own}/photos", f"{own}/run/../photos//", "link"):
        assert train(own / "run", spelled) == 0
        assert "train: up to date" in capsys.readouterr().out, spelled


def test_moved_images_and_swapped_classes_are_a_change(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    swap(own / "photos" / "train" / "red", own / "photos" / "train" / "blue")
    assert train(own / "run", own / "photos") == 0
    assert "train: data.files.sha256 changed" in capsys.readouterr().out
    for path in sorted((own / "photos" / "train" / "red").iterdir())[:3]:
        path.rename(own / "photos" / "train" / "blue" / f"moved-{path.name}")
    assert train(own / "run", own / "photos") == 0
    assert "train: data.files.sha256 changed" in capsys.readouterr().out


def test_images_behind_links_are_read(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (own / "photos" / "train").rename(own / "elsewhere")
    (own / "photos" / "train").symlink_to(own / "elsewhere")
    assert train(own / "run", own / "photos") == 0
    assert "train: up to date" in capsys.readouterr().out
    (own / "elsewhere" / "red" / "0.JPEG").unlink()
    assert train(own / "run", own / "photos") == 0
    assert "train: data.files.images, data.files.bytes, data.files.sha256 changed" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["evaluate", "export"])
def test_other_classes_are_refused(own: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    for split in ("train", "test"):
        (own / "photos" / split / "red").rename(own / "photos" / split / "ant")
    arch = {"ks": [3] * 4, "e": [3] * 4, "d": [1, 1], "r": 24}
    arguments = [f"arch={json.dumps(arch)}"] if command == "export" else []
    assert hwnas(command, own / "run", own / "photos", *arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "was trained on 3 classes (blue, green, red), and data 'image_folder' has 3 (ant, blue, green)" in line
    assert "only there: red; only in the data: ant" in line


def test_other_names_for_the_same_folders_are_no_other_classes(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arch = {"ks": [3] * 4, "e": [3] * 4, "d": [1, 1], "r": 24}
    arguments = (
        f"arch={json.dumps(arch)}", f"data.class_names={own}/names.txt", "formats=onnx", "export.measure_latency=false",
        "runtime=onnxruntime", "evaluation.measure.calibration_images=12",
    )  # fmt: skip
    for expected in (["Blue", "Green", "Red"], ["Sea", "Grass", "Blood"]):
        assert hwnas("export", own / "run", own / "photos", *arguments) == 0
        (manifest,) = (own / "run" / "export").rglob("manifest.json")
        assert json.loads(manifest.read_text())["classes"] == expected
        (own / "names.txt").write_text("blue Sea\ngreen Grass\nred Blood\n")
    assert "export: data.files.names changed" in capsys.readouterr().out


def test_a_checkpoint_of_other_data_with_as_many_classes_is_refused(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = own / "run" / "train" / "supernet.safetensors"
    tensors, header = read_checkpoint(path)
    clothes = ["trouser", "pullover", "dress"]
    write_checkpoint(path, tensors, {**header, "classes": clothes, "folders": clothes})
    assert hwnas("evaluate", own / "run", own / "photos") == 1
    assert "only there: dress, pullover, trouser; only in the data: blue, green, red" in capsys.readouterr().err


def test_checkpoints_of_before_folders_were_kept(trained: Path, tmp_path: Path) -> None:
    tensors, header = read_checkpoint(trained / "run" / "train" / "supernet.safetensors")
    assert header.pop("folders") == ["blue", "green", "red"]
    old = read_trained_on(write_checkpoint(tmp_path / "old.safetensors", tensors, header))
    assert old is not None
    assert old.folders == ("blue", "green", "red")
    assert read_trained_on(tmp_path / "none.safetensors") is None


def described(*folders: str, names: tuple[str, ...] = ()) -> DataDescription:
    return DataDescription("photos", names or folders, 3, folders)


def test_the_order_of_classes_counts() -> None:
    trained_on = TrainedOn(Path("net"), ("A", "B"), ("a", "b"), {})
    for same in (described("a", "b"), described("a", "b", names=("x", "y")), described("A", "B")):
        trained_on.check_classes(same)
    for other in (described("b", "a"), described("a", "b", "c"), described("a"), described("x", "y", names=("p", "q"))):
        with pytest.raises(CheckpointError, match="was trained on 2 classes"):
            trained_on.check_classes(other)


def preprocessed(data: ImageData, config: ImageFolderConfig, **changes: Any) -> tuple[ImageData, list[str]]:
    said: list[str] = []
    trained_on = TrainedOn(Path("net"), data.classes, data.folders, {**data.preprocessing.to_dict(), **changes})
    return trained_on.preprocessed(data, config, said.append), said


def test_pixels_are_normalised_as_in_the_training_and_a_difference_is_said(trained: Path) -> None:
    config = ImageFolderConfig(root=str(trained / "photos"), image_size=24, held_out=6)
    data = load_data(config, 0, no_progress)
    assert preprocessed(data, config) == (data, [])
    changed, said = preprocessed(data, config, mean=[0.1, 0.2, 0.3])
    assert (changed.mean, changed.std) == ((0.1, 0.2, 0.3), data.std)
    assert len(said) == 1
    assert "another preprocessing: mean 0.100/0.200/0.300 there" in said[0]
    assert "the checkpoint's mean and std are used" in said[0]
    # Another seed holds other images out, which moves the mean a little: nothing to say.
    close = [value + 0.001 for value in data.mean]
    assert preprocessed(data, config, mean=close)[1] == []
    mean, std = (0.5, 0.5, 0.5), (0.2, 0.2, 0.2)
    asked = replace(config, mean=mean, std=std)
    kept, said = preprocessed(replace(data, mean=mean, std=std), asked, mean=[0.1, 0.2, 0.3])
    assert kept.mean == (0.5, 0.5, 0.5)
    assert "data.mean and data.std are used" in said[0]
    _, said = preprocessed(data, config, image_size=32, crop_pct=0.875)
    assert said == [
        "net was trained with another preprocessing: image_size 32 there, 24 here, crop_pct 0.875 there, 1.0 here"
    ]


def test_another_seed_is_said_since_it_holds_other_images_out(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = ("evaluation.subnets=20", "evaluation.measure.calibration_images=12")
    for seed in (0, 1):
        assert hwnas("evaluate", own / "run", own / "photos", f"seed={seed}", *few) == 0
        said = "was trained with seed=0: with seed=1 other images are held out" in capsys.readouterr().out
        assert said == (seed == 1)


def test_of_fashion_mnist_the_files_count_not_their_place(tmp_path: Path) -> None:
    names = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    before = data_inputs(FashionMnistConfig(root=str(tmp_path)))
    assert before == data_inputs(FashionMnistConfig(root=f"{tmp_path}/"))
    (tmp_path / names[0]).write_bytes(b"y")
    os.utime(tmp_path / names[0], ns=(1, 1))
    assert before != data_inputs(FashionMnistConfig(root=str(tmp_path)))
    assert data_inputs(FashionMnistConfig())["root"] is None


def test_of_a_profile_of_ones_own_what_it_says_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profile = tmp_path / "board.yaml"
    text = "name: board\ndescription: mine\ntransport: ssh\nruntimes: {onnxruntime: [fp32]}\n"
    profile.write_text(text)
    monkeypatch.chdir(tmp_path)
    before = device_inputs(DeviceConfig(name="board.yaml"))
    assert before == device_inputs(DeviceConfig(name=str(profile)))
    profile.write_text(text + "address: 10.0.0.1\n")
    assert before != device_inputs(DeviceConfig(name="board.yaml"))
    assert device_inputs(DeviceConfig())["name"] == "local"


def test_weights_are_those_of_the_labels(own: Path) -> None:
    """The net that is trained again after two folders changed names answers with the new names."""
    swap(own / "photos" / "train" / "red", own / "photos" / "train" / "blue")
    swap(own / "photos" / "test" / "red", own / "photos" / "test" / "blue")
    config = ImageFolderConfig(root=str(own / "photos"), image_size=24, held_out=6)
    data = load_data(config, 0, no_progress)
    images, labels = next(data.test.batches(64))
    brightest = images.to(torch.float32).mean((2, 3)).argmax(1).numpy()
    expected = np.array([{"blue": 0, "green": 1, "red": 2}[name] for name in data.classes])
    assert np.array_equal(expected[labels.numpy()], brightest)
