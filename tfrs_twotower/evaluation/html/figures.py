"""Draws the page's pictures with Matplotlib; the page shows their numbers in tables as well."""

from __future__ import annotations

import base64
import functools
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# Colours that people with any kind of colour vision can tell apart (Okabe & Ito 2008).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
OTHER_COLOUR = "#BBBBBB"

_P = ParamSpec("_P")
_STYLE: Any = {
    "text.parse_math": False,  # a dollar sign is printed as it is
    "svg.fonttype": "none",  # text stays text instead of becoming outlines
    "svg.hashsalt": "tfrs_twotower",  # equal figures give equal pages
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E5E5E5",
    "axes.axisbelow": True,
    "legend.frameon": False,
}


def _styled(draw: Callable[_P, Figure]) -> Callable[_P, Figure]:
    """Applies this module's style to a function, without changing the style of the caller's own figures."""

    @functools.wraps(draw)
    def draw_in_style(*arguments: _P.args, **options: _P.kwargs) -> Figure:
        with matplotlib.rc_context(_STYLE):
            return draw(*arguments, **options)

    return draw_in_style


def to_data_uri(figure: Figure) -> str:
    """Encodes a figure as an SVG image in a data URI, so that it needs no file."""
    buffer = io.StringIO()
    with matplotlib.rc_context(_STYLE):
        figure.savefig(buffer, format="svg", metadata={"Date": None}, bbox_inches="tight")
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue().encode()).decode()


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
        axes.legend()
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
    axes.legend()
    return figure


@_styled
def draw_bars(bars: Mapping[str, Sequence[float]], names: Sequence[str], *, x_label: str, y_label: str) -> Figure:
    """Draws groups of bars.

    Args:
        bars: Name of a series -> one height per group.
        names: Names of the groups.
        x_label: Label of the x axis.
        y_label: Label of the y axis.
    """
    figure, axes = _blank(x_label, y_label)
    places, width = np.arange(len(names)), 0.8 / len(bars)
    for number, (name, heights) in enumerate(bars.items()):
        axes.bar(places + (number - (len(bars) - 1) / 2) * width, heights, width, color=COLOURS[number], label=name)
    axes.set_xticks(places, names, rotation=30, ha="right")
    axes.grid(axis="x", visible=False)
    if len(bars) > 1:
        axes.legend()
    return figure


@_styled
def draw_map(points: np.ndarray, groups: Sequence[str], *, names: Mapping[int, str]) -> Figure:
    """Draws points of a plane, coloured by group.

    Args:
        points: float [n, 2].
        groups: Name of each point's group; an empty name means no group, which is drawn in grey.
        names: Row of a point -> text written next to it.
    """
    figure, axes = _blank("", "", size=(9.0, 7.0))
    axes.set_xticks([])
    axes.set_yticks([])
    group_of = np.asarray(groups, object)
    shown = [name for name in dict.fromkeys(groups) if name]
    others = points[group_of == ""]
    axes.scatter(others[:, 0], others[:, 1], s=6, color=OTHER_COLOUR, linewidths=0)
    for name, colour in zip(shown, COLOURS, strict=False):
        of_group = points[group_of == name]
        axes.scatter(of_group[:, 0], of_group[:, 1], s=10, color=colour, label=name, linewidths=0, alpha=0.8)
    for row, text in names.items():
        axes.annotate(text, points[row], fontsize=7, xytext=(3, 3), textcoords="offset points")
    if shown:
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), markerscale=2)
    return figure


def _blank(x_label: str, y_label: str, *, size: tuple[float, float] = (6.0, 3.8)) -> tuple[Figure, Axes]:
    # Without pyplot, which would keep global state and look for a screen.
    figure = Figure(figsize=size)
    axes = figure.subplots()
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    return figure, axes
