"""A training that takes no time, for tests of what is done around trainings."""

import functools
from collections.abc import Callable

import pytest
import tensorflow as tf

from tfrs_twotower.model.two_tower import TwoTowerModel
from tfrs_twotower.training import fitting


def leave_training_out(patch: pytest.MonkeyPatch, value: Callable[[TwoTowerModel], float] = lambda model: 1.0) -> None:
    """Leaves models as they are built, for tests in which their weights do not matter: a training takes seconds.

    Args:
        patch: What replaces training.
        value: Returns what a model's training would log as the value of the validation part.
    """

    def fit(model, train, **_) -> tf.keras.callbacks.History:
        history = tf.keras.callbacks.History()
        history.history = {monitor: [value(model)] for monitor in ("val_ndcg@10", "val_log_loss")}
        return history

    patch.setattr(fitting, "fit_by_query", fit)


@pytest.fixture
def untrained(monkeypatch) -> Callable[..., None]:
    """`leave_training_out`, for the rest of a test."""
    return functools.partial(leave_training_out, monkeypatch)
