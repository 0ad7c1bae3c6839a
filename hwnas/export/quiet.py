"""Exporters print progress, warnings and C++ logs; here they are kept off the terminal and yet not lost."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, TextIO

__all__ = ["quiet"]

_log = logging.getLogger(__name__)


@contextmanager
def quiet(what: str) -> Iterator[None]:
    """Everything written to the process's standard output and error goes to the debug log, under the name `what`.

    The file descriptors are redirected, because C++ code writes to them directly; `sys.stdout` and `sys.stderr` stay
    the objects that they are, because libraries that are imported in here keep them for good. In a notebook, where
    those objects write elsewhere and rich displays what it prints, both go to the log too. Other threads that print
    meanwhile are silenced too. Exceptions pass through.
    """
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    with tempfile.TemporaryFile() as captured, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Without a handler, the first logging.warning() of a library would install one for the rest of the process.
        keeper = logging.StreamHandler(os.fdopen(os.dup(captured.fileno()), "w", encoding="utf-8"))
        root.addHandler(keeper)
        saved = _redirect(captured.fileno())
        try:
            with _notebook_silenced(keeper.stream):
                yield
        finally:
            _restore(saved)
            root.handlers[:] = handlers
            root.setLevel(level)
            keeper.stream.close()
            captured.seek(0)
            if text := captured.read().decode(errors="replace").strip():
                _log.debug("%s printed:\n%s", what, text)


@contextmanager
def _notebook_silenced(kept: TextIO) -> Iterator[None]:
    """What a notebook's kernel would show goes to `kept`; nothing to do elsewhere."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None:
        yield
        return
    from IPython.core.displaypub import CapturingDisplayPublisher

    with ExitStack() as undo:
        for stream in (sys.stdout, sys.stderr):
            with suppress(AttributeError):  # written in C, and on a file descriptor: redirected already
                stream.write = kept.write  # type: ignore[method-assign]
                undo.callback(delattr, stream, "write")
        shown: Any = CapturingDisplayPublisher()  # type: ignore[no-untyped-call]
        undo.callback(setattr, shell, "display_pub", shell.display_pub)
        shell.display_pub = shown
        try:
            yield
        finally:
            kept.writelines(f"{one['data'].get('text/plain', '')}\n" for one in shown.outputs)


def _redirect(target: int) -> dict[int, int]:
    _flush()
    saved = {}
    for descriptor in (1, 2):
        try:
            saved[descriptor] = os.dup(descriptor)
        except OSError:  # closed, as under some service managers
            continue
        os.dup2(target, descriptor)
    return saved


def _restore(saved: dict[int, int]) -> None:
    _flush()
    for descriptor, copy in saved.items():
        os.dup2(copy, descriptor)
        os.close(copy)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not stream.closed:
            stream.flush()
