"""The state of the optimizer survives saving, in every format of Keras's, or a warning says that it does not."""

import warnings

import numpy as np
import pytest
import tensorflow as tf

import tfrs_twotower as tt
from tests.conftest import make_interactions
from tfrs_twotower.model.joint import JointModel

MOVIE = tt.Categorical(name="movie_id")
QUERY = tt.SumTowerConfig(features=(tt.Categorical(name="user_id"), tt.Numeric(name="age")), output_dim=4)
CANDIDATE = tt.MLPTowerConfig(features=(MOVIE,), output_dim=4, hidden_units=(3,), has_bias=True, dropout=0.0)


@pytest.fixture(scope="module")
def events() -> tt.Interactions:
    rng = np.random.default_rng(0)
    pairs = np.divmod(rng.choice(200, 60, replace=False), 20)
    return make_interactions(*pairs, rng.integers(1, 6, 60), num_queries=10, num_candidates=20)


def build(events, kind: str):
    tf.keras.utils.set_random_seed(0)
    rating = tt.build_two_tower(events, query=QUERY, candidate=CANDIDATE)
    if kind == "single":
        return rating
    retrieval = tt.build_two_tower(events, query=QUERY, candidate=CANDIDATE, task=tt.tasks.FullSoftmaxTask())
    return JointModel(retrieval_model=retrieval, rating_model=rating)


def compiled(model):
    model.compile(optimizer=tt.training.LazyAdam(1e-2), run_eagerly=True)
    return model


def train(model, events, epochs: int) -> None:
    model.fit(
        model.query_batches(events, batch_size=5, seed=0, initial_epoch=2 * int(epochs == 1)), epochs=epochs, verbose=0
    )


def state(model) -> list[np.ndarray]:
    return [variable.numpy() for variable in model.optimizer.variables]


def require_same(model, other) -> None:
    for ours, theirs in zip([*state(model), *model.get_weights()], [*state(other), *other.get_weights()], strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.fixture(scope="module", params=["single", "joint"])
def trained(request, events):
    """(kind, a model after two epochs, one after three)."""
    model, longer = (compiled(build(events, request.param)) for _ in range(2))
    train(model, events, 2)
    train(longer, events, 2)
    train(longer, events, 1)
    assert np.abs(state(model)[1]).max() > 0
    return request.param, model, longer


def test_a_whole_model_goes_on_with_its_training(events, trained, tmp_path):
    _, model, longer = trained
    model.save(tmp_path / "model.keras")
    loaded = tf.keras.models.load_model(tmp_path / "model.keras")
    require_same(loaded, model)
    train(loaded, events, 1)
    for ours, theirs in zip(loaded.get_weights(), longer.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("file", ["some.weights.h5", "checkpoint"])
def test_weights_with_the_optimizer_go_on_with_the_training(events, trained, tmp_path, file):
    kind, model, longer = trained
    model.save_weights(tmp_path / file)
    loaded = compiled(build(events, kind))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded.load_weights(tmp_path / file)
    require_same(loaded, model)
    train(loaded, events, 1)
    for ours, theirs in zip(loaded.get_weights(), longer.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("file", ["some.weights.h5", "checkpoint"])
def test_a_state_that_a_model_without_optimizer_cannot_take_is_told_of(events, trained, tmp_path, file):
    kind, model, _ = trained
    model.save_weights(tmp_path / file)
    with pytest.warns(UserWarning, match=f"{file} has the state of an optimizer, which is not loaded.*Call `compile`"):
        build(events, kind).load_weights(tmp_path / file)


@pytest.mark.parametrize("file", ["weights.h5", "uncompiled.weights.h5", "uncompiled"])
def test_weights_without_a_state_are_told_of(events, trained, tmp_path, file):
    kind, model, _ = trained
    if (kind, file) == ("joint", "weights.h5"):
        with pytest.raises(ValueError, match=r"`filepath` must end with .weights.h5, or be that of a TensorFlow"):
            model.save_weights(tmp_path / file)
        return
    saved = build(events, kind) if "uncompiled" in file else model
    saved.set_weights(model.get_weights())
    saved.save_weights(tmp_path / file)
    loaded = compiled(build(events, kind))
    with pytest.warns(UserWarning, match=f"{file} has weights and no state of an optimizer"):
        loaded.load_weights(tmp_path / file)
    assert int(loaded.optimizer.iterations) == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # without an optimizer, nothing is missing
        build(events, kind).load_weights(tmp_path / file)
    for ours, theirs in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_older_folder_format_tells_that_the_optimizer_is_new(events, tmp_path):
    model = compiled(build(events, "single"))
    train(model, events, 2)
    for options in ({}, {"save_format": "tf"}):
        message = "`filepath` must end with .keras, or the model must have been called before"
        with pytest.raises(ValueError, match=message):
            model.save(tmp_path / "folder", **options)
    model.predict(model.evaluation_batches(events), verbose=0)
    model.save(tmp_path / "folder", save_format="tf")
    with pytest.warns(UserWarning, match="older folder format, from which Keras restores no state of an optimizer"):
        loaded = tf.keras.models.load_model(tmp_path / "folder")
    assert int(loaded.optimizer.iterations) == 0
    for ours, theirs in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(("file", "options"), [("model.h5", {}), ("model.hdf5", {}), ("model", {"save_format": "h5"})])
def test_a_whole_model_in_hdf5_is_refused_with_advice(events, tmp_path, file, options):
    with pytest.raises(
        ValueError, match="`filepath` must end with .keras: HDF5 holds no model that is a class of its own"
    ):
        compiled(build(events, "single")).save(tmp_path / file, **options)
    assert not list(tmp_path.iterdir())
