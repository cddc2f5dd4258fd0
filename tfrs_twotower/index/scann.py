"""The index that searches with ScaNN: its exact search, or a tree of partitions with quantised vectors."""

from __future__ import annotations

import math
import uuid
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfrs_twotower._scann import require_scann
from tfrs_twotower.index.approximate import ApproximateIndex, Excluding
from tfrs_twotower.index.index import require_in_range
from tfrs_twotower.index.vectors import NO_ROW, CandidateVectors, apart, check_embeddings, without

# Candidates to learn each partition from, and the fewest from which ScaNN learns its code of 16 values.
_SAMPLED_PER_LEAF = 60
_LEAST_FOR_LEAVES = 16
_MOST_FOUND_BY_SCANN = 2000
# How much more a leaf's centre is to be right about its members' lengths than about their directions: at equal recall
# a query looks into half as many leaves as with means. ScaNN cubes the lengths, which must stay finite.
_ANISOTROPY_OF_CENTRES = 4.0
_MOST_FOR_ANISOTROPY = 1e8
# From so many queries in each half, and so many candidates (or in a tree), the halves of a batch are searched at once:
# ScaNN's operation keeps to one thread.
_LEAST_IN_HALF = 8
_LEAST_CANDIDATES_TO_HALVE = 5000


class ScannIndex(ApproximateIndex):
    """Searches with ScaNN.

    Without leaves it scores every candidate (`score_brute_force`): as right as `ExactIndex`, and faster on large
    catalogues. With them it is approximate; `build_scann_index` finds the effort that is enough.

    Args:
        embeddings: float [num_candidates, embedding_dim], finite.
        ids: The candidates' ids, to name them in errors.
        num_leaves: Partitions of the catalogue, in 1..num_candidates; takes at least 16 candidates.
        leaves_to_search: Partitions that a query looks into, in 1..num_leaves; by default a fiftieth of them.
        reorder: Candidates that are scored exactly, those with the best approximate scores, >= 1; at least four times
            as many as are asked for.
        excluding: As of `ApproximateIndex`; so many times the leaves are searched, and as many times the candidates
            scored exactly.

    Attributes:
        leaves_to_search, reorder, excluding: The effort of a search. Signatures that are traced later follow a change.

    Raises:
        ImportError: If scann is missing or does not load; says what to install.
        ValueError: As of `check_embeddings`, or if a number is out of range; before ScaNN sees the data, whose builder
            would abort the process.

    References:
        Guo et al. 2020, Accelerating large-scale inference with anisotropic vector quantization.
    """

    kind = "scann"

    def __init__(
        self,
        embeddings: np.ndarray,
        ids: Sequence[str],
        *,
        num_leaves: int | None = None,
        leaves_to_search: int | None = None,
        reorder: int = 100,
        excluding: Excluding = (),
    ) -> None:
        ops = require_scann()
        embeddings = check_embeddings(embeddings, ids)
        self.num_leaves, self.reorder = num_leaves, reorder
        builder = ops.builder(embeddings, 1, "dot_product")
        if num_leaves is None:
            builder = builder.score_brute_force()
        else:
            self.leaves_to_search = leaves_to_search if leaves_to_search is not None else math.ceil(num_leaves / 50)
            if len(embeddings) < _LEAST_FOR_LEAVES:
                raise ValueError(
                    f"`num_leaves` takes at least {_LEAST_FOR_LEAVES} candidates. Received: {len(embeddings)}. "
                    "Leave it out: ScaNN's exact search is as fast for so few."
                )
            require_in_range("num_leaves", num_leaves, 1, len(embeddings))
            require_in_range("leaves_to_search", self.leaves_to_search, 1, num_leaves)
            require_in_range("reorder", reorder, 1)
            # By default partitions of fewer than 50 are dissolved, which costs a sixth of the recall.
            builder = builder.tree(
                num_leaves,
                self.leaves_to_search,
                training_sample_size=_SAMPLED_PER_LEAF * num_leaves,
                min_partition_size=1,
                avq=_ANISOTROPY_OF_CENTRES if np.abs(embeddings).max() <= _MOST_FOR_ANISOTROPY else None,
            )
            # In eight bits reordering would take less memory, but could not order the best of a dense niche.
            builder = builder.score_ah(2, anisotropic_quantization_threshold=0.2).reorder(reorder)
        self.state = builder.build().serialize_to_module()
        # One name per export: every signature of a bundle, and every call site, shares one searcher in memory.
        self._shared_name = f"scann-{uuid.uuid4()}"
        super().__init__(CandidateVectors(self.state.dataset), excluding=excluding)

    @property
    def is_exact(self) -> bool:
        """Whether it always finds the k best."""
        return self.num_leaves is None

    def _find_about(self, queries: tf.Tensor, width: int | tf.Tensor, num: int | tf.Tensor, effort: int) -> tf.Tensor:
        reorder = tf.maximum(effort * tf.maximum(self.reorder, 4 * width), num)
        assert self.num_leaves is not None  # without leaves it is exact
        leaves = min(effort * self.leaves_to_search, self.num_leaves)
        return self._ask(queries, num, tf.minimum(reorder, self.num_candidates), leaves)

    def _find_exactly(self, queries: tf.Tensor, width: int | tf.Tensor, exclude: tf.Tensor | None) -> tf.Tensor:
        if exclude is None:
            return self._ask(queries, width, -1, -1)
        num = tf.shape(exclude)[1]

        def ask() -> tf.Tensor:
            return without(self._ask(queries, tf.minimum(width + num, self.num_candidates), -1, -1), exclude, width)

        if self.num_candidates <= _MOST_FOUND_BY_SCANN:
            return ask()
        # ScaNN finds the excluded as well; of very many a scan passes over them sooner.
        return tf.cond(num <= _MOST_FOUND_BY_SCANN, ask, lambda: self.vectors.scan(queries, width, exclude))

    def _ask(self, queries: tf.Tensor, num: int | tf.Tensor, reorder: int | tf.Tensor, leaves: int) -> tf.Tensor:
        """int32 [batch, num], `NO_ROW` where ScaNN found nothing."""
        ops, state = require_scann(), self.state

        def searcher() -> tf.Tensor:
            return ops.tensors_to_scann(
                state.dataset, state.scann_config, state.serialized_partitioner, state.datapoint_to_token,
                state.ah_codebook, state.hashed_dataset, state.int8_dataset, state.int8_multipliers, state.dp_norms,
                shared_name=self._shared_name,
            )  # fmt: skip

        def search(searcher: tf.Tensor, queries: tf.Tensor) -> tf.Tensor:
            rows, distances = ops.scann_search_batched(searcher, queries, num, reorder, leaves, False)
            if self.num_leaves is None:
                return tf.reshape(rows, [-1, num])  # of no query it answers no columns either
            # Where it finds too little it answers fewer columns, or row 0 at a distance of NaN.
            rows = tf.where(tf.math.is_finite(distances), rows, NO_ROW)
            return tf.pad(rows, [[0, 0], [0, num - tf.shape(rows)[1]]], constant_values=NO_ROW)

        batch = tf.shape(queries)[0]

        def search_halves() -> tf.Tensor:
            half = batch // 2
            # TensorFlow lets operations on one handle wait for each other; two handles are of the same searcher.
            first = searcher()
            with tf.control_dependencies([first]):
                second = searcher()
            return tf.concat([search(first, queries[:half]), search(second, queries[half:])], axis=0)

        def search_as_one() -> tf.Tensor:
            return search(searcher(), queries)

        def search_none() -> tf.Tensor:
            return tf.fill([0, num], NO_ROW)  # its trees fail on an empty batch

        if self.num_leaves is None and self.num_candidates < _LEAST_CANDIDATES_TO_HALVE:
            return search_as_one()
        is_none, is_large = batch == 0, batch >= 2 * _LEAST_IN_HALF
        search_otherwise = apart(lambda: tf.cond(is_none, search_none, search_halves))
        return tf.cond(is_none | is_large, search_otherwise, search_as_one)
