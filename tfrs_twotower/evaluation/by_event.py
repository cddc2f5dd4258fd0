"""The test part event by event: what a query did before an event, in the test part as well, is known when it is ranked.

Ludewig and Jannach 2018, "Evaluation of Session-based Recommendation Algorithms", call it iterative revealing.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa

from tfrs_twotower._settings import whole_number
from tfrs_twotower.data.columns import number_rows
from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.data.rows import places_within
from tfrs_twotower.data.splits import Split
from tfrs_twotower.evaluation.sampling import choose_queries

#: Events that candidates are ranked for at most by default: each is a request with a history of its own.
MAX_EVENTS = 50_000


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class SplitByEvent:
    """A split in which each event of the test part is a query of its own.

    Attributes:
        split: The split. Its queries are the requests of the events, with all columns of the queries that they come
            from; its training part holds what each of them knows; its test part has one event of each.
        query_rows: int64 [num_events], the query that each of them comes from.
    """

    split: Split
    query_rows: np.ndarray


def split_by_event(split: Split, max_events: int | None = None) -> SplitByEvent:
    """Makes a query of each test event, which knows all that the other parts hold and the earlier test events.

    Test events of the same time do not know each other.

    Args:
        split: The split, with timestamps.
        max_events: Maximum number of test events, >= 1; if there are more, they are a random sample, which is always
            the same. None for `MAX_EVENTS`.

    Raises:
        TypeError: If `max_events` is not a whole number.
        ValueError: If the events have no timestamps, or `max_events` is out of range.

    Example:
        >>> ratings = Interactions(
        ...     queries=pa.table({"u": ["a"]}), candidates=pa.table({"m": list("xyz")}), query_id="u", candidate_id="m",
        ...     events=pa.table(
        ...         {"query_row": [0] * 3, "candidate_row": [0, 1, 2], "rating": [1.0] * 3, "timestamp": [10, 20, 30]}
        ...     ),
        ... )
        >>> train, test, nothing = (ratings.with_events(np.array(rows, np.int64)) for rows in ([0], [1, 2], []))
        >>> found = split_by_event(Split(train=train, validation=nothing, test=test, history=nothing)).split
        >>> found.test.queries.to_pylist()
        [{'request': '0', 'u': 'a'}, {'request': '1', 'u': 'a'}]
        >>> found.seen.query_rows.tolist(), found.seen.candidate_rows.tolist()
        ([0, 1, 1], [0, 0, 1])
    """
    max_events = MAX_EVENTS if max_events is None else whole_number(max_events, "`max_queries`", 1)
    test, seen = split.test, split.seen
    times = test.timestamps
    if times is None:
        raise ValueError(
            "`by_event` needs the order of the events. They have no timestamps: name their column in the schema."
        )
    rows = choose_queries(np.arange(test.num_events), num_candidates=1, embedding_dim=1, max_queries=max_events)
    query_rows = test.query_rows[rows].astype(np.int64)
    by_query = np.argsort(seen.query_rows, kind="stable")
    of_seen, seen_rows = _ranges(by_query, np.searchsorted(seen.query_rows[by_query], [query_rows, query_rows + 1]))
    # A query and a time as one number, which ascends as the events do if they are sorted by both.
    num_times = len(times) + 1
    codes = test.query_rows * np.int64(num_times) + np.unique(times, return_inverse=True)[1]
    by_time = np.argsort(codes, kind="stable")
    of_test, test_rows = _ranges(by_time, np.searchsorted(codes[by_time], [query_rows * num_times, codes[rows]]))
    queries, request = number_rows(test.queries.take(pa.array(query_rows)), "request")

    def part(requests: np.ndarray, events: pa.Table) -> Interactions:
        place = events.column_names.index("query_row")
        events = events.set_column(place, "query_row", pa.array(requests.astype(np.int32)))
        return dataclasses.replace(test, queries=queries, query_id=request, events=events)

    known = pa.concat_tables([seen.events.take(pa.array(seen_rows)), test.events.take(pa.array(test_rows))])
    nothing = np.zeros(0, np.int64)
    asked = part(np.arange(len(rows)), test.events.take(pa.array(rows)))
    empty = part(nothing, test.events.slice(0, 0))
    return SplitByEvent(
        split=Split(train=part(np.concatenate([of_seen, of_test]), known), validation=empty, test=asked, history=empty),
        query_rows=query_rows,
    )


def _ranges(order: np.ndarray, bounds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Reads ranges of an array, one after the other.

    Args:
        order: int [n].
        bounds: int [2, num_ranges], where each range starts and ends.

    Returns:
        (ranges, values): int64 [any] each, the number of the range that each value is of, and the values.
    """
    starts, ends = bounds
    counts = ends - starts
    places = np.repeat(starts, counts) + places_within(counts)
    return np.repeat(np.arange(len(counts)), counts), order[places]
