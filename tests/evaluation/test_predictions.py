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
