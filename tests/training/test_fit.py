import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import tfrs_twotower as tt
from tests.conftest import CANDIDATE, QUERY
from tfrs_twotower.training.fit import QueryTraining


def test_history_has_every_validation_metric(planted):
    model = tt.build_two_tower(planted.split.train, query=QUERY, candidate=CANDIDATE)
    history = tt.fit_two_tower(model, planted.split, seed=0, epochs=1, batch_size=64)
    assert {"val_log_loss", "val_accuracy", "val_auc", "log_loss", "accuracy", "auc"} <= set(history.history)


def test_a_history_needs_no_further_word(planted):
    """Training leaves the target out, validation knows what came before, evaluation all that was seen."""
    tf.keras.utils.set_random_seed(0)
    query = dataclasses.replace(QUERY, features=(tt.History(of=CANDIDATE.features[0], by_rating=True),))
    model = tt.build_two_tower(planted.split.train, query=query, candidate=CANDIDATE)
    tt.fit_two_tower(model, planted.split, seed=0, epochs=20, learning_rate=5e-3, patience=20)
    assert tt.evaluate(model, planted.split).cases["model"]["auc"] > 0.95


def test_a_hundred_events_are_enough_to_learn_from():
    """The first thing anybody tries; batches of a single event would teach nothing."""
    from tests.conftest import CANDIDATE, QUERY, make_planted

    split = make_planted(num_queries=7, num_candidates=20).split
    assert 90 <= split.train.num_events <= 110
    tf.keras.utils.set_random_seed(0)
    model = tt.build_two_tower(split.train, query=QUERY, candidate=CANDIDATE)
    tt.fit_two_tower(model, split, seed=0, epochs=60, learning_rate=5e-3, patience=60)
    assert tt.evaluate(model, split).cases["model"]["auc"] > 0.95


def test_no_epoch_is_no_training(planted, trained):
    with pytest.raises(ValueError, match="`epochs` must be at least 1. Received: 0"):
        tt.fit_two_tower(trained, planted.split, seed=0, epochs=0)


def test_a_model_that_only_ranks_has_no_log_loss_to_follow(planted):
    model = tt.build_two_tower(planted.split.train, query=QUERY, candidate=CANDIDATE, task=tt.RetrievalTask())
    with pytest.raises(TypeError, match="which a RatingTask alone has.*Received: RetrievalTask"):
        tt.fit_two_tower(model, planted.split, seed=0)


def test_heads_are_trained_one_after_the_other_and_averaged(planted):
    train = planted.split.train
    past = tt.History(of=CANDIDATE.features[0], length=24, pooling="sqrtn", by_rating=True)
    query = tt.SumTowerConfig(features=(past,), output_dim=8, has_bias=True)
    candidate = tt.SumTowerConfig(features=CANDIDATE.features, output_dim=8, has_bias=True)
    tf.keras.utils.set_random_seed(0)
    joint = tt.JointModel(
        retrieval=tt.build_two_tower(train, query=query, candidate=candidate, task=tt.CatalogueTask()),
        rating=tt.build_two_tower(train, query=query, candidate=candidate),
    )
    training = QueryTraining(epochs=60, batch_size=16, learning_rate=2e-2, decay=0.8)
    histories = tt.fit_joint(joint, train, seed=0, retrieval=training, rating=training)
    assert [len(histories[head].epoch) for head in ("retrieval", "rating")] == [60, 60]
    figures = tt.evaluate(joint, planted.split, k=1).cases["model"]
    assert figures["precision@1"] >= 0.95
    assert figures["auc"] >= 0.95


def test_heads_that_share_towers_are_not_trained_one_after_the_other(planted, trained):
    shared = tt.TwoTowerModel(
        query_tower=trained.query_tower, candidate_tower=trained.candidate_tower, task=tt.RatingTask()
    )
    joint = tt.JointModel(retrieval=trained, rating=shared)
    with pytest.raises(
        ValueError, match=r"these share their towers. Train both at once: model.fit\(model.query_batches"
    ):
        tt.fit_joint(joint, planted.split.train, seed=0)


def test_what_cannot_be_trained_is_refused_before_anything_is(planted, trained):
    train = planted.split.train
    joint = tt.JointModel(retrieval=trained, rating=tt.build_two_tower(train, query=QUERY, candidate=CANDIDATE))
    with pytest.raises(TypeError, match="`model` must be a TwoTowerModel; of two heads, `fit_joint` trains"):
        tt.fit_two_tower(joint, planted.split, seed=0)
    past = tt.History(of=CANDIDATE.features[0], length=24)
    rating = tt.build_two_tower(
        train, query=dataclasses.replace(QUERY, features=(*QUERY.features, past)), candidate=CANDIDATE
    )
    before = trained.get_weights()
    with pytest.raises(TypeError, match="which a `SumTowerConfig` allows alone"):
        tt.fit_joint(tt.JointModel(retrieval=trained, rating=rating), train, seed=0)
    for ours, theirs in zip(trained.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    "change", [{"epochs": 0}, {"epochs": 1.5}, {"batch_size": 0}, {"learning_rate": 0.0}, {"decay": 1.0}]
)
def test_an_impossible_training_is_refused(change):
    with pytest.raises((TypeError, ValueError), match=f"`{next(iter(change))}` must be"):
        QueryTraining(**{"epochs": 1, **change})
