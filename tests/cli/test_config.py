"""Every choice of every group composes into checked settings; every mistake is one line that names the way out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from omegaconf import DictConfig

from hwnas.cli.commands import COMMANDS
from hwnas.cli.compose import compose_config, compose_jobs, tree
from hwnas.cli.config import CONFIG_FOLDER, register_schemas, to_pipeline_config
from hwnas.cli.load import load_config
from hwnas.cli.main import main
from hwnas.data.config import PRESETS, AugmentConfig, DigitsConfig
from hwnas.pipeline.config import PipelineConfig
from hwnas.spaces import make_space

GROUPS = sorted((folder.name, file.stem) for folder in CONFIG_FOLDER.iterdir() for file in folder.glob("*.yaml"))

GHOSTS = Path(__file__).resolve().parents[2] / "examples" / "ghost_space.py"


told_schemas = cache(register_schemas)
"""Once is enough for a process; it takes a quarter of the time of composing."""


@cache
def _settings(choices: tuple[str, ...]) -> DictConfig:
    return tree(choices)


def settings_of(choices: Sequence[str]) -> DictConfig:
    """`tree`, composed once for the same choices: what types settings have."""
    return _settings(tuple(choices))


def composed(*overrides: str, command: str = "run") -> PipelineConfig:
    told_schemas()
    return to_pipeline_config(compose_config(command, overrides))


@pytest.mark.parametrize(("group", "choice"), GROUPS)
def test_every_choice_composes(group: str, choice: str) -> None:
    command = "search" if group in ("accuracy", "latency") else "run"
    if group == "protocol" or (choice in ("csv", "nasbench201", "ofa") and group == "data"):
        command = "evaluate-latency"
    elif (group, choice) == ("data", "none"):
        command = "export"
    paths: tuple[str, ...] = ("accuracy.path=predictor.npz",) if (group, choice) == ("accuracy", "ofa") else ()
    paths += (f"space.file={GHOSTS}:make",) if choice == "from_file" else ()
    own = ("experiment=none",) if command in ("evaluate-latency", "export") else ()
    config = composed(*own, f"{group}={choice}", *paths, command=command)
    assert isinstance(config, PipelineConfig)
    assert isinstance(config.space.resolution, tuple)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_the_settings_that_a_command_takes(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    shown = capsys.readouterr().out
    for key in COMMANDS[command].keys:
        assert f"\n  {key}: " in shown or f"\n  {key}:\n" in shown


def test_experiment_is_a_default_that_choices_override() -> None:
    config = composed("experiment=smoke", "space=ofa_mbv3", "space.resolution=[224]")
    assert isinstance(config.data, DigitsConfig)
    assert config.space.resolution == (224,)
    assert len(make_space(config.space).genes) == 46


def test_one_runtime_may_be_given_without_brackets() -> None:
    assert composed("runtime=litert").runtimes == ("litert",)
    assert composed("runtime=[litert,onnxruntime]").runtimes == ("litert", "onnxruntime")


@pytest.mark.parametrize("data", ["image_folder", "imagenet", "fashion_mnist", "digits"])
@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_gives_the_settings_that_are_not_set(data: str, name: str) -> None:
    chosen = load_config([f"data={data}", f"data.augment={name}", "experiment=none"])
    assert chosen.data.augment == AugmentConfig.preset(name)
    own = load_config([f"data={data}", "data.augment.flip=false", f"data.augment={name}", "data.augment.mixup=0.5"])
    assert own.data.augment == replace(PRESETS[name], flip=False, mixup=0.5)


def test_presets_are_swept_and_a_choice_of_load_config() -> None:
    register_schemas()
    jobs = compose_jobs("train", ["data=image_folder", "data/augment=light,strong"])
    assert [config.data.augment.mixup for _, config in jobs] == [0, 0.2]
    assert load_config(["data=digits", "data.augment=light"]).data.augment == AugmentConfig.preset("light")
    assert composed("data=image_folder").data.augment == AugmentConfig(crop_padding=0)  # the quickstart's


MISTAKES = [
    (["train", "data.augment=lite"], ["data.augment=lite: did you mean 'light'?", "valid: light, medium, strong"]),
    (["train", "data.augment=null"], ["data.augment=None", "valid: light, medium, strong"]),
    (["train", "experiment=none", "data=none", "data.augment=light"], ["data.augment is for images", "image_folder"]),
    (["train", "data.augment=light", "data.augment.crop_padding=2"], ["crop_scale", "excludes crop_padding"]),
    (["train", "trainin.epochs=3"], ["'trainin.epochs'", "did you mean 'training'?", "valid:"]),
    (["train", "training.batchsize=3"], ["'training.batchsize'", "did you mean 'batch_size'?"]),
    (["train", "training.batch_size=many"], ["training.batch_size", "'many'"]),
    (["train", "training.batch_size=1"], ["training.batch_size", "at least 2", "got 1"]),
    (["train", "training.precision=8"], ["training.precision", "valid: 32-true"]),
    (["train", "experiment=quikstart"], ["did you mean 'quickstart'?"]),
    (["train", "space=resnet"], ["space=resnet", "valid:", "ofa_mbv3"]),
    (["train", "space.depths=[3,2]"], ["space.depths", "rising", "[3, 2]"]),
    (["train", "space.widths=[8]"], ["space.widths", "expected", "got 1"]),
    (["train", "search.budgets=[1]"], ["'search.budgets'", "belongs to hwnas run, search"]),
    (["train", "batch_size"], ["key=value"]),
    (["train", "training.phases.0.epochs=3"], ["training.phases is a list", "training.phases=[…]"]),
    (["search", "search.budgets=[0]"], ["search.budgets", "positive", "got 0"]),
    (["profile", "runtime=tensorrt"], ["runtime", "'tensorrt'", "onnxruntime"]),
    (["profile", "profiling.threads=0"], ["profiling.threads", "at least 1"]),
    (["run", "seed=-1"], ["seed", "got -1"]),
    (["run", "space.classes=7"], ["space.classes is 7", "has 10", "space.classes=0"]),
    (["trane"], ["did you mean 'train'?"]),
]


@pytest.mark.parametrize(("arguments", "expected"), MISTAKES, ids=[" ".join(given) for given, _ in MISTAKES])
def test_mistakes_are_one_line(
    arguments: list[str],
    expected: list[str],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) != 0
    captured = capsys.readouterr()
    assert captured.err.startswith("hwnas: error: ")
    assert captured.err.count("\n") == 1
    for text in expected:
        assert text in captured.err


def test_nothing_is_made_for_a_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "training.batch_size=1"]) == 1
    assert not list(tmp_path.iterdir())


def test_no_command_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "usage: hwnas" in capsys.readouterr().out


def test_device_is_short_for_its_name(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["profile", "experiment=smoke", "device=pixl8", f"hydra.run.dir={tmp_path}"]) == 1
    assert "'pixl8'" in capsys.readouterr().err


def test_choices_that_do_not_go_together_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "experiment=quickstart", "data=none", "module=a:b"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("hwnas: error: ")
    assert "Key 'augment' not in 'NoDataConfig'" in line
