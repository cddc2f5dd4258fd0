"""The test part event by event: what a query did before an event, in the test part as well, is known when it is ranked.

Ludewig and Jannach 2018, "Evaluation of Session-based Recommendation Algorithms", call it iterative revealing.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa

from tfrs_twotower._settings import whole_number
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
    every = np.arange(test.num_events)
    rows = choose_queries(every, num_candidates=1, embedding_dim=1, max_queries=max_events)
    query_rows = test.query_rows[rows].astype(np.int64)
    # Positions in the events of a part in order of query and time, from the first one of the query on.
    by_query = np.argsort(seen.query_rows, kind="stable")
    in_seen = np.searchsorted(seen.query_rows[by_query], [query_rows, query_rows + 1])
    by_time = np.lexsort((times, test.query_rows))
    # Pairs of query and time as one number each, to find where the events of a time begin.
    _, time_codes = np.unique(times, return_inverse=True)
    codes = test.query_rows.astype(np.int64) * (len(times) + 1) + time_codes
    in_test = np.searchsorted(codes[by_time], [query_rows * (len(times) + 1), codes[rows]])
    known_from_seen, known_from_test = (
        (np.repeat(np.arange(len(rows)), ends - starts), order[np.repeat(starts, ends - starts) + places])
        for order, (starts, ends) in ((by_query, in_seen), (by_time, in_test))
        for places in (places_within(ends - starts),)
    )
    queries = test.queries.take(pa.array(query_rows))
    request = "request"
    while request in queries.column_names:
        request += "_"
    queries = queries.add_column(0, request, pa.array(np.arange(len(rows))).cast(pa.string()))

    def part(requests: np.ndarray, events: pa.Table) -> Interactions:
        place = events.column_names.index("query_row")
        events = events.set_column(place, "query_row", pa.array(requests.astype(np.int32)))
        return dataclasses.replace(test, queries=queries, query_id=request, events=events)

    (of_seen, seen_rows), (of_test, test_rows) = known_from_seen, known_from_test
    known = pa.concat_tables([seen.events.take(pa.array(seen_rows)), test.events.take(pa.array(test_rows))])
    nothing = np.zeros(0, np.int64)
    asked = part(np.arange(len(rows)), test.events.take(pa.array(rows)))
    empty = part(nothing, test.events.slice(0, 0))
    return SplitByEvent(
        split=Split(train=part(np.concatenate([of_seen, of_test]), known), validation=empty, test=asked, history=empty),
        query_rows=query_rows,
    )
