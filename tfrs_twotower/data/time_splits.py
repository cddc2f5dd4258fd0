"""Splits by time: the past trains, the future tests."""

from __future__ import annotations

from numbers import Real

import numpy as np

from tfrs_twotower._settings import whole_number
from tfrs_twotower.data.interactions import Interactions, require_interactions
from tfrs_twotower.data.partition import Split, check_shares, partition
from tfrs_twotower.data.rows import places_within


def leave_last_out_split(interactions: Interactions, *, num_test: int = 1, num_validation: int = 1) -> Split:
    """Holds out each query's latest events; of events at the same time, the later row counts as the later event.

    Every query keeps at least one event to train on: a query with `num_test + num_validation` events or fewer has all
    its events in the training part.

    Args:
        interactions: Data with timestamps.
        num_test: Number of events of each query in the test part, >= 1: the latest.
        num_validation: Number of events of each query in the validation part, >= 1: those before the test events.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If there are no timestamps, a number is below 1, or no query has enough events.

    Example:
        >>> import pyarrow as pa
        >>> ratings = Interactions(
        ...     queries=pa.table({"u": ["a"]}), candidates=pa.table({"m": ["x"]}), query_id="u", candidate_id="m",
        ...     events=pa.table(
        ...         {"query_row": [0] * 4, "candidate_row": [0] * 4, "rating": [1.0] * 4, "timestamp": [30, 10, 40, 20]}
        ...     ),
        ... )
        >>> split = leave_last_out_split(ratings)
        >>> split.train.timestamps.tolist(), split.validation.timestamps.tolist(), split.test.timestamps.tolist()
        ([10, 20], [30], [40])
    """
    interactions = require_interactions(interactions, "interactions")
    num_test = whole_number(num_test, "`num_test`", 1)
    num_validation = whole_number(num_validation, "`num_validation`", 1)
    _, order = _by_time(interactions)
    rows = interactions.query_rows
    order = order[np.argsort(rows[order], kind="stable")]  # by query, then time, then row
    counts = np.bincount(rows, minlength=interactions.num_queries)
    from_last = np.repeat(counts, counts) - 1 - places_within(counts)  # 0 for a query's latest event
    has_enough = np.repeat(counts > num_test + num_validation, counts)
    if not has_enough.any():
        raise ValueError(
            f"A query must have at least {num_test + num_validation + 1} events to leave its last {num_test} to the "
            f"test and {num_validation} before them to validation. Received: at most {counts.max()} events of a query, "
            f"{len(rows):,} in all. Split them at random or by time, or in smaller parts."
        )
    return partition(
        interactions,
        test=order[has_enough & (from_last < num_test)],
        validation=order[has_enough & (from_last >= num_test) & (from_last < num_test + num_validation)],
    )


def temporal_split(interactions: Interactions, *, test: float = 0.2, validation: float = 0.1) -> Split:
    """Splits all events by time, as a model in production meets them: the past trains, the future tests.

    Events with the same timestamp stay together, in the later part, so that every training event is earlier than every
    validation event, and every validation event earlier than every test event. The earliest time is always in the
    training part and the second earliest never in the test part.

    Args:
        interactions: Data with timestamps.
        test: Share of all events that go into the test part, in (0, 1): the latest. The part is larger where several
            events share its first timestamp.
        validation: Share of the remaining events that go into the validation part, in (0, 1): the latest of them.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If there are no timestamps, a share is outside (0, 1), or there are fewer than three different
            times.

    Example:
        >>> import pyarrow as pa
        >>> ratings = Interactions(
        ...     queries=pa.table({"u": ["a"]}), candidates=pa.table({"m": ["x"]}), query_id="u", candidate_id="m",
        ...     events=pa.table(
        ...         {"query_row": [0] * 4, "candidate_row": [0] * 4, "rating": [1.0] * 4, "timestamp": [30, 10, 40, 20]}
        ...     ),
        ... )
        >>> split = temporal_split(ratings, test=0.25, validation=0.3)
        >>> split.train.timestamps.tolist(), split.validation.timestamps.tolist(), split.test.timestamps.tolist()
        ([10, 20], [30], [40])
    """
    interactions = require_interactions(interactions, "interactions")
    check_shares(test=test, validation=validation)
    times, order = _by_time(interactions)
    ordered = times[order]
    different = ordered[np.append(True, np.diff(ordered) != 0)]
    if len(different) < 3:
        raise ValueError(
            f"A split by time needs events at three different times or more. Received: {len(different)} different."
        )
    num_test = max(1, round(len(order) * test))
    test_start = max(times[order[-num_test]], different[2])
    # There may be fewer events left than the shares suggest: those at the time of the boundary are in the test part.
    earlier = order[times[order] < test_start]
    num_validation = max(1, round(len(earlier) * validation))
    validation_start = max(times[earlier[-num_validation]], different[1])
    test_rows, validation_rows = _rows_from(times, int(validation_start), int(test_start))
    return partition(interactions, test=test_rows, validation=validation_rows)


def temporal_split_at(interactions: Interactions, *, validation_start: int, test_start: int) -> Split:
    """Splits all events at given times.

    Args:
        interactions: Data with timestamps.
        validation_start: Seconds since 1970-01-01 UTC. Earlier events are the training part.
        test_start: Seconds since 1970-01-01 UTC, later than `validation_start`. Events from this time on are the test
            part.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If there are no timestamps, the times are not in order, or a part would be empty.

    Example:
        >>> import pyarrow as pa
        >>> ratings = Interactions(
        ...     queries=pa.table({"u": ["a"]}), candidates=pa.table({"m": ["x"]}), query_id="u", candidate_id="m",
        ...     events=pa.table(
        ...         {"query_row": [0] * 4, "candidate_row": [0] * 4, "rating": [1.0] * 4, "timestamp": [30, 10, 40, 20]}
        ...     ),
        ... )
        >>> split = temporal_split_at(ratings, validation_start=20, test_start=30)
        >>> split.train.timestamps.tolist(), split.validation.timestamps.tolist(), split.test.timestamps.tolist()
        ([10], [20], [30, 40])
    """
    interactions = require_interactions(interactions, "interactions")
    for name, start in (("validation_start", validation_start), ("test_start", test_start)):
        if isinstance(start, bool) or not isinstance(start, Real):
            raise TypeError(f"`{name}` must be a number of seconds since 1970-01-01 UTC. Received: {start!r}.")
    if validation_start >= test_start:
        raise ValueError(
            f"`validation_start` must be before `test_start`. Received: {validation_start} and {test_start}."
        )
    times, _ = _by_time(interactions)
    test_rows, validation_rows = _rows_from(times, validation_start, test_start)
    return partition(interactions, test=test_rows, validation=validation_rows)


def _by_time(interactions: Interactions) -> tuple[np.ndarray, np.ndarray]:
    """Sorts the events by time, and by row where times are equal.

    Returns:
        (times, order): int64 [num_events], the times in the order of the data; int64 [num_events], the rows in order of
        time.
    """
    times = interactions.timestamps
    if times is None:
        raise ValueError("A split by time needs `timestamp`. The events have none: name its column in the schema.")
    return times, np.argsort(times, kind="stable")


def _rows_from(times: np.ndarray, validation_start: int, test_start: int) -> tuple[np.ndarray, np.ndarray]:
    """Finds the rows of the two later parts.

    Returns:
        (test, validation): int64 rows of the events.
    """
    return np.flatnonzero(times >= test_start), np.flatnonzero((times >= validation_start) & (times < test_start))
