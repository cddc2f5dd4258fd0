"""What a model predicts for the test part of a split."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from tfrs_twotower.data.splits import Split
from tfrs_twotower.evaluation.ranking import Embeddings, event_pairs, rank_candidates
from tfrs_twotower.evaluation.rating import pair_probabilities

if TYPE_CHECKING:
    from tfrs_twotower.model.recommender import Recommender


@dataclasses.dataclass(frozen=True, kw_only=True)
class Predictions:
    """What a model, an index or a bundle predicts for the test part: all that a report is computed from.

    Attributes:
        ranked: int [num_queries, k], rows of the candidates that rank first for each query, -1 for an empty slot.
        probabilities: float [num_test_events], in [0, 1], the predicted probability that each test event is positive;
            None without a rating model.
        vectors: float [num_candidates, dim], the candidates' embeddings without biases, from which the similarity of
            candidates is computed; None if they are not available.

    Example:
        >>> predictions = Predictions(ranked=np.array([[2, 0], [1, -1]]), probabilities=np.array([0.9, 0.2]))
        >>> predictions.ranked.shape
        (2, 2)
    """

    ranked: np.ndarray
    probabilities: np.ndarray | None
    vectors: np.ndarray | None = None


def predict(model: Recommender, split: Split, *, k: int = 10) -> Predictions:
    """Ranks the whole catalogue for each test query, and predicts a probability for each test event.

    Candidates that a query interacted with before the test part are left out of its ranking.

    Args:
        model: A trained model. Its retrieval model ranks; its rating model, if it has one, predicts probabilities.
        split: The `test` part is predicted; the other parts are what the model may know about each query.
        k: Slots of the ranking, 1 <= k <= num_candidates.

    Returns:
        The predictions. Queries without a test event have empty slots only.

    Raises:
        ValueError: If `k` is out of range.

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
    test, seen = split.test, split.seen
    retrieval, rating = model.retrieval_model, model.rating_model
    queries, candidates = retrieval.embed(test, known=seen)
    probabilities = None
    if rating is not None:
        # A model that does both needs to embed everything only once.
        of_rating: Embeddings = (queries, candidates) if rating is retrieval else rating.embed(test, known=seen)
        probabilities = pair_probabilities(*of_rating, test)
    return Predictions(
        ranked=rank_candidates(queries, candidates, event_pairs(seen), k=k, query_rows=np.unique(test.query_rows)),
        probabilities=probabilities,
        vectors=candidates[:, : retrieval.vector_dim],
    )
