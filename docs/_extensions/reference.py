"""The reference of the API: a page for each namespace, written anew from the public names before each build."""

from __future__ import annotations

import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from sphinx.application import Sphinx
from sphinx.domains.python import PyObject
from sphinx.ext.napoleon import GoogleDocstring
from sphinx.pycode import ModuleAnalyzer

import tfrs_twotower as tt
from tests.conformance import public_names

#: Folder of the pages, from the root. Git ignores it.
_FOLDER = Path("docs/reference")
_MAX_GUIDES = 4
_LINE = re.compile(r"([\w.]+)(\(.*?\))?(?: -> (.*)|: (.*)| = .*)?")


class _Line(NamedTuple):
    """A line of `public_api.txt`.

    Attributes:
        path: Path of a public name or of a member of one.
        arguments: The arguments in parentheses; None if it is not called.
        result: Type of what a call returns.
        kind: Type of what is not called.
    """

    path: str
    arguments: str | None
    result: str | None
    kind: str | None

    @property
    def signature(self) -> str:
        """The arguments and the result, without defaults that have no text in Python.

        A type variable in the place of the result stands for the class itself.
        """
        arguments = re.sub("<factory>|<lambda>", "...", self.arguments or "")
        result = re.sub(r"^_\w+$", self.path.split(".")[-2], self.result or "")
        return f"{arguments} -> {result}" if result else arguments


def _read_line(line: str) -> _Line:
    match = _LINE.fullmatch(line)
    if match is None:
        raise ValueError(f"A line of the public names must be a name with its signature. Received: {line}")
    return _Line(*match.groups())


def list_reference() -> list[tuple[str, Path]]:
    """Returns the title and the path of each page, from the root."""
    paths = ["tt", *sorted(public_names.namespaces())]
    return [(path, _FOLDER / f"{path.removeprefix('tt.').replace('.', '_')}.rst") for path in paths]


def _write_pages(app: Sphinx) -> None:
    root = Path(app.srcdir)
    (root / _FOLDER).mkdir(exist_ok=True)
    writer = _Writer(app)
    for path, page in list_reference():
        text = "\n".join([*(writer.format_page(path) if path != "tt" else writer.format_top()), ""])
        file = root / page
        # A page that has not changed is not built again.
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")
    for old in set((root / _FOLDER).iterdir()) - {root / page for _, page in list_reference()}:
        old.unlink()


class _Writer:
    """Formats pages of the reference in reStructuredText."""

    def __init__(self, app: Sphinx) -> None:
        self._objects = public_names.public_objects()
        guides = sorted((Path(app.srcdir) / "docs" / "guides").glob("*.md"))
        self._code = {f"/docs/guides/{page.stem}": _read_code(page) for page in guides}
        self._lines: dict[str, list[_Line]] = {}
        for text in public_names.listing():
            line = _read_line(text)
            owner = line.path if line.path in self._objects else line.path.rpartition(".")[0]
            if owner in self._objects and " = tt." not in text.partition("(")[0]:
                self._lines.setdefault(owner, []).append(line)

    def format_top(self) -> Iterator[str]:
        """Yields the lines of the page of the top level, whose names are described in the namespaces."""
        yield from ("tt", "==", "", "``import tfrs_twotower as tt`` gives the names that nearly every user needs.", "")
        yield from (".. list-table::", "")
        for name in sorted(name for path in self._lines if hasattr(tt, name := path.rpartition(".")[2])):
            sentence = (inspect.getdoc(getattr(tt, name)) or "").partition("\n\n")[0].replace("\n", " ")
            yield from (f"   * - ``tt.{name}``", f"     - {sentence}")

    def format_page(self, path: str) -> Iterator[str]:
        """Yields the lines of a namespace's page."""
        module = public_names.namespaces()[path]
        names = [name for name in public_names.names_of(module) if f"{path}.{name}" in self._lines]
        yield from (path, "=" * len(path), "", f".. module:: {module.__name__}", "", module.__doc__ or "", "")
        described = [name for name in names if callable(getattr(module, name))]
        yield from (".. autosummary::", "   :nosignatures:", "", *(f"   {name}" for name in described), "")
        for name in names:
            first, *members = self._lines[f"{path}.{name}"]
            target = f"{module.__name__}.{name}"
            yield from self._format_name(f"{path}.{name}", target, first)
            for line in members:
                member = line.path.rpartition(".")[2]
                text = _format_member(getattr(self._objects[f"{path}.{name}"], member), f"{target}.{member}", line)
                yield textwrap.indent(text, "   ")

    def _format_name(self, path: str, target: str, line: _Line) -> Iterator[str]:
        value = self._objects[path]
        if inspect.isclass(value):
            yield f".. autoclass:: {target}{line._replace(result=None).signature}"
        elif callable(value):
            yield f".. autofunction:: {target}{line.signature}"
        else:
            name = path.rpartition(".")[2]
            yield from (f".. data:: {name}", "", f"   {_find_comment(name)}")
        yield ""
        if guides := self._find_guides(path):
            yield from (f"   Shown in: {', '.join(f':doc:`{guide}`' for guide in guides)}", "")

    def _find_guides(self, path: str) -> list[str]:
        """Returns the guides whose Python blocks use a name, those that use it most first."""
        pattern = re.compile(rf"\btt\.(?:\w+\.)*{path.rpartition('.')[2]}\b")
        counts = {page: len(pattern.findall(text)) for page, text in self._code.items()}
        return sorted(filter(counts.get, counts), key=lambda page: -counts[page])[:_MAX_GUIDES]


def _format_member(value: object, target: str, line: _Line) -> str:
    if line.arguments:
        return f".. automethod:: {target}{line.signature}\n"
    # `autoproperty` would take the beginning of the docstring for a type.
    text = str(GoogleDocstring(inspect.getdoc(value) or "", what="method"))
    return f".. property:: {target.rpartition('.')[2]}\n   :type: {line.kind}\n\n{textwrap.indent(text, '   ')}\n"


def _find_comment(constant: str) -> str:
    """Returns the comment before the definition of a constant, without `#:`."""
    for name, module in list(sys.modules.items()):
        if name.startswith("tfrs_twotower.") and constant in vars(module):
            comments = ModuleAnalyzer.for_module(name).find_attr_docs()
            if ("", constant) in comments:
                return " ".join(comments["", constant])
    raise ValueError(f"`{constant}` must have a comment that begins with `#:` where it is defined.")


def _read_code(page: Path) -> str:
    return "\n".join(re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL))


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers with Sphinx."""
    for field in PyObject.doc_field_types:
        if field.name == "variable":
            field.label = "Attributes"  # the word of the docstrings, where Sphinx says "Variables"
    app.setup_extension("sphinx.ext.autosummary")
    app.config.autosummary_generate = False
    app.connect("builder-inited", _write_pages)
    return {"parallel_read_safe": True}
