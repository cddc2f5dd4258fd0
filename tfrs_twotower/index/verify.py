"""Verification of an index that was just built."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_twotower.data.rows import NO_ROW
from tfrs_twotower.index.index import Index
from tfrs_twotower.index.measure import trace_search

_MAX_VERIFIED = 256
_K = 10
# Sums of float32 products are wrong by some units in the last place of the product of the lengths, or of the smallest
# float32.
_RELATIVE_ERROR = 1e-5
_ABSOLUTE_ERROR_PER_DIMENSION = 1e-37


def verify_index(
    index: Index, embeddings: np.ndarray, *, among: np.ndarray | None = None, search: Any = None, seed: int = 0
) -> None:
    """Checks an index by searching for the candidates nearest to a sample of the candidates themselves.

    Args:
        index: The index.
        embeddings: float [num_candidates, embedding_dim], from which the index was built.
        among: int [any], rows that are sampled; by default all.
        search: From `trace_search`; by default it is traced here.
        seed: Seed of the sample.

    Raises:
        RuntimeError: If a row does not hold the vector it was given, if a score is not the dot product of the vectors,
            or if an exact index finds, by a candidate's own vector, neither the candidate nor ten that score as high.
    """
    num, dim = embeddings.shape
    among = np.arange(num) if among is None else among
    rows = np.sort(np.random.default_rng(seed).choice(among, min(len(among), _MAX_VERIFIED), replace=False))
    own = embeddings[rows].astype(np.float32)
    if not np.array_equal(index.vectors.take(tf.constant(rows, tf.int32)).numpy(), own):
        raise RuntimeError(f"The {index.kind} index holds other vectors than it was given. Build it again.")
    search = trace_search(index) if search is None else search
    scores, found = (values.numpy() for values in search(tf.constant(own), _K))
    is_found = found != NO_ROW
    queries, candidates = own.astype(np.float64), embeddings[np.maximum(found, 0)].astype(np.float64)
    expected = np.einsum("qd,qkd->qk", queries, candidates)
    norms = np.linalg.norm(queries, axis=1)
    min_error = _ABSOLUTE_ERROR_PER_DIMENSION * dim
    errors = _RELATIVE_ERROR * norms[:, np.newaxis] * np.linalg.norm(candidates, axis=2) + min_error
    if (np.abs(scores - expected) > errors)[is_found].any():
        raise RuntimeError(f"The {index.kind} index's scores are not the dot products of the vectors. Build it again.")
    # How many candidates an approximate index finds is measured with queries instead.
    if not index.is_exact:
        return
    # If others score higher than the candidate itself, the last candidate found does, too.
    last = np.where(is_found.all(axis=1), scores[:, -1], -np.inf)
    finds_itself = (found == rows[:, np.newaxis]).any(axis=1)
    is_right = finds_itself | (last >= (1 - _RELATIVE_ERROR) * norms**2 - min_error)
    if not is_right.all():
        raise RuntimeError(
            f"The {index.kind} index finds only {is_right.mean():.0%} of candidates by their own vectors. "
            "Build it again."
        )
