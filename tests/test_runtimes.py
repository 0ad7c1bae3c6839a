"""The one list of runtimes and precisions, against all that is known of each elsewhere."""

from __future__ import annotations

import subprocess
import sys

import pytest

from hwnas.errors import ConfigError
from hwnas.export.formats import FORMATS, format_of_runtime, model_format
from hwnas.export.synthetic.registry import WRITERS, synthetic_writer
from hwnas.profiling import agent
from hwnas.profiling.runtimes import RUNTIMES as KNOWN
from hwnas.runtimes import FILE_PRECISIONS, PRECISIONS, PRECISIONS_OF_RUNTIME, RUNTIMES


def test_every_runtime_is_known_on_both_sides_and_has_a_format() -> None:
    assert set(RUNTIMES) == set(KNOWN) == set(agent.RUNTIMES)
    for name in RUNTIMES:
        assert KNOWN[name].model_format is format_of_runtime(name)
        assert KNOWN[name].distribution == agent.RUNTIMES[name].distribution


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_has_a_writer_of_chains_and_is_written_in_what_is_measured(name: str) -> None:
    assert callable(synthetic_writer(name))
    chosen = model_format(name)
    assert set(PRECISIONS_OF_RUNTIME[chosen.runtime]) <= set(chosen.precisions) <= set(FILE_PRECISIONS)


def test_a_library_is_compiled_for_the_target_and_nothing_else_is() -> None:
    assert {name: KNOWN[name].target("x y") for name in RUNTIMES} == {**dict.fromkeys(RUNTIMES), "tvm": "x y"}


def test_an_unknown_writer_is_named() -> None:
    assert set(WRITERS) == set(FORMATS)
    with pytest.raises(ConfigError, match="unknown model format 'onx': did you mean 'onnx'"):
        synthetic_writer("onx")


def test_the_list_imports_nothing_heavy() -> None:
    code = "import sys; from hwnas.runtimes import PRECISIONS; print({'numpy', 'torch'} & set(sys.modules), PRECISIONS)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"set() {PRECISIONS}"
