"""Splits at random: by event, by query and by candidate."""

from __future__ import annotations

import bisect
import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np

from tfrs_twotower._settings import require_seed, whole_number
from tfrs_twotower.data.interactions import Interactions, require_interactions
from tfrs_twotower.data.partition import Split, check_shares, partition
from tfrs_twotower.data.rows import pair_numbers, places_within

# Codes of the parts, by query or candidate.
_TRAIN, _VALIDATION, _TEST = 0, 1, 2
_MAX_EVENTS = 2**62


def random_split(interactions: Interactions, *, test: float = 0.2, validation: float = 0.1, seed: int) -> Split:
    """Splits the events at random. All events of a pair of a query and a candidate are in the same part.

    Args:
        interactions: Events of at least three different pairs.
        test: Share of all events that go into the test part, in (0, 1). The part differs by the events of one pair at
            most.
        validation: Share of the remaining events that go into the validation part, in (0, 1).
        seed: Seed of the random choice, >= 0. The same seed gives the same split.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If a share is outside (0, 1), the seed is negative, or a part would be empty.

    Example:
        >>> import pyarrow as pa
        >>> ratings = Interactions(
        ...     queries=pa.table({"u": ["a"]}), candidates=pa.table({"m": list("abcdefghij")}), query_id="u",
        ...     candidate_id="m",
        ...     events=pa.table({"query_row": [0] * 10, "candidate_row": range(10), "rating": [1.0] * 10}),
        ... )
        >>> split = random_split(ratings, test=0.2, validation=0.25, seed=7)
        >>> split.train.num_events, split.validation.num_events, split.test.num_events
        (6, 2, 2)
    """
    interactions, seed = require_interactions(interactions, "interactions"), require_seed(seed)
    check_shares(test=test, validation=validation)
    needed = _fewest(test, validation)
    if interactions.num_events < needed:
        raise ValueError(
            f"A random split needs at least {needed:,} events with test={test:g} and validation={validation:g}. "
            f"Received: {interactions.num_events:,}. Change the shares, or split more events."
        )
    pairs, num_pairs = pair_numbers(interactions.query_rows, interactions.candidate_rows, interactions.num_candidates)
    order = np.random.default_rng(seed).permutation(num_pairs)
    num_test, num_validation = _part_sizes(interactions.num_events, test, validation)
    # Events before each pair, in the order of the draw: a pair goes where its first event would go.
    counts = np.bincount(pairs, minlength=num_pairs)[order]
    before = np.cumsum(counts) - counts
    part = np.empty(num_pairs, np.int8)
    part[order] = np.where(before < num_test, _TEST, np.where(before < num_test + num_validation, _VALIDATION, _TRAIN))
    return partition(
        interactions,
        test=np.flatnonzero(part[pairs] == _TEST),
        validation=np.flatnonzero(part[pairs] == _VALIDATION),
    )


def unseen_queries_split(
    interactions: Interactions, *, test: float = 0.1, validation: float = 0.1, target: float = 0.2, seed: int
) -> Split:
    """Holds out whole queries at random, to test on queries that the model has not been trained on.

    A share of each held-out query's candidates is the target of the evaluation, with all their events. The rest is the
    query's history, which the model may take as input during the evaluation. A query with events of a single candidate
    has no history.

    Args:
        interactions: The data to split.
        test: Share of the queries held out for the test, in (0, 1).
        validation: Share of the remaining queries held out for validation, in (0, 1).
        target: Share of a held-out query's candidates that is predicted, in (0, 1); at least one.
        seed: Seed of the random choice, >= 0. The same seed gives the same split.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If a share is outside (0, 1), the seed is negative, or a part would be empty.

    Example:
        >>> import pyarrow as pa
        >>> events = {"query_row": [0] * 5 + [1] * 5 + [2] * 5, "candidate_row": [*range(5)] * 3, "rating": [1.0] * 15}
        >>> ratings = Interactions(
        ...     queries=pa.table({"u": ["a", "b", "c"]}), candidates=pa.table({"m": list("vwxyz")}), query_id="u",
        ...     candidate_id="m", events=pa.table(events),
        ... )
        >>> split = unseen_queries_split(ratings, test=0.3, validation=0.5, seed=7)
        >>> split.train.num_events, split.validation.num_events, split.test.num_events, split.history.num_events
        (5, 1, 1, 8)
    """
    interactions, seed = require_interactions(interactions, "interactions"), require_seed(seed)
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
        target: Share of a held-out query's candidates that is predicted, in (0, 1); at least one.
        seed: Seed of the random choice, >= 0. The same seed gives the same splits.

    Yields:
        One split per fold, as `unseen_queries_split` makes them.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If a number is out of range or a part would be empty.

    Example:
        >>> import pyarrow as pa
        >>> events = {"query_row": [0] * 5 + [1] * 5 + [2] * 5, "candidate_row": [*range(5)] * 3, "rating": [1.0] * 15}
        >>> ratings = Interactions(
        ...     queries=pa.table({"u": ["a", "b", "c"]}), candidates=pa.table({"m": list("vwxyz")}), query_id="u",
        ...     candidate_id="m", events=pa.table(events),
        ... )
        >>> splits = unseen_queries_folds(ratings, num_folds=3, validation=0.5, seed=7)
        >>> sorted(int(split.test.query_rows[0]) for split in splits)
        [0, 1, 2]
    """
    interactions, seed = require_interactions(interactions, "interactions"), require_seed(seed)
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
        TypeError: If an argument has the wrong type.
        ValueError: If a share is outside (0, 1), the seed is negative, or a part would be empty.

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
    interactions, seed = require_interactions(interactions, "interactions"), require_seed(seed)
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


def _fewest(test: float, validation: float) -> int:
    """Returns the fewest events of which no part of a random split is empty."""

    def is_enough(total: int) -> bool:
        num_test, num_validation = _part_sizes(total, test, validation)
        return min(num_test, num_validation, total - num_test - num_validation) > 0

    # Of so many events, each part has two or more, and more events never make a part smaller.
    limit = 4 / min(test, validation * (1 - test), (1 - validation) * (1 - test))
    return bisect.bisect_left(range(math.ceil(min(limit, _MAX_EVENTS))), True, key=is_enough)


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
    """Chooses a share of each held-out query's pairs at random as targets; the rest is the query's history.

    Events of the same pair stay together: a candidate in the history would give away that it is a target, too.

    Args:
        interactions: The data to split.
        part: int8 [num_queries], the part that each query is held out for.
        target: Share of the events, in (0, 1).
        generator: Source of randomness.
    """
    pairs, num_pairs = pair_numbers(interactions.query_rows, interactions.candidate_rows, interactions.num_candidates)
    rows = np.empty(num_pairs, np.int32)
    rows[pairs] = interactions.query_rows  # the query of each pair
    counts = np.bincount(rows, minlength=interactions.num_queries)
    # Each query's pairs in random order; the first of them are its targets.
    order = generator.permutation(num_pairs)
    order = order[np.argsort(rows[order], kind="stable")]
    # At least one target; and at least one pair of history for a query with two pairs or more.
    num_targets = np.maximum(1, np.minimum(np.round(counts * target), counts - 1))
    is_target = np.empty(num_pairs, bool)
    is_target[order] = places_within(counts) < np.repeat(num_targets, counts)
    part_of_event, is_target_event = part[interactions.query_rows], is_target[pairs]
    return _HeldOutRows(
        test=np.flatnonzero(is_target_event & (part_of_event == _TEST)),
        validation=np.flatnonzero(is_target_event & (part_of_event == _VALIDATION)),
        history=np.flatnonzero(~is_target_event & (part_of_event != _TRAIN)),
    )
