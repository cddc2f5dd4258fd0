import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import CANDIDATE, QUERY
from tfrs_twotower.batches.batch import JointBatch, QueryBatch
from tfrs_twotower.features.categorical import Categorical
from tfrs_twotower.features.history import History
from tfrs_twotower.model.build import build_two_tower
from tfrs_twotower.model.joint import JointModel
from tfrs_twotower.model.sum_tower import SumTowerConfig
from tfrs_twotower.model.tasks.full_softmax import FullSoftmaxTask
from tfrs_twotower.model.tasks.rating import RatingTask
from tfrs_twotower.model.two_tower import TwoTowerModel

MOVIE = Categorical(name="movie_id")
PAST = History(of=MOVIE, length=24, by_rating=True)
SUM_QUERY = SumTowerConfig(features=(Categorical(name="user_id"), PAST), output_dim=4)
SUM_CANDIDATE = SumTowerConfig(features=(MOVIE,), output_dim=4, has_bias=True)
# Small enough that batches hold a sample of the 24 candidates, whose draws then depend on the epoch, too.
SAMPLED = {"max_candidates": 10, "num_sampled": 3}


@pytest.fixture(scope="module", params=[False, True], ids=["apart", "shared"])
def joint(request, planted) -> JointModel:
    """A joint model whose models have towers of their own, or share both."""
    train = planted.split.train
    retrieval = build_two_tower(
        train, query=SUM_QUERY, candidate=SUM_CANDIDATE, task=FullSoftmaxTask(**SAMPLED, highest_rating=5.0)
    )
    rating = build_two_tower(train, query=SUM_QUERY, candidate=SUM_CANDIDATE)
    if request.param:
        towers = {"query_tower": retrieval.query_tower, "candidate_tower": retrieval.candidate_tower}
        rating = TwoTowerModel(**towers, task=RatingTask())
    return JointModel(retrieval_model=retrieval, rating_model=rating, retrieval_weight=0.5, rating_weight=3.0)


def contents(batches) -> list[tuple]:
    """What identifies an epoch: the queries and candidates of each batch of each model."""
    found = []
    for batch in batches:
        assert isinstance(batch, JointBatch)
        for part in batch:
            assert isinstance(part, QueryBatch)
            found.append((part.query["user_id"].numpy().tolist(), part.candidate_rows.numpy().tolist()))
    return found


def test_query_batches_resume_in_the_epoch_where_training_stopped(planted, joint):
    train = planted.split.train
    batches = joint.query_batches(train, batch_size=16, seed=4)
    epochs = [contents(batches) for _ in range(4)]
    resumed = joint.query_batches(train, batch_size=16, seed=4, initial_epoch=2)
    assert [contents(resumed) for _ in range(2)] == epochs[2:]
    assert len({str(epoch) for epoch in epochs}) == 4


def test_both_models_get_the_same_queries_in_every_epoch(planted, joint):
    batches = joint.query_batches(planted.split.train, batch_size=16, seed=0)
    assert batches.cardinality() == 3  # 40 queries
    for _ in range(2):
        for batch in batches:
            first, second = batch.retrieval, batch.rating
            np.testing.assert_array_equal(first.query["user_id"], second.query["user_id"])
            np.testing.assert_array_equal(first.ratings, second.ratings)
            rows = [tf.gather(part.candidate_rows, part.target_candidates) for part in batch]
            np.testing.assert_array_equal(*rows)


def test_query_batches_are_refused_if_one_model_cannot_be_trained_by_query(planted):
    train = planted.split.train
    retrieval = build_two_tower(train, query=SUM_QUERY, candidate=SUM_CANDIDATE, task=FullSoftmaxTask())
    query = dataclasses.replace(QUERY, features=(*QUERY.features, PAST))
    mlp = build_two_tower(train, query=query, candidate=CANDIDATE)
    with pytest.raises(TypeError, match="which only a `SumTowerConfig` allows"):
        JointModel(retrieval_model=retrieval, rating_model=mlp).query_batches(train, seed=0)


def test_the_loss_is_the_weighted_sum_of_both_losses(planted, joint):
    batch = next(iter(joint.query_batches(planted.split.train, batch_size=16, seed=0)))
    retrieval = float(joint.retrieval_model.compute_loss(batch.retrieval))
    rating = float(joint.rating_model.compute_loss(batch.rating))
    assert float(joint.compute_loss(batch)) == pytest.approx(0.5 * retrieval + 3 * rating, rel=1e-5)


def test_a_batch_for_one_model_only_is_refused(planted, joint):
    batch = next(iter(joint.query_batches(planted.split.train, batch_size=16, seed=0)))
    with pytest.raises(TypeError, match="A JointModel is trained on a JointBatch.*Received: QueryBatch"):
        joint.compute_loss(batch.retrieval)


def test_batches_of_events_are_scored_by_both_models(planted, trained):
    towers = {"query_tower": trained.query_tower, "candidate_tower": trained.candidate_tower}
    retrieval = TwoTowerModel(**towers, task=FullSoftmaxTask(temperature=0.5))
    joint = JointModel(retrieval_model=retrieval, rating_model=trained)
    test = planted.split.test
    batches = trained.evaluation_batches(test, batch_size=64)
    found = joint.predict(tf.data.Dataset.zip(JointBatch(batches, batches)), verbose=0)
    assert isinstance(found, JointBatch)
    queries, candidates = trained.embed(test)
    logits = np.einsum("nd,nd->n", queries[test.query_rows], candidates[test.candidate_rows])
    # float32 sums of eight products of a size of about 10
    np.testing.assert_allclose(found.rating, logits, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.retrieval, logits / 0.5, rtol=1e-4, atol=2e-4)


def test_a_configuration_round_trips_with_weights_and_shared_towers(joint):
    copy = JointModel.from_config(joint.get_config())
    assert copy.shares_towers == joint.shares_towers
    assert (copy.retrieval_weight, copy.rating_weight) == (0.5, 3.0)
    assert [type(model.task) for model in copy.models] == [FullSoftmaxTask, RatingTask]
    assert copy.retrieval_model.task.get_config() == joint.retrieval_model.task.get_config()
    assert copy.retrieval_model.query_tower.config == SUM_QUERY
    assert copy.rating_model.candidate_tower.config == SUM_CANDIDATE


def test_models_that_disagree_are_refused(planted, trained):
    train = planted.split.train
    towers = {"query_tower": trained.query_tower, "candidate_tower": trained.candidate_tower}
    ranking = TwoTowerModel(**towers, task=FullSoftmaxTask())
    with pytest.raises(TypeError, match="`retrieval_model` must be a TwoTowerModel. Received: None"):
        JointModel(retrieval_model=None, rating_model=trained)
    with pytest.raises(TypeError, match="`rating_model` must have a RatingTask. Received: FullSoftmaxTask"):
        JointModel(retrieval_model=ranking, rating_model=ranking)
    lower = TwoTowerModel(**towers, task=RatingTask(threshold=2))
    with pytest.raises(ValueError, match="the same threshold.*Received: retrieval 3, rating 2"):
        JointModel(retrieval_model=ranking, rating_model=lower)
    other = build_two_tower(train, query=QUERY, candidate=CANDIDATE)
    half = TwoTowerModel(query_tower=trained.query_tower, candidate_tower=other.candidate_tower, task=RatingTask())
    with pytest.raises(ValueError, match="must share both towers or none"):
        JointModel(retrieval_model=ranking, rating_model=half)


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["retrieval_weight", "rating_weight"])
def test_an_impossible_weight_is_refused(trained, name, weight):
    with pytest.raises(ValueError, match=f"`{name}` must be finite and at least 0. Received: {weight}"):
        JointModel(retrieval_model=trained, rating_model=trained, **{name: weight})
