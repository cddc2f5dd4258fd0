"""Writes the HTML of tables and pictures; a picture comes with a description and its numbers."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from matplotlib.figure import Figure

from tfrs_twotower._control_characters import show_control_characters
from tfrs_twotower.evaluation.html.figures import to_svg

#: A cell's text, or its text and its class in the page's style sheet.
Cell = str | tuple[str, str]


def to_text(value: object) -> str:
    """Formats a value of a table for readers; a picture shows its text as it is, and XML has no control characters."""
    return "(missing)" if value is None else show_control_characters(str(value))


def to_html(text: str) -> str:
    """Quotes a text for the page and for the attributes of its tags; control characters are shown as escapes."""
    return html.escape(show_control_characters(text))


def to_table(headings: Sequence[Cell], rows: Iterable[Sequence[Cell]], *, caption: str) -> str:
    """Writes a table whose first column holds the headings of its rows."""

    def cell(tag: str, value: Cell, scope: str = "") -> str:
        text, kind = value if isinstance(value, tuple) else (value, "")
        attributes = (f' scope="{scope}"' if scope else "") + (f' class="{kind}"' if kind else "")
        content = to_html(text)
        if kind == "best":
            content = f"<strong>{content}</strong>"
        return f"<{tag}{attributes}>{content}</{tag}>"

    head = "".join(cell("th", value, "col") for value in headings)
    body = "".join(
        f"<tr>{cell('th', row[0], 'row')}{''.join(cell('td', value) for value in row[1:])}</tr>" for row in rows
    )
    content = f"<caption>{to_html(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    return _to_scrolled(f"<table>{content}</table>", "scroll", caption)


def to_picture(figure: Figure, *, alt: str, caption: str, table: str) -> str:
    """Writes a picture with its alternative text, its caption, and a table of its numbers that readers can unfold."""
    return _with_caption(to_svg(figure, alt), caption, table)


def to_wide_picture(figure: Figure, *, alt: str, caption: str, table: str) -> str:
    """Writes a picture as `to_picture` does, which scrolls on a screen that is too narrow for it."""
    return _with_caption(_to_scrolled(to_svg(figure, alt), "wide", alt), caption, table)


def to_grid(blocks: Sequence[str]) -> str:
    """Places blocks side by side, as many as fit the width of the screen; returns "" if there are none."""
    return f'<div class="grid">{"".join(blocks)}</div>' if blocks else ""


def to_anchor(title: str) -> str:
    """Returns the fragment by which a section is linked."""
    return title.lower().replace(" ", "-")


def _to_scrolled(content: str, kind: str, label: str) -> str:
    """Puts content in a box that scrolls by itself, so that the page does not; the keyboard reaches it."""
    return f'<div class="{kind}" tabindex="0" role="region" aria-label="{to_html(label)}">{content}</div>'


def _with_caption(picture: str, caption: str, table: str) -> str:
    numbers = f"<details><summary>Numbers</summary>{table}</details>" if table else ""
    return f"<figure>{picture}<figcaption>{to_html(caption)}</figcaption>{numbers}</figure>"
