"""Splits at random: by event, by query and by candidate."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from tfrs_twotower._settings import whole_number
from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.data.partition import Split, check_shares, partition
from tfrs_twotower.data.rows import places_within

# Codes of the parts, by query or candidate.
_TRAIN, _VALIDATION, _TEST = 0, 1, 2


def random_split(interactions: Interactions, *, test: float = 0.2, validation: float = 0.1, seed: int) -> Split:
    """Splits the events at random.

    Args:
        interactions: At least three events.
        test: Share of all events that go into the test part, in (0, 1).
        validation: Share of the remaining events that go into the validation part, in (0, 1).
        seed: Seed of the random choice, >= 0. The same seed gives the same split.

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
    check_shares(test=test, validation=validation)
    order = np.random.default_rng(seed).permutation(interactions.num_events)
    num_test, num_validation = _part_sizes(len(order), test, validation)
    return partition(interactions, test=order[:num_test], validation=order[num_test : num_test + num_validation])


def unseen_queries_split(
    interactions: Interactions, *, test: float = 0.1, validation: float = 0.1, target: float = 0.2, seed: int
) -> Split:
    """Holds out whole queries at random, to test on queries that the model has not been trained on.

    A share of each held-out query's events is the target of the evaluation. The rest is the query's history, which the
    model may take as input during the evaluation. A query with a single event has no history.

    Args:
        interactions: The data to split.
        test: Share of the queries held out for the test, in (0, 1).
        validation: Share of the remaining queries held out for validation, in (0, 1).
        target: Share of a held-out query's events that is predicted, in (0, 1); at least one event.
        seed: Seed of the random choice, >= 0. The same seed gives the same split.

    Raises:
        ValueError: If a share is outside (0, 1) or a part would be empty.

    Example:
        >>> import pyarrow as pa
        >>> events = {"query_row": [0] * 5 + [1] * 5 + [2] * 5, "candidate_row": [0] * 15, "rating": [1.0] * 15}
        >>> ratings = Interactions(
        ...     queries=pa.table({"u": ["a", "b", "c"]}), candidates=pa.table({"m": ["x"]}), query_id="u",
        ...     candidate_id="m", events=pa.table(events),
        ... )
        >>> split = unseen_queries_split(ratings, test=0.3, validation=0.5, seed=7)
        >>> split.train.num_events, split.validation.num_events, split.test.num_events, split.history.num_events
        (5, 1, 1, 8)
    """
    check_shares(test=test, validation=validation, target=target)
    generator = np.random.default_rng(seed)
    queries = generator.permutation(np.unique(interactions.query_rows))
    num_test, num_validation = _part_sizes(len(queries), test, validation)
    part = np.full(interactions.num_queries, _TRAIN, np.int8)
    part[queries[:num_test]] = _TEST
    part[queries[num_test : num_test + num_validation]] = _VALIDATION
    rows = _choose_targets(interactions, part, target, generator)
    return partition(interactions, test=rows.test, validation=rows.validation, history=rows.history, held_out="queries")


def unseen_queries_folds(
    interactions: Interactions, *, num_folds: int = 10, validation: float = 0.1, target: float = 0.2, seed: int
) -> Iterator[Split]:
    """Cross-validates on unseen queries: `num_folds` splits, in which every query is held out for the test once.

    Args:
        interactions: The data to split.
        num_folds: Number of splits, from 2 to the number of queries with events.
        validation: Share of the remaining queries held out for validation, in (0, 1).
        target: Share of a held-out query's events that is predicted, in (0, 1); at least one event.
        seed: Seed of the random choice, >= 0. The same seed gives the same splits.

    Yields:
        One split per fold, as `unseen_queries_split` makes them.

    Raises:
        TypeError: If `num_folds` is not a whole number.
        ValueError: If a number is out of range or a part would be empty.

    Example:
        >>> import pyarrow as pa
        >>> events = {"query_row": [0] * 5 + [1] * 5 + [2] * 5, "candidate_row": [0] * 15, "rating": [1.0] * 15}
        >>> ratings = Interactions(
        ...     queries=pa.table({"u": ["a", "b", "c"]}), candidates=pa.table({"m": ["x"]}), query_id="u",
        ...     candidate_id="m", events=pa.table(events),
        ... )
        >>> splits = unseen_queries_folds(ratings, num_folds=3, validation=0.5, seed=7)
        >>> sorted(int(split.test.query_rows[0]) for split in splits)
        [0, 1, 2]
    """
    check_shares(validation=validation, target=target)
    queries = np.random.default_rng(seed).permutation(np.unique(interactions.query_rows))
    if whole_number(num_folds, "`num_folds`", 2) > len(queries):
        raise ValueError(
            f"`num_folds` must be at most the number of queries with events. Received: num_folds={num_folds}, "
            f"{len(queries)} queries with events."
        )
    return _folds(interactions, np.array_split(queries, num_folds), validation, target, seed)


def unseen_candidates_split(
    interactions: Interactions, *, test: float = 0.1, validation: float = 0.1, seed: int
) -> Split:
    """Holds out whole candidates at random with all their events, to test on candidates without a training event.

    Args:
        interactions: The data to split.
        test: Share of the candidates held out for the test, in (0, 1).
        validation: Share of the remaining candidates held out for validation, in (0, 1).
        seed: Seed of the random choice, >= 0. The same seed gives the same split.

    Raises:
        ValueError: If a share is outside (0, 1) or a part would be empty.

    Example:
        >>> import pyarrow as pa
        >>> events = {"query_row": [0] * 6, "candidate_row": [0, 1, 2, 0, 1, 2], "rating": [1.0] * 6}
        >>> ratings = Interactions(
        ...     queries=pa.table({"u": ["a"]}), candidates=pa.table({"m": ["x", "y", "z"]}), query_id="u",
        ...     candidate_id="m", events=pa.table(events),
        ... )
        >>> split = unseen_candidates_split(ratings, test=0.3, validation=0.5, seed=7)
        >>> sorted([set(part.candidate_rows.tolist()) for part in (split.train, split.validation, split.test)], key=min)
        [{0}, {1}, {2}]
    """
    check_shares(test=test, validation=validation)
    rows = interactions.candidate_rows
    candidates = np.random.default_rng(seed).permutation(np.unique(rows))
    num_test, num_validation = _part_sizes(len(candidates), test, validation)
    part = np.full(interactions.num_candidates, _TRAIN, np.int8)
    part[candidates[:num_test]] = _TEST
    part[candidates[num_test : num_test + num_validation]] = _VALIDATION
    return partition(
        interactions,
        test=np.flatnonzero(part[rows] == _TEST),
        validation=np.flatnonzero(part[rows] == _VALIDATION),
        held_out="candidates",
    )


def _part_sizes(total: int, test: float, validation: float) -> tuple[int, int]:
    num_test = round(total * test)
    return num_test, round((total - num_test) * validation)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _HeldOutRows:
    """Rows of the events of held-out queries, int64 each: the targets of the two parts, and the history of both."""

    test: np.ndarray
    validation: np.ndarray
    history: np.ndarray


def _folds(
    interactions: Interactions, folds: Sequence[np.ndarray], validation: float, target: float, seed: int
) -> Iterator[Split]:
    for number, test in enumerate(folds):
        others = np.concatenate([fold for fold in folds if fold is not test])
        generator = np.random.default_rng([seed, number])
        part = np.full(interactions.num_queries, _TRAIN, np.int8)
        part[test] = _TEST
        part[generator.permutation(others)[: max(1, round(len(others) * validation))]] = _VALIDATION
        rows = _choose_targets(interactions, part, target, generator)
        yield partition(
            interactions, test=rows.test, validation=rows.validation, history=rows.history, held_out="queries"
        )


def _choose_targets(
    interactions: Interactions, part: np.ndarray, target: float, generator: np.random.Generator
) -> _HeldOutRows:
    """Chooses a share of each held-out query's events at random as targets; the rest is the query's history.

    Args:
        interactions: The data to split.
        part: int8 [num_queries], the part that each query is held out for.
        target: Share of the events, in (0, 1).
        generator: Source of randomness.
    """
    rows = interactions.query_rows
    counts = np.bincount(rows, minlength=interactions.num_queries)
    # Each query's events in random order; the first of them are its targets.
    order = generator.permutation(interactions.num_events)
    order = order[np.argsort(rows[order], kind="stable")]
    # At least one target; and at least one event of history for a query with two events or more.
    num_targets = np.maximum(1, np.minimum(np.round(counts * target), counts - 1))
    is_target = places_within(counts) < np.repeat(num_targets, counts)
    part_of_event = part[rows[order]]
    return _HeldOutRows(
        test=order[is_target & (part_of_event == _TEST)],
        validation=order[is_target & (part_of_event == _VALIDATION)],
        history=order[~is_target & (part_of_event != _TRAIN)],
    )
