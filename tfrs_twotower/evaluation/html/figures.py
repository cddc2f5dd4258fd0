"""Draws the page's pictures with Matplotlib, in the page's colours; the page shows their numbers in tables as well."""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec
from xml.etree import ElementTree

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# Matplotlib knows no variables of a style sheet. It draws in colours that stand for those of `_look/look.css`.
_VARIABLES = ("ink", "line", "border", *(f"chart-{number}" for number in range(1, 8)))
_STAND_INS = {name: f"#0000{place:02x}" for place, name in enumerate(_VARIABLES, 1)}
COLOURS = tuple(_STAND_INS[f"chart-{number}"] for number in range(1, 8))
OTHER_COLOUR = _STAND_INS["border"]
# Groups differ in shape as well as in colour.
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

# Inches. On a phone, which shows this width, the text is as large as the page's small text.
_WIDTH = 3.9

_P = ParamSpec("_P")
_INK = _STAND_INS["ink"]
_STYLE: Any = {
    "text.parse_math": False,  # a dollar sign is printed as it is
    "svg.fonttype": "none",  # text stays text instead of becoming outlines
    "font.size": 11,
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.edgecolor"), _INK),
    **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), "none"),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": _STAND_INS["line"],
    "axes.axisbelow": True,
    "legend.frameon": False,
}
_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"


def _styled(draw: Callable[_P, Figure]) -> Callable[_P, Figure]:
    """Applies this module's style to a function, without changing the style of the caller's own figures."""

    @functools.wraps(draw)
    def draw_in_style(*arguments: _P.args, **options: _P.kwargs) -> Figure:
        with matplotlib.rc_context(_STYLE):
            return draw(*arguments, **options)

    return draw_in_style


def to_svg(figure: Figure, label: str) -> str:
    """Writes a figure as an SVG element for the page, whose style sheet gives it its colours and its font.

    Args:
        figure: The figure.
        label: Alternative text. No two figures of a page have the same one.
    """
    buffer = io.StringIO()
    # Equal figures give equal pages, and the names inside a figure follow from its label.
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": label}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    drawn = ElementTree.fromstring(buffer.getvalue())
    root = ElementTree.Element("svg", {"role": "img", "aria-label": label, "viewBox": drawn.attrib["viewBox"]})
    root.extend(element for element in drawn if element.tag != f"{{{_SVG}}}metadata")
    for element in root.iter():
        element.tag = element.tag.removeprefix(f"{{{_SVG}}}")
        if element.tag == "g":
            element.attrib.pop("id", None)  # nothing refers to it
        if "style" in element.attrib:
            element.attrib["style"] = re.sub("#0000(..)", _variable, element.attrib["style"])
        if f"{{{_XLINK}}}href" in element.attrib:
            element.attrib["href"] = element.attrib.pop(f"{{{_XLINK}}}href")
    for definitions in root.findall("defs"):
        for style in definitions.findall("style"):
            definitions.remove(style)  # it would hold for the whole page
    return ElementTree.tostring(root, encoding="unicode")


def _variable(stand_in: re.Match[str]) -> str:
    return f"var(--{_VARIABLES[int(stand_in[1], 16) - 1]})"


@_styled
def draw_lines(
    lines: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]],
    *,
    x_label: str,
    y_label: str,
    has_diagonal: bool = False,
    markers: str | None = None,
    has_integer_x: bool = False,
) -> Figure:
    """Draws one or more curves.

    Args:
        lines: Name -> (x, y).
        x_label: Label of the x axis.
        y_label: Label of the y axis.
        has_diagonal: Whether to draw y = x from 0 to 1 as a dashed reference line.
        markers: Matplotlib's marker at each point, such as "o".
        has_integer_x: Whether x takes whole numbers only.
    """
    figure, axes = _blank(x_label, y_label)
    if has_integer_x:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if has_diagonal:
        axes.plot([0, 1], [0, 1], color=OTHER_COLOUR, linestyle="--", linewidth=1)
    for (name, (x, y)), colour in zip(lines.items(), COLOURS, strict=False):
        axes.plot(x, y, color=colour, label=name, marker=markers, markersize=4)
    if len(lines) > 1:
        _show_legend(axes, num_columns=2)
    return figure


@_styled
def draw_distributions(values: Mapping[str, np.ndarray], *, x_label: str, y_label: str, num_bins: int = 40) -> Figure:
    """Draws histograms over the same bins from 0 to 1, each of area 1.

    Args:
        values: Name -> float [n], in [0, 1], n >= 1.
        x_label: Label of the x axis.
        y_label: Label of the y axis.
        num_bins: Number of bins, >= 1.
    """
    figure, axes = _blank(x_label, y_label)
    edges = np.linspace(0, 1, num_bins + 1)
    for (name, column), colour in zip(values.items(), COLOURS, strict=False):
        heights, _ = np.histogram(column, edges, density=True)
        axes.stairs(heights, edges, color=colour, fill=True, alpha=0.35)
        axes.stairs(heights, edges, color=colour, label=name)
    _show_legend(axes, num_columns=2)
    return figure


@_styled
def draw_bars(bars: Mapping[str, Sequence[float]], names: Sequence[str], *, x_label: str, y_label: str) -> Figure:
    """Draws groups of horizontal bars, the first group on top.

    Args:
        bars: Name of a series -> one length per group.
        names: Names of the groups.
        x_label: Label of the lengths.
        y_label: Label of the groups.
    """
    figure, axes = _blank(x_label, y_label, size=(_WIDTH, 1.2 + 0.33 * len(names)))
    places, width = np.arange(len(names)), 0.8 / len(bars)
    for number, (name, lengths) in enumerate(bars.items()):
        axes.barh(places + (number - (len(bars) - 1) / 2) * width, lengths, width, color=COLOURS[number], label=name)
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    if len(bars) > 1:
        _show_legend(axes, num_columns=1)
    return figure


@_styled
def draw_map(points: np.ndarray, groups: Sequence[str], *, names: Mapping[int, str]) -> Figure:
    """Draws points of a plane, coloured by group.

    Args:
        points: float [n, 2].
        groups: Name of each point's group; an empty name means no group, which is drawn in grey.
        names: Row of a point -> text written next to it.
    """
    figure, axes = _blank("", "", size=(9.0, 6.5))
    axes.set_axis_off()
    group_of = np.asarray(groups, object)
    shown = [name for name in dict.fromkeys(groups) if name]
    others = points[group_of == ""]
    axes.scatter(others[:, 0], others[:, 1], s=8, color=OTHER_COLOUR, linewidths=0, alpha=0.6)
    for name, colour, marker in zip(shown, COLOURS, MARKERS, strict=False):
        of_group = points[group_of == name]
        axes.scatter(of_group[:, 0], of_group[:, 1], s=16, color=colour, marker=marker, label=name, linewidths=0)
    for row, text in names.items():
        axes.annotate(text, points[row], fontsize=10, xytext=(3, 3), textcoords="offset points")
    if shown:
        _show_legend(axes, num_columns=4, markerscale=2)
    return figure


def _show_legend(axes: Axes, num_columns: int, markerscale: float = 1) -> None:
    """Names the series above the axes, where nothing is drawn."""
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=num_columns, markerscale=markerscale, borderaxespad=0)


def _blank(x_label: str, y_label: str, *, size: tuple[float, float] = (_WIDTH, 2.9)) -> tuple[Figure, Axes]:
    # Without pyplot, which would keep global state and look for a screen.
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    return figure, axes
