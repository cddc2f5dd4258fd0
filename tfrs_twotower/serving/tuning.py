"""Raises an approximate index's effort until it finds what exact search finds, as measured, not as hoped."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_twotower.serving.index import Index

# Queries that choose, and as many others that judge the choice.
_NUM_QUERIES = 1024
# Exclusions that are tried, the most first, and queries to try them with.
_EXCLUSIONS = (1024, 512, 256, 128, 64, 32, 16)
_NUM_EXCLUDING = 128


@dataclasses.dataclass(frozen=True, kw_only=True)
class IndexTarget:
    """What an index must find.

    Attributes:
        recall: k -> the least share of the k best candidates that are found, in 0..1, as a mean over queries.
    """

    recall: Mapping[int, float] = dataclasses.field(default_factory=lambda: {10: 0.98, 100: 0.95})

    def __post_init__(self) -> None:
        if not self.recall or any(k < 1 or not 0 < least <= 1 for k, least in self.recall.items()):
            raise ValueError(
                f"`recall` must give a share above 0, up to 1, for each k >= 1. Received: {dict(self.recall)}."
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class IndexOutcome:
    """What became of building an index.

    Attributes:
        parameters: Of its structure and its effort.
        recall: k -> share of the k best found, over queries that chose nothing; 1 for an exact index.
        latency_ms: Queries at once -> median milliseconds of a search for 10 from Python.
        build_s: Seconds that building and tuning took.
        size_bytes: Of its variables.
        note: Why it is exact, where it was meant to be approximate.
    """

    parameters: Mapping[str, int]
    recall: Mapping[int, float]
    latency_ms: Mapping[int, float]
    build_s: float
    size_bytes: int
    note: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """For a manifest."""
        return {
            "parameters": dict(self.parameters),
            "recall": {str(k): round(value, 4) for k, value in self.recall.items()},
            "latency_ms": {str(batch): round(value, 3) for batch, value in self.latency_ms.items()},
            "build_s": round(self.build_s, 1),
            "size_bytes": self.size_bytes,
            "note": self.note,
        }


def tune(
    index: Index,
    queries: np.ndarray,
    target: IndexTarget,
    efforts: Iterable[Mapping[str, int]],
    *,
    deadline: float = np.inf,
    seed: int = 0,
) -> dict[int, float] | None:
    """Tries efforts until one meets the target, for the queries that choose and for others.

    Args:
        index: Its attributes are set to each effort that is tried; the last one stays.
        queries: float32 [num_queries, embedding_dim], the model's own, at least 2.
        target: What must be found.
        efforts: Attribute -> value, the least effort first.
        deadline: Reading of `time.monotonic()` after which no other effort is tried.
        seed: Of which queries choose.

    Returns:
        k -> recall over the other queries, or None if no effort met the target.
    """
    order = np.random.default_rng(seed).permutation(len(queries))[: 2 * _NUM_QUERIES]
    halves = [_Exam(index, queries[half], target) for half in np.array_split(order, 2)]
    for effort in efforts:
        if time.monotonic() > deadline:
            return None
        for name, value in effort.items():
            setattr(index, name, value)
        recalls: dict[int, float] = {}
        for half in halves:
            recalls = half.recalls(index)
            if any(recalls[k] < least for k, least in target.recall.items()):
                break
        else:
            return recalls
    return None


def tune_exclusions(index: Any, queries: np.ndarray, target: IndexTarget) -> None:
    """Sets `max_excluded` to the most exclusions with which an approximate search still meets the target.

    It supposes the worst, that a query excludes just the best of its candidates.

    Args:
        index: A tuned index with that attribute.
        queries: float32 [num_queries, embedding_dim], the model's own.
        target: The recall for the greatest k must hold for the first of what is left.
    """
    k = min(target.recall)
    least = target.recall[max(target.recall)]
    sample = tf.constant(queries[:_NUM_EXCLUDING])
    best = index.vectors.scan(sample, min(max(_EXCLUSIONS) + k, index.num_candidates))
    for num in (num for num in _EXCLUSIONS if num + k <= index.num_candidates):
        index.max_excluded = num
        _, found = tf.function(index.search)(sample, k, best[:, :num])
        is_found = (found[:, :, tf.newaxis] == best[:, tf.newaxis, num : num + k]).numpy().any(axis=2)
        if is_found.mean() >= least:
            return
    index.max_excluded = 0


def measure_latency(index: Index, queries: np.ndarray) -> dict[int, float]:
    """Times searches for 10 candidates.

    Returns:
        Queries at once (1 and 256) -> median milliseconds.
    """
    search = tf.function(lambda queries: index.search(queries, 10)).get_concrete_function(
        tf.TensorSpec([None, queries.shape[1]], tf.float32)
    )
    latencies = {}
    for batch, repeats in ((1, 20), (256, 3)):
        asked = tf.constant(np.resize(queries, (batch, queries.shape[1])))
        seconds = []
        for _ in range(repeats + 1):
            start = time.perf_counter()
            search(asked)[0].numpy()
            seconds.append(time.perf_counter() - start)
        latencies[batch] = 1000 * float(np.median(seconds[1:]))  # the first one warms up
    return latencies


class _Exam:
    """Queries whose true scores are known."""

    def __init__(self, index: Index, queries: np.ndarray, target: IndexTarget) -> None:
        self.queries = tf.constant(queries)
        self.ks = [min(k, index.num_candidates) for k in target.recall]
        self.names = list(target.recall)
        rows = index.vectors.scan(self.queries, max(self.ks))
        scores = tf.reduce_sum(self.queries[:, tf.newaxis] * index.vectors.take(rows), axis=2)
        self.scores = -np.sort(-scores.numpy(), axis=1)

    def recalls(self, index: Index) -> dict[int, float]:
        """Of equal candidates any will do, so that scores are compared and not rows."""
        recalls = {}
        for name, k in zip(self.names, self.ks, strict=True):
            scores, _ = tf.function(index.search)(self.queries, k)
            recalls[name] = float(np.mean(scores.numpy() >= self.scores[:, k - 1 : k]))
        return recalls
