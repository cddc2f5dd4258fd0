"""Measurements of an index: how much of the truth it finds, and how long a search takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_twotower._autograph import as_written
from tfrs_twotower.index.index import Index

_NUM_RANKED_AT_ONCE = 128
# Searches that are timed by batch size, and those before them, which trace and warm up.
_NUM_TIMED = {1: 20, 256: 3}
_NUM_WARMUP = 2
_K_OF_LATENCY = 10


def rank_exactly(index: Index, queries: tf.Tensor, num: int) -> tuple[tf.Tensor, np.ndarray]:
    """Ranks the best candidates by scoring all of them.

    Args:
        index: Any index.
        queries: float32 [num_queries, embedding_dim], finite.
        num: Candidates per query, in 1..num_candidates.

    Returns:
        (rows, scores): int32 and float32 [num_queries, num]. The scores are descending. The order of the rows agrees
        with them up to rounding errors.
    """
    rows, scores = [], []
    for part in np.array_split(np.arange(len(queries)), -(-len(queries) // _NUM_RANKED_AT_ONCE)):
        some = tf.gather(queries, part)
        rows.append(index.vectors.scan(some, num))
        scores.append(tf.reduce_sum(some[:, tf.newaxis] * index.vectors.take(rows[-1]), axis=2))
    return tf.concat(rows, axis=0), -np.sort(-tf.concat(scores, axis=0).numpy(), axis=1)


def trace_search(index: Index) -> Any:
    """Traces searches without exclusions, once for all numbers of queries and candidates.

    Tracing an approximate search takes longer than searching with some hundred queries.

    Args:
        index: The index. Its effort must not change before the first call.

    Returns:
        A `tf.function` of queries and k, as `Index.search`.
    """
    return tf.function(_search_of(index), input_signature=[_queries_spec(index), tf.TensorSpec([], tf.int32)])


def trace_excluding_search(index: Index) -> Any:
    """Traces searches with exclusions, as `trace_search` does those without; the third argument is `exclude`."""
    specs = [_queries_spec(index), tf.TensorSpec([], tf.int32), tf.TensorSpec([None, None], tf.int32)]
    return tf.function(_search_of(index), input_signature=specs)


def measure_recall(scores: tf.Tensor, kth_scores: np.ndarray) -> np.ndarray:
    """Measures the share of the k best candidates that a search has found.

    A candidate counts if it scores at least as high as the true k-th one, so any of several equal candidates counts.

    Args:
        scores: float32 [num_queries, k], the scores of the candidates that were found.
        kth_scores: float32 [num_queries], score of the k-th best candidate that is not excluded.

    Returns:
        float64 [num_queries], in 0..1.

    Example:
        >>> measure_recall(tf.constant([[5.0, 2.0], [5.0, 4.0]]), np.array([4.0, 4.0])).tolist()
        [0.5, 1.0]
    """
    return np.mean(scores.numpy() >= kth_scores[:, np.newaxis], axis=1)


def measure_latency(index: Index, queries: np.ndarray) -> dict[int, float]:
    """Times searches for 10 candidates from Python, each with one exclusion per query.

    Args:
        index: The index.
        queries: float32 [num_queries, embedding_dim], at least one; repeated where a batch needs more.

    Returns:
        Batch size (1 and 256) -> median milliseconds.
    """
    search_of_index = _search_of(index)
    search = tf.function(
        lambda queries, exclude: search_of_index(queries, _K_OF_LATENCY, exclude),
        input_signature=[_queries_spec(index), tf.TensorSpec([None, 1], tf.int32)],
    )
    latencies = {}
    for batch, num_timed in _NUM_TIMED.items():
        queries_of_batch = tf.constant(np.resize(queries, (batch, queries.shape[1])), tf.float32)
        seconds = []
        for _ in range(num_timed + _NUM_WARMUP):
            start = time.perf_counter()
            search(queries_of_batch, tf.zeros([batch, 1], tf.int32))[0].numpy()
            seconds.append(time.perf_counter() - start)
        latencies[batch] = 1000 * float(np.median(seconds[_NUM_WARMUP:]))
    return latencies


def _search_of(index: Index) -> Callable[..., tuple[tf.Tensor, tf.Tensor]]:
    return as_written(index.search, unless=index.uses_autograph)


def _queries_spec(index: Index) -> tf.TensorSpec:
    return tf.TensorSpec([None, index.vectors.embedding_dim], tf.float32)
