"""What approximate indexes share: an effort for exclusions, and the exact search where they find too little."""

from __future__ import annotations

import abc
import functools
from collections.abc import Callable, Sequence

import tensorflow as tf

from tfrs_twotower.index.index import Index
from tfrs_twotower.index.vectors import NO_ROW, CandidateVectors, apart, ascending, without

#: (exclusions, effort) pairs, ascending: a query with at most so many exclusions is searched with so many times the
#: effort of one without.
Excluding = Sequence[tuple[int, int]]


class ApproximateIndex(Index):
    """Finds most of the candidates with the greatest dot products, never fewer candidates than there are.

    A kind of it says how to find about the best (`_find_about`). Queries for which that is too few, or that exclude
    more than `excluding` speaks of, are searched exactly.

    Args:
        vectors: The candidates.
        excluding: What queries with exclusions take: (most exclusions, times the effort) pairs, both ascending and
            >= 1. With more exclusions than the last pair's a search is exact.

    Attributes:
        excluding: As given. Signatures that are traced later follow a change.

    Raises:
        ValueError: If `excluding` is not as described.
    """

    def __init__(self, vectors: CandidateVectors, *, excluding: Excluding = ()) -> None:
        super().__init__(vectors)
        least = (0, 1)
        for most, effort in excluding:
            if most <= least[0] or effort < least[1]:
                raise ValueError(
                    "`excluding` must be (exclusions, effort) pairs, ascending, each at least 1. "
                    f"Received: {list(excluding)}."
                )
            least = most, effort
        self.excluding = tuple(excluding)

    @abc.abstractmethod
    def _find_about(self, queries: tf.Tensor, width: int | tf.Tensor, num: int | tf.Tensor, effort: int) -> tf.Tensor:
        """Finds about the best candidates, whatever is excluded.

        Args:
            queries: As of `_find`.
            width: So many are wanted, in 1..num.
            num: Columns, in 1..num_candidates: as many more as may have to be left out.
            effort: So many times the usual effort.

        Returns:
            int32 [batch, num], none twice in a row, best first, `NO_ROW` where nothing was found.
        """

    def _find_exactly(self, queries: tf.Tensor, width: int | tf.Tensor, exclude: tf.Tensor | None) -> tf.Tensor:
        """int32 [batch, width], the best of all candidates, best first, `NO_ROW` where nothing is left."""
        return self.vectors.scan(queries, width, exclude)

    def _find(
        self, queries: tf.Tensor, k: int | tf.Tensor, width: int | tf.Tensor, exclude: tf.Tensor | None
    ) -> tf.Tensor:
        if self.is_exact:
            return self._find_exactly(queries, width, exclude)
        if exclude is None:
            num, rows = 0, self._find_about(queries, width, width, 1)
        else:
            num = num_excluded(exclude, self.num_candidates)
            rows = tf.fill([tf.shape(queries)[0], width], NO_ROW)
            fewest = 0
            for most, effort in ((0, 1), *self.excluding):
                find = functools.partial(self._find_without, most, effort)
                rows = _replace(rows, (fewest <= num) & (num <= most), find, queries, width, exclude)
                fewest = most + 1
        num_found = tf.math.count_nonzero(rows != NO_ROW, axis=1, dtype=tf.int32)
        is_short = num_found < tf.minimum(k, self.num_candidates - num)
        return _replace(rows, is_short, self.vectors.scan, queries, width, exclude)

    def _find_without(
        self, most: int, effort: int, queries: tf.Tensor, width: int | tf.Tensor, exclude: tf.Tensor
    ) -> tf.Tensor:
        """Finds about the best for queries of which each excludes at most `most`, however few it does."""
        num = tf.minimum(width + most, self.num_candidates)
        rows = self._find_about(queries, width, num, effort)
        return without(rows, exclude, width) if most else rows


def num_excluded(exclude: tf.Tensor, num_candidates: int) -> tf.Tensor:
    """int32 [batch], how many candidates are excluded for each query."""
    ordered = ascending(tf.where(exclude < num_candidates, exclude, NO_ROW))
    before = tf.concat([tf.fill([tf.shape(ordered)[0], 1], NO_ROW), ordered[:, :-1]], axis=1)
    return tf.math.count_nonzero((ordered >= 0) & (ordered != before), axis=1, dtype=tf.int32)


def _replace(
    rows: tf.Tensor,
    is_meant: tf.Tensor,
    find: Callable[[tf.Tensor, int | tf.Tensor, tf.Tensor | None], tf.Tensor],
    queries: tf.Tensor,
    width: int | tf.Tensor,
    exclude: tf.Tensor | None,
) -> tf.Tensor:
    """Finds other rows for the queries that are meant (bool [batch]), if any."""

    def search() -> tf.Tensor:
        places = tf.where(is_meant)
        excluded = None if exclude is None else tf.gather(exclude, places[:, 0])
        found = find(tf.gather(queries, places[:, 0]), width, excluded)
        return tf.tensor_scatter_nd_update(rows, places, found)

    return tf.cond(tf.reduce_any(is_meant), apart(search), lambda: rows)
