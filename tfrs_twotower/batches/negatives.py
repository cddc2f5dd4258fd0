"""Negative examples: candidates that a query never met, and the other candidates of its batch."""

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
        self.interactions = interactions
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


class InBatchNegatives:
    """A batch's other candidates as negatives, uniformly drawn ones beside them, and what a softmax must know of both.

    Args:
        interactions: The training part: its positives are no negatives of their queries, and how often a candidate
            comes into a batch follows from its events.
        threshold: A rating of at least this is positive.
        num_uniform: Candidates drawn from the whole catalogue for each batch, >= 0: what has few events, or none, is
            seen too (mixed negative sampling, Yang et al. 2020).

    Raises:
        ValueError: If `num_uniform` is below 0.

    References:
        Yang et al. 2020, "Mixed Negative Sampling for Learning Two-tower Neural Networks in Recommendations".
    """

    def __init__(self, interactions: Interactions, *, threshold: float, num_uniform: int = 0) -> None:
        if num_uniform != int(num_uniform) or num_uniform < 0:
            raise ValueError(f"`num_uniform` must be a whole number of at least 0. Received: {num_uniform}.")
        self.threshold, self.num_uniform = threshold, int(num_uniform)
        self.interactions = interactions
        self._num_candidates = interactions.num_candidates
        counts = np.bincount(interactions.candidate_rows, minlength=interactions.num_candidates)
        self._event_shares = counts / max(1, interactions.num_events)
        positive = np.flatnonzero(interactions.ratings >= threshold)
        query_rows = interactions.query_rows[positive]
        # The positives of each query, one query after the other.
        self._positives = interactions.candidate_rows[positive[np.argsort(query_rows, kind="stable")]]
        counts = np.bincount(query_rows, minlength=interactions.num_queries)
        self._starts = np.concatenate([[0], np.cumsum(counts)])

    def describe(
        self, query_rows: np.ndarray, candidate_rows: np.ndarray, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Adds uniform candidates to a batch's, and says what each is to each query.

        Args:
            query_rows: int32 [batch].
            candidate_rows: int32 [batch].
            generator: The source of chance.

        Returns:
            (rows, is_other_positive, log_frequencies): int32 [num_rows], the batch's candidates and the drawn ones;
            bool [batch, num_rows], whether training has it as the query's positive; float32 [num_rows], the logarithm
            of how many times such a batch is expected to hold the candidate.
        """
        drawn = generator.integers(0, self._num_candidates, self.num_uniform, dtype=np.int32)
        rows = np.concatenate([candidate_rows, drawn]).astype(np.int32)
        expected = len(query_rows) * self._event_shares[rows] + self.num_uniform / self._num_candidates
        # Of a candidate without events no batch of these events holds one; the floor keeps the logarithm finite.
        log_frequencies = np.log(np.maximum(expected, np.finfo(np.float32).tiny)).astype(np.float32)
        return rows, self._is_positive(query_rows, rows), log_frequencies

    def _is_positive(self, query_rows: np.ndarray, candidate_rows: np.ndarray) -> np.ndarray:
        """Bool [batch, num_rows]; a query's positives are looked up among the batch's candidates, not the reverse."""
        unique, places = np.unique(candidate_rows, return_inverse=True)
        starts, counts = self._starts[query_rows], self._starts[query_rows + 1] - self._starts[query_rows]
        batch_places = np.repeat(np.arange(len(query_rows)), counts)
        within = np.arange(len(batch_places)) - np.repeat(np.cumsum(counts) - counts, counts)
        positives = self._positives[np.repeat(starts, counts) + within]
        columns = np.minimum(np.searchsorted(unique, positives), len(unique) - 1)
        is_here = unique[columns] == positives
        is_positive = np.zeros((len(query_rows), len(unique)), bool)
        is_positive[batch_places[is_here], columns[is_here]] = True
        return is_positive[:, places]
