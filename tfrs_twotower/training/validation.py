"""How well embeddings rank the validation part."""

from __future__ import annotations

import numpy as np

from tfrs_twotower._settings import whole_number
from tfrs_twotower.data.splits import Split
from tfrs_twotower.evaluation.ranking import event_pairs, rank_candidates
from tfrs_twotower.evaluation.relevance import ranking_metrics


class ValidationRanking:
    """Ranks all candidates for the queries of the validation part, or for its requests if events have a context.

    Training events and the held-out queries' history are left out of the ranking.

    Args:
        split: Its validation part is ranked for.
        recommend_seen: Whether candidates that a query has seen may be recommended again, and count.
        max_queries: Maximum number of queries or requests that are ranked for, >= 1, drawn once; None for all.

    Attributes:
        known: The events before the validation part.
        part: The events of the validation part that are looked for, of whose requests embeddings are measured.
    """

    def __init__(self, split: Split, *, recommend_seen: bool = False, max_queries: int | None = None) -> None:
        self.known, self.part = split.context, split.validation
        of_events = self.part.requests.of_events
        asked = np.unique(of_events)
        if max_queries is not None and len(asked) > whole_number(max_queries, "`max_queries`", 1):
            asked = np.sort(np.random.default_rng(0).choice(asked, max_queries, replace=False))
            # The other queries' events must not count as missed.
            self.part = self.part.with_events(np.flatnonzero(np.isin(of_events, asked)))
        self._measured = self.part.by_request()
        self._asked = np.unique(self._measured.query_rows)
        seen = np.zeros((0, 2), np.int64) if recommend_seen else event_pairs(self.known)
        self._seen = self.part.requests.of_pairs(seen, self._asked)

    def metrics(self, queries: np.ndarray, candidates: np.ndarray, *, k: int, threshold: float) -> dict[str, float]:
        """Measures a ranking by dot products.

        Args:
            queries: float32 [num_requests, any], those of `part`, which are all queries if events have no features.
            candidates: float32 [num_candidates, any].
            k: Slots of the ranking, >= 1.
            threshold: Lowest rating that counts as relevant.

        Returns:
            The metrics of `ranking_metrics`.
        """
        ranked = rank_candidates(queries, candidates, self._seen, k=k, query_rows=self._asked)
        return ranking_metrics(ranked, self._measured, self._seen, threshold=threshold)
