"""Pieces of the report's page: tables, and pictures with their numbers and a description beside them."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

from matplotlib.figure import Figure

from tfrs_twotower.evaluation.html.figures import to_data_uri

#: A cell's text, or its text and its class in the page's style.
Cell = str | tuple[str, str]

# What has no place in XML, of which pictures are made.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ufffe\uffff]")


def to_text(value: object) -> str:
    """A value of a table as people read it."""
    return "(missing)" if value is None else _CONTROL.sub(" ", str(value))


def to_table(head: Sequence[Cell], rows: Iterable[Sequence[Cell]], *, caption: str = "") -> str:
    """A table whose first column heads its rows."""

    def cell(tag: str, value: Cell, scope: str = "") -> str:
        text, kind = value if isinstance(value, tuple) else (value, "")
        attributes = (f' scope="{scope}"' if scope else "") + (f' class="{kind}"' if kind else "")
        content = html.escape(text)
        if kind == "best":
            content = f"<strong>{content}</strong>"
        return f"<{tag}{attributes}>{content}</{tag}>"

    heads = "".join(cell("th", value, "col") if value else "<td></td>" for value in head)
    body = "".join(
        f"<tr>{cell('th', row[0], 'row')}{''.join(cell('td', value) for value in row[1:])}</tr>" for row in rows
    )
    told = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    content = f"{told}<thead><tr>{heads}</tr></thead><tbody>{body}</tbody>"
    label = f' tabindex="0" role="region" aria-label="{html.escape(caption)}"' if caption else ""
    return f'<div class="scroll"{label}><table>{content}</table></div>'


def to_picture(figure: Figure, kind: str, told: str, table: str) -> str:
    """A picture, what kind it is, what it shows in words, and its numbers."""
    numbers = f"<details><summary>Numbers</summary>{table}</details>" if table else ""
    return (
        f'<figure><img src="{to_data_uri(figure)}" alt="{html.escape(kind)}">'
        f"<figcaption>{html.escape(told)}</figcaption>{numbers}</figure>"
    )


def to_grid(blocks: Sequence[str]) -> str:
    """Blocks side by side, as many as the screen is wide; nothing of none."""
    return f'<div class="grid">{"".join(blocks)}</div>' if blocks else ""


def to_anchor(title: str) -> str:
    """What a section is linked by."""
    return title.lower().replace(" ", "-")
