"""What works under a strategy with one device, whose variables are distributed as those of many are."""

import contextlib
import types

import numpy as np
import pytest
import tensorflow as tf

import tfrs_twotower as tt
from tests.conftest import make_interactions
from tfrs_twotower.features.embeddings import NeutralRows
from tfrs_twotower.model.batch_service import BatchService
from tfrs_twotower.model.replicas import known_steps, on_first_worker, outside_scopes, undistributed
from tfrs_twotower.model.step_callbacks import Validation


@pytest.fixture(scope="module")
def strategy() -> tf.distribute.Strategy:
    return tf.distribute.MirroredStrategy(["CPU:0"])


@pytest.fixture(scope="module")
def events() -> tt.Interactions:
    queries, candidates = np.indices((6, 8)).reshape(2, -1)
    return make_interactions(queries, candidates, 1 + (queries + candidates) % 5, num_queries=6, num_candidates=8)


@pytest.fixture(scope="module")
def model(strategy, events) -> tt.model.TwoTowerModel:
    with strategy.scope():
        model = tt.build_two_tower(
            events,
            query=tt.SumTowerConfig(features=(tt.Categorical(name="user_id"),), output_dim=4),
            candidate=tt.SumTowerConfig(features=(tt.Categorical(name="movie_id"),), output_dim=4),
        )
        model.compile(optimizer=tt.training.LazyAdam(0.01))
    return model


def test_other_strategies_are_refused(events):
    with tf.distribute.experimental.CentralStorageStrategy().scope():
        model = tt.build_two_tower(
            events,
            query=tt.SumTowerConfig(features=(tt.Categorical(name="user_id"),), output_dim=4),
            candidate=tt.SumTowerConfig(features=(tt.Categorical(name="movie_id"),), output_dim=4),
        )
        with pytest.raises(NotImplementedError, match="Received: CentralStorageStrategy"):
            model.compile()


def test_weights_are_saved_and_loaded(model, tmp_path):
    before = model.get_weights()
    model.save_weights(tmp_path / "weights.h5")
    model.load_weights(tmp_path / "weights.h5")
    np.testing.assert_equal(model.get_weights(), before)


def test_batches_that_were_made_in_a_scope_are_those_of_none(strategy, model, events):
    def orders(batches: tf.data.Dataset) -> list[list[list[int]]]:
        return [[batch.candidate_rows.numpy().tolist() for batch in batches] for _ in range(2)]

    with strategy.scope():
        inside = model.training_batches(events, batch_size=10, seed=0)
    assert orders(inside) == orders(model.training_batches(events, batch_size=10, seed=0))


@pytest.mark.parametrize("kind", ["training_batches", "query_batches"])
def test_one_device_trains_as_without_a_strategy(strategy, events, kind):
    def losses(scope: contextlib.AbstractContextManager) -> dict[str, list[float]]:
        tf.keras.utils.set_random_seed(0)
        with scope:
            model = tt.build_two_tower(
                events,
                query=tt.SumTowerConfig(features=(tt.Categorical(name="user_id"),), output_dim=4),
                candidate=tt.SumTowerConfig(features=(tt.Categorical(name="movie_id"),), output_dim=4),
            )
            model.compile(optimizer=tt.training.LazyAdam(0.1))
        batches = getattr(model, kind)(events, batch_size=5, seed=0)
        return model.fit(batches, epochs=3, validation_data=model.evaluation_batches(events), verbose=0).history

    found, expected = losses(strategy.scope()), losses(contextlib.nullcontext())
    for name in ("loss", "val_loss"):
        assert found[name] == pytest.approx(expected[name], rel=1e-5)


def test_a_loss_that_is_not_finite_stops_training(strategy, events):
    with strategy.scope():
        model = tt.build_two_tower(
            events,
            query=tt.SumTowerConfig(features=(tt.Categorical(name="user_id"),), output_dim=4),
            candidate=tt.SumTowerConfig(features=(tt.Categorical(name="movie_id"),), output_dim=4),
        )
        model.compile(optimizer=tf.keras.optimizers.SGD(1e38))
    with pytest.raises(FloatingPointError, match="Weights with NaN or infinity: .+"):
        model.fit(model.training_batches(events, batch_size=10, seed=0), verbose=0)


def test_functions_run_outside_scopes(strategy):
    assert outside_scopes(tf.distribute.has_strategy) is False
    with strategy.scope():
        assert outside_scopes(tf.distribute.has_strategy) is False
        assert tf.distribute.has_strategy()


def test_an_undistributed_model_predicts_alike(model, events):
    plain = undistributed(model)
    assert plain is not model
    assert undistributed(plain) is plain
    for found, expected in zip(plain.embed(events), model.embed(events), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_bundles_load_in_a_scope(strategy, bundle_path):
    query = {"user_id": ["u0", "u1"]}
    expected = tt.load_bundle(bundle_path).recommend(query).candidate_ids.tolist()
    with strategy.scope():
        found = tt.load_bundle(bundle_path).recommend(query).candidate_ids.tolist()
    assert found == expected


def test_one_worker_calls_functions_itself(strategy):
    assert on_first_worker(lambda: 7, strategy) == 7


@pytest.mark.parametrize(
    ("batches", "error", "message"),
    [
        (tf.data.Dataset.range(3).filter(lambda number: number > 1), ValueError, "known number of batches"),
        ([1, 2], TypeError, "must be a tf.data.Dataset"),
    ],
)
def test_replicas_need_a_known_number_of_batches(batches, error, message):
    with pytest.raises(error, match=message):
        known_steps("x", batches, None)


def test_the_parts_of_a_table_start_as_the_whole_does():
    tf.keras.utils.set_random_seed(0)
    initializer = NeutralRows(2)
    whole = initializer([7, 3])
    parts = [
        initializer([7, 3], partition_shape=(size, 3), partition_offset=(first, 0)) for first, size in ((0, 4), (4, 3))
    ]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert not whole[:2].numpy().any()


def test_workers_of_parameter_servers_must_know_where_their_batches_are():
    cluster = tf.train.ClusterSpec({"worker": ["127.0.0.1:1"], "ps": ["127.0.0.1:2"]})
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(cluster)
    with pytest.raises(ValueError, match=r"must have a chief.* Received: \['ps', 'worker'\]"):
        BatchService(types.SimpleNamespace(_cluster_resolver=resolver))


@pytest.mark.parametrize(("every", "evaluated"), [(1, [0, 1, 2, 3]), (2, [1, 3]), ([1, 4], [0, 3])])
def test_validation_in_the_coordinator_follows_the_frequency_of_keras(model, events, every, evaluated):
    validation = Validation(model.evaluation_batches(events), None, every)
    validation.set_model(model)
    logs: list[dict[str, float]] = [{} for _ in range(4)]
    for epoch, of_epoch in enumerate(logs):
        validation.on_epoch_end(epoch, of_epoch)
    assert [epoch for epoch, of_epoch in enumerate(logs) if "val_loss" in of_epoch] == evaluated
