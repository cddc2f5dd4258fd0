"""What Keras users expect of `compile`, `fit` and the logs, against NumPy and against plain Keras."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

import tfrs_twotower as tt
from tests.conftest import make_interactions
from tfrs_twotower.data.splits import Split
from tfrs_twotower.model.joint import JointModel
from tfrs_twotower.model.sum_tower import SumTower
from tfrs_twotower.model.two_tower import TwoTowerModel

NUM_QUERIES, NUM_CANDIDATES, NUM_EVENTS = 20, 30, 250
BATCH_SIZES = (8, 30, 8192)
MOVIE = tt.Categorical(name="movie_id")
SUM = {"output_dim": 4, "l2": 1e-2}


@pytest.fixture(scope="module")
def events() -> tt.Interactions:
    rng = np.random.default_rng(0)
    places = rng.choice(NUM_QUERIES * NUM_CANDIDATES, NUM_EVENTS, replace=False)
    return make_interactions(
        *divmod(places, NUM_CANDIDATES),
        rng.integers(1, 6, NUM_EVENTS),
        num_queries=NUM_QUERIES,
        num_candidates=NUM_CANDIDATES,
    )


@pytest.fixture(scope="module")
def weighted(events) -> tt.Interactions:
    weights = np.random.default_rng(1).uniform(0, 3, NUM_EVENTS).astype(np.float32)
    return dataclasses.replace(events, events=events.events.append_column("weight", pa.array(weights)))


def build(events, task=None, *, has_history: bool = False) -> TwoTowerModel:
    features = (tt.Categorical(name="user_id"), *([tt.History(of=MOVIE)] if has_history else []))
    tf.keras.utils.set_random_seed(0)
    return tt.build_two_tower(
        events,
        query=tt.SumTowerConfig(features=features, **SUM),
        candidate=tt.SumTowerConfig(features=(MOVIE,), has_bias=True, **SUM),
        task=task or tt.tasks.RatingTask(),
    )


def expected_losses(model, events) -> tuple[float, float]:
    """(loss, regularization_loss) by NumPy."""
    queries, candidates = model.embed(events)
    logits = np.einsum("nd,nd->n", queries[events.query_rows], candidates[events.candidate_rows])
    losses = np.logaddexp(0, np.where(events.ratings >= 3, -logits, logits))
    weights = np.ones(NUM_EVENTS) if events.weights is None else events.weights
    squares = sum(np.square(table).sum() for table in model.get_weights() if table.ndim == 2)
    return np.average(losses, weights=weights), SUM["l2"] * squares


@pytest.mark.parametrize("kind", ["events", "weighted"])
def test_losses_are_means_over_all_examples_whatever_the_batch_size(request, kind):
    events = request.getfixturevalue(kind)
    model = build(events)
    model.compile(optimizer=tf.keras.optimizers.SGD(0.0))  # the weights stay as they are
    loss, regularization = expected_losses(model, events)
    expected = {"loss": loss, "regularization_loss": regularization, "total_loss": loss + regularization}
    for batch_size in BATCH_SIZES:
        batches = model.evaluation_batches(events, batch_size=batch_size)
        shuffled = model.training_batches(events, batch_size=batch_size, seed=0)
        logs = model.fit(shuffled, validation_data=batches, epochs=2, verbose=0).history
        evaluated = model.evaluate(batches, verbose=0, return_dict=True)
        for name, value in expected.items():
            for found in (logs[name][-1], logs[f"val_{name}"][-1], evaluated[name]):
                assert found == pytest.approx(value, rel=1e-4), (name, batch_size)


def test_validation_covers_all_batches_whatever_ran_before(events):
    """A first `fit` runs one step at a time, for a callback; its test function must not serve for many at once."""
    model = build(events)
    model.compile(optimizer=tf.keras.optimizers.SGD(0.0))
    loss, _ = expected_losses(model, events)
    batches = model.training_batches(events, batch_size=30, seed=0)
    validation = model.evaluation_batches(events, batch_size=30)
    every_step = tf.keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: None)
    for callbacks in ([every_step], []):
        logs = model.fit(batches, validation_data=validation, callbacks=callbacks, verbose=0).history
        assert logs["val_loss"][-1] == pytest.approx(loss, rel=1e-4)


def test_losses_by_query_are_means_over_all_examples(events):
    model = build(events)
    model.compile(optimizer=tf.keras.optimizers.SGD(0.0))
    loss, _ = expected_losses(model, events)
    for batch_size in (3, 7, 8192):
        logs = model.fit(model.query_batches(events, batch_size=batch_size, seed=0), verbose=0).history
        assert logs["loss"][-1] == pytest.approx(loss, rel=1e-4), batch_size


def test_the_loss_of_a_softmax_is_the_mean_over_the_positives(weighted):
    model = build(weighted, tt.tasks.FullSoftmaxTask(highest_rating=5.0), has_history=True)
    model.compile(optimizer=tf.keras.optimizers.SGD(0.0))
    for batch_size in (3, 7):
        logs = model.fit(model.query_batches(weighted, batch_size=batch_size, seed=0), verbose=0).history
        assert logs["loss"][-1] == pytest.approx(logs["softmax_loss"][-1], rel=1e-4), batch_size


def make_metrics() -> list[tf.keras.metrics.Metric]:
    return [tf.keras.metrics.AUC(from_logits=True, name="mine"), tf.keras.metrics.MeanSquaredError(name="error")]


@pytest.mark.parametrize("by_query", [False, True])
def test_metrics_of_the_callers_are_those_of_plain_keras(weighted, by_query):
    model = build(weighted)
    model.compile(optimizer=tf.keras.optimizers.SGD(0.0), metrics=make_metrics(), weighted_metrics=["mae"])
    queries, candidates = model.embed(weighted)
    logits = np.einsum("nd,nd->n", queries[weighted.query_rows], candidates[weighted.candidate_rows])[:, np.newaxis]
    labels = (weighted.ratings >= 3).astype(np.float32)[:, np.newaxis]
    plain = tf.keras.Sequential([tf.keras.layers.Activation("linear")])
    plain.compile(loss="mse", metrics=make_metrics(), weighted_metrics=["mae"])
    expected = plain.evaluate(logits, labels, sample_weight=weighted.weights, verbose=0, return_dict=True)
    make = model.query_batches if by_query else model.training_batches
    logs = model.fit(make(weighted, batch_size=9, seed=0), verbose=0).history
    for name in ("mine", "error", "mae"):
        assert logs[name][-1] == pytest.approx(expected[name], rel=1e-4), name


class ModelWithOwnLogs(TwoTowerModel):
    """Its steps return more than metrics."""

    def train_step(self, batch):
        return {**super().train_step(batch), "steps": self.optimizer.iterations}

    def test_step(self, batch):
        return {**super().test_step(batch), "rows": tf.size(batch.ratings)}


@pytest.mark.parametrize("kind", [TwoTowerModel, ModelWithOwnLogs])
def test_logs_are_the_same_whether_steps_run_one_by_one_or_many_at_once(events, kind):
    histories = []
    for steps_per_execution in (1, None):
        plain = build(events)
        model = kind(query_tower=plain.query_tower, candidate_tower=plain.candidate_tower, task=plain.task)
        model.compile(tf.keras.optimizers.SGD(0.1), metrics=make_metrics(), steps_per_execution=steps_per_execution)
        batches = model.training_batches(events, batch_size=30, seed=0)
        history = model.fit(
            batches, epochs=2, validation_data=model.evaluation_batches(events, batch_size=100), verbose=0
        )
        histories.append(history.history)
    one_by_one = histories[0]
    assert len(one_by_one["mine"]) == 2
    for history in histories:
        assert all(isinstance(value, float | int) for values in history.values() for value in values)
        assert history.keys() == one_by_one.keys()
        for name, values in one_by_one.items():
            np.testing.assert_allclose(history[name], values, rtol=1e-6)
    if kind is ModelWithOwnLogs:
        assert (one_by_one["steps"], one_by_one["val_rows"]) == ([9, 18], [50, 50])


@pytest.mark.parametrize("arguments", [{"loss": "mse"}, {"loss_weights": [1.0]}])
def test_a_loss_beside_the_tasks_is_refused(events, arguments):
    message = r"`loss.*` must not be given: a TwoTowerModel is trained by the loss of its task. Build it with another"
    with pytest.raises(ValueError, match=message):
        build(events).compile(optimizer="adam", **arguments)


def test_what_is_no_batch_is_refused_before_tensorflow_sees_it(events):
    model = build(events)
    model.compile(optimizer="adam")
    nothing = events.with_events(np.zeros(0, np.int64))
    split = Split(train=events, validation=events, test=events, history=nothing)
    raw = tf.data.Dataset.from_tensors({"user_id": ["u1"], "movie_id": ["m1"], "rating": [5.0]})
    batches = model.training_batches(events, seed=0)
    for given, name in ((events, "Interactions"), (split, "Split")):
        with pytest.raises(TypeError, match=rf"`x` must be batches. Received: {name}. Give batches that"):
            model.fit(given)
        with pytest.raises(TypeError, match=rf"`validation_data` must be batches. Received: {name}. Give batches"):
            model.fit(batches, validation_data=given)
    with pytest.raises(TypeError, match=r"(?s)`x` must be a data set of batches of codes.*the model's `lookup`"):
        model.fit(raw)


class Calls(tf.keras.callbacks.Callback):
    """Records the number of the latest step at each call after a step."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = []

    def on_train_batch_end(self, batch, logs=None):
        self.steps.append(batch)


class FewCalls(Calls):
    takes_many_steps = True


def test_a_callback_after_each_step_is_called_after_each_step(events):
    model = build(events)
    model.compile(optimizer="adam")
    batches, calls, few = model.training_batches(events, batch_size=4, seed=0), Calls(), FewCalls()
    model.fit(batches, callbacks=calls, verbose=0)
    assert calls.steps == list(range(63))
    model.fit(batches, callbacks=[few], verbose=0)
    assert few.steps == [31, 62]
    model.fit(batches, callbacks=[calls], verbose=0)
    assert calls.steps == [*range(63), *range(63)]


def test_after_fit_data_of_unknown_length_can_be_evaluated_and_fitted(events):
    model = build(events)
    model.compile(optimizer="adam")
    batches = model.training_batches(events, batch_size=4, seed=0)
    model.fit(batches, epochs=2, verbose=0)
    unknown = model.evaluation_batches(events, batch_size=50).filter(lambda *_: True)
    expected = model.evaluate(model.evaluation_batches(events), verbose=0)
    np.testing.assert_allclose(model.evaluate(unknown, verbose=0), expected, rtol=1e-4)
    model.fit(batches, validation_data=unknown, verbose=0)
    model.fit(unknown, verbose=0)


@pytest.mark.parametrize(
    ("by_query", "batch_size", "steps_per_execution"), [(False, 20, None), (True, 6, None), (False, 20, 5)]
)
def test_fit_goes_through_the_epochs_in_the_order_of_iterations(events, by_query, batch_size, steps_per_execution):
    """Steps by hand, and one `fit` after the other, see the same batches of the same epochs."""
    trained = []
    for epochs_of_fits in ((), (1, 2)):
        model = build(events)
        model.compile(optimizer=tt.training.LazyAdam(1e-2), steps_per_execution=steps_per_execution)
        make = model.query_batches if by_query else model.training_batches
        batches = make(events, batch_size=batch_size, seed=1, initial_epoch=2)
        for epochs in epochs_of_fits:
            model.fit(batches, epochs=epochs, verbose=0)
        if not epochs_of_fits:
            for _ in range(3):
                for batch in batches:
                    model.train_step(batch)
        trained.append(model.get_weights())
        first = next(iter(make(events, batch_size=batch_size, seed=1, initial_epoch=5)))
        tf.nest.map_structure(np.testing.assert_array_equal, next(iter(batches)), first)
    for ours, theirs in zip(*trained, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_the_weights_of_a_model_hold_no_means_of_losses(events):
    model = build(events)
    num_weights = len(model.get_weights())
    model.compile(optimizer="adam", run_eagerly=True)
    model.fit(model.training_batches(events, seed=0), verbose=0)
    assert len(model.get_weights()) == num_weights


@pytest.mark.parametrize("part", ["model", "query tower"])
@pytest.mark.parametrize("file", ["weights.weights.h5", "weights.h5", "checkpoint"])
def test_weights_of_a_model_with_other_vocabularies_are_refused(events, tmp_path, file, part):
    """The vocabularies are of one size, and differ in their order alone, since they are ordered by frequency."""
    more_of_the_last = np.concatenate([np.arange(NUM_EVENTS), *[np.arange(NUM_EVENTS // 2, NUM_EVENTS)] * 9])
    one, same, other = build(events), build(events), build(events.with_events(more_of_the_last))
    if part == "query tower":
        one, same, other = (model.query_tower for model in (one, same, other))
    one.set_weights([weight + 1 if weight.dtype == np.float32 else weight for weight in one.get_weights()])
    one.save_weights(tmp_path / file)
    same.load_weights(tmp_path / file)
    for ours, theirs in zip(same.get_weights(), one.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    before = other.get_weights()
    with pytest.raises(ValueError, match=r"`filepath` must hold weights of a model with the same vocabularies.*query"):
        other.load_weights(tmp_path / file)
    for now, then in zip(other.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize("place", ["retrieval_model", "rating_model"])
def test_weights_of_a_joint_model_with_another_vocabulary_are_refused(events, tmp_path, place):
    more_of_the_last = np.concatenate([np.arange(NUM_EVENTS), *[np.arange(NUM_EVENTS // 2, NUM_EVENTS)] * 9])
    models = {"retrieval_model": build(events, tt.tasks.FullSoftmaxTask()), "rating_model": build(events)}
    JointModel(**models).save_weights(tmp_path / "checkpoint")
    models[place] = build(events.with_events(more_of_the_last), models[place].task)
    with pytest.raises(ValueError, match="those of the (query|candidate) and the (query|candidate) tower differ"):
        JointModel(**models).load_weights(tmp_path / "checkpoint")


def test_a_loss_that_is_not_finite_stops_training_and_names_the_weights(events):
    model = build(events)
    model.compile(optimizer=tf.keras.optimizers.SGD(1e30))
    message = (
        r"The loss is not finite after steps \d+ to \d+ of epoch 0: .*'total_loss': (nan|inf).* Weights with NaN or "
        r"infinity: .*embeddings.*The likely cause is a learning rate that is too high"
    )
    with pytest.raises(FloatingPointError, match=message):
        model.fit(model.training_batches(events, batch_size=10, seed=0), epochs=3, verbose=0)


def test_weights_of_events_that_are_not_finite_stop_training_in_the_first_step(events):
    model = build(events)
    model.compile(optimizer="adam")
    raw = {"user_id": tf.constant(["u1", "u2"])}, {"movie_id": tf.constant(["m1", "m2"])}, tf.constant([5.0, 1.0])
    batches = tf.data.Dataset.from_tensors(model.lookup(*raw, weights=tf.constant([1.0, np.inf])))
    message = r"`weights` must be finite numbers in ±1e\+18. Received NaN, infinity or a larger number in batch 0"
    with pytest.raises(FloatingPointError, match=message):
        model.fit(batches, verbose=0)


@tf.keras.utils.register_keras_serializable(package="tests")
class OwnTower(SumTower):
    """A user's subclass of a tower, whose outputs are twice as long."""

    def combine(self, vectors, training):
        return 2 * super().combine(vectors, training)


@tf.keras.utils.register_keras_serializable(package="tests")
class OwnModel(TwoTowerModel):
    """A user's subclass of the model, with scores that are one higher."""

    def call(self, batch, training=False):
        return super().call(batch, training=training) + 1


def test_subclasses_of_models_and_towers_are_themselves_after_loading(events, tmp_path):
    plain = build(events)
    towers = {
        name: OwnTower.create(tower.config, tower.vocabularies, name=tower.name)
        for name, tower in (("query_tower", plain.query_tower), ("candidate_tower", plain.candidate_tower))
    }
    model = OwnModel(**towers, task=tt.tasks.RatingTask())
    model.compile(optimizer=tt.training.LazyAdam(1e-2))
    model.fit(model.training_batches(events, seed=0), verbose=0)
    batches = model.evaluation_batches(events)
    expected = model.predict(batches, verbose=0)
    for file in ("model.keras", "folder"):
        model.save(tmp_path / file)
        loaded = tf.keras.models.load_model(tmp_path / file)
        assert (type(loaded), type(loaded.query_tower), type(loaded.candidate_tower)) == (OwnModel, OwnTower, OwnTower)
        np.testing.assert_allclose(loaded.predict(batches, verbose=0), expected, rtol=1e-5)
        if file == "model.keras":
            assert int(loaded.optimizer.iterations) == int(model.optimizer.iterations) == 1
