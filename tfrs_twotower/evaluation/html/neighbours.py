"""Shows which candidates the model considers similar: the neighbours of popular candidates, and a map."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import sklearn.manifold
from threadpoolctl import threadpool_limits

from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.evaluation import metrics
from tfrs_twotower.evaluation.html import figures
from tfrs_twotower.evaluation.html.markup import Cell, to_table, to_text, to_wide_picture

_NUM_POPULAR = 8
_NUM_NEIGHBOURS = 5
_MIN_MAPPED = 5
_MAX_MAPPED = 1000
_MIN_SPREAD = 1e-3
# Half of scikit-learn's steps take less than half of the time, which is seconds for 1,000 candidates. On MovieLens 100K
# the divergence of the map is then 4% greater.
_NUM_STEPS = 500
_MAX_GROUPS = 7
_MAX_NAMES_ON_MAP = 15


def show_neighbours(vectors: np.ndarray | None, seen: Interactions, names: Sequence[str]) -> str:
    """Lists the nearest neighbours of the most popular candidates.

    Args:
        vectors: float [num_candidates, dim], the candidates' vectors.
        seen: The events before the test part, which define popularity.
        names: Name of each candidate.
    """
    if vectors is None or len(vectors) < 2:
        return ""
    units = _unit_vectors(vectors)
    popular = _most_popular(seen, _NUM_POPULAR)
    cosines = units[popular] @ units.T
    cosines[np.arange(len(popular)), popular] = -np.inf
    num = min(_NUM_NEIGHBOURS, len(units) - 1)
    nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :num]
    rows = [
        [names[row], (", ".join(names[other] for other in others), "text")]
        for row, others in zip(popular.tolist(), nearest.tolist(), strict=True)
    ]
    return to_table(
        ["candidate", ("nearest neighbours by cosine similarity", "text")],
        rows,
        caption="The most popular candidates and their nearest neighbours",
    )


def show_map(vectors: np.ndarray | None, seen: Interactions, names: Sequence[str], group_column: str | None) -> str:
    """Draws the most popular candidates in a plane in which candidates with similar vectors are near each other.

    Args:
        vectors: float [num_candidates, dim], the candidates' vectors.
        seen: The events before the test part, which define popularity.
        names: Name of each candidate.
        group_column: Column of the candidates that colours the map; None draws it in one colour.
    """
    if vectors is None:
        return ""
    shown = _most_popular(seen, _MAX_MAPPED)
    units = _unit_vectors(vectors)[shown]
    if len(shown) < _MIN_MAPPED:
        return ""
    # t-SNE starts from the plane of the widest spread. scikit-learn's own start crashes the process without spread.
    centred = units - units.mean(axis=0)
    _, spread, axes = np.linalg.svd(centred, full_matrices=False)
    if len(spread) < 2 or spread[1] < _MIN_SPREAD * len(shown) ** 0.5:
        return "<p>There is no map, because the candidates' vectors are all equal or lie on a line.</p>"
    start = centred @ axes[:2].T
    perplexity = min(30, (len(shown) - 1) / 3)
    init = 1e-4 * start / start.std()
    tsne = sklearn.manifold.TSNE(perplexity=perplexity, init=init, max_iter=_NUM_STEPS, random_state=0)
    # The steps are so short that several threads wait for each other most of the time: on two busy cores, two threads
    # take five times the processor time of one.
    with threadpool_limits(1, "openmp"):
        points = tsne.fit_transform(units)
    groups = [""] * len(shown)
    caption = f"The {len(shown):,} most popular candidates. Candidates that are near each other have similar vectors."
    rows: list[list[Cell]] = []
    if group_column is not None:
        values = seen.candidates[group_column].to_pylist()
        group_of = [_first_group(values[row]) for row in shown]
        found, counts = np.unique([group for group in group_of if group], return_counts=True)
        common = found[np.argsort(-counts, kind="stable")][:_MAX_GROUPS].tolist()
        groups = [group if group in common else "" for group in group_of]
        caption += f" Colours show the most frequent first values of {group_column}; all other candidates are grey."
        sizes = dict(zip(found.tolist(), counts.tolist(), strict=True))
        for group in common:
            similarity = f"{_mean_cosine(units, groups, group):.3f}" if sizes[group] > 1 else ""
            rows.append([group, f"{sizes[group]:,}", similarity])
    map_names = {place: names[shown[place]] for place in _far_apart(points, _MAX_NAMES_ON_MAP)}
    heading: list[Cell] = [group_column or "", "candidates", "mean cosine within"]
    return to_wide_picture(
        figures.draw_map(points, groups, names=map_names),
        alt="Map of the candidates by t-SNE of their vectors.",
        caption=caption,
        table=to_table(heading, rows, caption="Groups on the map") if rows else "",
    )


def _most_popular(seen: Interactions, num: int) -> np.ndarray:
    """Returns at most `num` rows of the candidates with the most events, best first; those without any are left out."""
    counts = np.bincount(seen.candidate_rows, minlength=seen.num_candidates)
    order = np.argsort(-counts, kind="stable")[:num]
    return order[counts[order] > 0]


def _unit_vectors(vectors: np.ndarray) -> np.ndarray:
    """Scales vectors to length 1; a zero vector stays as it is."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, np.finfo(np.float32).tiny))


def _far_apart(points: np.ndarray, num: int) -> list[int]:
    """Chooses at most `num` points, the first ones that leave enough room for their names not to overlap."""
    extent = np.ptp(points, axis=0)
    kept: list[int] = []
    for place in range(len(points)):
        distances = np.abs(points[kept] - points[place]) / extent
        # A name takes about a third of the map's width and a twentieth of its height.
        if not ((distances[:, 0] < 0.3) & (distances[:, 1] < 0.05)).any():
            kept.append(place)
        if len(kept) == num:
            break
    return kept


def _first_group(value: object) -> str:
    """Returns the name of a candidate's group, the first one of a list; "" without a group."""
    if isinstance(value, list):
        value = value[0] if value else None
    return "" if value is None else to_text(value)


def _mean_cosine(units: np.ndarray, groups: Sequence[str], name: str) -> float:
    """Computes the mean cosine similarity of the pairs within one group."""
    members = np.flatnonzero(np.asarray(groups, object) == name)
    return float(metrics.intra_list_similarity(members[np.newaxis], units)[0])
