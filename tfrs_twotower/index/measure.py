"""Measurements of an index: how much of the truth it finds, and how long a search takes."""

from __future__ import annotations

import time

import numpy as np
import tensorflow as tf

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


def measure_recall(
    index: Index, queries: tf.Tensor, k: int, kth_scores: np.ndarray, exclude: tf.Tensor | None = None
) -> np.ndarray:
    """Measures the share of the k best candidates that a search finds.

    A candidate counts if it scores at least as high as the true k-th one, so any of several equal candidates counts.

    Args:
        index: The index.
        queries: float32 [num_queries, embedding_dim].
        k: Candidates per query, in 1..num_candidates.
        kth_scores: float32 [num_queries], score of the k-th best candidate that is not excluded.
        exclude: int32 [num_queries, e], as in `Index.search`.

    Returns:
        float64 [num_queries], in 0..1.
    """
    scores, _ = tf.function(index.search)(queries, k, exclude)
    return np.mean(scores.numpy() >= kth_scores[:, np.newaxis], axis=1)


def measure_latency(index: Index, queries: np.ndarray) -> dict[int, float]:
    """Times searches for 10 candidates from Python, each with one exclusion per query.

    Args:
        index: The index.
        queries: float32 [num_queries, embedding_dim], at least one; repeated where a batch needs more.

    Returns:
        Batch size (1 and 256) -> median milliseconds.
    """
    search = tf.function(lambda queries, exclude: index.search(queries, _K_OF_LATENCY, exclude), reduce_retracing=True)
    latencies = {}
    for batch, num_timed in _NUM_TIMED.items():
        queries_of_batch = tf.constant(np.resize(queries, (batch, queries.shape[1])))
        seconds = []
        for _ in range(num_timed + _NUM_WARMUP):
            start = time.perf_counter()
            search(queries_of_batch, tf.zeros([batch, 1], tf.int32))[0].numpy()
            seconds.append(time.perf_counter() - start)
        latencies[batch] = 1000 * float(np.median(seconds[_NUM_WARMUP:]))
    return latencies
