"""Tuning: raises an approximate index's effort until the recall that is measured meets a target."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_twotower.index.approximate import ApproximateIndex
from tfrs_twotower.index.index import Index
from tfrs_twotower.index.measure import measure_recall, rank_exactly, trace_excluding_search, trace_search

#: Minimum number of queries that represent others well enough to choose an effort by.
MIN_QUERIES = 64
# Maximum number of queries that choose an effort. As many others must confirm the choice: their mean recall minus this
# number of standard errors must meet the target, so that the recall is likely to hold for other queries, too.
_MAX_QUERIES = 1024
_NUM_STANDARD_ERRORS = 1.645
# Number of these that are asked again when the catalogue has changed.
_MAX_CONFIRMING_AGAIN = 512
# Numbers of exclusions that are tried, and queries to try them with.
_NUMS_EXCLUSIONS = (16, 64, 256, 1024)
_MAX_EXCLUDING_QUERIES = 256


@dataclasses.dataclass(frozen=True, kw_only=True)
class IndexTarget:
    """The recall that an index must have.

    Attributes:
        recall: k -> minimum share of the k best candidates that a search finds, in 0..1, as a mean over queries.

    Raises:
        ValueError: If `recall` is empty, a k is less than 1, or a share is not in 0..1 or is 0.

    Example:
        >>> IndexTarget(recall={10: 0.95}).recall
        {10: 0.95}
    """

    recall: Mapping[int, float] = dataclasses.field(default_factory=lambda: {10: 0.98, 100: 0.95})

    def __post_init__(self) -> None:
        if not self.recall or any(k < 1 or not 0 < share <= 1 for k, share in self.recall.items()):
            raise ValueError(
                "`recall` must give a share above 0 and up to 1 for at least one k, and each k must be at least 1. "
                f"Received: {dict(self.recall)}."
            )


def tune(
    index: ApproximateIndex[Any],
    queries: np.ndarray,
    target: IndexTarget,
    *,
    deadline: float = np.inf,
    seed: int = 0,
) -> dict[int, float] | None:
    """Sets the effort to the first of `index.list_efforts()` that meets the target.

    Half of the queries choose the effort, and the other half must confirm it with a margin.

    Args:
        index: The index. Its effort is set to each one that is tried, and the last one stays.
        queries: float32 [num_queries, embedding_dim], embeddings of the model's queries, at least 4.
        target: The recall that the index must have.
        deadline: Reading of `time.monotonic()` after which no other effort is tried.
        seed: Seed of the division of the queries.

    Returns:
        k -> recall over the queries that confirm, or None if no effort met the target.
    """
    choosing, confirming = (_Sample(index, half, target) for half in _halves(queries, seed))
    for effort in index.list_efforts():
        if time.monotonic() > deadline:
            return None
        index.effort = effort
        search = trace_search(index)
        if choosing.meets_target(search):
            recalls = confirming.measure(search)
            if all(_meets_with_margin(recalls[k], minimum) for k, minimum in target.recall.items()):
                return {k: float(np.mean(recall)) for k, recall in recalls.items()}
    return None


def confirm_recall(
    index: Index, queries: np.ndarray, target: IndexTarget, search: Any, *, seed: int = 0
) -> dict[int, float]:
    """Measures the recall as `tune` does, with the queries that confirm an effort.

    Args:
        index: The index.
        queries: float32 [num_queries, embedding_dim], embeddings of the model's queries, at least 4.
        target: The numbers of candidates at which to measure.
        search: From `trace_search`.
        seed: Seed of the division of the queries, that of `tune`.

    Returns:
        k -> recall.
    """
    confirming = _halves(queries, seed)[1][:_MAX_CONFIRMING_AGAIN]
    recalls = _Sample(index, confirming, target).measure(search)
    return {k: float(np.mean(recall)) for k, recall in recalls.items()}


def tune_exclusions(
    index: ApproximateIndex[Any], queries: np.ndarray, target: IndexTarget, *, deadline: float = np.inf
) -> None:
    """Sets `excluding`: for more and more exclusions, the lowest multiple of the effort that still meets the target.

    The multiples are the index's `exclusion_multiples`. Each query excludes its best candidates, which is the worst
    case.

    Args:
        index: A tuned index.
        queries: float32 [num_queries, embedding_dim], embeddings of the model's queries.
        target: The recall that the index must have for every k, among the remaining candidates.
        deadline: Reading of `time.monotonic()` after which nothing more is tried. Searches with more exclusions than
            were tried are exact.
    """
    sample = tf.constant(queries[:_MAX_EXCLUDING_QUERIES])
    num_ranked = min(max(_NUMS_EXCLUSIONS) + max(target.recall), index.num_candidates)
    best, scores = rank_exactly(index, sample, num_ranked)
    tuned: list[tuple[int, int]] = []
    for num in _NUMS_EXCLUSIONS:
        ks = [min(k, index.num_candidates - num) for k in target.recall]
        if min(ks) < 1:
            break
        for multiple in index.exclusion_multiples:
            if (tuned and multiple < tuned[-1][1]) or time.monotonic() > deadline:
                continue
            index.excluding = ((num, multiple),)
            search = trace_excluding_search(index)
            if all(
                _meets_with_margin(measure_recall(search(sample, k, best[:, :num])[0], scores[:, num + k - 1]), minimum)
                for k, minimum in zip(ks, target.recall.values(), strict=True)
            ):
                tuned.append((num, multiple))
                break
        else:
            break
    index.excluding = tuple(tuned)


def _halves(queries: np.ndarray, seed: int) -> list[np.ndarray]:
    """Divides queries into those that choose an effort and those that confirm it."""
    order = np.random.default_rng(seed).permutation(len(queries))[: 2 * _MAX_QUERIES]
    return [queries[half] for half in np.array_split(order, 2)]


class _Sample:
    """Queries, and the scores of the candidates that are truly best for them."""

    def __init__(self, index: Index, queries: np.ndarray, target: IndexTarget) -> None:
        self.queries, self.target = tf.constant(queries), target
        self.ks = {k: min(k, index.num_candidates) for k in target.recall}
        _, self.scores = rank_exactly(index, self.queries, max(self.ks.values()))

    def measure(self, search: Any) -> dict[int, np.ndarray]:
        """Returns the recall of each query, in a search from `trace_search`, by the target's k."""
        return {
            target_k: measure_recall(search(self.queries, k)[0], self.scores[:, k - 1])
            for target_k, k in self.ks.items()
        }

    def meets_target(self, search: Any) -> bool:
        """Whether the mean recall meets the target."""
        return all(np.mean(recall) >= self.target.recall[k] for k, recall in self.measure(search).items())


def _meets_with_margin(recalls: np.ndarray, minimum: float) -> bool:
    """Whether the mean recall meets the minimum beyond chance."""
    error = np.std(recalls, ddof=1) / math.sqrt(len(recalls)) if len(recalls) > 1 else 0.0
    return bool(np.mean(recalls) - _NUM_STANDARD_ERRORS * error >= minimum)
