"""Links of a page to files outside `docs/` work in the site as on a code host.

A file that a page links to, or the navigation names, becomes a part of the site under `repository/`: Markdown as a
page, sources and settings as a page that shows them, a notebook as its cells, a folder as its README or a list,
everything else (JSON, CSV, pictures) as it is. Links of these are followed likewise. A link to what does not exist is
left as it is, and mkdocs warns of it.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
DOCS, MOUNT = "docs/", "repository/"
SHOWN = {
    ".cfg": "ini",
    ".jinja": "jinja",
    ".py": "python",
    ".sh": "sh",
    ".toml": "toml",
    ".yaml": "yaml",
    ".yml": "yaml",
}
NAMED = {"Dockerfile": "dockerfile", "LICENSE": "text", "Makefile": "make"}
NOTEBOOK = ".ipynb"
BUILT = ("__pycache__",)

LINK = re.compile(r"(?P<before>\]\(<?|^\[[^\]]+\]:\s+<?)(?P<path>[^\s)>#]+)", re.MULTILINE)
FENCE = r"^(?P<fence> *(?:```+|~~~+)).*?^(?P=fence)$"
SPAN = r"(?<!`)(?P<ticks>`+)(?!`)[^\n]*?(?<!`)(?P=ticks)(?!`)"
CODE = re.compile(f"{FENCE}|{SPAN}", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Takes in every file that the navigation names or pages link to, and those that these link to."""
    for uri in named(config.nav):
        if uri.startswith(MOUNT) and files.get_file_from_path(uri) is None and (ROOT / repository_path(uri)).exists():
            files.append(taken_in(repository_path(uri), config))
    waiting = [file for file in files if file.is_documentation_page() and file.inclusion is not InclusionLevel.EXCLUDED]
    while waiting:
        file = waiting.pop()
        for path in linked(file.content_string, repository_path(file.src_uri)):
            if not path.startswith(DOCS) and files.get_file_from_path(site_path(path)) is None:
                added = taken_in(path, config)
                files.append(added)
                waiting += [added] if added.is_documentation_page() else []
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Turns links to the repository's files into links to their places in the site."""
    here = page.file.src_uri
    folder = posixpath.dirname(here)

    def place(path: str) -> str:
        return posixpath.relpath(site_path(path), folder or ".")

    return relinked(markdown, repository_path(here), place)


def named(nav: Any) -> list[str]:
    """The pages of a navigation, or of a part of it."""
    if isinstance(nav, dict):
        nav = list(nav.values())
    return [nav] if isinstance(nav, str) else [page for part in nav or [] for page in named(part)]


def linked(markdown: str, source: str) -> list[str]:
    """What the Markdown of `source` links to: files and folders of the repository, by their paths in it."""
    found: list[str] = []

    def note(path: str) -> str:
        found.append(path)
        return path

    relinked(markdown, source, note)
    return found


def relinked(markdown: str, source: str, place: Callable[[str], str]) -> str:
    """`markdown` of the repository's file `source`, each link to a file of the repository replaced by its `place`."""

    def replace(match: re.Match[str]) -> str:
        path = match["path"]
        if "://" in path or path.startswith(("mailto:", "/")):
            return match[0]
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        # Among the pages themselves links are mkdocs's.
        both_pages = source.startswith(DOCS) and target.startswith(DOCS)
        if both_pages or target.startswith("..") or not (ROOT / target).exists():
            return match[0]
        return match["before"] + place(target)

    kept, end = [], 0
    for code in CODE.finditer(markdown):
        kept += [LINK.sub(replace, markdown[end : code.start()]), code[0]]
        end = code.end()
    return "".join([*kept, LINK.sub(replace, markdown[end:])])


def repository_path(src_uri: str) -> str:
    """Where a page of the site stands in the repository."""
    return src_uri.removeprefix(MOUNT) if src_uri.startswith(MOUNT) else DOCS + src_uri


def site_path(path: str) -> str:
    """Where a file or folder of the repository stands in the site, as a source of mkdocs."""
    target = ROOT / path
    if path.startswith(DOCS):
        return path.removeprefix(DOCS)
    if target.is_dir():
        return site_path(f"{path}/README.md") if (target / "README.md").exists() else f"{MOUNT}{path}/index.md"
    return f"{MOUNT}{path}.md" if language(target) or target.suffix == NOTEBOOK else MOUNT + path


def taken_in(path: str, config: MkDocsConfig) -> File:
    """The file or folder of the repository as a part of the site."""
    target, uri = ROOT / path, site_path(path)
    if target.is_dir():
        if (target / "README.md").exists():
            return taken_in(f"{path}/README.md", config)
        return page(config, uri, listing(target))
    if name := language(target):
        return page(config, uri, f"# `{path}`\n\n``````{name}\n{target.read_text('utf-8')}\n``````\n", found=False)
    if target.suffix == NOTEBOOK:
        return page(config, uri, cells(json.loads(target.read_text("utf-8"))))
    if target.suffix == ".md":
        return page(config, uri, target.read_text("utf-8"))
    return File.generated(config, uri, content=target.read_bytes(), inclusion=InclusionLevel.NOT_IN_NAV)


def page(config: MkDocsConfig, uri: str, content: str, *, found: bool = True) -> File:
    """A page that is not in the navigation; `found`: by a search."""
    head = "" if found else "---\nsearch:\n  exclude: true\n---\n\n"
    return File.generated(config, uri, content=head + content, inclusion=InclusionLevel.NOT_IN_NAV)


def language(target: Path) -> str | None:
    """How a text file is coloured; None for what is not shown as text."""
    return NAMED.get(target.name) or SHOWN.get(target.suffix)


def listing(folder: Path) -> str:
    """A page that lists a folder, its files as links."""
    inside = sorted(path for path in folder.iterdir() if path.name not in BUILT and not path.name.startswith("."))
    lines = [f"- `{path.name}/`" if path.is_dir() else f"- [{path.name}]({path.name})" for path in inside]
    return "\n".join([f"# `{folder.relative_to(ROOT)}/`", "", *lines, ""])


def cells(notebook: dict[str, Any]) -> str:
    """A notebook as Markdown: its texts, its code, and what it printed and drew where that is kept in it."""
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] != "code":
            parts.append(source)
            continue
        parts.append(f"``````python\n{source}\n``````")
        for output in cell["outputs"]:
            data = output.get("data", {"text/plain": output.get("text", [])})
            if "image/png" in data:
                parts.append(f"![What the cell draws](data:image/png;base64,{''.join(data['image/png']).strip()})")
            elif text := "".join(data.get("text/plain", [])).rstrip():
                parts.append(f"``````text\n{text}\n``````")
    return "\n\n".join(parts) + "\n"
