import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import tfrs_twotower as tt
from tests.conftest import CANDIDATE, QUERY, make_planted
from tfrs_twotower.features.history import History
from tfrs_twotower.model import batch_maker, two_tower
from tfrs_twotower.model.joint import JointModel
from tfrs_twotower.model.tasks.full_softmax import FullSoftmaxTask
from tfrs_twotower.model.tasks.rating import RatingTask
from tfrs_twotower.model.tasks.sampled_softmax import SampledSoftmaxTask
from tfrs_twotower.training.fit import EventTraining, JointHistory, QueryTraining, fit_by_query, fit_joint

PAST = History(of=CANDIDATE.features[0], length=24, pooling="sqrtn", by_rating=True)
ONCE = QueryTraining(epochs=1)
SUM_QUERY = tt.SumTowerConfig(features=(PAST,), output_dim=8, has_bias=True)
SUM_CANDIDATE = tt.SumTowerConfig(features=CANDIDATE.features, output_dim=8, has_bias=True)


def build_ranking(train) -> two_tower.TwoTowerModel:
    return tt.build_two_tower(train, query=SUM_QUERY, candidate=SUM_CANDIDATE, task=FullSoftmaxTask())


def test_a_model_with_a_history_needs_no_further_settings(planted):
    """Training leaves the target out; validation uses the events before the part, and evaluation all events seen."""
    tf.keras.utils.set_random_seed(0)
    query = dataclasses.replace(QUERY, features=(History(of=CANDIDATE.features[0], by_rating=True),))
    model = tt.build_two_tower(planted.split.train, query=query, candidate=CANDIDATE)
    training = EventTraining(epochs=20, learning_rate=5e-3, patience=20)
    tt.fit_two_tower(model, planted.split, seed=0, training=training)
    assert tt.evaluate(model, planted.split).metrics["auc"] > 0.95


def test_a_hundred_events_are_enough_to_learn_from_and_keras_history_has_every_metric():
    """This is what a newcomer tries first; batches of a single event would teach nothing."""
    split = make_planted(num_queries=7, num_candidates=20).split
    assert 90 <= split.train.num_events <= 110
    tf.keras.utils.set_random_seed(0)
    model = tt.build_two_tower(split.train, query=QUERY, candidate=CANDIDATE)
    training = EventTraining(epochs=60, learning_rate=5e-3, patience=60)
    history = tt.fit_two_tower(model, split, seed=0, training=training).history
    assert tt.evaluate(model, split).metrics["auc"] > 0.95
    assert {"val_log_loss", "val_accuracy", "val_auc", "log_loss", "accuracy", "auc"} <= set(history)


@pytest.mark.parametrize(
    ("num_events", "expected"),
    [(100, 16), (64 * 16, 16), (64 * 100, 100), (64 * 1024, 1024), (10**9, 1024)],
)
def test_the_default_batch_size_gives_64_steps_an_epoch_within_limits(num_events, expected):
    assert EventTraining().batch_size_for(num_events) == expected
    assert EventTraining(batch_size=5).batch_size_for(num_events) == 5


def test_a_model_that_only_ranks_is_refused_by_event(planted):
    model = tt.build_two_tower(planted.split.train, query=QUERY, candidate=CANDIDATE, task=SampledSoftmaxTask())
    with pytest.raises(TypeError, match="which only a RatingTask has.*Received: SampledSoftmaxTask"):
        tt.fit_two_tower(model, planted.split, seed=0)


def test_a_joint_model_is_refused_by_event(planted):
    train = planted.split.train
    rating = tt.build_two_tower(train, query=QUERY, candidate=CANDIDATE)
    joint = JointModel(retrieval_model=build_ranking(train), rating_model=rating)
    with pytest.raises(TypeError, match="`model` must be a TwoTowerModel; use `fit_joint` for a joint model"):
        tt.fit_two_tower(joint, planted.split, seed=0)


def test_two_models_are_trained_one_after_the_other_each_with_its_own_training_and_callbacks(planted):
    train = planted.split.train
    tf.keras.utils.set_random_seed(0)
    joint = JointModel(
        retrieval_model=build_ranking(train),
        rating_model=tt.build_two_tower(train, query=SUM_QUERY, candidate=SUM_CANDIDATE),
    )
    seen = []

    def watch(name: str) -> tf.keras.callbacks.Callback:
        return tf.keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append((name, epoch)))

    training = QueryTraining(epochs=60, batch_size=16, learning_rate=2e-2, decay=0.8)
    history = fit_joint(
        joint,
        train,
        seed=0,
        retrieval=training,
        rating=dataclasses.replace(training, epochs=50),
        retrieval_callbacks=[watch("retrieval")],
        rating_callbacks=[watch("rating")],
    )
    assert seen == [*(("retrieval", epoch) for epoch in range(60)), *(("rating", epoch) for epoch in range(50))]
    assert isinstance(history, JointHistory)
    assert [len(part.epoch) for part in (history.retrieval, history.rating)] == [60, 50]
    assert "softmax_loss" in history.retrieval.history
    assert "log_loss" in history.rating.history
    metrics = tt.evaluate(joint, planted.split, k=1).metrics
    assert metrics["precision@1"] >= 0.95
    assert metrics["auc"] >= 0.95


def test_models_that_share_towers_are_not_trained_one_after_the_other(planted):
    model = tt.build_two_tower(planted.split.train, query=QUERY, candidate=CANDIDATE)
    shared = two_tower.TwoTowerModel(
        query_tower=model.query_tower, candidate_tower=model.candidate_tower, task=RatingTask()
    )
    joint = JointModel(retrieval_model=model, rating_model=shared)
    message = r"these share their towers. Train both at once: model.fit\(model.query_batches"
    with pytest.raises(ValueError, match=message):
        fit_joint(joint, planted.split.train, seed=0, retrieval=ONCE, rating=ONCE)


def test_a_rating_model_that_cannot_be_trained_is_refused_before_the_retrieval_model_is_trained(planted, monkeypatch):
    """No batch is built for the check."""
    train = planted.split.train
    retrieval = build_ranking(train)
    query = dataclasses.replace(QUERY, features=(*QUERY.features, PAST))
    rating = tt.build_two_tower(train, query=query, candidate=CANDIDATE)
    built = []
    monkeypatch.setattr(batch_maker, "build_query_batches", lambda *_, **__: built.append("batches"))
    monkeypatch.setattr(batch_maker, "encode_tables", lambda *_: built.append("tables"))
    before = retrieval.get_weights()
    with pytest.raises(TypeError, match="which only a `SumTowerConfig` allows"):
        fit_joint(
            JointModel(retrieval_model=retrieval, rating_model=rating), train, seed=0, retrieval=ONCE, rating=ONCE
        )
    assert built == []
    for ours, theirs in zip(retrieval.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_ratings_of_one_class_are_refused_before_the_retrieval_model_is_trained(planted):
    train = planted.split.train
    joint = JointModel(
        retrieval_model=build_ranking(train),
        rating_model=tt.build_two_tower(train, query=SUM_QUERY, candidate=SUM_CANDIDATE),
    )
    likes = train.with_events(np.flatnonzero(train.ratings == 5))
    before = joint.get_weights()
    with pytest.raises(ValueError, match="both sides of the threshold 3"):
        fit_joint(joint, likes, seed=0, retrieval=ONCE, rating=ONCE)
    for ours, theirs in zip(joint.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_task_by_event_is_not_trained_by_query(planted):
    model = tt.build_two_tower(planted.split.train, query=QUERY, candidate=CANDIDATE, task=SampledSoftmaxTask())
    with pytest.raises(TypeError, match="A SampledSoftmaxTask is trained by event: use `training_batches`"):
        fit_by_query(model, planted.split.train, seed=0, training=QueryTraining(epochs=1))


@pytest.mark.parametrize("decay", [None, 0.9])
def test_without_decay_the_last_steps_weights_are_kept(planted, decay):
    """With an average the weights differ from those of the last step."""
    train = planted.split.train
    model = build_ranking(train)
    table = model.candidate_tower.encoders["movie_id"].table.embeddings
    after_steps = []
    watch = tf.keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: after_steps.append(table.numpy()))
    training = QueryTraining(epochs=1, batch_size=16, decay=decay)
    fit_by_query(model, train, seed=0, training=training, callbacks=[watch])
    assert np.array_equal(table, after_steps[-1]) == (decay is None)


@pytest.mark.parametrize(
    "change", [{"epochs": 0}, {"epochs": 1.5}, {"batch_size": 0}, {"learning_rate": 0.0}, {"decay": 1.0}]
)
def test_an_impossible_training_by_query_is_refused(change):
    with pytest.raises((TypeError, ValueError), match=f"`{next(iter(change))}` must be"):
        QueryTraining(**{"epochs": 1, **change})


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 0},
        {"epochs": 1.5},
        {"batch_size": 0},
        {"learning_rate": float("nan")},
        {"learning_rate": -1.0},
        {"patience": -1},
    ],
)
def test_an_impossible_training_by_event_is_refused(change):
    with pytest.raises((TypeError, ValueError), match=f"`{next(iter(change))}` must be"):
        EventTraining(**change)


@pytest.mark.parametrize("setting", ["epochs", "patience"])
def test_training_by_event_needs_numbers_of_epochs(setting):
    with pytest.raises(TypeError, match=f"`{setting}` must be a whole number. Received: None"):
        EventTraining(**{setting: None})
