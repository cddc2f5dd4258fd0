"""Builds an index of a catalogue: of the kind that is asked for, good enough as measured, or else exact."""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_twotower._scann import have_scann
from tfrs_twotower.index.exact import ExactIndex
from tfrs_twotower.index.index import Index
from tfrs_twotower.index.portable import PortableIndex
from tfrs_twotower.index.scann import ScannIndex
from tfrs_twotower.index.tuning import (
    LEAST_QUERIES,
    IndexOutcome,
    IndexTarget,
    measure_latency,
    tune,
    tune_exclusions,
)
from tfrs_twotower.index.vectors import NO_ROW

#: Up to so many candidates ScaNN's exact search is fast enough, and nothing needs tuning.
MOST_FOR_EXACT_SCANN = 100_000
#: Up to so many candidates scoring all of them is no slower than choosing among blocks.
MOST_FOR_EXACT = 20_000
# Shares of the leaves or blocks that are tried.
_SHARES = tuple(np.geomspace(0.0025, 0.16, 19))
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
    """An index, and what became of building it.

    Attributes:
        index: The index.
        outcome: What became of building it.
        requested: The kind that was asked for, of which a refreshed bundle's index is asked to be, too; None if that is
            the kind that it is.
    """

    index: Index
    outcome: IndexOutcome
    requested: str | None = None


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
    return _Build("exact", embeddings, ids, queries).exactly(ExactIndex)


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
    num_leaves = round(8 * math.sqrt(len(embeddings)))
    return _Build("scann", embeddings, ids, queries, target or IndexTarget(), limits or BuildLimits()).approximately(
        functools.partial(ScannIndex, num_leaves=num_leaves),
        lambda index: [
            {"leaves_to_search": max(1, round(share * num_leaves)), "reorder": reorder}
            for share in _SHARES
            for reorder in (100, 150, 200, 400, 800)
        ],
        ("num_leaves", "leaves_to_search", "reorder"),
        copies=1.4,  # one in the searcher, and two dimensions in four bits
        excluding_efforts=(1, 2, 4, 8, 16, 32),
        otherwise=ScannIndex,
        most_for_exact=MOST_FOR_EXACT_SCANN,
    )


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
    return _Build("portable", embeddings, ids, queries, target or IndexTarget(), limits or BuildLimits()).approximately(
        PortableIndex,
        lambda index: [{"blocks_to_open": max(1, round(share * index.num_blocks))} for share in _SHARES],
        ("num_blocks", "block_size", "blocks_to_open"),
        copies=4.0,  # scaled, sorted and squared while the catalogue is cut
        excluding_efforts=(1, 2, 4, 8),
        otherwise=ExactIndex,
        most_for_exact=MOST_FOR_EXACT,
    )


@dataclasses.dataclass(frozen=True)
class _Build:
    """One build of an index, from its start."""

    requested: str
    embeddings: np.ndarray
    ids: Sequence[str]
    queries: np.ndarray
    target: IndexTarget = dataclasses.field(default_factory=IndexTarget)
    limits: BuildLimits = dataclasses.field(default_factory=BuildLimits)
    start: float = dataclasses.field(default_factory=time.monotonic)

    def exactly(self, kind: Callable[..., Index], *, note: str | None = None) -> BuiltIndex:
        """The index of a kind that scores every candidate."""
        index = kind(self.embeddings, self.ids)
        return self._finish(index, recall=dict.fromkeys(self.target.recall, 1.0), parameters={}, note=note)

    def approximately(
        self,
        kind: Callable[..., Any],
        list_efforts: Callable[[Any], Iterable[Mapping[str, int]]],
        names: Sequence[str],
        *,
        copies: float,
        excluding_efforts: Sequence[int],
        otherwise: Callable[..., Index],
        most_for_exact: int,
    ) -> BuiltIndex:
        """An approximate index with the least effort that meets the target, or else an exact one.

        Args:
            kind: Makes the approximate index of embeddings and ids.
            list_efforts: Index -> its efforts, the least first.
            names: Its attributes that the outcome names.
            copies: Memory that making it takes beside the embeddings, in multiples of them.
            excluding_efforts: Multiples of its effort that are still worth it where candidates are excluded.
            otherwise: Makes the exact index.
            most_for_exact: Up to so many candidates it is exact from the start.
        """
        if len(self.embeddings) <= most_for_exact:
            return self.exactly(otherwise)
        needed_bytes = copies * 4 * self.embeddings.size
        if len(self.queries) < LEAST_QUERIES:
            note = f"exact: there are fewer than {LEAST_QUERIES} queries to measure an approximate index with"
            return self.exactly(otherwise, note=note)
        if needed_bytes > self.limits.memory_bytes:
            note = f"exact: an approximate index would need about {needed_bytes / 2**20:.0f} MiB more"
            return self.exactly(otherwise, note=note)
        index = kind(self.embeddings, self.ids)
        deadline = self.start + self.limits.build_s
        recall = tune(index, self.queries, self.target, list_efforts(index), deadline=deadline)
        if recall is None:
            del index
            return self.exactly(otherwise, note="exact: no effort that there was time to try met the target")
        tune_exclusions(index, self.queries, self.target, excluding_efforts, deadline=deadline)
        parameters = {name: getattr(index, name) for name in names} | {
            "excluding": {str(most): effort for most, effort in index.excluding}
        }
        return self._finish(index, recall=recall, parameters=parameters, note=None)

    def _finish(
        self,
        index: Index,
        *,
        recall: dict[int, float],
        parameters: dict[str, int | Mapping[str, int]],
        note: str | None,
    ) -> BuiltIndex:
        verify_index(index, self.embeddings)
        build_s = time.monotonic() - self.start
        outcome = IndexOutcome(
            parameters=parameters,
            recall=recall,
            latency_ms=measure_latency(index, self.queries if len(self.queries) else self.embeddings[:1]),
            build_s=build_s,
            size_bytes=sum(variable.dtype.size * variable.shape.num_elements() for variable in index.variables),
            note=note,
        )
        return BuiltIndex(index=index, outcome=outcome, requested=self.requested)


#: Kind -> what builds it.
BUILDERS: Mapping[str, BuildIndex] = {
    "exact": build_exact_index,
    "scann": build_scann_index,
    "portable": build_portable_index,
}


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
    num, dim = embeddings.shape
    rows = np.sort(np.random.default_rng(seed).choice(num, min(num, _NUM_VERIFIED), replace=False))
    own = embeddings[rows].astype(np.float32)
    if not np.array_equal(index.vectors.take(tf.constant(rows, tf.int32)).numpy(), own):
        raise RuntimeError(f"The {index.kind} index holds other vectors than it was given. Build it again.")
    scores, found = (values.numpy() for values in tf.function(index.search)(tf.constant(own), 10))
    is_found = found != NO_ROW
    queries, candidates = own.astype(np.float64), embeddings[np.maximum(found, 0)].astype(np.float64)
    expected = np.einsum("qd,qkd->qk", queries, candidates)
    lengths = np.linalg.norm(queries, axis=1)
    # Sums of float32 products err by some units in the last place of the lengths, or of the least number.
    least_error = 1e-37 * dim
    errors = 1e-5 * lengths[:, np.newaxis] * np.linalg.norm(candidates, axis=2) + least_error
    if (np.abs(scores - expected) > errors)[is_found].any():
        raise RuntimeError(f"The {index.kind} index's scores are not the products of the vectors. Build it again.")
    # How many an approximate index finds is measured with queries instead.
    if not index.is_exact:
        return
    # Others may score higher; then the last one found does.
    last = np.where(is_found.all(axis=1), scores[:, -1], -np.inf)
    is_right = (found == rows[:, np.newaxis]).any(axis=1) | (last >= (1 - 1e-5) * lengths**2 - least_error)
    if not is_right.all():
        raise RuntimeError(
            f"The {index.kind} index finds {is_right.mean():.0%} of candidates by their own vectors. Build it again."
        )
