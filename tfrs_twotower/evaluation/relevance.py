"""Measures a ranking against the candidates that the test part shows to be relevant."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.data.rows import NO_ROW, pair_codes, places_within
from tfrs_twotower.evaluation import metrics

_BLOCK_SIZE = 2**12


@dataclasses.dataclass(frozen=True, kw_only=True)
class QueryMetrics:
    """Ranking metrics of each query that has a relevant candidate to find.

    Attributes:
        query_rows: int64 [n], the evaluated queries, ascending.
        values: Metric -> float64 [n], one value per evaluated query.
        num_left_out: Number of queries of the test part without an unseen relevant candidate.
        units: int64 [n], what the bootstrap draws as a whole: the query of each row, where the rows are requests and a
            query may have several; None if each row is a query.

    Example:
        >>> of_queries = QueryMetrics(
        ...     query_rows=np.array([0, 3]), values={"recall@10": np.array([0.5, 1.0])}, num_left_out=2
        ... )
        >>> of_queries.means()
        {'recall@10': 0.75}
    """

    query_rows: np.ndarray
    values: Mapping[str, np.ndarray]
    num_left_out: int
    units: np.ndarray | None = None

    def means(self) -> dict[str, float]:
        """Returns each metric's mean over the queries."""
        return {name: float(values.mean()) for name, values in self.values.items()}


@dataclasses.dataclass(frozen=True, kw_only=True)
class RelevantPairs:
    """The distinct pairs of a query and a candidate that a ranking should find.

    Attributes:
        codes: int64 [n], ascending, `pair_codes` of the pairs.
        gains: float64 [n], the highest rating of each pair minus the threshold, plus 1.

    Example:
        >>> RelevantPairs(codes=np.array([1, 5]), gains=np.array([1.0, 3.0])).codes.tolist()
        [1, 5]
    """

    codes: np.ndarray
    gains: np.ndarray


def has_relevant(part: Interactions, known: Interactions | None, threshold: float) -> bool:
    """Tells whether a ranking can find anything: a positive event whose candidate the query has not seen before.

    Args:
        part: The events to find, such as the test part.
        known: What the queries have seen; None if that may be found again.
        threshold: Lowest rating that is positive.

    Example:
        >>> import pyarrow as pa
        >>> ratings = Interactions(
        ...     queries=pa.table({"user_id": ["u1"]}), candidates=pa.table({"movie_id": ["m1", "m2"]}),
        ...     events=pa.table({"query_row": [0, 0], "candidate_row": [0, 0], "rating": [5.0, 4.0]}),
        ...     query_id="user_id", candidate_id="movie_id",
        ... )
        >>> first, again = (ratings.with_events(np.array([row])) for row in (0, 1))
        >>> has_relevant(again, None, 3), has_relevant(again, first, 3)
        (True, False)
    """
    positive = np.flatnonzero(part.ratings >= threshold)
    if known is None:
        return bool(positive.size)
    # The first block has one as a rule, and what its queries have seen is a small part of all.
    for start in range(0, len(positive), _BLOCK_SIZE):
        rows = positive[start : start + _BLOCK_SIZE]
        seen = np.flatnonzero(np.isin(known.query_rows, part.query_rows[rows]))
        asked, found = (
            pair_codes(events.query_rows[some], events.candidate_rows[some], part.num_candidates)
            for events, some in ((part, rows), (known, seen))
        )
        if not np.isin(asked, found).all():
            return True
    return False


def query_metrics(
    ranked: np.ndarray,
    test: Interactions,
    seen: np.ndarray,
    *,
    threshold: float,
    ks: Sequence[int] | None = None,
    query_rows: np.ndarray | None = None,
) -> QueryMetrics:
    """Measures a ranking for each query that has a relevant candidate in the test part.

    Args:
        ranked: int [num_queries, k], rows of candidates, best first, -1 for an empty slot.
        test: The test part.
        seen: int [num_seen, 2], pairs (query row, candidate row) that were left out of the ranking. They do not count
            as relevant, because no ranking could contain them. Without
            pairs, every positive candidate is relevant.
        threshold: Lowest rating that counts as relevant.
        ks: Numbers of slots to measure at, each in 1..ranked.shape[1]; by default all slots.
        query_rows: int [n], ascending, the queries that candidates were ranked for; by default all of the test part.

    Returns:
        `precision@k`, `recall@k`, `ndcg@k`, `hit_rate@k`, `mrr@k` and `map@k`, and `graded_ndcg@k`, in which the gain
        of a relevant candidate is its rating minus the threshold, plus 1.

    Raises:
        ValueError: If no query has a relevant candidate, a `k` is out of range, a row is not a row of the candidates,
            or a query has the same candidate twice.

    Example:
        >>> import pyarrow as pa
        >>> test = Interactions(
        ...     queries=pa.table({"user_id": ["u1", "u2"]}), candidates=pa.table({"movie_id": ["m1", "m2", "m3"]}),
        ...     events=pa.table({"query_row": [0, 0, 1], "candidate_row": [0, 2, 1], "rating": [5.0, 4.0, 1.0]}),
        ...     query_id="user_id", candidate_id="movie_id",
        ... )
        >>> nothing_seen = np.zeros((0, 2), np.int64)
        >>> of_queries = query_metrics(np.array([[2, 1], [0, 1]]), test, nothing_seen, threshold=3)
        >>> of_queries.query_rows.tolist(), of_queries.values["recall@2"].tolist(), of_queries.num_left_out
        ([0], [0.5], 1)
    """
    relevant = relevant_pairs(test, seen, threshold)
    query_rows = np.unique(test.query_rows) if query_rows is None else query_rows
    check_ranked(ranked, test)
    of_queries = metrics_of_pairs(ranked, relevant, test, ks=ks, query_rows=query_rows)
    if not of_queries.query_rows.size:
        raise ValueError(
            f"`test` must have an unseen event with a rating of at least {threshold:g}. Without one, no candidate is "
            "relevant and a ranking cannot be measured."
        )
    return of_queries


def metrics_of_pairs(
    ranked: np.ndarray,
    relevant: RelevantPairs,
    test: Interactions,
    *,
    ks: Sequence[int] | None = None,
    query_rows: np.ndarray,
) -> QueryMetrics:
    """Measures a ranking as `query_metrics` does, against pairs that are already known.

    Args:
        ranked: int [num_queries, k], rows of candidates, best first, -1 for an empty slot; `check_ranked` accepts it.
        relevant: The relevant pairs.
        test: The test part.
        ks: Numbers of slots to measure at; by default all slots.
        query_rows: int [n], ascending, the queries that candidates were ranked for.

    Returns:
        As `query_metrics`; without any query if none has a relevant candidate.

    Raises:
        ValueError: If a `k` is out of range.
    """
    num_slots = ranked.shape[1]
    ks = (num_slots,) if ks is None else ks
    if not ks or not all(1 <= k <= num_slots for k in ks):
        raise ValueError(f"`ks` must be in 1..{num_slots}, the slots of the ranking. Received: {list(ks)}.")
    codes, gains = relevant.codes, relevant.gains
    query_of = codes // test.num_candidates
    counts = np.bincount(query_of, minlength=test.num_queries)
    evaluated = query_rows[counts[query_rows] > 0]
    rows, num_relevant = ranked[evaluated], counts[evaluated]
    wanted = pair_codes(evaluated[:, np.newaxis], rows, test.num_candidates)
    places = np.minimum(np.searchsorted(codes, wanted), len(codes) - 1)
    hits = (codes[places] == wanted) & (rows >= 0)
    found_gains = np.where(hits, gains[places], 0.0)
    best_gains = _best_gains(query_of, gains, evaluated, num_slots)
    values = {}
    for k in ks:
        at_k = hits[:, :k]
        values[f"precision@{k}"] = metrics.precision(at_k)
        values[f"recall@{k}"] = metrics.recall(at_k, num_relevant)
        values[f"ndcg@{k}"] = metrics.ndcg(at_k, num_relevant)
        values[f"graded_ndcg@{k}"] = metrics.graded_ndcg(found_gains[:, :k], best_gains[:, :k])
        values[f"hit_rate@{k}"] = metrics.hit_rate(at_k)
        values[f"mrr@{k}"] = metrics.reciprocal_rank(at_k)
        values[f"map@{k}"] = metrics.average_precision(at_k, num_relevant)
    return QueryMetrics(query_rows=evaluated, values=values, num_left_out=len(query_rows) - len(evaluated))


def ranking_metrics(
    ranked: np.ndarray, test: Interactions, seen: np.ndarray, *, threshold: float, ks: Sequence[int] | None = None
) -> dict[str, float]:
    """Averages `query_metrics` over the queries that have a relevant candidate to find.

    Args:
        ranked: int [num_queries, k], from `rank_candidates`.
        test: The test part.
        seen: int [num_seen, 2], pairs (query row, candidate row) that were left out of the ranking.
        threshold: Lowest rating that counts as relevant.
        ks: Numbers of slots to measure at; by default all slots.

    Returns:
        Metric -> mean over the queries, and `num_queries`, the number of queries that were averaged over.

    Raises:
        ValueError: See `query_metrics`.

    Example:
        >>> import pyarrow as pa
        >>> test = Interactions(
        ...     queries=pa.table({"user_id": ["u1", "u2"]}), candidates=pa.table({"movie_id": ["m1", "m2"]}),
        ...     events=pa.table({"query_row": [0, 1], "candidate_row": [0, 1], "rating": [5.0, 4.0]}),
        ...     query_id="user_id", candidate_id="movie_id",
        ... )
        >>> values = ranking_metrics(np.array([[0], [0]]), test, np.zeros((0, 2), np.int64), threshold=3)
        >>> values["hit_rate@1"], values["num_queries"]
        (0.5, 2.0)
    """
    return mean_metrics(query_metrics(ranked, test, seen, threshold=threshold, ks=ks))


def mean_metrics(of_queries: QueryMetrics) -> dict[str, float]:
    """Returns each metric's mean, and `num_queries`, the number of queries that were averaged over.

    Args:
        of_queries: The metrics of each query.

    Example:
        >>> values = {"recall@10": np.array([0.5, 1.0])}
        >>> mean_metrics(QueryMetrics(query_rows=np.array([0, 3]), values=values, num_left_out=2))
        {'recall@10': 0.75, 'num_queries': 2.0}
    """
    return {**of_queries.means(), "num_queries": float(len(of_queries.query_rows))}


def relevant_pairs(test: Interactions, seen: np.ndarray, threshold: float) -> RelevantPairs:
    """Returns the distinct pairs of a query and a candidate that a ranking should find.

    Args:
        test: The test part.
        seen: int [num_seen, 2], pairs (query row, candidate row) that a ranking leaves out.
        threshold: Lowest rating that counts as relevant.
    """
    is_relevant = test.ratings >= threshold
    codes = pair_codes(test.query_rows[is_relevant], test.candidate_rows[is_relevant], test.num_candidates)
    gains = test.ratings[is_relevant].astype(np.float64) - threshold + 1
    order = np.lexsort((-gains, codes))
    codes, first = np.unique(codes[order], return_index=True)
    is_new = ~np.isin(codes, pair_codes(seen[:, 0], seen[:, 1], test.num_candidates))
    return RelevantPairs(codes=codes[is_new], gains=gains[order][first][is_new])


def check_ranked(ranked: np.ndarray, test: Interactions) -> None:
    """Raises a ValueError if a ranking is not one of the candidates of `test` for its queries.

    Args:
        ranked: int [num_queries, k], rows of candidates, -1 for an empty slot.
        test: The test part.
    """
    if len(ranked) != test.num_queries:
        raise ValueError(
            f"`ranked` must have a row for each of the {test.num_queries} queries. Received: {len(ranked)} rows."
        )
    if ranked.size and not (ranked.min() >= NO_ROW and ranked.max() < test.num_candidates):
        raise ValueError(
            f"`ranked` must hold rows of the {test.num_candidates} candidates, or {NO_ROW} for an empty slot. "
            f"Received: {ranked.min()} to {ranked.max()}."
        )
    ascending = np.sort(ranked, axis=1)
    is_repeated = (ascending[:, 1:] == ascending[:, :-1]) & (ascending[:, 1:] >= 0)
    if is_repeated.any():
        query = int(np.flatnonzero(is_repeated.any(axis=1))[0])
        raise ValueError(
            f"`ranked` must not hold a candidate twice for a query. Received for query {query}: {ranked[query]}."
        )


def _best_gains(query_of: np.ndarray, gains: np.ndarray, evaluated: np.ndarray, num_slots: int) -> np.ndarray:
    """Returns each query's gains in the best possible order, float64 [len(evaluated), num_slots], padded with 0."""
    is_evaluated = np.isin(query_of, evaluated)
    query_of, gains = query_of[is_evaluated], gains[is_evaluated]
    order = np.lexsort((-gains, query_of))
    _, counts = np.unique(query_of, return_counts=True)
    slots = places_within(counts)
    rows = np.repeat(np.arange(len(evaluated)), counts)
    best = np.zeros((len(evaluated), num_slots))
    fits = slots < num_slots
    best[rows[fits], slots[fits]] = gains[order][fits]
    return best
