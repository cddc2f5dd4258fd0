"""Candidates that a query never met, as negative examples beside its positive ones."""

from __future__ import annotations

import numpy as np

from tfrs_twotower.data.interactions import Interactions

#: The rating of a sampled negative: below every threshold that tells liked from disliked.
NEGATIVE_RATING = 0.0

_TRIES = 50


class NegativeSampler:
    """Draws candidates uniformly among those that a query has no event with.

    Args:
        interactions: Every event that must not be drawn: for training, `Split.train`. With the validation part in it,
            its positives would be spared, which tells the model what it is then judged by.
        per_positive: Negatives per positive event, >= 1.
        threshold: A rating of at least this is positive; greater than 0.

    Raises:
        ValueError: If a number is out of range.
    """

    def __init__(self, interactions: Interactions, *, per_positive: int, threshold: float) -> None:
        if per_positive < 1:
            raise ValueError(f"`per_positive` must be at least 1. Received: {per_positive}.")
        if threshold <= NEGATIVE_RATING:
            raise ValueError(
                f"`threshold` must be above {NEGATIVE_RATING}, a negative's rating. Received: {threshold}."
            )
        self.per_positive = per_positive
        self.threshold = threshold
        self._num_candidates = interactions.num_candidates
        self._known = np.unique(self._pairs(interactions.query_rows, interactions.candidate_rows))

    def sample(
        self, query_rows: np.ndarray, ratings: np.ndarray, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draws for the positive events of a batch.

        Args:
            query_rows: int32 [batch].
            ratings: float32 [batch].
            generator: The source of chance.

        Returns:
            (events, candidate_rows): int64 and int32 [n], for each negative the place in the batch of the positive
            that it goes with, and its candidate. A query that knows nearly every candidate may get fewer.
        """
        events = np.repeat(np.flatnonzero(ratings >= self.threshold), self.per_positive)
        drawn = generator.integers(0, self._num_candidates, len(events), dtype=np.int32)
        known = np.flatnonzero(self._is_known(query_rows[events], drawn))
        for _ in range(_TRIES):
            if not known.size:
                break
            drawn[known] = generator.integers(0, self._num_candidates, known.size, dtype=np.int32)
            known = known[self._is_known(query_rows[events[known]], drawn[known])]
        keep = np.ones(len(events), bool)
        keep[known] = False
        return events[keep], drawn[keep]

    def _is_known(self, query_rows: np.ndarray, candidate_rows: np.ndarray) -> np.ndarray:
        pairs = self._pairs(query_rows, candidate_rows)
        if not self._known.size:
            return np.zeros(len(pairs), bool)
        places = np.minimum(np.searchsorted(self._known, pairs), self._known.size - 1)
        return np.asarray(self._known[places] == pairs)

    def _pairs(self, query_rows: np.ndarray, candidate_rows: np.ndarray) -> np.ndarray:
        return query_rows.astype(np.int64) * self._num_candidates + candidate_rows
