"""Which events train, which steer the training, and which are kept for the test."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from tfrs_twotower.data.interactions import Interactions


@dataclasses.dataclass(frozen=True, kw_only=True)
class Split:
    """A partition of the events; all parts share the tables of queries and candidates.

    Attributes:
        train: What the model learns from.
        validation: What early stopping and every choice of a setting look at.
        test: What the figures are computed on, and nothing else.
        history: What is known of held-out queries when they are evaluated: an input, never a target, never trained on.
            Only `unseen_queries_split` and `unseen_queries_folds` give any.
    """

    train: Interactions
    validation: Interactions
    test: Interactions
    history: Interactions

    @property
    def context(self) -> Interactions:
        """What is known when the validation part is predicted: training, and the history of held-out queries."""
        return dataclasses.replace(self.train, events=pa.concat_tables([self.train.events, self.history.events]))

    @property
    def seen(self) -> Interactions:
        """Every event but the test's: what a query need not be recommended again."""
        parts = [self.train.events, self.validation.events, self.history.events]
        return dataclasses.replace(self.train, events=pa.concat_tables(parts))


def random_split(interactions: Interactions, *, test: float = 0.2, validation: float = 0.1, seed: int) -> Split:
    """Splits the events at random.

    Args:
        interactions: At least three events.
        test: Share of all events, in (0, 1).
        validation: Share of the remaining (training) events, in (0, 1).
        seed: Any integer >= 0; the same seed gives the same partition.

    Raises:
        ValueError: If a share is outside (0, 1) or a part would be empty.

    Example:
        >>> import pyarrow as pa
        >>> ratings = Interactions(
        ...     queries=pa.table({"u": ["a"]}), candidates=pa.table({"m": ["x"]}), query_id="u", candidate_id="m",
        ...     events=pa.table({"query_row": [0] * 10, "candidate_row": [0] * 10, "rating": [1.0] * 10}),
        ... )
        >>> split = random_split(ratings, test=0.2, validation=0.25, seed=7)
        >>> split.train.num_events, split.validation.num_events, split.test.num_events
        (6, 2, 2)
    """
    _check_shares(test=test, validation=validation)
    order = np.random.default_rng(seed).permutation(interactions.num_events)
    num_test, num_validation = _part_sizes(len(order), test, validation)
    return _split(interactions, test=order[:num_test], validation=order[num_test : num_test + num_validation])


def leave_last_out_split(interactions: Interactions, *, num_test: int = 1, num_validation: int = 1) -> Split:
    """Holds out each query's latest events; of equal times the later row of the table is the later event.

    A query needs an event left to train on: one with `num_test + num_validation` events or fewer is trained on whole.

    Args:
        interactions: With timestamps.
        num_test: Events of each query for the test, >= 1: the latest.
        num_validation: Events of each query for validation, >= 1: those before.

    Raises:
        ValueError: If there are no timestamps, a number is below 1, or no query has enough events.
    """
    for name, number in (("num_test", num_test), ("num_validation", num_validation)):
        if number < 1:
            raise ValueError(f"`{name}` must be at least 1. Received: {number}.")
    _, order = _by_time(interactions)
    rows = interactions.query_rows
    order = order[np.argsort(rows[order], kind="stable")]  # by query, then time, then row
    counts = np.bincount(rows, minlength=interactions.num_queries)
    from_last = np.repeat(np.cumsum(counts), counts) - 1 - np.arange(len(order))  # 0 for a query's latest event
    enough = np.repeat(counts > num_test + num_validation, counts)
    return _split(
        interactions,
        test=order[enough & (from_last < num_test)],
        validation=order[enough & (from_last >= num_test) & (from_last < num_test + num_validation)],
    )


def temporal_split(interactions: Interactions, *, test: float = 0.2, validation: float = 0.1) -> Split:
    """Cuts all events by time, as a model in production meets them: the past trains, the future tests.

    Events of one time stay together, in the later part, so that nothing trained on is as late as what it is tested on;
    but the earliest time always trains and the next always validates.

    Args:
        interactions: With timestamps.
        test: Share of all events, in (0, 1); the latest. More where events share the time of the cut.
        validation: Share of the remaining events, in (0, 1); the latest of them.

    Raises:
        ValueError: If there are no timestamps, a share is outside (0, 1), or a part would be empty.
    """
    _check_shares(test=test, validation=validation)
    times, order = _by_time(interactions)
    different = np.unique(times)
    if len(different) < 3:
        raise ValueError(f"Every part needs an event of its own time. Received {len(different)} different times.")
    num_test = max(1, round(len(order) * test))
    test_start = max(times[order[-num_test]], different[2])
    # Of the events that are left, which may be fewer than asked for: those of the cut's time went with the test.
    earlier = order[times[order] < test_start]
    num_validation = max(1, round(len(earlier) * validation))
    validation_start = max(times[earlier[-num_validation]], different[1])
    test_rows, validation_rows = _cut(times, int(validation_start), int(test_start))
    return _split(interactions, test=test_rows, validation=validation_rows)


def temporal_split_at(interactions: Interactions, *, validation_start: int, test_start: int) -> Split:
    """Cuts all events at given times.

    Args:
        interactions: With timestamps.
        validation_start: Seconds since 1970-01-01 UTC; earlier events train.
        test_start: Seconds since 1970-01-01 UTC, later than `validation_start`; events from then on are the test.

    Raises:
        ValueError: If there are no timestamps, the times are out of order, or a part would be empty.
    """
    if validation_start >= test_start:
        raise ValueError(
            f"`validation_start` must be before `test_start`. Received: {validation_start} and {test_start}."
        )
    times, _ = _by_time(interactions)
    test_rows, validation_rows = _cut(times, validation_start, test_start)
    return _split(interactions, test=test_rows, validation=validation_rows)


def unseen_queries_split(
    interactions: Interactions, *, test: float = 0.1, validation: float = 0.1, target: float = 0.2, seed: int
) -> Split:
    """Holds out whole queries, to test on users the model has never met.

    Of a held-out query, a share of the events is the target of the evaluation and the rest its history, which the
    model may look at then. A query with a single event has no history.

    Args:
        interactions: Any.
        test: Share of the queries held out for the test, in (0, 1).
        validation: Share of the remaining queries held out for validation, in (0, 1).
        target: Share of a held-out query's events that is evaluated, in (0, 1), at least one event.
        seed: Any integer >= 0.

    Raises:
        ValueError: If a share is outside (0, 1) or a part would be empty.
    """
    _check_shares(test=test, validation=validation, target=target)
    generator = np.random.default_rng(seed)
    queries = generator.permutation(np.unique(interactions.query_rows))
    num_test, num_validation = _part_sizes(len(queries), test, validation)
    return _hold_out_queries(
        interactions,
        test=queries[:num_test],
        validation=queries[num_test : num_test + num_validation],
        target=target,
        generator=generator,
    )


def unseen_queries_folds(
    interactions: Interactions, *, num_folds: int = 10, validation: float = 0.1, target: float = 0.2, seed: int
) -> Iterator[Split]:
    """Holds out every query once: cross-validation of what `unseen_queries_split` does.

    Args:
        interactions: Any.
        num_folds: Into how many test parts the queries are divided, from 2 to the number of queries with events.
        validation: Share of the remaining queries held out for validation, in (0, 1).
        target: Share of a held-out query's events that is evaluated, in (0, 1), at least one event.
        seed: Any integer >= 0.

    Yields:
        One split per fold.

    Raises:
        ValueError: If a number is out of range or a part would be empty.
    """
    _check_shares(validation=validation, target=target)
    queries = np.random.default_rng(seed).permutation(np.unique(interactions.query_rows))
    if not 2 <= num_folds <= len(queries):
        raise ValueError(f"`num_folds` must be in 2..{len(queries)}, the queries with events. Received: {num_folds}.")
    return _folds(interactions, np.array_split(queries, num_folds), validation, target, seed)


def _folds(
    interactions: Interactions, folds: Sequence[np.ndarray], validation: float, target: float, seed: int
) -> Iterator[Split]:
    for place, test in enumerate(folds):
        others = np.concatenate([fold for fold in folds if fold is not test])
        generator = np.random.default_rng([seed, place])
        yield _hold_out_queries(
            interactions,
            test=test,
            validation=generator.permutation(others)[: max(1, round(len(others) * validation))],
            target=target,
            generator=generator,
        )


def _hold_out_queries(
    interactions: Interactions,
    *,
    test: np.ndarray,
    validation: np.ndarray,
    target: float,
    generator: np.random.Generator,
) -> Split:
    """Of the held-out queries a share of the events, by lot, is evaluated, and the rest is their history."""
    rows = interactions.query_rows
    counts = np.bincount(rows, minlength=interactions.num_queries)
    part = np.zeros(interactions.num_queries, np.int8)  # 0 train, 1 validation, 2 test
    part[test], part[validation] = 2, 1
    # Each query's events in an order by lot; the first of them are its targets.
    order = generator.permutation(interactions.num_events)
    order = order[np.argsort(rows[order], kind="stable")]
    place = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    # At least one target; and where there are two events or more, at least one of history.
    num_targets = np.maximum(1, np.minimum(np.round(counts * target), counts - 1))
    is_target = place < np.repeat(num_targets, counts)
    of_part = part[rows[order]]
    return _split(
        interactions,
        test=order[is_target & (of_part == 2)],
        validation=order[is_target & (of_part == 1)],
        history=order[~is_target & (of_part > 0)],
        unseen="queries",
        stacklevel=5,
    )


def unseen_candidates_split(
    interactions: Interactions, *, test: float = 0.1, validation: float = 0.1, seed: int
) -> Split:
    """Holds out whole candidates with all their events, to test on items the model has never met.

    Args:
        interactions: Any.
        test: Share of the candidates held out for the test, in (0, 1).
        validation: Share of the remaining candidates held out for validation, in (0, 1).
        seed: Any integer >= 0.

    Raises:
        ValueError: If a share is outside (0, 1) or a part would be empty.
    """
    _check_shares(test=test, validation=validation)
    rows = interactions.candidate_rows
    candidates = np.random.default_rng(seed).permutation(np.unique(rows))
    num_test, num_validation = _part_sizes(len(candidates), test, validation)
    part = np.zeros(interactions.num_candidates, np.int8)  # 0 train, 1 validation, 2 test
    part[candidates[:num_test]] = 2
    part[candidates[num_test : num_test + num_validation]] = 1
    return _split(
        interactions,
        test=np.flatnonzero(part[rows] == 2),
        validation=np.flatnonzero(part[rows] == 1),
        unseen="candidates",
    )


def _check_shares(**shares: float) -> None:
    for name, share in shares.items():
        if not 0 < share < 1:
            raise ValueError(f"`{name}` must be a share in (0, 1). Received: {share}.")


def _part_sizes(total: int, test: float, validation: float) -> tuple[int, int]:
    num_test = round(total * test)
    return num_test, round((total - num_test) * validation)


def _by_time(interactions: Interactions) -> tuple[np.ndarray, np.ndarray]:
    """(times, order): int64 [num_events], and the rows of the events by time, of equal times by row."""
    times = interactions.timestamps
    if times is None:
        raise ValueError("A split by time needs `timestamp`. The events have none: name the column in the schema.")
    return times, np.argsort(times, kind="stable")


def _cut(times: np.ndarray, validation_start: int, test_start: int) -> tuple[np.ndarray, np.ndarray]:
    """(test, validation): rows of the events from each time on."""
    return np.flatnonzero(times >= test_start), np.flatnonzero((times >= validation_start) & (times < test_start))


def _split(
    interactions: Interactions,
    *,
    test: np.ndarray,
    validation: np.ndarray,
    history: np.ndarray | None = None,
    unseen: str | None = None,
    stacklevel: int = 4,
) -> Split:
    """Makes a split of rows of the events; what is in no other part trains. Warns of what training never sees.

    The warning points at the line of the caller's caller, or as many levels up as `stacklevel` counts from the warning.
    """
    history = history if history is not None else np.zeros(0, np.int64)
    trains = np.ones(interactions.num_events, bool)
    for rows in (test, validation, history):
        trains[rows] = False
    train = np.flatnonzero(trains)
    if not (train.size and validation.size and test.size):
        raise ValueError(
            f"Every part needs an event. Received {interactions.num_events} events, which give {train.size} for "
            f"training, {validation.size} for validation, {test.size} for the test."
        )
    # Sorted, so that a part keeps the order of the data and not that of the lot.
    parts = {
        name: interactions.with_events(np.sort(rows))
        for name, rows in (("train", train), ("validation", validation), ("test", test), ("history", history))
    }
    split = Split(**parts)
    _warn_of_unseen(split, unseen, stacklevel)
    return split


def _warn_of_unseen(split: Split, intended: str | None, stacklevel: int) -> None:
    findings = []
    for name, trained, tested in (
        ("queries", split.train.query_rows, split.test.query_rows),
        ("candidates", split.train.candidate_rows, split.test.candidate_rows),
    ):
        if name == intended:
            continue
        occurring = np.unique(tested)
        unseen = np.setdiff1d(occurring, trained, assume_unique=False)
        if unseen.size:
            events = int(np.isin(tested, unseen).sum())
            findings.append(f"{unseen.size} of {occurring.size} {name} of the test part ({events} events)")
    if findings:
        warnings.warn(f"Without a training event: {'; '.join(findings)}.", stacklevel=stacklevel)
