"""What the report's page shows of which candidates are alike: neighbours of well-known ones, and a map."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import sklearn.manifold

from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.evaluation import metrics
from tfrs_twotower.evaluation.html import figures
from tfrs_twotower.evaluation.html.markup import Cell, to_picture, to_table, to_text

_LEAST_MAPPED = 5
_LEAST_SPREAD = 1e-3
_NUM_KNOWN = 8
_NUM_NEIGHBOURS = 5
_MAPPED = 1500
_GROUPS = 7
_NAMED_ON_MAP = 15


def show_neighbours(vectors: np.ndarray | None, known: Interactions, texts: Sequence[str]) -> str:
    """What is near to what everybody knows."""
    if vectors is None or len(vectors) < 2:
        return ""
    units = _units(vectors)
    popular = _most_popular(known, _NUM_KNOWN)
    cosines = units[popular] @ units.T
    cosines[np.arange(len(popular)), popular] = -np.inf
    num = min(_NUM_NEIGHBOURS, len(units) - 1)
    nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :num]
    rows = [
        [texts[row], (", ".join(texts[other] for other in others), "text")]
        for row, others in zip(popular.tolist(), nearest.tolist(), strict=True)
    ]
    return to_table(
        ["well-known", ("nearest by cosine", "text")], rows, caption="The most popular and what is like them"
    )


def show_map(vectors: np.ndarray | None, known: Interactions, texts: Sequence[str], group: str | None) -> str:
    """A plane in which candidates with alike vectors are near."""
    if vectors is None:
        return ""
    shown = _most_popular(known, _MAPPED)
    units = _units(vectors)[shown]
    if len(shown) < _LEAST_MAPPED:
        return ""
    # The plane of the widest spread to start from. scikit-learn's own start ends the process if there is no spread.
    centred = units - units.mean(axis=0)
    _, spread, axes = np.linalg.svd(centred, full_matrices=False)
    if len(spread) < 2 or spread[1] < _LEAST_SPREAD * len(shown) ** 0.5:
        return "<p>No map: the candidates' vectors are alike, or lie on a line.</p>"
    start = centred @ axes[:2].T
    perplexity = min(30, (len(shown) - 1) / 3)
    tsne = sklearn.manifold.TSNE(perplexity=perplexity, init=1e-4 * start / start.std(), random_state=0)
    points = tsne.fit_transform(units)
    groups = [""] * len(shown)
    told = f"The {len(shown):,} most popular candidates; what is near has alike vectors."
    rows: list[list[Cell]] = []
    if group is not None:
        values = known.candidates[group].to_pylist()
        firsts = [_first_group(values[row]) for row in shown]
        names, counts = np.unique([name for name in firsts if name], return_counts=True)
        common = names[np.argsort(-counts, kind="stable")][:_GROUPS].tolist()
        groups = [name if name in common else "" for name in firsts]
        told += f" Colours are the most frequent first values of {group}; grey is any other."
        sizes = dict(zip(names.tolist(), counts.tolist(), strict=True))
        for name in common:
            alike = f"{_cohesion(units, groups, name):.3f}" if sizes[name] > 1 else ""
            rows.append([name, f"{sizes[name]:,}", alike])
    names_of = {place: texts[shown[place]] for place in _far_apart(points, _NAMED_ON_MAP)}
    figure = figures.draw_map(points, groups, names=names_of)
    table = (
        to_table([group or "", "candidates", "mean cosine within"], rows, caption="Groups on the map") if rows else ""
    )
    return to_picture(figure, "Map of the candidates by t-SNE of their vectors.", told, table)


def _most_popular(known: Interactions, num: int) -> np.ndarray:
    """Int [at most num], rows of the candidates with the most events, best first; those without any are left out."""
    counts = np.bincount(known.candidate_rows, minlength=known.num_candidates)
    order = np.argsort(-counts, kind="stable")[:num]
    return order[counts[order] > 0]


def _units(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, np.finfo(np.float32).tiny))


def _far_apart(points: np.ndarray, num: int) -> list[int]:
    """The first points that are not so near to one before them that their names would overlap."""
    extent = np.ptp(points, axis=0)
    kept: list[int] = []
    for place in range(len(points)):
        distances = np.abs(points[kept] - points[place]) / extent
        # A name is about a third of the map wide, and a twentieth high.
        if not ((distances[:, 0] < 0.3) & (distances[:, 1] < 0.05)).any():
            kept.append(place)
        if len(kept) == num:
            break
    return kept


def _first_group(value: object) -> str:
    if isinstance(value, list):
        value = value[0] if value else None
    return "" if value is None else to_text(value)


def _cohesion(units: np.ndarray, groups: Sequence[str], name: str) -> float:
    """Mean cosine of the pairs of one group."""
    of_group = np.flatnonzero(np.asarray(groups, object) == name)
    return float(metrics.intra_list_similarity(of_group[np.newaxis], units)[0])
