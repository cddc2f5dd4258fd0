"""Raises an approximate index's effort until it finds what exact search finds, as measured, not as hoped."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_twotower.index.approximate import ApproximateIndex
from tfrs_twotower.index.index import Index

#: Fewer queries say too little of others to choose by.
LEAST_QUERIES = 64
# Queries that choose, and as many others that must confirm the choice: by their mean less so many standard errors, so
# that it is likely to hold for other queries, too.
_NUM_QUERIES = 1024
_STANDARD_ERRORS = 1.645
# Exclusions that are tried, and queries to try them with.
_EXCLUSIONS = (16, 64, 256, 1024)
_NUM_EXCLUDING = 256
_RANKED_AT_ONCE = 128

#: Name -> value, of what an index is made with; `excluding` is exclusions -> times the effort.
Parameters = Mapping[str, int | Mapping[str, int]]


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
        recall: k -> share of the k best found, over the queries that confirmed the choice; 1 for an exact index.
        latency_ms: Queries at once -> median milliseconds of a search for 10 from Python, each excluding one candidate.
        build_s: Seconds that building and tuning took.
        size_bytes: Of its variables.
        note: Why it is exact, where it was meant to be approximate.
    """

    parameters: Parameters
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
    """Tries efforts until one meets the target, for the queries that choose and with a margin for those that confirm.

    Args:
        index: Its attributes are set to each effort that is tried; the last one stays.
        queries: float32 [num_queries, embedding_dim], the model's own, at least 4.
        target: What must be found.
        efforts: Attribute -> value, the least effort first.
        deadline: Reading of `time.monotonic()` after which no other effort is tried.
        seed: Of which queries choose.

    Returns:
        k -> recall over the queries that confirm, or None if no effort met the target.
    """
    order = np.random.default_rng(seed).permutation(len(queries))[: 2 * _NUM_QUERIES]
    choosing, confirming = (_Exam(index, queries[half], target) for half in np.array_split(order, 2))
    for effort in efforts:
        if time.monotonic() > deadline:
            return None
        for name, value in effort.items():
            setattr(index, name, value)
        if choosing.is_met(index):
            recalls = confirming.recalls(index)
            if all(_is_met_with_margin(recalls[k], least) for k, least in target.recall.items()):
                return {k: float(np.mean(recall)) for k, recall in recalls.items()}
    return None


def tune_exclusions(
    index: ApproximateIndex,
    queries: np.ndarray,
    target: IndexTarget,
    efforts: Sequence[int],
    *,
    deadline: float = np.inf,
) -> None:
    """Sets `excluding`: for more and more exclusions the least effort with which a search still meets the target.

    It supposes the worst, that a query excludes just the best of its candidates.

    Args:
        index: A tuned index.
        queries: float32 [num_queries, embedding_dim], the model's own.
        target: What must be found of what is left, for every k.
        efforts: Multiples of the effort that are worth trying, the least first.
        deadline: Reading of `time.monotonic()` after which nothing more is tried: a search with more exclusions than
            were tried is exact.
    """
    sample = tf.constant(queries[:_NUM_EXCLUDING])
    most = max(_EXCLUSIONS) + max(target.recall)
    best, scores = _true_best(index, sample, min(most, index.num_candidates))
    tuned: list[tuple[int, int]] = []
    for num in _EXCLUSIONS:
        ks = [min(k, index.num_candidates - num) for k in target.recall]
        if min(ks) < 1:
            break
        for effort in efforts:
            if (tuned and effort < tuned[-1][1]) or time.monotonic() > deadline:
                continue
            index.excluding = ((num, effort),)
            if all(
                _is_met_with_margin(_recalls(index, sample, k, scores[:, num + k - 1], best[:, :num]), least)
                for k, least in zip(ks, target.recall.values(), strict=True)
            ):
                tuned.append((num, effort))
                break
        else:
            break
    index.excluding = tuple(tuned)


def measure_latency(index: Index, queries: np.ndarray) -> dict[int, float]:
    """Times searches for 10 candidates.

    Returns:
        Queries at once (1 and 256) -> median milliseconds.
    """
    search = tf.function(lambda queries, exclude: index.search(queries, 10, exclude), reduce_retracing=True)
    latencies = {}
    for batch, repeats in ((1, 20), (256, 3)):
        asked = tf.constant(np.resize(queries, (batch, queries.shape[1])))
        seconds = []
        for _ in range(repeats + 2):
            start = time.perf_counter()
            search(asked, tf.zeros([batch, 1], tf.int32))[0].numpy()
            seconds.append(time.perf_counter() - start)
        latencies[batch] = 1000 * float(np.median(seconds[2:]))  # the first ones trace and warm up
    return latencies


class _Exam:
    """Queries whose true scores are known."""

    def __init__(self, index: Index, queries: np.ndarray, target: IndexTarget) -> None:
        self.queries, self.target = tf.constant(queries), target
        self.ks = {k: min(k, index.num_candidates) for k in target.recall}
        _, self.scores = _true_best(index, self.queries, max(self.ks.values()))

    def recalls(self, index: Index) -> dict[int, np.ndarray]:
        """K -> recall of each query."""
        return {name: _recalls(index, self.queries, k, self.scores[:, k - 1]) for name, k in self.ks.items()}

    def is_met(self, index: Index) -> bool:
        """Whether the target holds for the mean."""
        return all(np.mean(recall) >= self.target.recall[k] for k, recall in self.recalls(index).items())


def _true_best(index: Index, queries: tf.Tensor, num: int) -> tuple[tf.Tensor, np.ndarray]:
    """(rows, scores) of the best candidates, by scoring all of them."""
    rows, scores = [], []
    for part in np.array_split(np.arange(len(queries)), -(-len(queries) // _RANKED_AT_ONCE)):
        some = tf.gather(queries, part)
        rows.append(index.vectors.scan(some, num))
        scores.append(tf.reduce_sum(some[:, tf.newaxis] * index.vectors.take(rows[-1]), axis=2))
    return tf.concat(rows, axis=0), -np.sort(-tf.concat(scores, axis=0).numpy(), axis=1)


def _is_met_with_margin(recalls: np.ndarray, least: float) -> bool:
    """Whether the mean of a share over queries is as high as it must be, and not by luck alone."""
    error = np.std(recalls, ddof=1) / math.sqrt(len(recalls)) if len(recalls) > 1 else 0.0
    return bool(np.mean(recalls) - _STANDARD_ERRORS * error >= least)


def _recalls(
    index: Index, queries: tf.Tensor, k: int, last_scores: np.ndarray, exclude: tf.Tensor | None = None
) -> np.ndarray:
    """Share of k slots that score at least as high as the last of the true best: of equal candidates any will do."""
    scores, _ = tf.function(index.search)(queries, k, exclude)
    return np.mean(scores.numpy() >= last_scores[:, np.newaxis], axis=1)
