"""What the example in a bundle is made of: what follows the mark in each of these files is copied into `run.py`.

One file a model format, with `load`, besides the preprocessing, which begins with that of training. What is copied
imports nothing of hwnas.
"""

from __future__ import annotations

from importlib.resources import files

from hwnas.errors import ExportError

__all__ = ["example_source"]

_MARK = "# ---- copied into the bundle's run.py from here on ----\n"


def example_source(runtime_module: str, title: str) -> str:
    """The text of `run.py` for files that `runtime_module` (a module's name in here) loads; `title` heads it."""
    from jinja2 import Environment, StrictUndefined

    folder = files(__package__)
    template = folder.joinpath("run.py.jinja").read_text(encoding="utf-8")
    parts = {}
    for key, source in (
        ("as_seen", files("hwnas.data").joinpath("as_seen.py")),
        ("preprocess", folder.joinpath("preprocess.py")),
        ("load", folder.joinpath(f"{runtime_module}.py")),
    ):
        if not source.is_file():
            raise ExportError(f"export: no example for {runtime_module} files: expected {source}")
        parts[key] = source.read_text(encoding="utf-8").partition(_MARK)[2].strip()
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True)  # noqa: S701 - Python, not HTML
    return environment.from_string(template).render(title=title, **parts)
