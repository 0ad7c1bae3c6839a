"""Every `hwnas …` command in README.md and docs/ is one: its name, keys and values compose. Nothing is run.

Folders and files that a command names are made, so that what looks at them while composing finds them.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hwnas.cli.arguments import in_hydras_syntax
from hwnas.cli.commands import COMMANDS
from hwnas.cli.compose import compose_config, compose_jobs, group_names
from hwnas.cli.config import register_schemas, to_pipeline_config
from hwnas.cli.experiments import with_experiment
from hwnas.errors import ConfigError
from hwnas.pipeline import config as steps
from tests.cli.test_config import settings_of

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
MODULE = "python -m hwnas.cli.main "
ELLIPSIS = "…"


def commands_of(text: str) -> Iterator[str]:
    """The lines of fenced sh blocks, each one command; continued lines are joined."""
    for block in re.findall(r"^[ ]*```(?:sh|bash|console)\n(.*?)^[ ]*```", text, flags=re.M | re.S):
        for line in block.replace("\\\n", " ").splitlines():
            line = re.sub(r"^torchrun .+? -m hwnas\.cli\.main", "hwnas", line.strip()).replace(MODULE, "hwnas ")
            if line.startswith("hwnas "):
                yield line


FOUND = [(page.relative_to(ROOT).as_posix(), line) for page in PAGES for line in commands_of(page.read_text("utf-8"))]


def compose(line: str, folder: Path) -> None:
    """Raises ConfigError, or KeyError for a command that doesn't exist."""
    name, *arguments = shlex.split(line, comments=True)[1:]
    if name == "--version":
        return
    command = COMMANDS[name]
    arguments = [argument for argument in arguments if argument not in (ELLIPSIS, "--help")]
    places = {"data.root": folder / "images", "folder": folder}
    for number, argument in enumerate(arguments):
        key, given, _ = argument.partition("=")
        if key == "experiment" and argument.endswith(".yaml"):
            own = folder / "plan.yaml"
            own.write_text("name: planned\n")
            arguments[number] = f"{key}={own}"
        elif given and key in places:
            arguments[number] = f"{key}={places[key]}"
        elif not given and command.positional and not argument.startswith("-"):
            arguments[number] = str(folder)
    if "data=imagenet" in arguments:
        arguments.append("data.class_count=0")  # there are two folders here
    arguments = in_hydras_syntax(with_experiment(name, arguments), command.positional, settings_of, set(group_names()))
    if "-m" in arguments:
        arguments.remove("-m")
        configs = [config for _, config in compose_jobs(name, arguments)]
    else:
        configs = [compose_config(name, arguments)]
    for config in configs:
        settings = to_pipeline_config(config)
        for step in command.steps:
            if name not in ("validate", "verify-bundle"):
                settings.part(getattr(steps, step))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("named")
    for split in ("train", "test"):
        for label in ("a", "b"):
            (root / "images" / split / label).mkdir(parents=True)
            for number in range(4):
                pixels = np.full((8, 8, 3), 40 * number, dtype=np.uint8)
                Image.fromarray(pixels).save(root / "images" / split / label / f"{number}.png")
    register_schemas()
    return root


def test_commands_are_found() -> None:
    assert len(FOUND) > 45
    assert {page for page, _ in FOUND} >= {"README.md", "docs/start.md", "docs/devices.md", "docs/budgets.md"}


@pytest.mark.parametrize(("page", "line"), FOUND, ids=[f"{page}: {line}" for page, line in FOUND])
def test_a_command_composes(page: str, line: str, folder: Path) -> None:
    compose(line, folder)


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("hwnas search search.budget=[1]", ConfigError),
        ("hwnas train search.budgets=[1]", ConfigError),
        ("hwnas profile runtime=tensorrt", ConfigError),
        ("hwnas trane", KeyError),
    ],
)
def test_a_command_that_is_none_is_noticed(line: str, error: type[Exception], folder: Path) -> None:
    with pytest.raises(error):
        compose(line, folder)


def test_inline_commands_are_commands() -> None:
    """`hwnas name …` within a sentence."""
    named = {name for page in PAGES for name in re.findall(r"`hwnas ([\w-]+)", page.read_text("utf-8"))}
    assert named <= set(COMMANDS), named - set(COMMANDS)
    tables = (ROOT / "docs" / "start.md").read_text("utf-8")
    assert set(re.findall(r"^\| `hwnas ([\w-]+)", tables, flags=re.M)) == set(COMMANDS)
