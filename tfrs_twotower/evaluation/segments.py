"""Breaks a ranking's metrics down by groups of queries and by popularity of the candidates."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.evaluation.relevance import QueryMetrics, RelevantPairs

_MISSING = "(missing)"
_MAX_DISTINCT_NUMBERS = 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class Segment:
    """A group of queries or of candidates, and the mean of each metric within it.

    Attributes:
        name: What the members have in common, such as "10 to 49 events".
        num: Number of queries, or of relevant pairs, that the means are taken over.
        values: Metric -> mean.

    Example:
        >>> segment = Segment(name="10 to 49 events", num=2, values={"ndcg@10": 0.25})
        >>> segment.values["ndcg@10"]
        0.25
    """

    name: str
    num: int
    values: Mapping[str, float]


def by_query(of_queries: QueryMetrics, groups: Sequence[object], *, order: Sequence[str] = ()) -> list[Segment]:
    """Averages metrics within groups of queries.

    Args:
        of_queries: Metrics of each evaluated query.
        groups: The group of each row of the table of queries, such as a column of that table. None is a group of its
            own. More than ten distinct numbers are divided into five groups of equal size.
        order: Names of groups in the order wanted; other groups come after them.

    Returns:
        One segment per group that has an evaluated query. Groups that are not in `order` are sorted by size, the
        largest first, and groups of equal size by name.

    Example:
        >>> of_queries = QueryMetrics(
        ...     query_rows=np.array([0, 1, 2]), values={"recall@10": np.array([1.0, 0.5, 0.0])}, num_left_out=0
        ... )
        >>> for segment in by_query(of_queries, ["F", "M", "M"]):
        ...     print(segment)
        Segment(name='M', num=2, values={'recall@10': 0.25})
        Segment(name='F', num=1, values={'recall@10': 1.0})
    """
    names, codes = np.unique(_group_names(groups)[of_queries.query_rows], return_inverse=True)
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


def history_groups(seen: Interactions, edges: Sequence[int] = (1, 10, 50, 100)) -> tuple[list[str], list[str]]:
    """Groups queries by their number of past events, from cold to warm.

    Args:
        seen: The events before the test part.
        edges: Numbers of events at which a new group begins, ascending, >= 1.

    Returns:
        (groups, names): the name of each query's group, such as "10 to 49 events", and the names of all groups, the
        coldest first.

    Example:
        >>> import pyarrow as pa
        >>> seen = Interactions(
        ...     queries=pa.table({"user_id": ["u1", "u2", "u3"]}), candidates=pa.table({"movie_id": ["m1", "m2"]}),
        ...     events=pa.table({"query_row": [0, 0, 1], "candidate_row": [0, 1, 0], "rating": [5.0, 5.0, 5.0]}),
        ...     query_id="user_id", candidate_id="movie_id",
        ... )
        >>> history_groups(seen, edges=(1, 2))
        (['2 or more events', '1 event', 'no events'], ['no events', '1 event', '2 or more events'])
    """
    counts = np.bincount(seen.query_rows, minlength=seen.num_queries)
    starts = [0, *edges]
    names = []
    for place, start in enumerate(starts):
        if place == len(starts) - 1:
            names.append(f"{start} or more events")
        elif start == starts[place + 1] - 1:
            names.append("no events" if start == 0 else f"{start} event" if start == 1 else f"{start} events")
        else:
            names.append(f"{start} to {starts[place + 1] - 1} events")
    return [names[place] for place in np.searchsorted(starts, counts, side="right") - 1], names


def by_popularity(
    ranked: np.ndarray, relevant: RelevantPairs, seen: Interactions, *, num_groups: int = 10
) -> list[Segment]:
    """Measures the recall of ever rarer candidates: the share of the relevant ones among them that was found.

    Args:
        ranked: int [num_queries, k], rows of candidates, -1 for an empty slot.
        relevant: The relevant pairs of the queries that candidates were ranked for.
        seen: The events before the test part, which define popularity.
        num_groups: Number of groups of equally many candidates, >= 1, the most popular first; at most num_candidates
            groups are made.

    Returns:
        One segment per group: `share`, its part of all recommendations; `liked`, its part of all relevant pairs; and,
        if it has a relevant pair, `recall@k`.

    Example:
        >>> import pyarrow as pa
        >>> seen = Interactions(
        ...     queries=pa.table({"user_id": ["u1", "u2"]}), candidates=pa.table({"movie_id": ["m1", "m2"]}),
        ...     events=pa.table({"query_row": [1], "candidate_row": [0], "rating": [5.0]}),
        ...     query_id="user_id", candidate_id="movie_id",
        ... )
        >>> relevant = RelevantPairs(codes=np.array([1]), gains=np.array([3.0]))  # query 0 and candidate 1
        >>> for segment in by_popularity(np.array([[1], [0]]), relevant, seen, num_groups=2):
        ...     print(segment)
        Segment(name='0 to 50 %', num=0, values={'share': 0.5, 'liked': 0.0})
        Segment(name='50 to 100 %', num=1, values={'share': 0.5, 'liked': 1.0, 'recall@1': 1.0})
    """
    k, num_groups = ranked.shape[1], min(num_groups, seen.num_candidates)
    popularity = np.bincount(seen.candidate_rows, minlength=seen.num_candidates)
    place = np.empty(seen.num_candidates, np.int64)
    place[np.argsort(-popularity, kind="stable")] = np.arange(seen.num_candidates)
    group_of = place * num_groups // seen.num_candidates
    queries, candidates = np.divmod(relevant.codes, seen.num_candidates)
    found = (ranked[queries] == candidates[:, np.newaxis]).any(axis=1)
    recommended = np.bincount(group_of[ranked[ranked >= 0]], minlength=num_groups)
    segments = []
    for group in range(num_groups):
        is_in = group_of[candidates] == group
        values = {
            "share": float(recommended[group] / max(1, recommended.sum())),
            "liked": float(is_in.sum() / max(1, len(candidates))),
        }
        if is_in.any():
            values[f"recall@{k}"] = float(found[is_in].mean())
        first, last = 100 * group / num_groups, 100 * (group + 1) / num_groups
        segments.append(Segment(name=f"{first:.3g} to {last:.3g} %", num=int(is_in.sum()), values=values))
    return segments


def _group_names(groups: Sequence[object]) -> np.ndarray:
    """Returns the groups' names, str [n]; many distinct numbers are divided into five groups of equal size."""
    numbers = [float(group) for group in groups if isinstance(group, int | float) and not isinstance(group, bool)]
    is_numeric = len(numbers) + sum(group is None for group in groups) == len(groups)
    if not is_numeric or len(set(numbers)) <= _MAX_DISTINCT_NUMBERS:
        return np.array([_MISSING if group is None else str(group) for group in groups])
    edges = np.unique(np.quantile(numbers, np.linspace(0, 1, 6), method="nearest"))
    names = [f"{low:g} up to {high:g}" for low, high in itertools.pairwise(edges)]
    values = np.array([np.nan if group is None else float(group) for group in groups])  # type: ignore[arg-type]
    places = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(names) - 1)
    return np.where(np.isnan(values), _MISSING, np.array(names)[places])
