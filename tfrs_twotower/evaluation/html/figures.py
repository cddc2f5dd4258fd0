"""The report's pictures: Matplotlib figures of numbers that stand beside them in tables."""

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

# Okabe & Ito 2008: colours that all eyes tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
OTHER_COLOUR = "#BBBBBB"

_P = ParamSpec("_P")
_STYLE: Any = {
    "text.parse_math": False,  # a $ is a $
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "tfrs_twotower",  # the same page for the same figures
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
    """In this module's style, which leaves that of the caller's own figures alone."""

    @functools.wraps(draw)
    def draw_in_style(*arguments: _P.args, **options: _P.kwargs) -> Figure:
        with matplotlib.rc_context(_STYLE):
            return draw(*arguments, **options)

    return draw_in_style


def to_data_uri(figure: Figure) -> str:
    """A figure as an SVG image that needs no file."""
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
    counts_x: bool = False,
) -> Figure:
    """One or more curves.

    Args:
        lines: Name -> (x, y).
        x_label: What x is.
        y_label: What y is.
        has_diagonal: Whether to draw y = x from 0 to 1, too, as what is to be expected.
        markers: Matplotlib's sign at each point, such as "o".
        counts_x: Whether x is a number of something.
    """
    figure, axes = _blank(x_label, y_label)
    if counts_x:
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
    """Outlines of histograms over the same bins from 0 to 1, each of area 1.

    Args:
        values: Name -> float [n], in [0, 1], n >= 1.
        x_label: What the values are.
        y_label: What is counted.
        num_bins: How many bins.
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
    """Groups of bars.

    Args:
        bars: Name of a series -> one height per group.
        names: Of the groups.
        x_label: What the groups are.
        y_label: What the heights are.
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
    """Points of a plane, coloured by group.

    Args:
        points: float [n, 2].
        groups: One per point; "" is no group.
        names: Row of a point -> what is written beside it.
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
    # Without pyplot: no state is shared, and no screen is asked for.
    figure = Figure(figsize=size)
    axes = figure.subplots()
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    return figure, axes
