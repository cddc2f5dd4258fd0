import dataclasses

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

import tfrs_twotower as tt
from tests.conftest import CANDIDATE, QUERY, make_planted
from tfrs_twotower.data.splits import unseen_queries_split
from tfrs_twotower.evaluation.ranking import event_pairs, rank_candidates
from tfrs_twotower.evaluation.rating import rating_metrics
from tfrs_twotower.evaluation.relevance import ranking_metrics
from tfrs_twotower.training.callbacks import AveragedWeights, BestWeights, ValidationMetrics
from tfrs_twotower.training.optimizers import LazyAdam


class ScriptedModel(tf.keras.Model):
    """Its only weight counts the epochs, and validation returns the scripted value of each."""

    def __init__(self, values: list[float]) -> None:
        super().__init__()
        self.epoch = self.add_weight(name="epoch", shape=(), initializer="zeros")
        self.values = tf.constant(values)

    def train_step(self, data):
        self.epoch.assign_add(1.0)
        return {"loss": self.epoch}

    def test_step(self, data):
        return {"score": tf.gather(self.values, tf.cast(self.epoch, tf.int32) - 1)}


@pytest.mark.parametrize(
    ("values", "mode", "epochs_run", "best_epoch"),
    [
        ([0.1, 0.9, 0.3, 0.2, 0.1, 0.1], "max", 4, 2),  # stopped early
        ([0.1, 0.2, 0.9, 0.3], "max", 4, 3),  # not stopped early: Keras alone would keep the last weights
        ([0.1, 0.2, 0.3, 0.4], "max", 4, 4),
        ([0.5, 0.1, 0.3, 0.4, 0.5], "min", 4, 2),
    ],
)
def test_the_best_epochs_weights_are_restored_whether_or_not_training_stops_early(values, mode, epochs_run, best_epoch):
    model = ScriptedModel(values)
    model.compile()
    data = tf.data.Dataset.from_tensors(np.zeros((1, 1), np.float32))
    history = model.fit(
        data,
        validation_data=data,
        epochs=len(values),
        callbacks=[BestWeights("val_score", mode=mode, patience=2)],
        verbose=0,
    )
    assert len(history.epoch) == epochs_run
    assert model.epoch.numpy() == best_epoch


def test_an_unknown_metric_is_refused():
    model = ScriptedModel([0.5])
    model.compile()
    data = tf.data.Dataset.from_tensors(np.zeros((1, 1), np.float32))
    with pytest.raises(ValueError, match="`monitor` must be one of loss, val_score. Received: val_acc."):
        model.fit(data, validation_data=data, callbacks=[BestWeights("val_acc", mode="max", patience=1)], verbose=0)


def test_an_unknown_mode_is_refused():
    with pytest.raises(ValueError, match="`mode` must be 'min' or 'max'"):
        BestWeights("val_score", mode="auto", patience=1)


def test_validation_metrics_equal_those_of_the_evaluation(planted, trained):
    """They join Keras's logs, where `BestWeights` finds them."""
    split = planted.split
    logs = {"loss": 0.5}
    callback = ValidationMetrics(split, k=3)
    callback.set_model(trained)
    callback.on_epoch_end(0, logs)
    seen = event_pairs(split.train)
    ranked = rank_candidates(*trained.embed(split.validation), seen, k=3)
    expected = ranking_metrics(ranked, split.validation, seen, threshold=3)
    del expected["num_queries"]
    queries, candidates = trained.embed(split.validation)
    validation = split.validation
    logits = np.einsum("nd,nd->n", queries[validation.query_rows], candidates[validation.candidate_rows])
    expected.update(rating_metrics(validation.ratings >= 3, 1 / (1 + np.exp(-logits))))
    assert logs == {"loss": 0.5, **{f"val_{name}": pytest.approx(value) for name, value in expected.items()}}


def test_averaged_weights_are_in_place_after_an_epoch_and_at_the_end():
    """Each step moves the weight by 1, so that the average can be computed by hand."""
    model = tf.keras.Sequential([tf.keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")])
    model.build([None, 1])
    model.compile(optimizer=tf.keras.optimizers.legacy.SGD(1.0), loss=lambda labels, outputs: -tf.reduce_mean(outputs))
    seen = []
    watch = tf.keras.callbacks.LambdaCallback(
        on_epoch_end=lambda *_: seen.append(float(model.weights[0].numpy().item()))
    )
    callbacks = [AveragedWeights(decay=0.5), watch]
    model.fit(np.ones([2, 1]), np.ones([2, 1]), batch_size=1, epochs=2, callbacks=callbacks, verbose=0)
    # The weight is 1, 2, 3, 4 after the steps; the decay is (1 + n) / (10 + n) while that is below 0.5.
    average, averages = 0.0, []
    for step in range(4):
        decay = min(0.5, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * (step + 1)
        averages.append(average)
    assert seen == pytest.approx([averages[1], averages[3]], rel=1e-6)
    assert model.weights[0].numpy().item() == pytest.approx(averages[3], rel=1e-6)


class AverageByHand(tf.keras.callbacks.Callback):
    """Averages the trainable weights in NumPy, from what each step leaves behind."""

    def __init__(self, decay):
        super().__init__()
        self._decay, self._step = decay, 0

    def on_train_begin(self, logs=None):
        self.averages = [variable.numpy() for variable in self.model.trainable_variables]

    def on_train_batch_end(self, batch, logs=None):
        decay = min(self._decay, (1 + self._step) / (10 + self._step))
        pairs = zip(self.averages, self.model.trainable_variables, strict=True)
        self.averages = [decay * average + (1 - decay) * variable.numpy() for average, variable in pairs]
        self._step += 1


def test_weights_averaged_inside_the_steps_are_those_averaged_after_them(planted):
    train = planted.split.train
    model = tt.build_two_tower(train, query=QUERY, candidate=CANDIDATE)
    model.compile(optimizer=LazyAdam(5e-3))
    batches = model.training_batches(train, batch_size=64, seed=0)
    by_hand = AverageByHand(decay=0.9)
    model.fit(batches, epochs=1, callbacks=[AveragedWeights(decay=0.9), by_hand], verbose=0)
    for variable, expected in zip(model.trainable_variables, by_hand.averages, strict=True):
        np.testing.assert_allclose(variable, expected, rtol=1e-4, atol=1e-6)
    model.fit(batches, epochs=1, verbose=0)
    assert not np.allclose(model.trainable_variables[0], by_hand.averages[0], rtol=1e-4)


def test_moving_statistics_of_batch_normalisation_are_averaged_with_the_weights():
    model = tf.keras.Sequential([tf.keras.layers.BatchNormalization(momentum=0.5)])
    model.build([None, 1])
    model.compile(optimizer=tf.keras.optimizers.legacy.SGD(0.0), loss="mse")
    inputs = np.array([[1.0], [3.0]], np.float32)
    model.fit(inputs, inputs, batch_size=1, shuffle=False, callbacks=[AveragedWeights(decay=0.9)], verbose=0)
    # The mean is 0.5 after the first step and 1.75 after the second; the decays are 1/10 and 2/11.
    average = 2 / 11 * (0.9 * 0.5) + 9 / 11 * 1.75
    assert model.layers[0].moving_mean.numpy() == pytest.approx([average], rel=1e-5)


def test_training_can_follow_the_validation_ranking_of_unseen_users():
    """The tower has no id feature: a history is all that represents a held-out user."""
    split = unseen_queries_split(planted_everywhere(), test=0.2, validation=0.2, target=0.4, seed=0)
    tf.keras.utils.set_random_seed(0)
    history = tt.History(of=CANDIDATE.features[0], by_rating=True, length=30)
    query = dataclasses.replace(QUERY, features=(history,))
    model = tt.build_two_tower(split.train, query=query, candidate=CANDIDATE)
    model.compile(optimizer=LazyAdam(5e-3))
    followed = model.fit(
        model.training_batches(split.train, batch_size=32, seed=0),
        epochs=12,
        callbacks=[ValidationMetrics(split, k=5), BestWeights("val_ndcg@5", mode="max", patience=12)],
        verbose=0,
    ).history
    assert max(followed["val_ndcg@5"]) > 0.9
    metrics = tt.evaluate(model, split, k=5).metrics
    assert metrics["ndcg@5"] > 0.9
    assert metrics["auc"] > 0.95


def test_between_measurements_the_logs_keep_the_latest_values(planted):
    model = tt.build_two_tower(planted.split.train, query=QUERY, candidate=CANDIDATE)
    model.compile(optimizer=LazyAdam(5e-3))
    history = model.fit(
        model.training_batches(planted.split.train, batch_size=64, seed=0),
        epochs=5,
        callbacks=[ValidationMetrics(planted.split, k=3, every=2)],
        verbose=0,
    ).history["val_log_loss"]
    # Metrics are measured after the first, the second, the fourth and the last epoch.
    assert history[0] != history[1] == history[2] != history[3] != history[4]
    with pytest.raises(ValueError, match="`every` must be at least 1. Received: 0"):
        ValidationMetrics(planted.split, every=0)


@pytest.mark.parametrize("k", [0, 25])
def test_an_impossible_k_is_refused_before_training(planted, k):
    with pytest.raises(ValueError, match=f"`k` must be in 1..num_candidates, 24. Received: {k}"):
        ValidationMetrics(planted.split, k=k)


def planted_everywhere() -> tt.Interactions:
    """Every planted event in one table."""
    split = make_planted(num_queries=60, num_candidates=30).split
    return dataclasses.replace(split.train, events=pa.concat_tables([split.seen.events, split.test.events]))
