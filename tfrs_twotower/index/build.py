"""Builds an index of any kind: tuned to a target, verified, measured, and exact where approximation does not pay."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from tfrs_twotower.index.approximate import ApproximateIndex
from tfrs_twotower.index.index import Index
from tfrs_twotower.index.measure import measure_latency
from tfrs_twotower.index.outcome import IndexOutcome
from tfrs_twotower.index.tuning import MIN_QUERIES, IndexTarget, tune, tune_exclusions
from tfrs_twotower.index.verify import verify_index

_FLOAT32_BYTES = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class BuildLimits:
    """What building an approximate index may cost. An index that would cost more is exact.

    Attributes:
        build_s: Maximum number of seconds, > 0. The clock is read after the catalogue is partitioned, which is not
            interrupted, and before each effort that is tried.
        memory_bytes: Maximum number of bytes beside the embeddings themselves, > 0, as estimated from their size.

    Raises:
        ValueError: If a limit is not positive.

    Example:
        >>> BuildLimits(build_s=600)
        BuildLimits(build_s=600, memory_bytes=inf)
    """

    build_s: float = math.inf
    memory_bytes: float = math.inf

    def __post_init__(self) -> None:
        if not (self.build_s > 0 and self.memory_bytes > 0):
            raise ValueError(f"`build_s` and `memory_bytes` must be positive. Received: {self}.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class BuiltIndex:
    """An index and the outcome of building it.

    Attributes:
        index: The index.
        outcome: The outcome of building it.
        requested: The kind that was requested, which the index of a refreshed bundle will have if it can. None if it is
            the index's own kind.

    Example:
        >>> from tfrs_twotower.index.exact import ExactIndex
        >>> built = build_exact(ExactIndex, np.eye(2, dtype=np.float32), ["a", "b"], np.ones((1, 2), np.float32))
        >>> built.index.kind, built.outcome.size_bytes
        ('exact', 16)
    """

    index: Index
    outcome: IndexOutcome
    requested: str | None = None


#: (embeddings float [num_candidates, embedding_dim], ids, queries float32 [num_queries, embedding_dim]) -> index.
BuildIndex: TypeAlias = Callable[[np.ndarray, Sequence[str], np.ndarray], BuiltIndex]


def build_exact(
    kind: Callable[[np.ndarray, Sequence[str]], Index],
    embeddings: np.ndarray,
    ids: Sequence[str],
    queries: np.ndarray,
) -> BuiltIndex:
    """Builds, verifies and measures an index of an exact kind.

    `functools.partial(build_exact, MyIndex)` is a builder for `export_bundle`.

    Args:
        kind: The class of the index, or another function that makes it from embeddings and ids.
        embeddings: float [num_candidates, embedding_dim], finite.
        ids: The candidates' ids, all different.
        queries: float32 [num_queries, embedding_dim], embeddings of the model's queries, to measure the latency with.

    Raises:
        ValueError: If the embeddings or the ids are invalid.
        RuntimeError: If `verify_index` finds the index wrong.

    Example:
        >>> from tfrs_twotower.index.exact import ExactIndex
        >>> embeddings = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
        >>> built = build_exact(ExactIndex, embeddings, [f"m{row}" for row in range(20)], embeddings[:2])
        >>> built.outcome.recall
        {10: 1.0, 100: 1.0}
    """
    start = time.monotonic()
    index = kind(embeddings, ids)
    verify_index(index, embeddings)
    outcome = _measure(index, embeddings, queries, start, recall=_full_recall(IndexTarget()))
    return BuiltIndex(index=index, outcome=outcome, requested=index.kind)


def build_approximate(
    kind: type[ApproximateIndex[Any]],
    embeddings: np.ndarray,
    ids: Sequence[str],
    queries: np.ndarray,
    *,
    target: IndexTarget | None = None,
    limits: BuildLimits | None = None,
) -> BuiltIndex:
    """Builds an approximate index with the cheapest effort that meets the target, or else an exact one.

    The index is `kind.create_approximate`, tuned, if the catalogue has more than `kind.max_candidates_for_exact`
    candidates, there are enough queries to measure with, the limits allow it and an effort meets the target. Otherwise
    it is `kind.create_exact`, and the outcome's note says why. Either is verified and measured.

    `functools.partial(build_approximate, MyIndex)` is a builder for `export_bundle`.

    Args:
        kind: The class of the index.
        embeddings: float [num_candidates, embedding_dim], finite.
        ids: The candidates' ids, all different.
        queries: float32 [num_queries, embedding_dim], embeddings of the model's queries, to measure with.
        target: The recall that an approximate index must have.
        limits: What building it may cost.

    Raises:
        ValueError: If the embeddings or the ids are invalid.
        RuntimeError: If `verify_index` finds the index wrong.

    Example:
        >>> from tfrs_twotower.index.portable import PortableIndex
        >>> embeddings = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
        >>> built = build_approximate(PortableIndex, embeddings, [f"m{row}" for row in range(20)], embeddings[:2])
        >>> built.index.kind, built.requested
        ('exact', 'portable')
    """
    start = time.monotonic()
    target, limits = target or IndexTarget(), limits or BuildLimits()
    tuned, note = None, None
    if len(embeddings) > kind.max_candidates_for_exact:
        note = _obstacle(kind, embeddings, queries, limits)
        if note is None:
            tuned = _build_tuned(kind, embeddings, ids, queries, target, start + limits.build_s)
            note = None if tuned else "exact: no effort that there was time to try met the target"
    index, recall = tuned or (kind.create_exact(embeddings, ids), _full_recall(target))
    verify_index(index, embeddings)
    outcome = dataclasses.replace(
        _measure(index, embeddings, queries, start, recall=recall), note=note, target=target.recall
    )
    return BuiltIndex(index=index, outcome=outcome, requested=kind.kind)


def _obstacle(
    kind: type[ApproximateIndex[Any]], embeddings: np.ndarray, queries: np.ndarray, limits: BuildLimits
) -> str | None:
    """Returns the reason why an approximate index cannot be built, or None."""
    if len(queries) < MIN_QUERIES:
        return f"exact: there are fewer than {MIN_QUERIES} queries to measure an approximate index with"
    needed_bytes = kind.memory_multiple * _FLOAT32_BYTES * embeddings.size
    if needed_bytes > limits.memory_bytes:
        return f"exact: an approximate index would need about {needed_bytes / 2**20:.0f} MiB more"
    return None


def _build_tuned(
    kind: type[ApproximateIndex[Any]],
    embeddings: np.ndarray,
    ids: Sequence[str],
    queries: np.ndarray,
    target: IndexTarget,
    deadline: float,
) -> tuple[Index, Mapping[int, float]] | None:
    """Returns a tuned index and its recall, or None if no effort met the target before the deadline."""
    index = kind.create_approximate(embeddings, ids)
    recall = tune(index, queries, target, deadline=deadline)
    if recall is None:
        return None
    tune_exclusions(index, queries, target, deadline=deadline)
    return index, recall


def _full_recall(target: IndexTarget) -> dict[int, float]:
    return dict.fromkeys(target.recall, 1.0)


def _measure(
    index: Index,
    embeddings: np.ndarray,
    queries: np.ndarray,
    start: float,
    *,
    recall: Mapping[int, float],
) -> IndexOutcome:
    """Returns the outcome of building an index that was begun at `start`, a reading of `time.monotonic()`."""
    build_s = time.monotonic() - start
    return IndexOutcome(
        parameters=index.parameters(),
        recall=recall,
        latency_ms=measure_latency(index, queries if len(queries) else embeddings[:1]),
        build_s=build_s,
        size_bytes=size_bytes(index),
    )


def size_bytes(index: Index) -> int:
    """Returns the size of an index's variables."""
    return sum(variable.dtype.size * variable.shape.num_elements() for variable in index.variables)
