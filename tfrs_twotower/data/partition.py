"""`Split`, a partition of the events into parts, and its construction from row numbers."""

from __future__ import annotations

import dataclasses
import warnings
from numbers import Real
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from tfrs_twotower.data.interactions import Interactions, require_interactions


@dataclasses.dataclass(frozen=True, kw_only=True)
class Split:
    """A partition of the events into parts that share the tables of queries and candidates.

    Attributes:
        train: Events that the model learns from.
        validation: Events that decide on early stopping and on every choice of a setting.
        test: Events that the reported metrics are computed on. They are used for nothing else.
        history: Events of held-out queries that the model may take as input when these queries are evaluated. They are
            never trained on and never predicted. Empty except in `unseen_queries_split` and `unseen_queries_folds`.

    Example:
        >>> import pyarrow as pa
        >>> ratings = Interactions(
        ...     queries=pa.table({"u": ["a"]}), candidates=pa.table({"m": ["x"]}), query_id="u", candidate_id="m",
        ...     events=pa.table({"query_row": [0] * 4, "candidate_row": [0] * 4, "rating": [1.0, 2.0, 3.0, 4.0]}),
        ... )
        >>> split = Split(
        ...     train=ratings.with_events([0, 1]),
        ...     validation=ratings.with_events([2]),
        ...     test=ratings.with_events([3]),
        ...     history=ratings.with_events(np.zeros(0, int)),
        ... )
        >>> split.context.num_events, split.seen.num_events
        (2, 3)
    """

    train: Interactions
    validation: Interactions
    test: Interactions
    history: Interactions

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            require_interactions(getattr(self, field.name), field.name)

    @property
    def context(self) -> Interactions:
        """Events that the model may take as a query's fixed history when it predicts the validation part.

        These are the training events and the history of held-out queries; the validation events are left out because
        they are what is predicted.
        """
        return dataclasses.replace(self.train, events=pa.concat_tables([self.train.events, self.history.events]))

    @property
    def seen(self) -> Interactions:
        """All events except the test events: what is known of the queries when the test part is predicted.

        The model may take them as a query's fixed history, and their candidates need not be recommended to the query
        again.
        """
        parts = [self.train.events, self.validation.events, self.history.events]
        return dataclasses.replace(self.train, events=pa.concat_tables(parts))


def partition(
    interactions: Interactions,
    *,
    test: np.ndarray,
    validation: np.ndarray,
    history: np.ndarray | None = None,
    held_out: Literal["queries", "candidates"] | None = None,
) -> Split:
    """Makes a split from rows of the events. Rows that are in no other part become the training part.

    A warning is issued if the test part has queries or candidates without a training event. It points at the line that
    called this function's caller, so only the public functions that make splits should call it.

    Args:
        interactions: The data to split.
        test: int [num_test], rows of the test part, in any order.
        validation: int [num_validation], rows of the validation part, in any order.
        history: int [num_history], rows of the history of held-out queries, in any order; none by default.
        held_out: What the split holds out on purpose, so that there is no warning about it.

    Returns:
        The split; each part keeps the order of the data.

    Raises:
        ValueError: If the training, validation or test part would be empty.
    """
    history = history if history is not None else np.zeros(0, np.int64)
    is_train = np.ones(interactions.num_events, bool)
    for rows in (test, validation, history):
        is_train[rows] = False
    train = np.flatnonzero(is_train)
    if not (train.size and validation.size and test.size):
        raise ValueError(
            f"Every part must have at least one event. Received {interactions.num_events} events, which give "
            f"{train.size} for training, {validation.size} for validation and {test.size} for the test. "
            "Change the shares, or split more events. Random splits keep all events of a query with a candidate "
            "together."
        )
    # Sorted, because a part keeps the order of the data, whatever the order in which its events were drawn.
    split = Split(
        train=interactions.with_events(train),
        validation=interactions.with_events(np.sort(validation)),
        test=interactions.with_events(np.sort(test)),
        history=interactions.with_events(np.sort(history)),
    )
    _warn_about_unseen(split, held_out)
    return split


def require_split(value: Any, name: str) -> Split:
    """Checks that an argument is a `Split`.

    Args:
        value: What the caller gave.
        name: Name of the argument, such as "split".

    Returns:
        The argument.

    Raises:
        TypeError: If it is anything else, such as `Interactions`.

    Example:
        >>> require_split(None, "split")
        Traceback (most recent call last):
        TypeError: `split` must be a `Split`. Received: a NoneType. Make one with a function such as `temporal_split`.
    """
    if isinstance(value, Split):
        return value
    raise TypeError(
        f"`{name}` must be a `Split`. Received: a {type(value).__name__}. "
        "Make one with a function such as `temporal_split`."
    )


def check_shares(**shares: float) -> None:
    """Checks that every share is in (0, 1).

    Args:
        **shares: Name of the argument -> its value.

    Raises:
        TypeError: If a share is not a number; names it.
        ValueError: If a share is out of range; names it.
    """
    for name, share in shares.items():
        if isinstance(share, bool) or not isinstance(share, Real):
            raise TypeError(f"`{name}` must be a share in (0, 1). Received: {share!r}.")
        if not 0 < share < 1:
            raise ValueError(f"`{name}` must be a share in (0, 1). Received: {share}.")


def _warn_about_unseen(split: Split, held_out: str | None) -> None:
    findings = []
    for name, size, trained, tested in (
        ("queries", split.train.num_queries, split.train.query_rows, split.test.query_rows),
        ("candidates", split.train.num_candidates, split.train.candidate_rows, split.test.candidate_rows),
    ):
        if name == held_out:
            continue
        num_tested = np.bincount(tested, minlength=size)
        is_unseen = (num_tested > 0) & (np.bincount(trained, minlength=size) == 0)
        if is_unseen.any():
            num_occurring, num_events = np.count_nonzero(num_tested), num_tested[is_unseen].sum()
            findings.append(f"{is_unseen.sum()} of {num_occurring} {name} of the test part ({num_events} events)")
    if findings:
        # 1 is this function, 2 `partition`, 3 the function that makes the split, 4 the user's line.
        warnings.warn(f"Without a training event: {'; '.join(findings)}.", stacklevel=4)
