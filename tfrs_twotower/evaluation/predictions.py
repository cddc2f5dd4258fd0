"""What a model predicts for the test part of a split."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import scipy.special

from tfrs_twotower._progress import Progress, no_progress
from tfrs_twotower._settings import require_model, whole_number
from tfrs_twotower.batches.histories import FixedHistory, Timeline
from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.data.partition import require_split
from tfrs_twotower.data.rows import NO_ROW, pair_codes
from tfrs_twotower.data.splits import Split
from tfrs_twotower.evaluation.ranking import Embeddings, event_pairs, rank_candidates, require_k
from tfrs_twotower.evaluation.rating import pair_probabilities
from tfrs_twotower.evaluation.sampling import choose_queries

if TYPE_CHECKING:
    from tfrs_twotower.model.recommender import Recommender
    from tfrs_twotower.model.two_tower import TwoTowerModel


_EMBEDDING = "Embedding queries and candidates"
# Events with a context whose requests are embedded at once.
_MAX_EVENTS = 2**19


@dataclasses.dataclass(frozen=True, kw_only=True)
class Predictions:
    """What a model, an index or a bundle predicts for the test part: all that a report is computed from.

    Attributes:
        ranked: int [num_requests, k], rows of the candidates that rank first for each request of the test part
            (`Requests`), -1 for an empty slot. If the events have no features, the requests are the queries.
        probabilities: float [num_test_events], in [0, 1], the predicted probability that each test event is positive;
            None without a rating model.
        vectors: float [num_candidates, dim], the candidates' embeddings without biases, from which the similarity of
            candidates is computed; None if they are not available.
        query_rows: int64 [n], ascending, the requests that candidates were ranked for; None for all with a test event.
            Fewer are a random sample of these.
        recommend_seen: Whether the ranking contains candidates that the query has seen before the test part.

    Example:
        >>> predictions = Predictions(ranked=np.array([[2, 0], [1, -1]]), probabilities=np.array([0.9, 0.2]))
        >>> predictions.ranked.shape
        (2, 2)
    """

    ranked: np.ndarray
    probabilities: np.ndarray | None
    vectors: np.ndarray | None = None
    query_rows: np.ndarray | None = None
    recommend_seen: bool = False

    def ranked_queries(self, test: Interactions) -> np.ndarray:
        """Returns the requests that candidates were ranked for, int64 [n], ascending.

        Args:
            test: The test part.
        """
        return np.unique(test.requests.of_events).astype(np.int64) if self.query_rows is None else self.query_rows


def predict(
    model: Recommender,
    split: Split,
    *,
    k: int = 10,
    recommend_seen: bool = False,
    max_queries: int | None = None,
    progress: Progress = no_progress,
) -> Predictions:
    """Ranks the whole catalogue for each test query, and predicts a probability for each test event.

    If the events have features, their context, the catalogue is ranked for each request, a query in one of the contexts
    of its test events, and a probability is that in the event's own context.

    Args:
        model: A trained model. Its retrieval model ranks; its rating model, if it has one, predicts probabilities.
        split: The `test` part is predicted; the other parts are what the model may know about each query.
        k: Slots of the ranking, 1 <= k <= num_candidates.
        recommend_seen: Whether candidates that a query interacted with before the test part can be recommended to it.
            If not, they are left out of its ranking.
        max_queries: Maximum number of queries to rank candidates for, >= 1. If the test part has more, they are a
            random sample, which is always the same. None ranks for as many as take about a minute on two cores; the
            number of queries of the data ranks for all of them. Probabilities are predicted for all events.
        progress: Told how much has been embedded and ranked.

    Returns:
        The predictions. Queries that no candidates are ranked for have empty slots only.

    Raises:
        TypeError: If `split` is not a split, or `max_queries` is not a whole number.
        ValueError: If `k` or `max_queries` is out of range, or the test part has no event.

    Example:
        A stand-in for a trained model, with one query and three candidates:

        >>> import pyarrow as pa
        >>> from tfrs_twotower.data.interactions import Interactions
        >>> class PlantedModel:
        ...     threshold, vector_dim = 3.0, 1
        ...     def embed(self, interactions, *, known=None):
        ...         return np.array([[2.0]]), np.array([[0.0], [1.0], [-1.0]])
        ...     retrieval_model = rating_model = property(lambda self: self)
        >>> train = Interactions(
        ...     queries=pa.table({"user_id": ["u1"]}), candidates=pa.table({"movie_id": ["m1", "m2", "m3"]}),
        ...     events=pa.table({"query_row": [0, 0], "candidate_row": [0, 1], "rating": [4.0, 5.0]}),
        ...     query_id="user_id", candidate_id="movie_id",
        ... )
        >>> first, second, none = (train.with_events(np.array(rows, np.int64)) for rows in ([0], [1], []))
        >>> split = Split(train=first, validation=none, test=second, history=none)
        >>> predictions = predict(PlantedModel(), split, k=2)
        >>> predictions.ranked.tolist(), predictions.probabilities.round(4).tolist()
        ([[1, 2]], [0.8808])
    """
    require_model(model)
    require_test_part(split)
    test, seen = split.test, split.seen
    require_k(k, test.num_candidates)
    if max_queries is not None:
        whole_number(max_queries, "`max_queries`", 1)  # before anything is embedded, which may take long
    retrieval, rating, models = model.retrieval_model, model.rating_model, 1
    # A model that does both needs to embed everything only once.
    models += rating is not None and rating is not retrieval
    progress(_EMBEDDING, 0, models)
    asked, places = _asked_part(test, retrieval, max_queries)
    queries, candidates = retrieval.embed(asked, known=seen)
    progress(_EMBEDDING, 1, models)
    probabilities = None
    if rating is not None:
        if test.event_features:
            probabilities = _probabilities_in_context(rating, test, seen)
        else:
            of_rating: Embeddings = (queries, candidates) if rating is retrieval else rating.embed(test, known=seen)
            probabilities = pair_probabilities(*of_rating, test)
        if rating is not retrieval:
            progress(_EMBEDDING, 2, models)
        _leave_out_targets(rating, split, probabilities)
    rows = choose_queries(
        asked.requests.of_events,
        num_candidates=len(candidates),
        embedding_dim=candidates.shape[1],
        max_queries=max_queries,
    )
    left_out = np.zeros((0, 2), np.int64) if recommend_seen else asked.requests.of_pairs(event_pairs(seen), rows)
    ranked = np.full((len(test.requests.query_rows), k), NO_ROW, np.int32)
    ranked[places] = rank_candidates(queries, candidates, left_out, k=k, query_rows=rows, progress=progress)
    return Predictions(
        ranked=ranked,
        probabilities=probabilities,
        vectors=candidates[:, : retrieval.vector_dim],
        query_rows=np.sort(places[rows]),
        recommend_seen=recommend_seen,
    )


def _asked_part(
    test: Interactions, retrieval: TwoTowerModel, max_queries: int | None
) -> tuple[Interactions, np.ndarray]:
    """Returns the events whose requests are embedded, and the row in `test.requests` of each of these requests.

    Without event features these are all queries. There may be as many requests as events, so that those that nothing is
    ranked for are left out.
    """
    of_events = test.requests.of_events
    if not test.event_features:
        return test, test.requests.query_rows
    chosen = choose_queries(
        of_events,
        num_candidates=test.num_candidates,
        embedding_dim=retrieval.embedding_dim,
        max_queries=max_queries,
    )
    rows = np.flatnonzero(np.isin(of_events, chosen))
    asked = test.with_events(rows)
    places = np.empty(len(chosen), np.int64)
    places[asked.requests.of_events] = of_events[rows]
    return asked, places


def _probabilities_in_context(rating: TwoTowerModel, test: Interactions, seen: Interactions) -> np.ndarray:
    """Returns float64 [num_test_events], block by block: each event may be of another request."""
    blocks = (
        np.arange(start, min(start + _MAX_EVENTS, test.num_events)) for start in range(0, test.num_events, _MAX_EVENTS)
    )
    parts = (test.with_events(block) for block in blocks)
    return np.concatenate([pair_probabilities(*rating.embed(part, known=seen), part) for part in parts])


def _leave_out_targets(model: TwoTowerModel, split: Split, probabilities: np.ndarray) -> None:
    """Predicts events of pairs that were seen before once more: the target is never part of its own history."""
    test, seen = split.test, split.seen
    ours, theirs = (pair_codes(part.query_rows, part.candidate_rows, part.num_candidates) for part in (test, seen))
    again = np.flatnonzero(np.isin(ours, theirs))
    if not again.size or not model.history_length:
        return
    history = FixedHistory(timeline=Timeline(seen), length=model.history_length)
    logits = model.predict(model.evaluation_batches(test.with_events(again), history=history), verbose=0)
    probabilities[again] = scipy.special.expit(logits.astype(np.float64))


def require_test_part(split: Split) -> None:
    """Checks that a split can be evaluated.

    Args:
        split: What was given as a split.

    Raises:
        TypeError: If it is not a split.
        ValueError: If its test part has no event.
    """
    require_split(split, "split")
    if not split.test.num_events:
        raise ValueError(
            "`split` must have a test part with at least one event, because that is what is measured. "
            "Received: 0 events. Split more events, or use a larger share for the test."
        )
