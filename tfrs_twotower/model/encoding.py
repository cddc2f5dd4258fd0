"""Encodes interactions for towers: encoded tables for batches, and the embeddings of all queries."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfrs_twotower.batches.batch import EventBatch
from tfrs_twotower.batches.encoded import EncodedTables
from tfrs_twotower.batches.histories import HistorySource, Timeline
from tfrs_twotower.batches.pipeline import map_batches
from tfrs_twotower.data.interactions import Interactions, require_interactions
from tfrs_twotower.model.tower import Tower

# Maximum numbers of slots of histories, and of queries, that are embedded at once.
_MAX_SLOTS_AT_ONCE = 2**20
_MAX_QUERIES_AT_ONCE = 4096
# Range of the hash by which candidates are told apart whatever table they are in.
_NUM_KEYS = 2**62


def encode_tables(query_tower: Tower, candidate_tower: Tower, interactions: Interactions) -> EncodedTables:
    """Looks up every query, every candidate and every different context once.

    Args:
        query_tower: Tower that looks up queries, contexts and past candidates.
        candidate_tower: Tower that looks up candidates.
        interactions: Interactions whose queries, candidates and contexts are looked up.

    Raises:
        ValueError: If a column is missing, or holds values that its feature cannot take.
        TypeError: If a column's type does not suit its feature.
    """
    return EncodedTables(
        queries=query_tower.encode_table(interactions.queries),
        candidates=candidate_tower.encode_table(interactions.candidates),
        histories=query_tower.encode_histories(interactions.candidates),
        contexts=query_tower.encode_context(interactions),
    )


def encode_queries(tower: Tower, interactions: Interactions, known: Interactions | None) -> np.ndarray:
    """Computes the query tower's outputs for every request, which is every query if the events have no features.

    Args:
        tower: The query tower.
        interactions: Interactions whose requests are embedded.
        known: Past events of these queries with these candidates, for a tower that takes a history.

    Returns:
        float32 [num_requests, num_outputs], in the order of `interactions.requests`.

    Raises:
        ValueError: If the tower takes a history, and no events are given, or events of other queries; or if it takes a
            context that the events do not have.
    """
    require_interactions(interactions, "interactions")
    if known is not None:
        require_interactions(known, "known")
    requests, queries = interactions.requests, tower.encode_table(interactions.queries)
    contexts = tower.encode_context(interactions)
    # Without a context all requests of a query are the same, which is embedded once.
    rows_of_queries = requests.query_rows if contexts else np.arange(interactions.num_queries)
    is_by_request = bool(contexts) or not interactions.event_features

    def codes_of(rows: np.ndarray) -> dict[str, np.ndarray]:
        codes = {name: values[rows_of_queries[rows]] for name, values in queries.items()}
        return codes | {name: values[requests.context_rows[rows]] for name, values in contexts.items()}

    if not tower.histories:
        outputs = tower.embed_codes(codes_of(np.arange(len(rows_of_queries))))
        return outputs if is_by_request else outputs[requests.query_rows]
    if known is None:
        raise ValueError("`known` must be given: the query tower takes a history. For a split it is `split.seen`.")
    if not known.has_rows_of(interactions):
        raise ValueError("`known` must have the queries and candidates of `interactions`, in their order.")
    timeline, histories = Timeline(known), tower.encode_histories(interactions.candidates)
    lengths = np.minimum(np.diff(timeline.starts), tower.history_length)[rows_of_queries]
    # Queries with histories of similar lengths are embedded together: the others would be padded to the longest one.
    by_length = np.argsort(lengths, kind="stable")
    outputs = np.zeros((len(rows_of_queries), tower.config.num_outputs), np.float32)
    start = 0
    while start < len(by_length):
        block = by_length[start : start + _MAX_QUERIES_AT_ONCE]
        num_slots = np.maximum(lengths[block], 1) * np.arange(1, len(block) + 1)
        block = block[: max(1, np.count_nonzero(num_slots <= _MAX_SLOTS_AT_ONCE))]
        slots = timeline.latest(rows_of_queries[block], max(1, int(lengths[block[-1]])))
        (rows, ratings), times = timeline.candidates_at(slots), timeline.times_at(slots)
        codes = codes_of(block)
        for history in histories:
            codes.update(history.look_up(rows, ratings, np.take, times))
        outputs[block] = tower.embed_codes(codes)
        start += len(block)
    return outputs if is_by_request else outputs[requests.query_rows]


def with_candidate_keys(batches: tf.data.Dataset, interactions: Interactions) -> tf.data.Dataset:
    """Adds candidate keys, hashes of the ids, to batches of events: rows are numbered anew in every table.

    Args:
        batches: Each an `EventBatch`.
        interactions: Whose candidates the rows are.
    """
    ids = tf.constant(interactions.candidates[interactions.candidate_id].to_pylist())
    keys = tf.strings.to_hash_bucket_fast(ids, _NUM_KEYS)

    def with_keys(batch: EventBatch) -> EventBatch:
        return EventBatch(*batch, candidate_keys=tf.gather(keys, batch.candidate_rows))

    return map_batches(batches, with_keys)


def require_events(train: Interactions) -> None:
    """Raises an error if a training part has no events.

    Raises:
        ValueError: If it has none.
        TypeError: If it is anything else than interactions.
    """
    require_interactions(train, "train")
    if not train.num_events:
        raise ValueError("`train` must have an event.")


def require_history_of(tower: Tower, interactions: Interactions, history: HistorySource | None) -> None:
    """Raises an error if a source of histories is too short for the tower, or is of other queries and candidates.

    Args:
        tower: The query tower.
        interactions: The events of the batches.
        history: The source, or None.

    Raises:
        ValueError: If it is too short, or is of other queries and candidates.
    """
    if history is None:
        return
    if not isinstance(history, HistorySource):
        raise TypeError(
            f"`history` must be a source of histories, such as a `FixedHistory`. Received: a {type(history).__name__}."
        )
    if history.length < tower.history_length:
        raise ValueError(
            f"`history` must have a length of at least {tower.history_length}, the query tower's. "
            f"Received: {history.length}."
        )
    if not history.timeline.interactions.has_rows_of(interactions):
        raise ValueError("`history` must be of the same queries and candidates as the events, in their order.")
