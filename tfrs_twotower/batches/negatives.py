"""Negative examples: candidates that a query has no event with, the others of its batch, and explicit negatives."""

from __future__ import annotations

import abc
import functools

import numpy as np
import tensorflow as tf

from tfrs_twotower._settings import whole_number
from tfrs_twotower.batches.batch_rows import EventRows, with_explicit_negatives
from tfrs_twotower.batches.explicit_negatives import NegativeLists, NegativeWeights
from tfrs_twotower.data.interactions import Interactions, require_interactions
from tfrs_twotower.data.rows import pair_codes, places_within

#: The rating of a sampled negative: below every threshold that tells liked from disliked.
NEGATIVE_RATING = 0.0

_MAX_TRIES = 50


class Negatives(abc.ABC):
    """Adds candidates to the rows of a batch of events.

    Args:
        interactions: The training part.
        threshold: A rating of at least this is positive.

    Example:
        A kind of your own, which adds the candidate in row 0 to every batch:

        >>> import pyarrow as pa
        >>> class FirstCandidate(Negatives):
        ...     def extend_specs(self, specs):
        ...         return specs
        ...
        ...     def extend(self, rows, generator):
        ...         return rows._replace(candidates=np.append(rows.candidates, np.int32(0)))
        >>> clicks = Interactions(
        ...     queries=pa.table({"u": ["a"]}), candidates=pa.table({"m": ["x", "y"]}), query_id="u", candidate_id="m",
        ...     events=pa.table({"query_row": [0], "candidate_row": [1], "rating": [1.0]}),
        ... )
        >>> rows = EventRows(queries=clicks.query_rows, candidates=clicks.candidate_rows, ratings=clicks.ratings)
        >>> FirstCandidate(clicks, threshold=1.0).extend(rows, np.random.default_rng(0)).candidates.tolist()
        [1, 0]
    """

    def __init__(self, interactions: Interactions, *, threshold: float) -> None:
        self.interactions, self.threshold = require_interactions(interactions, "interactions"), threshold
        self.num_candidates = interactions.num_candidates

    @abc.abstractmethod
    def extend_specs(self, specs: EventRows) -> EventRows:
        """Returns the specs of what `extend` returns.

        Args:
            specs: Shape and dtype of each column before.
        """

    @abc.abstractmethod
    def extend(self, rows: EventRows, generator: np.random.Generator) -> EventRows:
        """Returns the rows with more candidates.

        Args:
            rows: Rows of a batch, as arrays.
            generator: Source of randomness.
        """


class NegativeSampler(Negatives):
    """Draws candidates uniformly among those that a query has no event with, as pairs of their own.

    Args:
        interactions: Every event that must not be drawn: for training, `Split.train`. If it held the
            validation part, the positives of that part would never be drawn, which would reveal them to the model.
        per_positive: Negatives per positive event, >= 1.
        threshold: A rating of at least this is positive; greater than 0.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> import pyarrow as pa
        >>> clicks = Interactions(
        ...     queries=pa.table({"u": ["a"]}), candidates=pa.table({"m": ["x", "y"]}), query_id="u", candidate_id="m",
        ...     events=pa.table({"query_row": [0], "candidate_row": [0], "rating": [1.0]}),
        ... )
        >>> sampler = NegativeSampler(clicks, per_positive=1, threshold=1.0)
        >>> _, drawn = sampler.sample(np.array([0]), np.array([1.0]), np.random.default_rng(0))
        >>> drawn.tolist()
        [1]
    """

    def __init__(self, interactions: Interactions, *, per_positive: int, threshold: float) -> None:
        if threshold <= NEGATIVE_RATING:
            raise ValueError(
                f"`threshold` must be above {NEGATIVE_RATING}, a negative's rating. Received: {threshold}."
            )
        super().__init__(interactions, threshold=threshold)
        self.per_positive = whole_number(per_positive, "`per_positive`", 1)
        self._known = np.unique(pair_codes(interactions.query_rows, interactions.candidate_rows, self.num_candidates))

    def sample(
        self, query_rows: np.ndarray, ratings: np.ndarray, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draws negatives for the positive events of a batch.

        Args:
            query_rows: int32 [batch].
            ratings: float32 [batch].
            generator: Source of randomness.

        Returns:
            (events, candidate_rows): int64 and int32 [n], for each negative the place of its positive in the batch,
            and the row of its candidate. A query that has met nearly every candidate may get fewer.
        """
        events = np.repeat(np.flatnonzero(ratings >= self.threshold), self.per_positive)
        drawn = generator.integers(0, self.num_candidates, len(events), dtype=np.int32)
        known = np.flatnonzero(self._is_known(query_rows[events], drawn))
        for _ in range(_MAX_TRIES):
            if not known.size:
                break
            drawn[known] = generator.integers(0, self.num_candidates, known.size, dtype=np.int32)
            known = known[self._is_known(query_rows[events[known]], drawn[known])]
        keep = np.ones(len(events), bool)
        keep[known] = False
        return events[keep], drawn[keep]

    def extend_specs(self, specs: EventRows) -> EventRows:
        """Adds `query_places`; see `Negatives`."""
        return specs._replace(query_places=tf.TensorSpec([None], tf.int32))

    def extend(self, rows: EventRows, generator: np.random.Generator) -> EventRows:
        """Adds pairs after the events; see `Negatives`."""
        positives, drawn = self.sample(rows.queries, rows.ratings, generator)
        return rows._replace(
            candidates=np.concatenate([rows.candidates, drawn]),
            ratings=np.concatenate([rows.ratings, np.full(len(drawn), NEGATIVE_RATING, np.float32)]),
            weights=None if rows.weights is None else np.concatenate([rows.weights, rows.weights[positives]]),
            query_places=np.concatenate([np.arange(len(rows.queries)), positives]).astype(np.int32),
        )

    def _is_known(self, query_rows: np.ndarray, candidate_rows: np.ndarray) -> np.ndarray:
        pairs = pair_codes(query_rows, candidate_rows, self.num_candidates)
        if not self._known.size:
            return np.zeros(len(pairs), bool)
        places = np.minimum(np.searchsorted(self._known, pairs), self._known.size - 1)
        return np.asarray(self._known[places] == pairs)


class InBatchNegatives(Negatives):
    """Takes a batch's other candidates as negatives, with uniformly drawn ones beside them, for a softmax.

    Args:
        interactions: The training part: its positives are not negatives of their queries, and its events determine how
            often a candidate occurs in a batch.
        threshold: A rating of at least this is positive.
        num_uniform: Number of candidates drawn from the whole catalogue for each batch, >= 0, so that candidates with
            few events or none occur as well.
        negative_weights: What the explicit negatives of a query count, those of the task; None for none.
        max_explicit: Maximum number of explicit negatives of an event, >= 1. If its query has more, so many are drawn,
            whose weights stand for all.

    Raises:
        ValueError: If a number is out of range.

    References:
        Yang et al. 2020, "Mixed Negative Sampling for Learning Two-tower Neural Networks in Recommendations".

    Example:
        >>> import pyarrow as pa
        >>> clicks = Interactions(
        ...     queries=pa.table({"u": ["a", "b"]}), candidates=pa.table({"m": ["x", "y"]}),
        ...     events=pa.table({"query_row": [0, 1], "candidate_row": [0, 1], "rating": [1.0, 1.0]}),
        ...     query_id="u", candidate_id="m",
        ... )
        >>> negatives = InBatchNegatives(clicks, threshold=1.0)
        >>> _, is_other_positive, _ = negatives.describe(np.array([0, 1]), np.array([0, 1]), np.random.default_rng(0))
        >>> is_other_positive.tolist()
        [[True, False], [False, True]]
    """

    def __init__(
        self,
        interactions: Interactions,
        *,
        threshold: float,
        num_uniform: int = 0,
        negative_weights: NegativeWeights | None = None,
        max_explicit: int = 16,
    ) -> None:
        super().__init__(interactions, threshold=threshold)
        self.num_uniform = whole_number(num_uniform, "`num_uniform`", 0)
        self.negative_weights, self.max_explicit = negative_weights, whole_number(max_explicit, "`max_explicit`", 1)
        counts = np.bincount(interactions.candidate_rows, minlength=interactions.num_candidates)
        self._event_shares = counts / max(1, interactions.num_events)
        positive = np.flatnonzero(interactions.ratings >= threshold)
        query_rows = interactions.query_rows[positive]
        # The positives of each query, one query after the other, and their contexts.
        positive = positive[np.argsort(query_rows, kind="stable")]
        self._positives = interactions.candidate_rows[positive]
        self._contexts = interactions.contexts.rows[positive]
        counts = np.bincount(query_rows, minlength=interactions.num_queries)
        self._starts = np.concatenate([[0], np.cumsum(counts)])

    def describe(
        self,
        query_rows: np.ndarray,
        candidate_rows: np.ndarray,
        generator: np.random.Generator,
        *,
        context_rows: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Adds uniformly drawn candidates to a batch, and tells which candidates are positives of which queries.

        Args:
            query_rows: int32 [batch].
            candidate_rows: int32 [batch].
            generator: Source of randomness.
            context_rows: int32 [batch], the context of each query; then only what it chose in this context is positive.

        Returns:
            (rows, is_other_positive, log_sampling_probabilities): int32 [num_rows], the batch's candidates and the
            drawn ones; bool [batch, num_rows], whether the candidate is a positive of the query; float32 [num_rows],
            the logarithm of how many times such a batch is expected to hold the candidate.
        """
        drawn = generator.integers(0, self.num_candidates, self.num_uniform, dtype=np.int32)
        rows = np.concatenate([candidate_rows, drawn]).astype(np.int32)
        expected = len(query_rows) * self._event_shares[rows] + self.num_uniform / self.num_candidates
        # No batch of these events holds a candidate without events; the floor keeps the logarithm finite.
        log_expected = np.log(np.maximum(expected, np.finfo(np.float32).tiny)).astype(np.float32)
        return rows, self._is_positive(query_rows, rows, context_rows), log_expected

    def extend_specs(self, specs: EventRows) -> EventRows:
        """Adds the columns that a softmax needs; see `Negatives`."""
        specs = specs._replace(
            is_other_positive=tf.TensorSpec([None, None], tf.bool),
            log_sampling_probabilities=tf.TensorSpec([None], tf.float32),
        )
        return specs if self.negative_weights is None else with_explicit_negatives(specs)

    def extend(self, rows: EventRows, generator: np.random.Generator) -> EventRows:
        """Adds uniform candidates after the events', and explicit negatives after both; see `Negatives`."""
        candidates, is_other_positive, log_expected = self.describe(
            rows.queries, rows.candidates, generator, context_rows=rows.contexts
        )
        rows = rows._replace(
            candidates=candidates, is_other_positive=is_other_positive, log_sampling_probabilities=log_expected
        )
        return rows if self.negative_weights is None else self._with_explicit(rows, generator)

    def _with_explicit(self, rows: EventRows, generator: np.random.Generator) -> EventRows:
        if rows.contexts is None:
            lists, groups = self._lists_of_queries, rows.queries
        else:
            num_contexts = self.interactions.contexts.table.num_rows
            lists = self._lists_of_requests
            groups = np.searchsorted(self._request_codes, pair_codes(rows.queries, rows.contexts, num_contexts))
        events, drawn, weights = lists.draw(groups, self.max_explicit, generator)
        unique, places = np.unique(drawn, return_inverse=True)
        return rows._replace(
            candidates=np.concatenate([rows.candidates, unique.astype(np.int32)]),
            negative_events=events.astype(np.int32),
            negative_candidates=(len(rows.candidates) + places).astype(np.int32),
            negative_weights=weights,
        )

    @functools.cached_property
    def _lists_of_queries(self) -> NegativeLists:
        return self._lists(self.interactions.query_rows, self.interactions.num_queries)

    @functools.cached_property
    def _lists_of_requests(self) -> NegativeLists:
        requests = self.interactions.requests
        return self._lists(requests.of_events, len(requests.query_rows))

    @functools.cached_property
    def _request_codes(self) -> np.ndarray:
        requests, num_contexts = self.interactions.requests, self.interactions.contexts.table.num_rows
        return pair_codes(requests.query_rows, requests.context_rows, num_contexts)

    def _lists(self, groups: np.ndarray, num_groups: int) -> NegativeLists:
        assert self.negative_weights is not None  # otherwise no lists are needed
        return NegativeLists(
            self.interactions,
            threshold=self.threshold,
            weights=self.negative_weights,
            groups=groups,
            num_groups=num_groups,
        )

    def _is_positive(
        self, query_rows: np.ndarray, candidate_rows: np.ndarray, context_rows: np.ndarray | None
    ) -> np.ndarray:
        """Bool [batch, num_rows]; a query's positives are looked up among the batch's candidates, not the reverse."""
        unique, places = np.unique(candidate_rows, return_inverse=True)
        starts, counts = self._starts[query_rows], self._starts[query_rows + 1] - self._starts[query_rows]
        batch_places = np.repeat(np.arange(len(query_rows)), counts)
        places_of_positives = np.repeat(starts, counts) + places_within(counts)
        if context_rows is not None:
            is_in = self._contexts[places_of_positives] == context_rows[batch_places]
            batch_places, places_of_positives = batch_places[is_in], places_of_positives[is_in]
        positives = self._positives[places_of_positives]
        columns = np.minimum(np.searchsorted(unique, positives), len(unique) - 1)
        is_here = unique[columns] == positives
        is_positive = np.zeros((len(query_rows), len(unique)), bool)
        is_positive[batch_places[is_here], columns[is_here]] = True
        return is_positive[:, places]
