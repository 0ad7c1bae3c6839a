"""Predictors of new devices by name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hwnas.errors import ConfigError, MissingExtraError
from hwnas.latency.predictors.interface import MethodBase
from hwnas.latency.predictors.registry import METHODS, make_method


@pytest.mark.parametrize("published", [False, True])
@pytest.mark.parametrize("name", METHODS)
def test_each_name_makes_a_method(name: str, published: bool) -> None:
    if name == "help":
        pytest.importorskip("torch")
    method = make_method(name, published)
    assert isinstance(method, MethodBase)
    assert method.in_ms
    assert method.least >= 1
    assert method.notes == ()
    assert method.extra_measurements == (10 if (name, published) == ("help", True) else 0)


def test_the_fewest_measurements_are_each_methods_own() -> None:
    found = {name: make_method(name).least for name in METHODS if name != "help"}
    assert found == {"fewshot": 3, "macs": 1, "parameters": 1, "forest": 2, "nearest_device": 1}


def test_an_unknown_name_is_corrected() -> None:
    with pytest.raises(ConfigError, match=r"latency=fewshoot: no predictor of new devices; did you mean 'fewshot'"):
        make_method("fewshoot")


def test_a_file_is_for_methods_that_have_files(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    assert getattr(make_method("help", file=tmp_path / "one"), "file", None) == tmp_path / "one"
    assert make_method("macs", file=tmp_path / "one").least == 1


def test_without_torch_help_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.startswith("hwnas.latency.help")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"latency=help.*hwnas\[train\]"):
        make_method("help")
    assert make_method("fewshot").least == 3


def test_names_need_neither_torch_nor_scikit_learn() -> None:
    code = (
        "import sys; from hwnas.latency.predictors.registry import METHODS, make_method;"
        " make_method('fewshot'), make_method('macs'); assert not {'torch', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
