"""The index that searches with ScaNN: exhaustively, or in a tree of partitions with quantised vectors."""

from __future__ import annotations

import dataclasses
import math
import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_twotower._autograph import as_written
from tfrs_twotower._scann import require_scann
from tfrs_twotower._settings import whole_number
from tfrs_twotower.data.rows import NO_ROW
from tfrs_twotower.index.approximate import (
    ApproximateIndex,
    Effort,
    Excluding,
    default_num_partitions_to_search,
    list_nums_partitions_to_search,
)
from tfrs_twotower.index.control_flow import not_inlined
from tfrs_twotower.index.embeddings import check_embeddings
from tfrs_twotower.index.ordering import drop_excluded
from tfrs_twotower.index.outcome import Parameters
from tfrs_twotower.index.scann_tree import ScannTree
from tfrs_twotower.index.stored import StoredIndex
from tfrs_twotower.index.vectors import CandidateVectors

# Sampled candidates per partition from which ScaNN learns the partitions.
_NUM_SAMPLED_PER_PARTITION = 60
# ScaNN learns a quantisation code of 16 values, and needs as many candidates.
_MIN_CANDIDATES_FOR_PARTITIONS = 16
# Maximum number of excluded candidates that ScaNN's exact search finds along with the others.
_MAX_EXCLUDED_BY_SCANN = 2000
# Weight of errors in the lengths of a partition's members, relative to errors in their directions, when ScaNN places
# the partition's centre. At equal recall a query searches half as many partitions as with plain means. ScaNN cubes the
# lengths, which must stay finite.
_ANISOTROPY_OF_CENTRES = 4.0
_MAX_VALUE_FOR_ANISOTROPY = 1e8
# From this number of queries in each half, and with this number of candidates or a tree, the two halves of a batch are
# searched at once, because ScaNN's operation uses a single thread.
_MIN_QUERIES_IN_HALF = 8
_MIN_CANDIDATES_FOR_HALVES = 5000
# Parameters that tuning tries, and partitions per square root of the catalogue's size.
_NUMS_REORDERING_CANDIDATES_TO_TRY = (100, 150, 200, 400, 800)
_PARTITIONS_PER_ROOT = 8
# The parts of a `ScannState`, in the order in which it takes them.
_STATE = (
    "scann_config", "serialized_partitioner", "datapoint_to_token", "ah_codebook", "hashed_dataset", "int8_dataset",
    "int8_multipliers", "dp_norms", "dataset",
)  # fmt: skip
# Minimum number of candidates that are scored exactly for each one that is wanted.
_MIN_REORDERED_PER_WANTED = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScannEffort(Effort):
    """Work that a search in ScaNN's tree does.

    Attributes:
        num_partitions_to_search: Partitions that a query searches, >= 1.
        num_reordering_candidates: Candidates with the best approximate scores that are scored exactly, >= 1. A search
            for k candidates raises it to 4 k.

    Example:
        >>> ScannEffort(num_partitions_to_search=20)
        ScannEffort(num_partitions_to_search=20, num_reordering_candidates=100)
    """

    num_partitions_to_search: int
    num_reordering_candidates: int = 100

    def __post_init__(self) -> None:
        whole_number(self.num_partitions_to_search, "`num_partitions_to_search`", 1)
        whole_number(self.num_reordering_candidates, "`num_reordering_candidates`", 1)


class ScannIndex(ApproximateIndex[ScannEffort]):
    """Searches with ScaNN.

    Without partitions it scores every candidate (`score_brute_force`): as exact as `ExactIndex`, and faster on large
    catalogues. With partitions it is approximate, and `build_scann_index` finds the effort that is enough.

    Args:
        embeddings: float [num_candidates, embedding_dim], finite.
        ids: The candidates' ids, all different. Errors name candidates by them.
        num_partitions: Partitions of the catalogue, in 1..num_candidates, for at least 16 candidates. By default there
            are none, and the index is exact.
        effort: Work that a search in the partitions does. By default it searches a fiftieth of them.
        excluding: Multiples of the effort for queries with exclusions, as in `ApproximateIndex`. Both numbers of the
            effort are multiplied.
        state: ScaNN's state for these embeddings and as many partitions; by default ScaNN learns it.

    Attributes:
        num_partitions: Partitions of the catalogue, or None.

    Raises:
        ImportError: If scann is missing or does not load. The message says what to install.
        ValueError: If `check_embeddings` refuses the embeddings or the ids, or a number is out of range. The check
            comes before ScaNN sees the data, because its builder would abort the process.

    Example:
        >>> embeddings = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
        >>> effort = ScannEffort(num_partitions_to_search=2)
        >>> index = ScannIndex(embeddings, [f"m{row}" for row in range(50)], num_partitions=5, effort=effort)
        >>> scores, rows = index.search(tf.constant(embeddings[:1]), k=3)
        >>> rows.shape, index.is_exact
        (TensorShape([1, 3]), False)

    References:
        Guo et al. 2020, Accelerating large-scale inference with anisotropic vector quantization.
    """

    kind = "scann"
    required_packages = ("scann",)
    # Up to this size ScaNN's exact search is fast enough, and nothing needs tuning.
    max_candidates_for_exact = 100_000
    # The searcher holds one copy, and two dimensions in four bits.
    memory_multiple = 1.4
    exclusion_multiples = (1, 2, 4, 8, 16, 32)

    def __init__(
        self,
        embeddings: np.ndarray,
        ids: Sequence[str],
        *,
        num_partitions: int | None = None,
        effort: ScannEffort | None = None,
        excluding: Excluding = (),
        state: Any = None,
    ) -> None:
        ops = require_scann()
        embeddings = check_embeddings(embeddings, ids)
        _check_partitions(num_partitions, effort, len(embeddings))
        self.num_partitions = num_partitions
        if effort is None:
            effort = ScannEffort(num_partitions_to_search=default_num_partitions_to_search(num_partitions or 1))
        effort = self.check_effort(effort)
        if state is None:
            state = _build_searcher(ops, embeddings, num_partitions, effort).serialize_to_module()
        self.state = state
        # One name per export: every signature of a bundle, and every call site, shares one searcher in memory.
        self._shared_name = f"scann-{uuid.uuid4()}"
        super().__init__(CandidateVectors(self.state.dataset), effort=effort, excluding=excluding)

    @classmethod
    def create_approximate(cls, embeddings: np.ndarray, ids: Sequence[str]) -> ScannIndex:
        """Makes a tree with 8 sqrt(num_candidates) partitions."""
        return cls(embeddings, ids, num_partitions=round(_PARTITIONS_PER_ROOT * math.sqrt(len(embeddings))))

    @classmethod
    def create_exact(cls, embeddings: np.ndarray, ids: Sequence[str]) -> ScannIndex:
        """Makes an index without partitions, which ScaNN searches exhaustively."""
        return cls(embeddings, ids)

    @property
    def is_exact(self) -> bool:
        """Whether the index has no partitions, so that a search always finds the k best candidates."""
        return self.num_partitions is None

    def check_effort(self, effort: ScannEffort) -> ScannEffort:
        """Checks that there are as many partitions as the effort searches.

        Raises:
            ValueError: If there are fewer.
        """
        num_partitions = self.num_partitions or 1
        if effort.num_partitions_to_search > num_partitions:
            raise ValueError(
                "`num_partitions_to_search` must be at most num_partitions. Received: "
                f"num_partitions_to_search={effort.num_partitions_to_search}, num_partitions={num_partitions}."
            )
        return effort

    def list_efforts(self) -> list[ScannEffort]:
        """Lists efforts with more and more partitions, and for each with more and more reordering candidates."""
        return [
            ScannEffort(num_partitions_to_search=to_search, num_reordering_candidates=num_reordering)
            for to_search in list_nums_partitions_to_search(self.num_partitions or 1)
            for num_reordering in _NUMS_REORDERING_CANDIDATES_TO_TRY
        ]

    def parameters(self) -> Parameters:
        """Returns the number of partitions and the effort, or nothing for an exact index."""
        return {} if self.is_exact else {"num_partitions": self.num_partitions, **super().parameters()}

    def find_approximately(
        self, queries: tf.Tensor, width: int | tf.Tensor, num_columns: int | tf.Tensor, multiple: int
    ) -> tf.Tensor:
        """Searches the tree; arguments and result as in `ApproximateIndex.find_approximately`."""
        assert self.num_partitions is not None  # without partitions the search is exact
        min_reordering = tf.maximum(self.effort.num_reordering_candidates, _MIN_REORDERED_PER_WANTED * width)
        num_reordering = tf.maximum(multiple * min_reordering, num_columns)
        to_search = min(multiple * self.effort.num_partitions_to_search, self.num_partitions)
        return self._search(queries, num_columns, tf.minimum(num_reordering, self.num_candidates), to_search)

    def find_exactly(self, queries: tf.Tensor, width: int | tf.Tensor, exclude: tf.Tensor | None) -> tf.Tensor:
        """Searches exhaustively; arguments and result as in `Index.find_rows`."""
        if exclude is None:
            return self._search(queries, width, -1, -1)
        num_excluded = tf.shape(exclude)[1]

        def search_more() -> tf.Tensor:
            found = self._search(queries, tf.minimum(width + num_excluded, self.num_candidates), -1, -1)
            return drop_excluded(found, exclude, width)

        if self.num_candidates <= _MAX_EXCLUDED_BY_SCANN:
            return search_more()
        # ScaNN finds the excluded candidates as well. With very many of them a scan, which masks them, is faster.
        return tf.cond(
            num_excluded <= _MAX_EXCLUDED_BY_SCANN, search_more, lambda: self.vectors.scan(queries, width, exclude)
        )

    @as_written
    def _search(
        self, queries: tf.Tensor, num_columns: int | tf.Tensor, num_reordering: int | tf.Tensor, to_search: int
    ) -> tf.Tensor:
        """Calls ScaNN.

        Args:
            queries: float32 [batch, embedding_dim].
            num_columns: Number of columns.
            num_reordering: Number of reordering candidates, -1 without partitions.
            to_search: Number of partitions to search, -1 without partitions.

        Returns:
            int32 [batch, num_columns], `NO_ROW` in slots for which ScaNN found nothing.
        """
        ops, state = require_scann(), self.state

        def searcher() -> tf.Tensor:
            return ops.tensors_to_scann(
                state.dataset, state.scann_config, state.serialized_partitioner, state.datapoint_to_token,
                state.ah_codebook, state.hashed_dataset, state.int8_dataset, state.int8_multipliers, state.dp_norms,
                shared_name=self._shared_name,
            )  # fmt: skip

        def search(searcher: tf.Tensor, queries: tf.Tensor) -> tf.Tensor:
            rows, distances = ops.scann_search_batched(searcher, queries, num_columns, num_reordering, to_search, False)
            if self.num_partitions is None:
                return tf.reshape(rows, [-1, num_columns])  # for an empty batch ScaNN returns no columns either
            # If ScaNN finds too few candidates it returns fewer columns, or row 0 at a distance of NaN.
            rows = tf.where(tf.math.is_finite(distances), rows, NO_ROW)
            return tf.pad(rows, [[0, 0], [0, num_columns - tf.shape(rows)[1]]], constant_values=NO_ROW)

        batch = tf.shape(queries)[0]

        def search_halves() -> tf.Tensor:
            half = batch // 2
            # TensorFlow runs operations on one handle one after the other, so each half has its own handle of the same
            # searcher.
            first = searcher()
            with tf.control_dependencies([first]):
                second = searcher()
            return tf.concat([search(first, queries[:half]), search(second, queries[half:])], axis=0)

        def search_at_once() -> tf.Tensor:
            return search(searcher(), queries)

        def search_nothing() -> tf.Tensor:
            return tf.fill([0, num_columns], NO_ROW)  # ScaNN's trees fail on an empty batch

        if self.num_partitions is None and self.num_candidates < _MIN_CANDIDATES_FOR_HALVES:
            return search_at_once()
        is_empty, is_large = batch == 0, batch >= 2 * _MIN_QUERIES_IN_HALF
        search_otherwise = not_inlined(as_written(lambda: tf.cond(is_empty, search_nothing, search_halves)))
        return tf.cond(is_empty | is_large, search_otherwise, search_at_once)


def update_scann_index(
    stored: StoredIndex, embeddings: np.ndarray, ids: Sequence[str], earlier_rows: np.ndarray
) -> ScannIndex:
    """Makes the index of a changed catalogue with the tree of an earlier one.

    Args:
        stored: The index of the earlier catalogue, with a tree.
        embeddings: float32 [num_candidates, embedding_dim], finite, of the changed catalogue.
        ids: The candidates' ids, all different.
        earlier_rows: int [num_candidates], the row in the earlier catalogue of each vector that was there, and `NO_ROW`
            for a new one.

    Raises:
        ImportError: If scann is missing or does not load.
        KeyError: If a parameter or a variable is not stored.
        ValueError: If `check_embeddings` refuses the embeddings or the ids.
    """
    ops = require_scann()
    tensors = {name: stored.read(f"state/{name}") for name in _STATE if name != "dataset"}
    tree = ScannTree.read(tensors)
    is_new = earlier_rows == NO_ROW
    partitions, codes = tree.encode(embeddings[is_new])
    for name, added in (("datapoint_to_token", partitions), ("hashed_dataset", codes)):
        tensors[name] = tensors[name][earlier_rows]
        tensors[name][is_new] = added
    tensors["dataset"] = embeddings
    return ScannIndex(
        embeddings,
        ids,
        num_partitions=len(tree.centres),
        effort=ScannEffort(
            num_partitions_to_search=stored.parameters["num_partitions_to_search"],
            num_reordering_candidates=stored.parameters["num_reordering_candidates"],
        ),
        excluding=stored.excluding,
        state=ops.ScannState([tensors[name] for name in _STATE]),
    )


def _check_partitions(num_partitions: int | None, effort: ScannEffort | None, num_candidates: int) -> None:
    if num_partitions is None:
        if effort is not None:
            raise ValueError("`effort` needs `num_partitions`: without partitions ScaNN searches every candidate.")
        return
    if num_candidates < _MIN_CANDIDATES_FOR_PARTITIONS:
        raise ValueError(
            f"`num_partitions` needs at least {_MIN_CANDIDATES_FOR_PARTITIONS} candidates. Received: {num_candidates}. "
            "Leave it out: ScaNN's exact search is as fast for so few."
        )
    if whole_number(num_partitions, "`num_partitions`", 1) > num_candidates:
        raise ValueError(
            "`num_partitions` must be at most num_candidates. "
            f"Received: num_partitions={num_partitions}, num_candidates={num_candidates}."
        )


def _build_searcher(ops: Any, embeddings: np.ndarray, num_partitions: int | None, effort: ScannEffort) -> Any:
    """Builds ScaNN's searcher."""
    builder = ops.builder(embeddings, 1, "dot_product")
    if num_partitions is None:
        return builder.score_brute_force().build()
    # By default ScaNN dissolves partitions of fewer than 50 candidates, which costs a sixth of the recall.
    builder = builder.tree(
        num_partitions,
        effort.num_partitions_to_search,
        training_sample_size=_NUM_SAMPLED_PER_PARTITION * num_partitions,
        min_partition_size=1,
        avq=_ANISOTROPY_OF_CENTRES if np.abs(embeddings).max() <= _MAX_VALUE_FOR_ANISOTROPY else None,
    )
    # Reordering in eight bits would take less memory, but could not order the best candidates of a dense niche.
    return builder.score_ah(2, anisotropic_quantization_threshold=0.2).reorder(effort.num_reordering_candidates).build()
