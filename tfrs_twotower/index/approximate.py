"""What all approximate kinds of index share: efforts, exclusions, and exact search where they find too little."""

from __future__ import annotations

import abc
import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import ClassVar, Generic, TypeAlias, TypeVar

import numpy as np
import tensorflow as tf

from tfrs_twotower._autograph import as_written
from tfrs_twotower.data.rows import NO_ROW
from tfrs_twotower.index.control_flow import not_inlined
from tfrs_twotower.index.exact import ExactIndex
from tfrs_twotower.index.index import Index
from tfrs_twotower.index.ordering import drop_excluded, sort_ascending
from tfrs_twotower.index.outcome import Parameters
from tfrs_twotower.index.vectors import CandidateVectors

#: (max_exclusions, multiple) pairs: a query with at most `max_exclusions` exclusions is searched with `multiple` times
#: the effort. Both ascend from pair to pair and are at least 1.
Excluding: TypeAlias = Sequence[tuple[int, int]]

# Shares of the partitions that tuning tries to search, and partitions for each one that is searched without tuning.
_SHARES_TO_TRY = tuple(np.geomspace(0.0025, 0.16, 19))
_PARTITIONS_PER_SEARCHED = 50


@dataclasses.dataclass(frozen=True, kw_only=True)
class Effort:
    """Base class of efforts: how much work a search does, in fields that the kind of index declares.

    Example:
        >>> @dataclasses.dataclass(frozen=True, kw_only=True)
        ... class ProbeEffort(Effort):
        ...     num_probes: int
        >>> ProbeEffort(num_probes=8)
        ProbeEffort(num_probes=8)
    """


EffortT = TypeVar("EffortT", bound=Effort)


class ApproximateIndex(Index, Generic[EffortT]):
    """Finds most of the candidates with the greatest dot products.

    Like an exact index, it leaves a slot empty only if no candidate is left for it. Queries for which too few
    candidates are found, and queries with more exclusions than `excluding` covers, are searched exactly.

    A subclass is a kind of index. It finds about the best candidates in `find_approximately` and lists the efforts that
    are worth trying in `list_efforts`. `build_approximate` chooses the effort by measured recall.

    Args:
        vectors: The candidates' embeddings.
        effort: Work that a search without exclusions does.
        excluding: Multiples of the effort for queries with exclusions. With more exclusions than the last pair covers,
            a search is exact.

    Attributes:
        max_candidates_for_exact: Size of the catalogue up to which `build_approximate` makes an exact index.
        memory_multiple: Memory that building takes beside the embeddings, as a multiple of their size.
        exclusion_multiples: Multiples of the effort that are still faster than an exact search, ascending.

    Raises:
        ValueError: If `effort` or `excluding` is out of range.

    Example:
        >>> @dataclasses.dataclass(frozen=True, kw_only=True)
        ... class LongestEffort(Effort):
        ...     num_scored: int
        >>> class LongestIndex(ApproximateIndex[LongestEffort]):
        ...     '''Scores only the candidates with the longest vectors.'''
        ...
        ...     kind = "longest"
        ...     is_exact = False
        ...
        ...     def __init__(self, embeddings, ids):
        ...         self.longest = np.argsort(-np.linalg.norm(embeddings, axis=1)).astype(np.int32)
        ...         super().__init__(CandidateVectors(tf.Variable(embeddings)), effort=LongestEffort(num_scored=2))
        ...
        ...     def list_efforts(self):
        ...         return [LongestEffort(num_scored=num) for num in (10, 100, 1000)]
        ...
        ...     def find_approximately(self, queries, width, num_columns, multiple):
        ...         rows = tf.constant(self.longest[: multiple * self.effort.num_scored])
        ...         scores = tf.matmul(queries, self.vectors.take(rows), transpose_b=True)
        ...         num_found = tf.minimum(num_columns, tf.size(rows))
        ...         found = tf.gather(rows, tf.math.top_k(scores, num_found).indices)
        ...         return tf.pad(found, [[0, 0], [0, num_columns - num_found]], constant_values=NO_ROW)
        >>> index = LongestIndex(np.array([[1, 0], [3, 3], [0, 2]], np.float32), ["x", "y", "z"])
        >>> scores, rows = index.search(tf.constant([[1.0, 0.0]]), k=2)
        >>> scores.numpy().tolist(), rows.numpy().tolist()
        ([[3.0, 0.0]], [[1, 2]])
    """

    max_candidates_for_exact: ClassVar[int] = 20_000
    memory_multiple: ClassVar[float] = 1.0
    exclusion_multiples: ClassVar[Sequence[int]] = (1, 2, 4, 8)

    def __init__(self, vectors: CandidateVectors, *, effort: EffortT, excluding: Excluding = ()) -> None:
        super().__init__(vectors)
        self.effort = effort
        self.excluding = excluding

    @classmethod
    def create_approximate(cls, embeddings: np.ndarray, ids: Sequence[str]) -> ApproximateIndex[EffortT]:
        """Makes an index whose effort is yet to be tuned. By default it is `cls(embeddings, ids)`.

        Args:
            embeddings: float [num_candidates, embedding_dim], finite.
            ids: The candidates' ids, all different.
        """
        return cls(embeddings, ids)  # type: ignore[arg-type, call-arg]

    @classmethod
    def create_exact(cls, embeddings: np.ndarray, ids: Sequence[str]) -> Index:
        """Makes the index that serves where no approximate one does. By default it is an `ExactIndex`.

        Args:
            embeddings: float [num_candidates, embedding_dim], finite.
            ids: The candidates' ids, all different.
        """
        return ExactIndex(embeddings, ids)

    @property
    def effort(self) -> EffortT:
        """Work that a search does. It may be assigned; signatures traced afterwards use the new effort."""
        return self._effort

    @effort.setter
    def effort(self, effort: EffortT) -> None:
        self._effort = self.check_effort(effort)

    @property
    def excluding(self) -> Excluding:
        """Multiples of the effort for queries with exclusions. It may be assigned, as `effort` may."""
        return self._excluding

    @excluding.setter
    def excluding(self, excluding: Excluding) -> None:
        _check_excluding(excluding)
        self._excluding = tuple(excluding)

    def check_effort(self, effort: EffortT) -> EffortT:
        """Checks an effort before it is assigned, and returns the effort that this index will use.

        Raises:
            ValueError: If a subclass finds the effort out of range. This base class accepts every effort.
        """
        return effort

    @abc.abstractmethod
    def list_efforts(self) -> Sequence[EffortT]:
        """Lists the efforts that are worth trying in tuning, the cheapest first."""

    @abc.abstractmethod
    def find_approximately(
        self, queries: tf.Tensor, width: int | tf.Tensor, num_columns: int | tf.Tensor, multiple: int
    ) -> tf.Tensor:
        """Finds about the best candidates, whether they are excluded or not.

        Args:
            queries: float32 [batch, embedding_dim], as in `find_rows`.
            width: Number of candidates wanted, in 1..num_columns.
            num_columns: Number of columns, in 1..num_candidates: `width` and the candidates that may be dropped.
            multiple: Multiple of `effort` to search with, >= 1.

        Returns:
            int32 [batch, num_columns], best first, no row twice, `NO_ROW` in slots for which nothing was found.
        """

    def find_exactly(self, queries: tf.Tensor, width: int | tf.Tensor, exclude: tf.Tensor | None) -> tf.Tensor:
        """Finds the best candidates where `is_exact`; arguments and result as in `find_rows`."""
        return self.vectors.scan(queries, width, exclude)

    def find_rows(
        self, queries: tf.Tensor, k: int | tf.Tensor, width: int | tf.Tensor, exclude: tf.Tensor | None
    ) -> tf.Tensor:
        """Finds about the best candidates; arguments and result as in `Index.find_rows`."""
        if self.is_exact:
            return self.find_exactly(queries, width, exclude)
        if exclude is None:
            num_excluded, rows = 0, self.find_approximately(queries, width, width, 1)
        else:
            num_excluded = count_excluded(exclude, self.num_candidates)
            rows = tf.fill([tf.shape(queries)[0], width], NO_ROW)
            min_exclusions = 0
            for max_exclusions, multiple in ((0, 1), *self.excluding):
                is_covered = (min_exclusions <= num_excluded) & (num_excluded <= max_exclusions)
                find = functools.partial(self._find_remaining, max_exclusions, multiple)
                rows = self._replace(rows, is_covered, find, queries, width, exclude)
                min_exclusions = max_exclusions + 1
        num_found = tf.math.count_nonzero(rows != NO_ROW, axis=1, dtype=tf.int32)
        is_short = num_found < tf.minimum(k, self.num_candidates - num_excluded)
        return self._replace(rows, is_short, self.vectors.scan, queries, width, exclude)

    def parameters(self) -> Parameters:
        """Returns the fields of the effort, and `excluding` as a mapping."""
        return {**dataclasses.asdict(self.effort), "excluding": dict(self.excluding)}

    def _find_remaining(
        self, max_exclusions: int, multiple: int, queries: tf.Tensor, width: int | tf.Tensor, exclude: tf.Tensor
    ) -> tf.Tensor:
        """Finds about the best candidates that remain when each query excludes at most `max_exclusions`."""
        num_columns = tf.minimum(width + max_exclusions, self.num_candidates)
        rows = self.find_approximately(queries, width, num_columns, multiple)
        return drop_excluded(rows, exclude, width) if max_exclusions else rows

    def _replace(
        self,
        rows: tf.Tensor,
        is_selected: tf.Tensor,
        find: Callable[[tf.Tensor, int | tf.Tensor, tf.Tensor | None], tf.Tensor],
        queries: tf.Tensor,
        width: int | tf.Tensor,
        exclude: tf.Tensor | None,
    ) -> tf.Tensor:
        """Replaces the rows of the selected queries (bool [batch]), if there are any, by those that `find` returns."""

        def search() -> tf.Tensor:
            places = tf.where(is_selected)
            excluded = None if exclude is None else tf.gather(exclude, places[:, 0])
            found = find(tf.gather(queries, places[:, 0]), width, excluded)
            return tf.tensor_scatter_nd_update(rows, places, found)

        # A branch is a `tf.function`, which AutoGraph would rewrite even within what is traced as it is written.
        branch = not_inlined(as_written(search, unless=self.uses_autograph))
        return tf.cond(tf.reduce_any(is_selected), branch, lambda: rows)


def default_num_partitions_to_search(num_partitions: int) -> int:
    """Returns a fiftieth of the partitions, at least one: the effort of an index that is not tuned."""
    return math.ceil(num_partitions / _PARTITIONS_PER_SEARCHED)


def list_nums_partitions_to_search(num_partitions: int) -> list[int]:
    """Lists the numbers of partitions to search that tuning tries, ascending."""
    return [max(1, round(share * num_partitions)) for share in _SHARES_TO_TRY]


def count_excluded(exclude: tf.Tensor, num_candidates: int) -> tf.Tensor:
    """Counts the candidates that each query excludes.

    Args:
        exclude: int32 [batch, e]. Repeated values count once, and values that are not rows do not count.
        num_candidates: Size of the catalogue.

    Returns:
        int32 [batch].
    """
    ordered = sort_ascending(tf.where(exclude < num_candidates, exclude, NO_ROW))
    previous = tf.concat([tf.fill([tf.shape(ordered)[0], 1], NO_ROW), ordered[:, :-1]], axis=1)
    return tf.math.count_nonzero((ordered >= 0) & (ordered != previous), axis=1, dtype=tf.int32)


def _check_excluding(excluding: Excluding) -> None:
    previous = (0, 1)
    for max_exclusions, multiple in excluding:
        if max_exclusions <= previous[0] or multiple < previous[1]:
            raise ValueError(
                "`excluding` must be (max_exclusions, multiple) pairs, both ascending and at least 1. "
                f"Received: {list(excluding)}."
            )
        previous = max_exclusions, multiple
