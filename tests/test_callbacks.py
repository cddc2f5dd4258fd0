import numpy as np
import pytest
import tensorflow as tf

import tfrs_twotower as tt
from tfrs_twotower.training.callbacks import ProgressLine


class ScriptedModel(tf.keras.Model):
    """Its one weight counts the epochs; validation says what the script says of each."""

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
        ([0.1, 0.2, 0.9, 0.3], "max", 4, 3),  # ran through: Keras alone would keep the last weights
        ([0.1, 0.2, 0.3, 0.4], "max", 4, 4),
        ([0.5, 0.1, 0.3, 0.4, 0.5], "min", 4, 2),
    ],
)
def test_the_best_epochs_weights_are_restored_however_training_ends(values, mode, epochs_run, best_epoch):
    model = ScriptedModel(values)
    model.compile()
    data = tf.data.Dataset.from_tensors(np.zeros((1, 1), np.float32))
    history = model.fit(
        data,
        validation_data=data,
        epochs=len(values),
        callbacks=[tt.BestWeights("val_score", mode=mode, patience=2)],
        verbose=0,
    )
    assert len(history.epoch) == epochs_run
    assert model.epoch.numpy() == best_epoch


def test_a_metric_that_is_not_there_is_an_error():
    model = ScriptedModel([0.5])
    model.compile()
    data = tf.data.Dataset.from_tensors(np.zeros((1, 1), np.float32))
    with pytest.raises(ValueError, match="`monitor` must be one of loss, val_score. Received: val_acc."):
        model.fit(data, validation_data=data, callbacks=[tt.BestWeights("val_acc", mode="max", patience=1)], verbose=0)


def test_a_mode_is_one_of_two():
    with pytest.raises(ValueError, match="`mode` must be 'min' or 'max'"):
        tt.BestWeights("val_score", mode="auto", patience=1)


def test_progress_shows_epochs_and_metric(capsys):
    model = ScriptedModel([0.25, 0.75])
    model.compile()
    data = tf.data.Dataset.from_tensors(np.zeros((1, 1), np.float32))
    model.fit(data, validation_data=data, epochs=2, callbacks=[ProgressLine("val_score")], verbose=0)
    output = capsys.readouterr().err
    assert "2/2" in output
    assert "val_score 0.7500" in output
