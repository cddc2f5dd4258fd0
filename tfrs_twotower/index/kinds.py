"""The kinds of index in this library, and the functions that build them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tfrs_twotower._scann import have_scann
from tfrs_twotower.index.build import BuildIndex, BuildLimits, BuiltIndex, build_approximate, build_exact
from tfrs_twotower.index.exact import ExactIndex
from tfrs_twotower.index.portable import PortableIndex
from tfrs_twotower.index.scann import ScannIndex
from tfrs_twotower.index.tuning import IndexTarget


def build_best_index(
    embeddings: np.ndarray,
    ids: Sequence[str],
    queries: np.ndarray,
    *,
    target: IndexTarget | None = None,
    limits: BuildLimits | None = None,
) -> BuiltIndex:
    """Builds a ScaNN index if scann is installed, and otherwise a portable one.

    Args:
        embeddings: float [num_candidates, embedding_dim], finite.
        ids: The candidates' ids, all different.
        queries: float32 [num_queries, embedding_dim], embeddings of the model's queries, to measure with.
        target: The recall that an approximate index must have.
        limits: What building an approximate index may cost.

    Raises:
        ValueError: If the embeddings or the ids are invalid.
        RuntimeError: If `verify_index` finds the index wrong.

    Example:
        >>> embeddings = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
        >>> built = build_best_index(embeddings, [f"m{row}" for row in range(20)], embeddings[:2])
        >>> built.index.is_exact  # there are only 20 candidates
        True
    """
    build = build_scann_index if have_scann() else build_portable_index
    return build(embeddings, ids, queries, target=target, limits=limits)


def build_exact_index(embeddings: np.ndarray, ids: Sequence[str], queries: np.ndarray) -> BuiltIndex:
    """Builds the index that scores every candidate; arguments and errors as in `build_best_index`.

    Example:
        >>> embeddings = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
        >>> built = build_exact_index(embeddings, [f"m{row}" for row in range(20)], embeddings[:2])
        >>> built.index.kind, built.outcome.recall
        ('exact', {10: 1.0, 100: 1.0})
    """
    return build_exact(ExactIndex, embeddings, ids, queries)


def build_scann_index(
    embeddings: np.ndarray,
    ids: Sequence[str],
    queries: np.ndarray,
    *,
    target: IndexTarget | None = None,
    limits: BuildLimits | None = None,
) -> BuiltIndex:
    """Builds a ScaNN index: exact up to 100,000 candidates, above that a tree that meets the target.

    Arguments and errors are those of `build_best_index`. In addition:

    Raises:
        ImportError: If scann is missing or does not load. The message says what to install.

    Example:
        >>> embeddings = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
        >>> built = build_scann_index(embeddings, [f"m{row}" for row in range(20)], embeddings[:2])
        >>> built.index.kind, built.index.is_exact
        ('scann', True)
    """
    return build_approximate(ScannIndex, embeddings, ids, queries, target=target, limits=limits)


def build_portable_index(
    embeddings: np.ndarray,
    ids: Sequence[str],
    queries: np.ndarray,
    *,
    target: IndexTarget | None = None,
    limits: BuildLimits | None = None,
) -> BuiltIndex:
    """Builds an index of stock TensorFlow operations: exact up to 20,000 candidates, above that approximate.

    Above 20,000 candidates a query searches only some partitions of the catalogue, as many as meet the target.
    Arguments and errors are those of `build_best_index`.

    Example:
        >>> embeddings = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
        >>> built = build_portable_index(embeddings, [f"m{row}" for row in range(20)], embeddings[:2])
        >>> built.index.kind, built.requested
        ('exact', 'portable')
    """
    return build_approximate(PortableIndex, embeddings, ids, queries, target=target, limits=limits)


#: Name of a kind of index -> function that builds it.
BUILDERS: Mapping[str, BuildIndex] = {
    "exact": build_exact_index,
    "scann": build_scann_index,
    "portable": build_portable_index,
}


def builder_of(kind: str) -> BuildIndex:
    """Returns the function that builds an index of a kind of this library.

    Args:
        kind: Name of the kind, as manifests have it.

    Raises:
        ValueError: If this library has no such kind.

    Example:
        >>> builder_of("exact") is build_exact_index
        True
    """
    if kind not in BUILDERS:
        raise ValueError(
            f"`kind` must be one of {', '.join(BUILDERS)}. Received: {kind!r}. "
            "Pass `build_index` to build an index of your own kind."
        )
    return BUILDERS[kind]
