import dataclasses

import numpy as np
import pytest

from tests.conftest import make_interactions
from tfrs_twotower.data.splits import Split
from tfrs_twotower.evaluation.predictions import predict

QUERIES = np.array([[1.0, 0.5], [-1.0, 0.5]])
CANDIDATES = np.array([[3.0, 1.0], [2.0, 1.0], [1.0, 1.0]])


class FixedTowers:
    """A model that embeds everything in the same way and counts how often it is asked; the last entry is a bias."""

    vector_dim = 1

    def __init__(self, scale=1.0):
        self.scale = scale
        self.num_calls = 0

    def embed(self, interactions, *, known=None):
        self.num_calls += 1
        assert known.num_events == 2
        return QUERIES * self.scale, CANDIDATES


@dataclasses.dataclass
class FixedModel:
    retrieval_model: FixedTowers
    rating_model: FixedTowers | None
    threshold: float = 3.0


@pytest.fixture
def split() -> Split:
    train = make_interactions([0, 1], [0, 1], [5, 5], num_queries=2, num_candidates=3)
    nothing = train.with_events(np.zeros(0, np.int64))
    test = make_interactions([0, 0], [1, 2], [5, 1], num_queries=2, num_candidates=3)
    return Split(train=train, validation=nothing, test=test, history=nothing)


def test_the_retrieval_model_ranks_and_the_rating_model_predicts_probabilities(split):
    model = FixedModel(FixedTowers(), FixedTowers(scale=-2.0))
    predictions = predict(model, split, k=2)
    # Query 0 scores 3.5, 2.5 and 1.5 and has seen the first; query 1 has no test event.
    assert predictions.ranked.tolist() == [[1, 2], [-1, -1]]
    np.testing.assert_allclose(predictions.probabilities, 1 / (1 + np.exp([5.0, 3.0])))
    assert predictions.vectors.tolist() == [[3.0], [2.0], [1.0]]
    assert (model.retrieval_model.num_calls, model.rating_model.num_calls) == (1, 1)


def test_a_model_that_does_both_embeds_once(split):
    towers = FixedTowers()
    predictions = predict(FixedModel(towers, towers), split, k=1)
    np.testing.assert_allclose(predictions.probabilities, 1 / (1 + np.exp([-2.5, -1.5])))
    assert towers.num_calls == 1


def test_without_a_rating_model_there_are_no_probabilities(split):
    assert predict(FixedModel(FixedTowers(), None), split, k=1).probabilities is None


def test_more_slots_than_candidates_are_refused(split):
    with pytest.raises(ValueError, match="`k` must be in 1..num_candidates. Received: k=4, num_candidates=3"):
        predict(FixedModel(FixedTowers(), None), split, k=4)


def test_the_vectors_of_a_model_are_its_candidates_embeddings(planted, trained):
    predictions = predict(trained, planted.split, k=3)
    _, candidates = trained.embed(planted.split.test)
    np.testing.assert_array_equal(predictions.vectors, candidates)  # these towers have no biases


def test_seen_candidates_are_ranked_if_they_can_be_recommended_again(split):
    predictions = predict(FixedModel(FixedTowers(), None), split, k=3, recommend_seen=True)
    # Query 0 scores 3.5, 2.5 and 1.5, the first of which it has seen.
    assert predictions.ranked.tolist() == [[0, 1, 2], [-1, -1, -1]]
    assert predictions.recommend_seen
    assert not predict(FixedModel(FixedTowers(), None), split, k=3).recommend_seen


def test_a_sample_of_the_queries_is_ranked_and_all_events_are_rated(planted, trained):
    split = planted.split
    whole, sample = (predict(trained, split, k=3, max_queries=number) for number in (None, 7))
    assert whole.query_rows.tolist() == np.unique(split.test.query_rows).tolist()
    assert len(sample.query_rows) == 7
    np.testing.assert_array_equal(sample.ranked[sample.query_rows], whole.ranked[sample.query_rows])
    assert (np.delete(sample.ranked, sample.query_rows, axis=0) == -1).all()
    np.testing.assert_array_equal(sample.probabilities, whole.probabilities)


def test_progress_begins_with_nothing_and_ends_with_everything(split):
    told = []
    predict(FixedModel(FixedTowers(), FixedTowers()), split, k=1, progress=lambda *step: told.append(step))
    embedding = "Embedding queries and candidates"
    assert told == [(embedding, 0, 2), (embedding, 1, 2), (embedding, 2, 2), ("Ranking", 0, 1), ("Ranking", 1, 1)]


def test_what_cannot_be_predicted_is_refused(split):
    model = FixedModel(FixedTowers(), None)
    with pytest.raises(
        TypeError, match="`split` must be a `Split`. Received: a Interactions. Make one with a function"
    ):
        predict(model, split.test, k=1)
    with pytest.raises(ValueError, match="`split` must have a test part with at least one event.*Received: 0 events"):
        predict(model, dataclasses.replace(split, test=split.validation), k=1)
    with pytest.raises(ValueError, match="`max_queries` must be.*Received: 0"):
        predict(model, split, k=1, max_queries=0)
