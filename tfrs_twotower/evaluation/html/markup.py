"""Writes the HTML of tables and pictures; a picture comes with a description and its numbers."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from matplotlib.figure import Figure

from tfrs_twotower._control_characters import show_control_characters
from tfrs_twotower.evaluation.html.figures import to_data_uri

#: A cell's text, or its text and its class in the page's style sheet.
Cell = str | tuple[str, str]


def to_text(value: object) -> str:
    """Formats a value of a table for readers; a picture shows its text as it is, and XML has no control characters."""
    return "(missing)" if value is None else show_control_characters(str(value))


def to_html(text: str) -> str:
    """Quotes a text for the page and for the attributes of its tags; control characters are shown as escapes."""
    return html.escape(show_control_characters(text))


def to_table(headings: Sequence[Cell], rows: Iterable[Sequence[Cell]], *, caption: str = "") -> str:
    """Writes a table whose first column holds the headings of its rows."""

    def cell(tag: str, value: Cell, scope: str = "") -> str:
        text, kind = value if isinstance(value, tuple) else (value, "")
        attributes = (f' scope="{scope}"' if scope else "") + (f' class="{kind}"' if kind else "")
        content = to_html(text)
        if kind == "best":
            content = f"<strong>{content}</strong>"
        return f"<{tag}{attributes}>{content}</{tag}>"

    head = "".join(cell("th", value, "col") if value else "<td></td>" for value in headings)
    body = "".join(
        f"<tr>{cell('th', row[0], 'row')}{''.join(cell('td', value) for value in row[1:])}</tr>" for row in rows
    )
    caption_tag = f"<caption>{to_html(caption)}</caption>" if caption else ""
    content = f"{caption_tag}<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    label = f' tabindex="0" role="region" aria-label="{to_html(caption)}"' if caption else ""
    return f'<div class="scroll"{label}><table>{content}</table></div>'


def to_picture(figure: Figure, *, alt: str, caption: str, table: str) -> str:
    """Writes a picture with its alternative text, its caption, and a table of its numbers that readers can unfold."""
    numbers = f"<details><summary>Numbers</summary>{table}</details>" if table else ""
    return (
        f'<figure><img src="{to_data_uri(figure)}" alt="{to_html(alt)}">'
        f"<figcaption>{to_html(caption)}</figcaption>{numbers}</figure>"
    )


def to_grid(blocks: Sequence[str]) -> str:
    """Places blocks side by side, as many as fit the width of the screen; returns "" if there are none."""
    return f'<div class="grid">{"".join(blocks)}</div>' if blocks else ""


def to_anchor(title: str) -> str:
    """Returns the fragment by which a section is linked."""
    return title.lower().replace(" ", "-")
