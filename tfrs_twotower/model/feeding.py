"""Interactions become what towers take: batches of codes with histories, and all queries at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_twotower.batches.histories import HistorySource, Timeline
from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.model.towers import Tower

# Slots of histories that are embedded at once, and queries at most.
_SLOTS_AT_ONCE = 2**20
_EMBEDDED_AT_ONCE = 4096
# Of the hash by which candidates are told apart whatever table they are in.
_NUM_KEYS = 2**62


def encoded_batches(
    build: Callable[..., tf.data.Dataset],
    query_tower: Tower,
    candidate_tower: Tower,
    interactions: Interactions,
    **options: Any,
) -> tf.data.Dataset:
    """Batches in which the rows of past candidates have become codes among the query's.

    Args:
        build: `build_training_batches`, or another that takes interactions and both encoded tables.
        query_tower: Looks queries up, and past candidates.
        candidate_tower: Looks candidates up.
        interactions: Whose events the batches are made of.
        **options: More arguments of `build`.
    """
    queries = query_tower.encode_table(interactions.queries)
    candidates = candidate_tower.encode_table(interactions.candidates)
    batches = build(interactions, queries, candidates, **options)
    if not query_tower.histories:
        return batches
    past = {name: tf.constant(codes) for name, codes in query_tower.encode_past(interactions.candidates).items()}

    def look_up(batch: dict[str, Any]) -> dict[str, Any]:
        rows, ratings = batch["history"], batch["history_rating"]
        rows = tf.where(rows < 0, interactions.num_candidates, rows)  # the padding's code is the last
        return {**batch, "query": {**batch["query"], **_past_codes(query_tower, past, rows, ratings, tf.gather)}}

    return batches.map(look_up, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def encode_queries(tower: Tower, interactions: Interactions, known: Interactions | None) -> np.ndarray:
    """What the query tower gives for every query.

    Args:
        tower: The query tower.
        interactions: Whose queries are wanted.
        known: Events of these queries with these candidates, for a tower that takes a history.

    Returns:
        float32 [num_queries, num_outputs].

    Raises:
        ValueError: If the tower takes a history, and no events are given, or those of others.
    """
    queries = tower.encode_table(interactions.queries)
    if not tower.histories:
        return tower.embed_codes(queries)
    if known is None:
        raise ValueError("`known` must be given: the query tower takes a history. Of a split it is `split.seen`.")
    if not known.has_rows_of(interactions):
        raise ValueError("`known` must have the queries and candidates of `interactions`, in their order.")
    timeline, past = Timeline(known), tower.encode_past(interactions.candidates)
    parts = [np.zeros((0, tower.config.num_outputs), np.float32)]
    block_size = max(1, min(_EMBEDDED_AT_ONCE, _SLOTS_AT_ONCE // tower.history_length))
    for start in range(0, interactions.num_queries, block_size):
        block = np.arange(start, min(start + block_size, interactions.num_queries))
        rows, ratings = timeline.candidates_at(timeline.latest(block, tower.history_length))
        codes = {name: values[block] for name, values in queries.items()}
        codes.update(_past_codes(tower, past, rows, ratings, np.take))
        parts.append(tower.embed_codes(codes))
    return np.concatenate(parts)


def with_candidate_keys(batches: tf.data.Dataset, interactions: Interactions) -> tf.data.Dataset:
    """Adds "candidate_key", int64 [num_rows], a hash of the ids: rows are numbered anew in every table.

    Args:
        batches: With "candidate_row".
        interactions: Whose candidates the rows are.
    """
    ids = tf.constant(interactions.candidates[interactions.candidate_id].to_pylist())
    keys = tf.strings.to_hash_bucket_fast(ids, _NUM_KEYS)
    return batches.map(lambda batch: {**batch, "candidate_key": tf.gather(keys, batch["candidate_row"])})


def require_events(train: Interactions) -> None:
    """Refuses a training part without events.

    Raises:
        ValueError: If it has none.
    """
    if not train.num_events:
        raise ValueError("`train` must have an event.")


def require_history_of(tower: Tower, interactions: Interactions, history: HistorySource | None) -> None:
    """Refuses a source of histories that is too short for the tower, or of other queries and candidates.

    Raises:
        ValueError: If it is.
    """
    if history is None:
        return
    if history.length < tower.history_length:
        raise ValueError(
            f"`history` must have a length of at least {tower.history_length}, the query tower's. "
            f"Received: {history.length}."
        )
    if not history.timeline.interactions.has_rows_of(interactions):
        raise ValueError("`history` must be of the same queries and candidates as the events, in their order.")


def _past_codes(
    tower: Tower,
    past: Mapping[str, Any],
    rows: Any,
    ratings: Any,
    take: Callable[[Any, Any], Any],
) -> dict[str, Any]:
    """Codes of the tower's histories from rows of past candidates and their ratings, [batch, length] each."""
    codes = {}
    for history in tower.histories:
        codes[history.name] = take(past[history.name], rows)
        if history.by_rating:
            codes[history.rating_name] = tower.lookups[history.rating_name](ratings)
    return codes
