"""A model whose weights are still those that it was built with is recognised, and no other."""

import warnings

import numpy as np
import pytest

import tfrs_twotower as tt
from tests.conftest import CANDIDATE, QUERY
from tfrs_twotower.model.joint import JointModel
from tfrs_twotower.model.two_tower import TwoTowerModel
from tfrs_twotower.model.untrained import fingerprint, warn_if_untrained

import tensorflow as tf  # isort: skip  # after tfrs_twotower


@pytest.fixture(scope="module")
def train(planted) -> tt.Interactions:
    return planted.split.train


def build(train, **options) -> TwoTowerModel:
    return tt.build_two_tower(train, query=QUERY, candidate=CANDIDATE, **options)


def batches(model, train):
    return model.training_batches(train, batch_size=512, seed=0)


def fit(model, train):
    model.compile(optimizer=tt.training.LazyAdam(0.01))
    model.fit(batches(model, train), epochs=1, verbose=0)


def take_one_step_in_a_loop_of_ones_own(model, train):
    batch = next(iter(batches(model, train)))
    with tf.GradientTape() as tape:
        loss = model.compute_loss(batch, training=True)
    weights = model.trainable_variables
    for weight, gradient in zip(weights, tape.gradient(loss, weights), strict=True):
        if gradient is not None:
            weight.assign_sub(1e-4 * tf.convert_to_tensor(gradient))


def load_weights(model, train, tmp_path):
    tf.keras.utils.set_random_seed(1)
    trained = build(train)
    fit(trained, train)
    trained.save_weights(tmp_path / "weights.h5")
    model.load_weights(tmp_path / "weights.h5")


def load_a_keras_file(model, train, tmp_path):
    fit(model, train)
    model.save(tmp_path / "model.keras")
    return tf.keras.models.load_model(tmp_path / "model.keras")


def join_trained_towers(model, train):
    fit(model, train)
    return TwoTowerModel(query_tower=model.query_tower, candidate_tower=model.candidate_tower, task=model.task)


WAYS = [fit, take_one_step_in_a_loop_of_ones_own, load_weights, load_a_keras_file, join_trained_towers]


def test_a_model_that_was_only_built_seems_untrained(train):
    for task in (tt.tasks.RatingTask(), tt.tasks.FullSoftmaxTask(), tt.tasks.SampledSoftmaxTask()):
        model = build(train, task=task)
        model.embed(train)  # using it changes nothing
        assert model.seems_untrained
        with pytest.warns(UserWarning, match="The model seems never to have been trained: its weights are those"):
            warn_if_untrained(model)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_model_that_was_trained_or_loaded_in_any_way_does_not(train, tmp_path, way):
    model = build(train)
    needs_files = way in (load_weights, load_a_keras_file)
    changed = way(model, train, *([tmp_path] if needs_files else [])) or model
    assert not changed.seems_untrained
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_untrained(changed)


def test_the_untrained_part_of_a_joint_model_is_named(train):
    ranks, rates = build(train, task=tt.tasks.SampledSoftmaxTask()), build(train)
    fit(rates, train)
    with pytest.warns(UserWarning, match="The retrieval model seems never to have been trained"):
        warn_if_untrained(JointModel(retrieval_model=ranks, rating_model=rates))


def test_a_small_change_of_a_large_table_changes_the_fingerprint():
    values = np.full(100_000, 1e3, np.float32)
    table = tf.Variable(values)
    before = fingerprint([table])
    values[77] = np.nextafter(values[77], np.float32(np.inf))
    table.assign(values)
    assert fingerprint([table]) != before
    assert fingerprint([tf.Variable(values)]) == fingerprint([table])
