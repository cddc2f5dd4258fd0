"""For whom and for what a ranking works: metrics by groups of queries, recall by popularity of the candidates."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.evaluation.ranking import QueryMetrics, event_pairs, relevant_pairs

_MISSING = "(missing)"
_MOST_VALUES = 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class Segment:
    """A part of the queries, or of the candidates.

    Attributes:
        name: What they have in common.
        num: How many queries were averaged over, or relevant pairs.
        values: Metric -> mean.
    """

    name: str
    num: int
    values: dict[str, float]


def by_query(of_queries: QueryMetrics, groups: Sequence[object], *, order: Sequence[str] = ()) -> list[Segment]:
    """Averages metrics within groups of queries.

    Args:
        of_queries: One value per query.
        groups: The group of each query of the table, such as a column of it; None is a group of its own, and more than
            ten different numbers become fifths of equal size.
        order: Names of groups in the order wanted; others come after them.

    Returns:
        One segment per group that has an evaluated query; where no order is given the largest first, of equal size by
        name.
    """
    names, codes = np.unique(_names(groups)[of_queries.query_rows], return_inverse=True)
    counts = np.bincount(codes)
    sums = {metric: np.bincount(codes, column) for metric, column in of_queries.values.items()}
    segments = [
        Segment(
            name=str(name),
            num=int(counts[place]),
            values={metric: float(column[place] / counts[place]) for metric, column in sums.items()},
        )
        for place, name in enumerate(names)
    ]
    places = {name: place for place, name in enumerate(order)}
    return sorted(segments, key=lambda segment: (places.get(segment.name, len(places)), -segment.num, segment.name))


def _names(groups: Sequence[object]) -> np.ndarray:
    """The groups' names, str [n]; many different numbers become fifths of equal size."""
    numbers = [float(group) for group in groups if isinstance(group, int | float) and not isinstance(group, bool)]
    is_numeric = len(numbers) + sum(group is None for group in groups) == len(groups)
    if not is_numeric or len(set(numbers)) <= _MOST_VALUES:
        return np.array([_MISSING if group is None else str(group) for group in groups])
    edges = np.unique(np.quantile(numbers, np.linspace(0, 1, 6), method="nearest"))
    texts = [f"{low:g} up to {high:g}" for low, high in itertools.pairwise(edges)]
    values = np.array([np.nan if group is None else float(group) for group in groups])  # type: ignore[arg-type]
    places = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(texts) - 1)
    return np.where(np.isnan(values), _MISSING, np.array(texts)[places])


def history_groups(known: Interactions, edges: Sequence[int] = (1, 10, 50, 100)) -> tuple[list[str], list[str]]:
    """Names each query by how many events are known of it: from cold to warm.

    Args:
        known: What was known when the queries were asked about.
        edges: Where a new group begins, ascending, >= 1.

    Returns:
        (groups, names): the name of each query's group, such as "10 to 49 events", and all names, the coldest first.

    Example:
        >>> from tests.conftest import make_interactions
        >>> known = make_interactions([0, 0, 1], [0, 1, 0], [5, 5, 5], num_queries=3, num_candidates=2)
        >>> history_groups(known, edges=(1, 2))
        (['2 or more events', '1 event', 'no event'], ['no event', '1 event', '2 or more events'])
    """
    counts = np.bincount(known.query_rows, minlength=known.num_queries)
    starts = [0, *edges]
    names = []
    for place, start in enumerate(starts):
        if place == len(starts) - 1:
            names.append(f"{start} or more events")
        elif start == starts[place + 1] - 1:
            names.append("no event" if start == 0 else f"{start} event" if start == 1 else f"{start} events")
        else:
            names.append(f"{start} to {starts[place + 1] - 1} events")
    return [names[place] for place in np.searchsorted(starts, counts, side="right") - 1], names


def by_popularity(
    ranked: np.ndarray, test: Interactions, known: Interactions, *, threshold: float, num_groups: int = 10
) -> list[Segment]:
    """Recall by popularity: of what queries like among ever rarer candidates, the share that was found.

    Args:
        ranked: int [num_queries, k], rows of candidates, -1 for an empty slot.
        test: The test part.
        known: The events that popularity is counted in, and that the ranking left out.
        threshold: A rating of at least this is relevant.
        num_groups: Groups of equally many candidates, >= 1, the most popular first; as many as there are candidates at
            most.

    Returns:
        One segment per group: `share`, its part of all recommendations, `liked`, its part of all that is to be found,
        and, if it has any of that, `recall@k`.
    """
    k, num_groups = ranked.shape[1], min(num_groups, known.num_candidates)
    popularity = np.bincount(known.candidate_rows, minlength=known.num_candidates)
    place = np.empty(known.num_candidates, np.int64)
    place[np.argsort(-popularity, kind="stable")] = np.arange(known.num_candidates)
    group_of = place * num_groups // known.num_candidates
    codes, _ = relevant_pairs(test, event_pairs(known), threshold)
    queries, candidates = np.divmod(codes, test.num_candidates)
    found = (ranked[queries] == candidates[:, np.newaxis]).any(axis=1)
    shown = np.bincount(group_of[ranked[ranked >= 0]], minlength=num_groups)
    segments = []
    for group in range(num_groups):
        is_in = group_of[candidates] == group
        values = {
            "share": float(shown[group] / max(1, shown.sum())),
            "liked": float(is_in.sum() / max(1, len(codes))),
        }
        if is_in.any():
            values[f"recall@{k}"] = float(found[is_in].mean())
        first, last = 100 * group / num_groups, 100 * (group + 1) / num_groups
        segments.append(Segment(name=f"{first:.3g} to {last:.3g} %", num=int(is_in.sum()), values=values))
    return segments
