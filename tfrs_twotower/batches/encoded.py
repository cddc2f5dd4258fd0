"""Encoded tables hold the codes of every query and candidate, looked up once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.data.rows import NO_ROW


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncodedHistory:
    """Turns the rows of past candidates into the codes of a history feature.

    Attributes:
        name: Input name of the candidates.
        codes: int64 [num_candidates + 1], the code of each past candidate, and last the code of padding.
        rating_name: Input name of the ratings; None if the feature takes none.
        code_ratings: Function from ratings, float32 of any shape, to their codes.
        time_name: Input name of the times; None if the feature takes none.
    """

    name: str
    codes: np.ndarray
    rating_name: str | None = None
    code_ratings: Callable[[Any], Any] | None = None
    time_name: str | None = None

    def look_up(self, rows: Any, ratings: Any, take: Callable[[Any, Any], Any], times: Any = None) -> dict[str, Any]:
        """Returns codes by input name.

        Args:
            rows: int32 [batch, length], rows of candidates; padding is `NO_ROW` for NumPy's `take`, which counts it
                from the end, and the number of candidates for `tf.gather`.
            ratings: float32 [batch, length].
            take: `np.take` or `tf.gather`.
            times: int64 [batch, length], seconds since 1970; only if the feature takes them.
        """
        found = {self.name: take(self.codes, rows)}
        if self.rating_name is not None and self.code_ratings is not None:
            found[self.rating_name] = self.code_ratings(ratings)
        if self.time_name is not None:
            found[self.time_name] = times
        return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncodedTables:
    """The codes from which batches are gathered.

    Attributes:
        queries: Input name -> codes [num_queries, ...].
        candidates: Input name -> codes [num_candidates, ...].
        histories: The history features of the query tower.
        contexts: Input name -> codes [num_contexts, ...] of the query tower's features that are columns of the events.
    """

    queries: Mapping[str, np.ndarray]
    candidates: Mapping[str, np.ndarray]
    histories: Sequence[EncodedHistory] = ()
    contexts: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def require_rows_of(self, interactions: Interactions) -> None:
        """Checks that there is a row for each query, each candidate and each context.

        Args:
            interactions: Interactions whose queries, candidates and contexts have been encoded.

        Raises:
            ValueError: If a table has another length.
        """
        for name, table, num_rows in (
            ("queries", self.queries, interactions.num_queries),
            ("candidates", self.candidates, interactions.num_candidates),
            ("contexts", self.contexts, interactions.contexts.table.num_rows if self.contexts else 0),
        ):
            for feature, values in table.items():
                if len(values) != num_rows:
                    raise ValueError(f"`{name}[{feature!r}]` must have {num_rows} rows. Received: {len(values)}.")

    @property
    def have_times(self) -> bool:
        """Whether a history takes the times of its events."""
        return any(history.time_name is not None for history in self.histories)

    def in_graph(self) -> GraphTables:
        """Returns the tables as tensors, for a `tf.data` pipeline."""
        return GraphTables(self)


class GraphTables:
    """Encoded tables as tensors.

    Args:
        tables: The tables.
    """

    def __init__(self, tables: EncodedTables) -> None:
        self._queries = {name: tf.constant(codes) for name, codes in tables.queries.items()}
        self._candidates = {name: tf.constant(codes) for name, codes in tables.candidates.items()}
        self._contexts = {name: tf.constant(codes) for name, codes in tables.contexts.items()}
        self._histories = [
            dataclasses.replace(history, codes=tf.constant(history.codes)) for history in tables.histories
        ]

    def queries(
        self,
        rows: tf.Tensor,
        history: tf.Tensor | None,
        ratings: tf.Tensor | None,
        contexts: tf.Tensor | None = None,
        times: tf.Tensor | None = None,
    ) -> dict[str, tf.Tensor]:
        """Gathers the codes of queries, with those of their histories and contexts.

        Args:
            rows: int32 [batch].
            history: int32 [batch, length], rows of past candidates, `NO_ROW` in an unused slot; None without a history.
            ratings: float32 [batch, length].
            contexts: int32 [batch], rows of contexts; None without a context.
            times: int64 [batch, length]; None if no history takes them.
        """
        codes = {name: tf.gather(table, rows) for name, table in self._queries.items()}
        if contexts is not None:
            codes.update({name: tf.gather(table, contexts) for name, table in self._contexts.items()})
        if history is not None:
            for feature in self._histories:
                padded = tf.where(history == NO_ROW, len(feature.codes) - 1, history)
                codes.update(feature.look_up(padded, ratings, tf.gather, times))
        return codes

    def candidates(self, rows: tf.Tensor) -> dict[str, tf.Tensor]:
        """Gathers the codes of candidates.

        Args:
            rows: int32 [num_rows].
        """
        return {name: tf.gather(table, rows) for name, table in self._candidates.items()}
