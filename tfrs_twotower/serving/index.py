"""Nearest-candidate search in the graph, behind one contract.

`search(queries, k, exclude) -> (scores, rows)`: always exactly min(k, num_candidates) columns, best first, of equal
scores the lower row first, no row twice. Scores are exact dot products, whatever searched. A slot for which
nothing is left holds row -1 and the lowest finite float32. What a query gets does not depend on its batch.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import tensorflow as tf

from tfrs_twotower._scann import have_scann, require_scann

#: Row of an empty slot.
NO_ROW = -1
#: Score of an empty slot: finite, because JSON has no infinity.
NO_SCORE = float(np.finfo(np.float32).min)


class Index(Protocol):
    """What a bundle needs of an index.

    Attributes:
        kind: Its name in manifests.
        is_exact: Whether it always finds the k best.
        num_candidates: Size of the catalogue.
        embeddings: float32 [num_candidates, embedding_dim], the candidates' own, a variable.
    """

    kind: str
    is_exact: bool
    num_candidates: int
    embeddings: tf.Variable

    def search(self, queries: tf.Tensor, k: int, exclude: tf.Tensor | None = None) -> tuple[tf.Tensor, tf.Tensor]:
        """Finds the k best candidates of each query.

        Args:
            queries: float32 [batch, embedding_dim].
            k: Columns, >= 1; capped at num_candidates.
            exclude: int32 [batch, e], rows that a query must not get; -1 is padding.

        Returns:
            (scores, rows): float32 and int32 [batch, min(k, num_candidates)].
        """


def build_best_index(embeddings: np.ndarray, ids: Sequence[str]) -> Index:
    """The ScaNN index where its ops are loaded, else the exact one in stock TensorFlow; both are exact here."""
    return ScannIndex(embeddings, ids) if have_scann() else ExactIndex(embeddings, ids)


class ExactIndex(tf.Module):
    """Scores every candidate, in stock TensorFlow operations.

    Args:
        embeddings: float32 [num_candidates, embedding_dim], finite.
        ids: The candidates' ids, to name them in errors.

    Raises:
        ValueError: If the embeddings are not finite, not two-dimensional, none, or not as many as the ids.

    Example:
        >>> index = ExactIndex(np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], np.float32), ["x", "y", "z"])
        >>> scores, rows = index.search(tf.constant([[3.0, 1.0]]), k=2, exclude=tf.constant([[0]]))
        >>> scores.numpy().tolist(), rows.numpy().tolist()
        ([[4.0, 1.0]], [[2, 1]])
    """

    kind = "exact"
    is_exact = True

    def __init__(self, embeddings: np.ndarray, ids: Sequence[str]) -> None:
        super().__init__(name="exact_index")
        check_embeddings(embeddings, ids)
        self.num_candidates = len(embeddings)
        self.embeddings = tf.Variable(embeddings, trainable=False, name="embeddings")

    def search(self, queries: tf.Tensor, k: int, exclude: tf.Tensor | None = None) -> tuple[tf.Tensor, tf.Tensor]:
        """Finds the k best candidates; see `Index.search`."""
        width = _search_width(k, exclude, self.num_candidates)
        scores = tf.matmul(queries, self.embeddings, transpose_b=True)
        _, rows = tf.math.top_k(scores, width)
        return _best(self.embeddings, queries, rows, min(k, self.num_candidates), exclude)


class ScannIndex(tf.Module):
    """ScaNN's exact search (`score_brute_force`): as right as `ExactIndex`, and faster on large catalogues.

    Args:
        embeddings: float32 [num_candidates, embedding_dim], finite.
        ids: The candidates' ids, to name them in errors.

    Raises:
        ImportError: If scann is missing or does not load; says what to install.
        ValueError: As in `ExactIndex`. Checked before ScaNN sees the data: its builder would abort the process.
    """

    kind = "scann"
    is_exact = True

    def __init__(self, embeddings: np.ndarray, ids: Sequence[str]) -> None:
        super().__init__(name="scann_index")
        ops = require_scann()
        check_embeddings(embeddings, ids)
        self.num_candidates = len(embeddings)
        searcher = ops.builder(embeddings, 1, "dot_product").score_brute_force().build()
        self.state = searcher.serialize_to_module()
        self.embeddings = self.state.dataset
        # One name per export: every signature of a bundle, and every call site, shares one searcher in memory.
        self._shared_name = f"scann-{uuid.uuid4()}"

    def search(self, queries: tf.Tensor, k: int, exclude: tf.Tensor | None = None) -> tuple[tf.Tensor, tf.Tensor]:
        """Finds the k best candidates; see `Index.search`."""
        ops, state = require_scann(), self.state
        searcher = ops.tensors_to_scann(
            state.dataset, state.scann_config, state.serialized_partitioner, state.datapoint_to_token,
            state.ah_codebook, state.hashed_dataset, state.int8_dataset, state.int8_multipliers, state.dp_norms,
            shared_name=self._shared_name,
        )  # fmt: skip
        width = _search_width(k, exclude, self.num_candidates)
        rows, _ = ops.scann_search_batched(searcher, queries, width, width, -1, False)
        # ScaNN answers an empty batch with no columns.
        rows = tf.reshape(rows, [tf.shape(queries)[0], width])
        return _best(self.embeddings, queries, rows, min(k, self.num_candidates), exclude)


def check_embeddings(embeddings: np.ndarray, ids: Sequence[str]) -> None:
    """Refuses what no index can be right about.

    Raises:
        ValueError: Naming the argument, or the ids of the first bad candidates.
    """
    if embeddings.ndim != 2 or embeddings.dtype != np.float32 or not embeddings.size:
        raise ValueError(
            "`embeddings` must be float32 [num_candidates, embedding_dim], at least one of each. "
            f"Received: {embeddings.dtype} {list(embeddings.shape)}."
        )
    if len(ids) != len(embeddings):
        raise ValueError(
            f"`ids` and `embeddings` must be equally many. Received: {len(ids)} ids, {len(embeddings)} embeddings."
        )
    bad = np.flatnonzero(~np.isfinite(embeddings).all(axis=1))
    if bad.size:
        named = ", ".join(repr(ids[row]) for row in bad[:5])
        raise ValueError(
            f"`embeddings` must be finite. Received {bad.size} with NaN or infinity, of candidates {named}."
        )


def _search_width(k: int, exclude: tf.Tensor | None, num_candidates: int) -> tf.Tensor:
    """How many candidates to fetch, so that k are left when every excluded one was among them."""
    num_excluded = 0 if exclude is None else tf.shape(exclude)[1]
    return tf.minimum(k + num_excluded, num_candidates)


def _best(
    embeddings: tf.Tensor, queries: tf.Tensor, rows: tf.Tensor, k: int, exclude: tf.Tensor | None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Rescores the found rows exactly, drops the excluded, and orders what is left.

    Args:
        embeddings: float32 [num_candidates, embedding_dim].
        queries: float32 [batch, embedding_dim].
        rows: int32 [batch, width], found candidates, none twice, width >= k.
        k: Columns of the result.
        exclude: int32 [batch, e], or None.

    Returns:
        As `Index.search`.
    """
    # Ascending rows, so that top_k, which prefers the earlier of equals, prefers the lower row.
    rows = tf.sort(rows, axis=1)
    # Multiply and sum instead of a matrix product, whose rounding depends on the batch it is part of.
    scores = tf.reduce_sum(queries[:, tf.newaxis, :] * tf.gather(embeddings, rows), axis=2)
    if exclude is not None:
        scores = tf.where(_is_member(rows, exclude), NO_SCORE, scores)
    scores, slots = tf.math.top_k(scores, k)
    rows = tf.gather(rows, slots, batch_dims=1)
    return scores, tf.where(scores > NO_SCORE, rows, NO_ROW)


def _is_member(values: tf.Tensor, members: tf.Tensor) -> tf.Tensor:
    """Bool [batch, n], whether each value is among its row's members (int32 [batch, e]), by binary search."""
    # A sentinel above every row, so that the position found always exists.
    top = tf.fill([tf.shape(members)[0], 1], tf.int32.max)
    ordered = tf.concat([tf.sort(members, axis=1), top], axis=1)
    positions = tf.searchsorted(ordered, values)
    return tf.gather(ordered, positions, batch_dims=1) == values
