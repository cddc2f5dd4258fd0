"""The approximate index that any TensorFlow host can run: a query searches only the most promising partitions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfrs_twotower._autograph import as_written
from tfrs_twotower._settings import whole_number
from tfrs_twotower.data.rows import NO_ROW
from tfrs_twotower.index.approximate import (
    ApproximateIndex,
    Effort,
    Excluding,
    default_num_partitions_to_search,
    list_nums_partitions_to_search,
)
from tfrs_twotower.index.embeddings import check_embeddings
from tfrs_twotower.index.ordering import NO_SCORE
from tfrs_twotower.index.outcome import Parameters
from tfrs_twotower.index.partitions import Partitions, partition_catalogue, update_partitions
from tfrs_twotower.index.stored import StoredIndex
from tfrs_twotower.index.vectors import CandidateVectors

_NUM_PARALLEL_QUERIES = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class PortableEffort(Effort):
    """Work that a search in a portable index does.

    Attributes:
        num_partitions_to_search: Partitions that a query searches, >= 1. An index with fewer partitions searches all of
            them. A search for more candidates than the partitions hold searches more.

    Example:
        >>> PortableEffort(num_partitions_to_search=8)
        PortableEffort(num_partitions_to_search=8)
    """

    num_partitions_to_search: int

    def __post_init__(self) -> None:
        whole_number(self.num_partitions_to_search, "`num_partitions_to_search`", 1)


class PortableIndex(ApproximateIndex[PortableEffort]):
    """Scores the candidates of the most promising partitions, in stock TensorFlow operations.

    The promise of a partition is `q.c + |q| s sqrt(2 ln b / d)`: the score of its centre c, and what the best of its b
    members with spread s in d dimensions is expected to add. Each query is searched separately, so memory does not grow
    with the batch.

    Args:
        embeddings: float [num_candidates, embedding_dim], finite.
        ids: The candidates' ids, all different. Errors name candidates by them.
        partitions: The partitions of the catalogue; by default those of `partition_catalogue(embeddings)`.
        effort: Work that a search does. By default it searches a fiftieth of the partitions.
        excluding: Multiples of the effort for queries with exclusions, as in `ApproximateIndex`.

    Attributes:
        num_partitions: Number of partitions.
        partition_size: Candidates per partition.

    Raises:
        ValueError: If `check_embeddings` refuses the embeddings or the ids, or `excluding` is out of range.

    Example:
        >>> embeddings = np.random.default_rng(0).normal(size=(100, 4)).astype(np.float32)
        >>> effort = PortableEffort(num_partitions_to_search=2)
        >>> index = PortableIndex(embeddings, [f"m{row}" for row in range(100)], effort=effort)
        >>> scores, rows = index.search(tf.constant(embeddings[:1]), k=3)
        >>> rows.shape, index.is_exact
        (TensorShape([1, 3]), False)
    """

    kind = "portable"
    # Up to this size scoring every candidate is no slower than selecting partitions.
    max_candidates_for_exact = 20_000
    # Embeddings are scaled, sorted and squared while the catalogue is partitioned.
    memory_multiple = 4.0
    exclusion_multiples = (1, 2, 4, 8)

    def __init__(
        self,
        embeddings: np.ndarray,
        ids: Sequence[str],
        *,
        partitions: Partitions | None = None,
        effort: PortableEffort | None = None,
        excluding: Excluding = (),
    ) -> None:
        embeddings = check_embeddings(embeddings, ids)
        partitions = partitions if partitions is not None else partition_catalogue(embeddings)
        self.num_partitions, self.partition_size = partitions.rows.shape
        if effort is None:
            effort = PortableEffort(num_partitions_to_search=default_num_partitions_to_search(self.num_partitions))
        rows = partitions.rows.reshape(-1)
        matrix = np.where((rows == NO_ROW)[:, np.newaxis], np.float32(0), embeddings[rows])
        super().__init__(
            CandidateVectors(tf.Variable(matrix, trainable=False, name="embeddings"), rows),
            effort=effort,
            excluding=excluding,
        )
        expected_best = _expected_best(self.partition_size, embeddings.shape[1])
        keys = np.concatenate([partitions.centres, expected_best * partitions.spreads[:, np.newaxis]], axis=1)
        self.keys = tf.Variable(keys.astype(np.float32), trainable=False, name="partition_keys")

    @property
    def is_exact(self) -> bool:
        """Whether every partition is searched, so that a search always finds the k best candidates."""
        return self.effort.num_partitions_to_search == self.num_partitions

    def check_effort(self, effort: PortableEffort) -> PortableEffort:
        """Caps the partitions to search at the number of partitions."""
        return PortableEffort(num_partitions_to_search=min(effort.num_partitions_to_search, self.num_partitions))

    def list_efforts(self) -> list[PortableEffort]:
        """Lists efforts with more and more partitions."""
        return [
            PortableEffort(num_partitions_to_search=num) for num in list_nums_partitions_to_search(self.num_partitions)
        ]

    def parameters(self) -> Parameters:
        """Returns the number of partitions, their size and the effort."""
        return {
            "num_partitions": self.num_partitions,
            "partition_size": self.partition_size,
            **super().parameters(),
        }

    @as_written
    def find_approximately(
        self, queries: tf.Tensor, width: int | tf.Tensor, num_columns: int | tf.Tensor, multiple: int
    ) -> tf.Tensor:
        """Searches partitions; arguments and result as in `ApproximateIndex.find_approximately`."""
        # At least twice as many partitions as the wanted candidates fill.
        needed = 2 * (num_columns + self.partition_size - 1) // self.partition_size
        to_search = multiple * self.effort.num_partitions_to_search
        num_searched = tf.minimum(tf.maximum(to_search, needed), self.num_partitions)
        num_found = tf.minimum(num_columns, num_searched * self.partition_size)
        norms = tf.norm(queries, axis=1, keepdims=True)
        promises = tf.matmul(tf.concat([queries, norms], axis=1), self.keys, transpose_b=True)
        _, selected = tf.math.top_k(promises, num_searched, sorted=False)
        partitions = tf.reshape(self.vectors.matrix, [self.num_partitions, -1])
        rows_of_partition = tf.reshape(self.vectors.rows, [self.num_partitions, -1])

        def search_one(query_and_selected: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
            query, selected = query_and_selected
            members = tf.reshape(tf.gather(partitions, selected), [-1, self.vectors.embedding_dim])
            rows = tf.reshape(tf.gather(rows_of_partition, selected), [-1])
            scores = tf.where(rows == NO_ROW, NO_SCORE, tf.linalg.matvec(members, query))
            return tf.gather(rows, tf.math.top_k(scores, num_found).indices)

        batch = tf.shape(queries)[0]
        padding = [[0, tf.cast(batch == 0, tf.int32)], [0, 0]]  # a loop over no query would not return a matrix
        rows = tf.map_fn(
            search_one,
            (tf.pad(queries, padding), tf.pad(selected, padding)),
            fn_output_signature=tf.TensorSpec([None], tf.int32),
            parallel_iterations=_NUM_PARALLEL_QUERIES,
        )[:batch]
        return tf.pad(rows, [[0, 0], [0, num_columns - num_found]], constant_values=NO_ROW)


def update_portable_index(
    stored: StoredIndex, embeddings: np.ndarray, ids: Sequence[str], earlier_rows: np.ndarray
) -> PortableIndex:
    """Makes the index of a changed catalogue with the partitions of an earlier one.

    Args:
        stored: The index of the earlier catalogue.
        embeddings: float32 [num_candidates, embedding_dim], finite, of the changed catalogue.
        ids: The candidates' ids, all different.
        earlier_rows: int [num_candidates], the row in the earlier catalogue of each vector that was there, and `NO_ROW`
            for a new one.

    Raises:
        KeyError: If a parameter or a variable is not stored.
        ValueError: If `check_embeddings` refuses the embeddings or the ids.
    """
    keys = stored.read("keys")
    rows = stored.read("vectors/rows").reshape(len(keys), -1)
    spreads = keys[:, -1] / np.float32(_expected_best(rows.shape[1], keys.shape[1] - 1))
    partitions = Partitions(rows=rows, centres=keys[:, :-1], spreads=spreads)
    return PortableIndex(
        embeddings,
        ids,
        partitions=update_partitions(partitions, embeddings, earlier_rows),
        effort=PortableEffort(num_partitions_to_search=stored.parameters["num_partitions_to_search"]),
        excluding=stored.excluding,
    )


def _expected_best(partition_size: int, dim: int) -> float:
    """Returns what the best member of a partition is expected to add to its centre's score, per length and spread."""
    return math.sqrt(2 * math.log(partition_size) / dim)
