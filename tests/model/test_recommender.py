import pytest

from tests.conftest import CANDIDATE, QUERY
from tfrs_twotower.model.build import build_two_tower
from tfrs_twotower.model.joint import JointModel
from tfrs_twotower.model.recommender import Recommender
from tfrs_twotower.model.tasks.rating import RatingTask
from tfrs_twotower.model.tasks.sampled_softmax import SampledSoftmaxTask
from tfrs_twotower.model.two_tower import TwoTowerModel


@pytest.fixture(scope="module")
def ranking(planted) -> TwoTowerModel:
    """A model that predicts no probabilities."""
    return build_two_tower(planted.split.train, query=QUERY, candidate=CANDIDATE, task=SampledSoftmaxTask(threshold=4))


@pytest.fixture(scope="module")
def rating(planted) -> TwoTowerModel:
    return build_two_tower(planted.split.train, query=QUERY, candidate=CANDIDATE, task=RatingTask(threshold=4))


def test_a_model_that_predicts_probabilities_is_both_models(rating):
    assert isinstance(rating, Recommender)
    assert rating.retrieval_model is rating.rating_model is rating
    assert rating.models == [rating]
    assert rating.threshold == 4.0


def test_a_model_that_only_ranks_has_no_rating_model(ranking):
    assert isinstance(ranking, Recommender)
    assert ranking.retrieval_model is ranking
    assert ranking.rating_model is None
    assert ranking.models == [ranking]
    assert ranking.threshold == 4.0


def test_a_joint_model_has_one_of_each(ranking, rating):
    joint = JointModel(retrieval_model=ranking, rating_model=rating)
    assert isinstance(joint, Recommender)
    assert joint.retrieval_model is ranking
    assert joint.rating_model is rating
    assert joint.models == [ranking, rating]
    assert joint.threshold == 4.0


class UserRecommender(Recommender):
    """A model in a user's own code, which ranks by one model and predicts probabilities by another, if it has one."""

    def __init__(self, retrieval: TwoTowerModel, rating: TwoTowerModel | None) -> None:
        super().__init__()
        self._retrieval, self._rating = retrieval, rating

    @property
    def retrieval_model(self) -> TwoTowerModel:
        return self._retrieval

    @property
    def rating_model(self) -> TwoTowerModel | None:
        return self._rating

    @property
    def threshold(self) -> float:
        return self._retrieval.threshold


def test_each_model_of_a_users_recommender_is_listed_once(ranking, rating):
    assert UserRecommender(ranking, rating).models == [ranking, rating]
    assert UserRecommender(rating, rating).models == [rating]
    assert UserRecommender(ranking, None).models == [ranking]


def test_a_recommender_must_say_which_models_it_has():
    class WithoutModels(Recommender):
        threshold = 3.0

    with pytest.raises(TypeError, match="abstract"):
        WithoutModels()
