"""Batches of whole queries: all events of each, its history and its targets alike, beside a block of candidates."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from scipy.special import gammaln

from tfrs_twotower.batches.event_batches import EncodedTable, epoch_numbers, gather_batches
from tfrs_twotower.batches.histories import Timeline
from tfrs_twotower.batches.shuffle import shuffled_positions
from tfrs_twotower.data.interactions import Interactions

#: Largest catalogue that each batch holds the whole of.
WHOLE_CATALOGUE = 50_000


def build_query_batches(
    interactions: Interactions,
    queries: EncodedTable,
    candidates: EncodedTable,
    *,
    batch_size: int,
    seed: int,
    initial_epoch: int = 0,
    num_sampled: int | None = None,
) -> tf.data.Dataset:
    """Shuffled batches of queries for `model.fit`. The n-th iteration over the data set is epoch `initial_epoch + n`.

    Args:
        interactions: The training part.
        queries: Encoded features, arrays [num_queries, ...].
        candidates: Encoded features, arrays [num_candidates, ...].
        batch_size: Queries per batch, >= 1; those without events are left out.
        seed: Of the order of the queries and of the candidates that are drawn, >= 0.
        initial_epoch: Epoch of the first iteration.
        num_sampled: Candidates drawn uniformly for a batch, beside those of its events, >= 0; None for the whole
            catalogue in every batch.

    Returns:
        Batches `{"query": {name: [batch, ...]}, "candidate": {name: [num_rows, ...]}, "candidate_row": int32
        [num_rows]}` with the events of each query as "history" int32 [batch, most], rows of candidates or -1, and
        "history_rating" float32 [batch, most], 0 beside a -1; and one entry per event in "target_place" int64
        [events, 2], where it stands in the histories, "target_candidate" int32 [events], its place among the batch's
        candidates, "rating" float32 [events], and, with weights, "weight" float32 [events]. "log_frequency" float32
        [num_rows] is the logarithm of the probability that a query finds the candidate in its batch if it is none of
        its own.

    Raises:
        ValueError: If a number is out of range, there is no event, or an encoded table has another length.
    """
    columns = _QueryColumns(interactions, batch_size, seed, num_sampled)
    return gather_batches(epoch_numbers(initial_epoch), columns, queries, candidates)


class _QueryColumns:
    """Batches of queries."""

    def __init__(self, interactions: Interactions, batch_size: int, seed: int, num_sampled: int | None) -> None:
        if batch_size < 1:
            raise ValueError(f"`batch_size` must be at least 1. Received: {batch_size}.")
        if num_sampled is not None and num_sampled < 0:
            raise ValueError(f"`num_sampled` must be at least 0. Received: {num_sampled}.")
        if not interactions.num_events:
            raise ValueError("`interactions` must have an event.")
        self._timeline = Timeline(interactions)
        self._weights = None
        if interactions.weights is not None:
            self._weights = np.empty(interactions.num_events, np.float32)
            self._weights[self._timeline.places] = interactions.weights
        self._lengths = np.diff(self._timeline.starts)
        self._active = np.flatnonzero(self._lengths)
        self._batch_size, self._seed, self._num_sampled = batch_size, seed, num_sampled
        self.num_queries, self.num_candidates = interactions.num_queries, interactions.num_candidates
        self.num_batches = -(-len(self._active) // batch_size)
        self._log_frequencies = np.zeros(self.num_candidates, np.float32)
        if num_sampled is not None:
            absent = _absent_beside(interactions, len(self._active), batch_size)
            absent *= (1 - 1 / self.num_candidates) ** num_sampled
            self._log_frequencies = np.log(np.maximum(1 - absent, np.finfo(np.float32).tiny)).astype(np.float32)
        self.specs = {
            "query_row": tf.TensorSpec([None], tf.int32),
            "candidate_row": tf.TensorSpec([None], tf.int32),
            "log_frequency": tf.TensorSpec([None], tf.float32),
            "history": tf.TensorSpec([None, None], tf.int32),
            "history_rating": tf.TensorSpec([None, None], tf.float32),
            "target_place": tf.TensorSpec([None, 2], tf.int64),
            "target_candidate": tf.TensorSpec([None], tf.int32),
            "rating": tf.TensorSpec([None], tf.float32),
        }
        if self._weights is not None:
            self.specs["weight"] = tf.TensorSpec([None], tf.float32)

    def batch(self, epoch: int, number: int) -> list[np.ndarray]:
        """Batch `number` of an epoch, one array per entry of `specs`."""
        places = np.arange(number * self._batch_size, min((number + 1) * self._batch_size, len(self._active)))
        order = shuffled_positions(places, len(self._active), seed=self._seed, epoch=int(epoch))
        query_rows = self._active[order].astype(np.int32)
        slots = self._timeline.latest(query_rows, int(self._lengths[query_rows].max()))
        history, ratings = self._timeline.candidates_at(slots)
        target_places = np.argwhere(slots >= 0)
        targets = history[slots >= 0]
        candidate_rows, target_candidates = self._candidates(targets, int(epoch), int(number))
        columns = {
            "query_row": query_rows,
            "candidate_row": candidate_rows,
            "log_frequency": self._log_frequencies[candidate_rows],
            "history": history,
            "history_rating": ratings,
            "target_place": target_places,
            "target_candidate": target_candidates,
            "rating": ratings[slots >= 0],
        }
        if self._weights is not None:
            columns["weight"] = self._weights[slots[slots >= 0]]
        return [columns[name] for name in self.specs]

    def _candidates(self, targets: np.ndarray, epoch: int, number: int) -> tuple[np.ndarray, np.ndarray]:
        """The batch's block of candidates, none twice, and the targets' places in it, int32 both."""
        if self._num_sampled is None:
            return np.arange(self.num_candidates, dtype=np.int32), targets
        generator = np.random.default_rng([self._seed, epoch, number])
        drawn = generator.integers(0, self.num_candidates, self._num_sampled)
        rows = np.unique(np.concatenate([targets, drawn]))
        return rows.astype(np.int32), np.searchsorted(rows, targets).astype(np.int32)


def _absent_beside(interactions: Interactions, num_active: int, batch_size: int) -> np.ndarray:
    """float64 [num_candidates], the probability that no other query of a query's batch has a candidate.

    The batch's other queries are drawn without repetition, from all that are active but the one: hypergeometric.
    """
    pairs = np.unique(
        interactions.query_rows.astype(np.int64) * interactions.num_candidates + interactions.candidate_rows
    )
    owners = np.bincount(pairs % interactions.num_candidates, minlength=interactions.num_candidates)
    others, beside = num_active - 1, min(batch_size, num_active) - 1
    left = np.maximum(others - owners, 0)
    logs = (
        gammaln(left + 1)
        - gammaln(np.maximum(left - beside, 0) + 1)
        - gammaln(others + 1)
        + gammaln(others - beside + 1)
    )
    return np.where(left >= beside, np.exp(logs), 0.0)
