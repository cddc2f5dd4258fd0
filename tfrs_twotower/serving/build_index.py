"""Builds an index of a catalogue: of the kind that is asked for, good enough as measured, or else exact."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from tfrs_twotower._scann import have_scann
from tfrs_twotower.serving.exact_index import ExactIndex
from tfrs_twotower.serving.index import Index
from tfrs_twotower.serving.portable_index import PortableIndex
from tfrs_twotower.serving.scann_index import ScannIndex
from tfrs_twotower.serving.tuning import IndexOutcome, IndexTarget, measure_latency, tune, tune_exclusions
from tfrs_twotower.serving.vectors import check_embeddings

#: Up to so many candidates ScaNN's exact search is fast enough, and nothing needs tuning.
MOST_FOR_EXACT_SCANN = 100_000
#: Up to so many candidates scoring all of them is no slower than choosing among blocks.
MOST_FOR_EXACT = 20_000
# Shares of the leaves or blocks that are tried.
_SHARES = (0.0025, 0.0035, 0.005, 0.007, 0.01, 0.014, 0.02, 0.028, 0.04, 0.056, 0.08, 0.113, 0.16)
_NUM_VERIFIED = 256


@dataclasses.dataclass(frozen=True, kw_only=True)
class BuildLimits:
    """What building an approximate index may cost; with less the index is exact.

    Attributes:
        build_s: Seconds, > 0; looked at after partitioning the catalogue, which is not interrupted, and before each
            effort that is tried.
        memory_bytes: Bytes beside the embeddings themselves, > 0, as estimated from their size.
    """

    build_s: float = math.inf
    memory_bytes: float = math.inf

    def __post_init__(self) -> None:
        if not (self.build_s > 0 and self.memory_bytes > 0):
            raise ValueError(f"`build_s` and `memory_bytes` must be positive. Received: {self}.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class BuiltIndex:
    """An index, and what became of building it."""

    index: Index
    outcome: IndexOutcome


#: (embeddings float [num_candidates, embedding_dim], ids, queries float32 [num_queries, embedding_dim]) -> index.
BuildIndex = Callable[[np.ndarray, Sequence[str], np.ndarray], BuiltIndex]


def build_best_index(
    embeddings: np.ndarray,
    ids: Sequence[str],
    queries: np.ndarray,
    *,
    target: IndexTarget | None = None,
    limits: BuildLimits | None = None,
) -> BuiltIndex:
    """Builds ScaNN's index where scann is installed, else the portable one.

    Args:
        embeddings: float [num_candidates, embedding_dim], finite.
        ids: The candidates' ids, all different.
        queries: float32 [num_queries, embedding_dim], embeddings of the model's own queries, to measure with.
        target: What an approximate index must find.
        limits: What building it may cost.

    Raises:
        ValueError: As of `check_embeddings`.
        RuntimeError: If the index does not hold what it was given.
    """
    build = build_scann_index if have_scann() else build_portable_index
    return build(embeddings, ids, queries, target=target, limits=limits)


def build_exact_index(embeddings: np.ndarray, ids: Sequence[str], queries: np.ndarray) -> BuiltIndex:
    """Builds the index that scores every candidate; arguments and errors as of `build_best_index`."""
    start = time.monotonic()
    return _finish(ExactIndex(embeddings, ids), embeddings, queries, start, IndexTarget())


def build_scann_index(
    embeddings: np.ndarray,
    ids: Sequence[str],
    queries: np.ndarray,
    *,
    target: IndexTarget | None = None,
    limits: BuildLimits | None = None,
) -> BuiltIndex:
    """Builds ScaNN's index: its exact search up to 100,000 candidates, above a tree that meets the target.

    Arguments and errors as of `build_best_index`, and:

    Raises:
        ImportError: If scann is missing or does not load; says what to install.
    """
    start, target, limits = time.monotonic(), target or IndexTarget(), limits or BuildLimits()
    embeddings = check_embeddings(embeddings, ids)
    num_candidates = len(embeddings)
    if num_candidates <= MOST_FOR_EXACT_SCANN:
        return _finish(ScannIndex(embeddings, ids), embeddings, queries, start, target)
    # A copy in the searcher, two dimensions in four bits, and the sample.
    reason = _why_not(embeddings.nbytes * 1.4, queries, limits)
    if reason is None:
        num_leaves = round(8 * math.sqrt(num_candidates))
        index = ScannIndex(embeddings, ids, num_leaves=num_leaves)
        efforts = (
            {"leaves_to_search": max(1, round(share * num_leaves)), "reorder": reorder}
            for share in _SHARES
            for reorder in (100, 200, 400)
        )
        names = ("num_leaves", "leaves_to_search", "reorder")
        built = _tune(index, efforts, names, embeddings, queries, start, target, limits)
        if built is not None:
            return built
        reason = _MISSED
    return _finish(ScannIndex(embeddings, ids), embeddings, queries, start, target, note=reason)


def build_portable_index(
    embeddings: np.ndarray,
    ids: Sequence[str],
    queries: np.ndarray,
    *,
    target: IndexTarget | None = None,
    limits: BuildLimits | None = None,
) -> BuiltIndex:
    """Builds an index of stock TensorFlow operations: exact up to 20,000 candidates, above blocks that meet the target.

    Arguments and errors as of `build_best_index`.
    """
    start, target, limits = time.monotonic(), target or IndexTarget(), limits or BuildLimits()
    embeddings = check_embeddings(embeddings, ids)
    if len(embeddings) <= MOST_FOR_EXACT:
        return _finish(ExactIndex(embeddings, ids), embeddings, queries, start, target)
    # Scaled, sorted and squared copies while the catalogue is cut.
    reason = _why_not(embeddings.nbytes * 4.0, queries, limits)
    if reason is None:
        index = PortableIndex(embeddings, ids)
        efforts = ({"blocks_to_open": max(1, round(share * index.num_blocks))} for share in _SHARES)
        names = ("num_blocks", "block_size", "blocks_to_open")
        built = _tune(index, efforts, names, embeddings, queries, start, target, limits)
        if built is not None:
            return built
        reason = _MISSED
    return _finish(ExactIndex(embeddings, ids), embeddings, queries, start, target, note=reason)


_MISSED = "exact: no effort that there was time to try met the target"


def _tune(
    index: Index,
    efforts: Iterable[Mapping[str, int]],
    names: Sequence[str],
    embeddings: np.ndarray,
    queries: np.ndarray,
    start: float,
    target: IndexTarget,
    limits: BuildLimits,
) -> BuiltIndex | None:
    """The index with the least effort that meets the target, or None."""
    deadline = start + limits.build_s
    recall = tune(index, queries, target, efforts, deadline=deadline)
    if recall is None:
        return None
    tune_exclusions(index, queries, target, deadline=deadline)
    parameters = {name: getattr(index, name) for name in (*names, "max_excluded", "excluding_effort")}
    return _finish(index, embeddings, queries, start, target, recall=recall, parameters=parameters)


def _why_not(needed_bytes: float, queries: np.ndarray, limits: BuildLimits) -> str | None:
    if len(queries) < 2:
        return "exact: there are no queries to measure an approximate index with"
    if needed_bytes > limits.memory_bytes:
        return f"exact: an approximate index would need about {needed_bytes / 2**20:.0f} MiB more"
    return None


def _finish(
    index: Index,
    embeddings: np.ndarray,
    queries: np.ndarray,
    start: float,
    target: IndexTarget,
    *,
    recall: dict[int, float] | None = None,
    parameters: dict[str, int] | None = None,
    note: str | None = None,
) -> BuiltIndex:
    verify_index(index, embeddings)
    build_s = time.monotonic() - start
    outcome = IndexOutcome(
        parameters=parameters or {},
        recall=recall or dict.fromkeys(target.recall, 1.0),
        latency_ms=measure_latency(index, queries if len(queries) else embeddings[:1]),
        build_s=build_s,
        size_bytes=sum(variable.dtype.size * variable.shape.num_elements() for variable in index.variables),
        note=note,
    )
    return BuiltIndex(index=index, outcome=outcome)


def verify_index(index: Index, embeddings: np.ndarray, *, seed: int = 0) -> None:
    """Searches a sample of the candidates' own vectors.

    Args:
        index: Just built.
        embeddings: float [num_candidates, embedding_dim], what it was built from.
        seed: Of the sample.

    Raises:
        RuntimeError: If a row has another vector than it was given, a score is not the product of the vectors, or an
            exact index finds a candidate neither by its own vector nor ten that score as high.
    """
    num = len(embeddings)
    rows = np.sort(np.random.default_rng(seed).choice(num, min(num, _NUM_VERIFIED), replace=False))
    own = embeddings[rows].astype(np.float32)
    if not np.array_equal(index.vectors.take(tf.constant(rows, tf.int32)).numpy(), own):
        raise RuntimeError(f"The {index.kind} index holds other vectors than it was given. Build it again.")
    scores, found = (values.numpy() for values in tf.function(index.search)(tf.constant(own), 10))
    is_found = scores > np.finfo(np.float32).min
    expected = np.einsum("qd,qkd->qk", own.astype(np.float64), embeddings[np.maximum(found, 0)].astype(np.float64))
    norms = np.linalg.norm(own.astype(np.float64), axis=1)[:, None]
    lengths = norms * np.linalg.norm(embeddings[np.maximum(found, 0)].astype(np.float64), axis=2)
    # Sums of float32 products: an error of some units in the last place of the lengths, or of the least number.
    if (np.abs(scores - expected) > 1e-5 * lengths + 1e-37 * own.shape[1])[is_found].any():
        raise RuntimeError(f"The {index.kind} index's scores are not the products of the vectors. Build it again.")
    # Others may score higher; then the last one found does.
    last = np.where(is_found.all(axis=1), scores[:, -1], -np.inf)
    is_right = (found == rows[:, None]).any(axis=1) | (last >= (1 - 1e-5) * norms[:, 0] ** 2 - 1e-37 * own.shape[1])
    # How many an approximate index finds is measured with queries instead.
    if index.is_exact and not is_right.all():
        raise RuntimeError(
            f"The {index.kind} index finds {is_right.mean():.0%} of candidates by their own vectors. Build it again."
        )
