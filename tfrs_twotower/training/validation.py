"""How well embeddings rank the validation part."""

from __future__ import annotations

import numpy as np

from tfrs_twotower._settings import whole_number
from tfrs_twotower.data.splits import Split
from tfrs_twotower.evaluation.ranking import event_pairs, rank_candidates
from tfrs_twotower.evaluation.relevance import ranking_metrics


class ValidationRanking:
    """Ranks all candidates for the queries of the validation part.

    Training events and the held-out queries' history are left out of the ranking.

    Args:
        split: Its validation part is ranked for.
        recommend_seen: Whether candidates that a query has seen may be recommended again, and count.
        max_queries: Maximum number of queries that are ranked for, >= 1, drawn once; None for all.
    """

    def __init__(self, split: Split, *, recommend_seen: bool = False, max_queries: int | None = None) -> None:
        self.known = split.context
        self._part = split.validation
        self._queries = np.unique(split.validation.query_rows)
        if max_queries is not None and len(self._queries) > whole_number(max_queries, "`max_queries`", 1):
            self._queries = np.sort(np.random.default_rng(0).choice(self._queries, max_queries, replace=False))
            # The other queries' events must not count as missed.
            self._part = self._part.with_events(np.flatnonzero(np.isin(self._part.query_rows, self._queries)))
        seen = np.zeros((0, 2), np.int64) if recommend_seen else event_pairs(self.known)
        self._seen = seen[np.isin(seen[:, 0], self._queries)]

    def metrics(self, queries: np.ndarray, candidates: np.ndarray, *, k: int, threshold: float) -> dict[str, float]:
        """Measures a ranking by dot products.

        Args:
            queries: float32 [num_queries, any].
            candidates: float32 [num_candidates, any].
            k: Slots of the ranking, >= 1.
            threshold: Lowest rating that counts as relevant.

        Returns:
            The metrics of `ranking_metrics`.
        """
        ranked = rank_candidates(queries, candidates, self._seen, k=k, query_rows=self._queries)
        return ranking_metrics(ranked, self._part, self._seen, threshold=threshold)
