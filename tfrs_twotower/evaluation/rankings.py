"""Ranks the catalogue by the model and by baselines for the same requests, and measures all lists by the same pairs."""

from __future__ import annotations

import dataclasses

import numpy as np

from tfrs_twotower._progress import Progress
from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.data.splits import Split
from tfrs_twotower.evaluation.baselines import popularity, recent_popularity
from tfrs_twotower.evaluation.predictions import Predictions
from tfrs_twotower.evaluation.ranking import Embeddings, event_pairs, rank_candidates
from tfrs_twotower.evaluation.relevance import (
    QueryMetrics,
    RelevantPairs,
    check_ranked,
    metrics_of_pairs,
    relevant_pairs,
)
from tfrs_twotower.evaluation.shared_order import rank_by_value


class Rankings:
    """Measures rankings of the requests of a test part.

    Args:
        predictions: Predictions for the test part of `split`.
        split: What is evaluated, and what each of its queries has seen.
        threshold: Lowest rating that counts as positive.
        asked_by: int [num_queries], the query that each query of `split` stands for; None if it stands for itself.
        progress: Told how far the ranking of the baselines is.

    Attributes:
        test: The test part by request.
        query_rows: int64 [n], ascending, the requests that candidates are ranked for.
        of_requests: int64 [num_requests], the query that each request is of.
        of_events: int64 [num_test_events], the query that each test event is of.
        relevant: The pairs of a request and a candidate that a ranking should find.

    Raises:
        ValueError: If the shape of the predictions does not match the split.

    Example:
        >>> import pyarrow as pa
        >>> ratings = Interactions(
        ...     queries=pa.table({"user_id": ["u1"]}), candidates=pa.table({"movie_id": ["m1", "m2"]}),
        ...     events=pa.table({"query_row": [0, 0], "candidate_row": [0, 1], "rating": [4.0, 5.0]}),
        ...     query_id="user_id", candidate_id="movie_id",
        ... )
        >>> train, test, nothing = (ratings.with_events(np.array(rows, np.int64)) for rows in ([0], [1], []))
        >>> split = Split(train=train, validation=nothing, test=test, history=nothing)
        >>> predictions = Predictions(ranked=np.array([[1]]), probabilities=None)
        >>> rankings = Rankings(predictions, split, threshold=3, progress=lambda task, done, total: None)
        >>> rankings.of_model().means()["hit_rate@1"]
        1.0
    """

    def __init__(
        self,
        predictions: Predictions,
        split: Split,
        *,
        threshold: float,
        asked_by: np.ndarray | None = None,
        progress: Progress,
    ) -> None:
        requests = split.test.requests
        self.test = split.test.by_request()
        self.query_rows = predictions.ranked_queries(split.test)
        self.of_requests = requests.query_rows if asked_by is None else asked_by[requests.query_rows]
        self.of_events = self.of_requests[requests.of_events]
        check_ranked(predictions.ranked, self.test)
        self._ranked, self._threshold, self._progress = predictions.ranked, threshold, progress
        self._is_by_query = asked_by is None and not split.test.event_features
        self._left_out = np.zeros((0, 2), np.int64)
        if not predictions.recommend_seen:
            self._left_out = requests.of_pairs(event_pairs(split.seen), self.query_rows)
        relevant = relevant_pairs(self.test, self._left_out, threshold)
        is_ranked = np.isin(relevant.codes // self.test.num_candidates, self.query_rows)
        self.relevant = RelevantPairs(codes=relevant.codes[is_ranked], gains=relevant.gains[is_ranked])

    def of_model(self) -> QueryMetrics:
        """Measures the ranking of the predictions."""
        return self._measure(self._ranked)

    def by_value(self, name: str, values: np.ndarray) -> QueryMetrics:
        """Measures the order of one value for each candidate.

        Args:
            name: What progress calls it.
            values: float [num_candidates].
        """
        ranked = rank_by_value(
            values,
            self._left_out,
            k=self._ranked.shape[1],
            num_queries=self.test.num_queries,
            query_rows=self.query_rows,
            task=f"Ranking {name}",
            progress=self._progress,
        )
        return self._measure(ranked)

    def by_embeddings(self, name: str, embeddings: Embeddings) -> QueryMetrics:
        """Measures the ranking by the products of embeddings.

        Args:
            name: What progress calls it.
            embeddings: Those of the queries that `of_requests` names, and of the candidates.
        """
        queries, candidates = embeddings
        ranked = rank_candidates(
            queries[self.of_requests],
            candidates,
            self._left_out,
            k=self._ranked.shape[1],
            query_rows=self.query_rows,
            progress=lambda _, done, total: self._progress(f"Ranking {name}", done, total),
        )
        return self._measure(ranked)

    def by_popularity(self, learnt: Interactions) -> dict[str, QueryMetrics]:
        """Measures popularity and, for events with times, recent popularity.

        Args:
            learnt: The events that are counted.
        """
        found = {"popularity": popularity(learnt, threshold=self._threshold)}
        if learnt.timestamps is not None:
            found["recent popularity"] = recent_popularity(learnt, threshold=self._threshold)
        return {name: self.by_value(f"by {name}", candidates[:, 0]) for name, (_, candidates) in found.items()}

    def _measure(self, ranked: np.ndarray) -> QueryMetrics:
        measured = metrics_of_pairs(ranked, self.relevant, self.test, query_rows=self.query_rows)
        if self._is_by_query:
            return measured
        return dataclasses.replace(measured, units=self.of_requests[measured.query_rows])
