"""Errors say what to do next, in one line."""

from __future__ import annotations

import pytest

from hwnas import errors
from hwnas.errors import HwnasError, MissingExtraError, choices


def test_every_error_is_one_of_ours() -> None:
    kinds = [getattr(errors, name) for name in errors.__all__ if isinstance(getattr(errors, name), type)]
    assert len(kinds) > 10
    assert all(issubclass(kind, HwnasError) for kind in kinds)
    assert all(kind.__doc__ for kind in kinds)


def test_a_missing_extra_names_the_command() -> None:
    message = str(MissingExtraError("onnxruntime", "onnxruntime", "measuring ONNX files"))
    assert message == "measuring ONNX files needs onnxruntime, which is not installed: pip install 'hwnas[onnxruntime]'"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("evolutoin", "did you mean 'evolution'? valid: evolution, random"),
        ("xyz", "valid: evolution, random"),
        (None, "valid: evolution, random"),
    ],
)
def test_choices_suggest_the_nearest(given: object, expected: str) -> None:
    assert choices(given, ("evolution", "random")) == expected


def test_choices_of_nothing() -> None:
    assert choices("x", ()) == "valid: (none)"
