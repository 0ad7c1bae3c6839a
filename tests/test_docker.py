"""The Dockerfile fits the repository: what it copies is there, what it installs is what `pyproject.toml` has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINES = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def words(instruction: str) -> list[list[str]]:
    """The words after each such instruction, flags left out."""
    found = [line.split()[1:] for line in LINES if line.startswith(f"{instruction} ")]
    return [[word for word in line if not word.startswith("--")] for line in found]


def default(name: str) -> str:
    return next(value for (word,) in words("ARG") for key, _, value in [word.partition("=")] if key == name)


COPIED = [
    source
    for line in LINES
    if line.startswith("COPY ") and "--from=" not in line
    for source in line.split()[1:-1]
]  # fmt: skip


def test_something_is_copied() -> None:
    assert {"hwnas", "conf", "device_profiles", "latency_tables", "pyproject.toml", "constraints.txt"} <= set(COPIED)


@pytest.mark.parametrize("source", COPIED)
def test_what_is_copied_is_there_and_let_in(source: str) -> None:
    assert (ROOT / source).exists()
    assert f"!{source}" in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()


def test_what_a_wheel_takes_is_copied() -> None:
    included = re.search(r"force-include\]\n(.+?)\n\n", PROJECT, re.DOTALL)
    assert included is not None
    needed = [line.split(" = ")[0] for line in included[1].splitlines()]
    readme = re.search(r'^readme = "(.+)"', PROJECT, re.MULTILINE)
    licence = re.search(r'^license-files = \["(.+)"\]', PROJECT, re.MULTILINE)
    assert readme is not None
    assert licence is not None
    assert {*needed, readme[1], licence[1]} <= set(COPIED)


def test_the_python_is_one_that_the_project_takes() -> None:
    least = re.search(r'requires-python = ">=(\d+)\.(\d+)"', PROJECT)
    assert least is not None
    assert tuple(map(int, default("PYTHON").split("."))) >= (int(least[1]), int(least[2]))


def test_the_extras_exist() -> None:
    for extra in default("EXTRAS").split(","):
        assert re.search(rf"^{extra} = \[", PROJECT, re.MULTILINE), extra


def test_versions_are_pinned_and_torch_is_for_cpus() -> None:
    installs = [line for line in LINES if "pip install" in line]
    assert installs
    for line in installs:
        assert "-c constraints.txt" in line
        assert "--extra-index-url https://download.pytorch.org/whl/cpu" in line
    assert installs[0].endswith(" torch")


def test_the_user_is_not_root_and_the_command_is_hwnas() -> None:
    assert words("USER")[-1] == ["hwnas"]
    assert words("ENTRYPOINT") == [['["hwnas"]']]
