"""The site's navigation, made of the tables of docs/README.md, which are the list of all pages on GitHub, too."""

from __future__ import annotations

import re
from pathlib import Path

from sphinx.application import Sphinx

from _extensions.reference import list_reference

_INDEX = Path("docs/README.md")
_PROJECT = [("All pages", _INDEX), ("Changelog", Path("CHANGELOG.md"))]
_REDIRECT = '<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url=README.html">\n'


def list_pages(index: Path) -> dict[str, list[tuple[str, Path]]]:
    """Returns heading -> title and path of each page that the tables below the heading link to, from the root."""
    root = index.parents[len(_INDEX.parts) - 1]
    parts = re.split(r"^## (.*)$", index.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    found = {}
    for heading, text in zip(parts[::2], parts[1::2], strict=True):
        links = re.findall(r"^\| \[(.*?)\]\((.*?\.md)\)", text, re.MULTILINE)
        found[heading] = [(title, (index.parent / path).resolve().relative_to(root)) for title, path in links]
    return {heading: pages for heading, pages in found.items() if pages}


def _add_navigation(app: Sphinx, page: str, source: list[str]) -> None:
    if page != app.config.root_doc:
        return
    index = Path(app.srcdir) / _INDEX
    app.env.note_dependency(str(index))
    trees = {**list_pages(index), "Reference": list_reference(), "Project": _PROJECT}
    for caption, pages in trees.items():
        entries = "\n".join(f"{title} </{path.with_suffix('')}>" for title, path in pages)
        source[0] += f"\n\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{entries}\n```\n"


def _write_start(app: Sphinx, error: Exception | None) -> None:
    """Writes index.html, which leads to the first page."""
    if error is None:
        (Path(app.outdir) / "index.html").write_text(_REDIRECT, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Registers with Sphinx."""
    app.connect("source-read", _add_navigation)
    app.connect("build-finished", _write_start)
    return {"parallel_read_safe": True}
