"""Fits a model of a recipe: for as many epochs as the validation part likes best, then on all events."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias

import numpy as np
import tensorflow as tf

from tfrs_twotower._progress import Progress
from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.data.splits import Split
from tfrs_twotower.model.recipe_settings import ModelSettings
from tfrs_twotower.model.two_tower import TwoTowerModel
from tfrs_twotower.training.callbacks import BestWeights, ValidationMetrics
from tfrs_twotower.training.choosing import DEFAULT_EPOCHS
from tfrs_twotower.training.fit import QueryTraining, fit_by_query
from tfrs_twotower.training.recency import weigh_by_recency
from tfrs_twotower.training.run_folder import RunFolder

#: Queries by which the ranking of the validation part is measured: more would take longer than they are worth.
MAX_RANKED_QUERIES = 10_000
# Steps from one measurement of the validation part to the next; an epoch of more steps is measured at its end.
_MIN_STEPS_BETWEEN = 30

Logs: TypeAlias = Mapping[str, Sequence[float]]
ModelName: TypeAlias = Literal["retrieval", "rating"]
_Build: TypeAlias = Callable[[ModelSettings, Interactions], TwoTowerModel]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chosen:
    """A model's settings with the number of epochs; and what chose it, if the validation part did.

    Attributes:
        settings: The settings.
        model: The model of the best epoch, trained on the training part.
        logs: Keras's logs of its training.
        value: The best NDCG@10, or the lowest log loss, of the validation part.
    """

    settings: ModelSettings
    model: TwoTowerModel | None = None
    logs: Logs | None = None
    value: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fitting:
    """What the trainings of a recipe's models share.

    Attributes:
        choosing: Split whose validation part chooses the epochs; None if there is none.
        seen: All events that are not of the test part.
        again: Whether a model is trained again on all of them.
        recommend_seen: Whether candidates that a query has seen are recommended again.
        seed: Seed of the weights and of the order of the queries.
        progress: Told how many steps have been done.
        callbacks: More Keras callbacks.
        run: Where the trainings are kept; None if they are not.
    """

    choosing: Split | None
    seen: Interactions
    again: bool
    recommend_seen: bool
    seed: int
    progress: Progress
    callbacks: tuple[tf.keras.callbacks.Callback, ...]
    run: RunFolder | None = None

    @property
    def trained_on(self) -> Interactions:
        """The events that a final model is trained on."""
        return self.seen if self.again or self.choosing is None else self.choosing.train

    def choose(
        self,
        name: ModelName,
        settings: ModelSettings,
        build: _Build,
        half_life_days: float | None = None,
        *,
        variant: str = "",
    ) -> Chosen:
        """Chooses the number of epochs, unless it is given, by training a model on the training part.

        Args:
            name: Name of the model.
            settings: Its settings.
            build: Builds it.
            half_life_days: Days after which the weight of an event has halved; None if all weigh the same.
            variant: What the progress says about it, such as " with ids alone".
        """
        if settings.epochs is not None:
            return Chosen(settings=settings)
        if self.choosing is None:
            return Chosen(settings=dataclasses.replace(settings, epochs=min(DEFAULT_EPOCHS, settings.max_epochs)))
        train = _weigh(self.choosing.train, half_life_days)
        k = min(10, train.num_candidates)
        mode: Literal["min", "max"] = "max" if name == "retrieval" else "min"
        monitor = f"val_ndcg@{k}" if name == "retrieval" else "val_log_loss"
        steps = math.ceil(len(np.unique(train.requests.of_events)) / settings.batch_size)
        every = max(1, round(_MIN_STEPS_BETWEEN / steps))
        watching = [
            ValidationMetrics(
                self.choosing,
                k=k if name == "retrieval" else None,
                every=every,
                recommend_seen=self.recommend_seen,
                max_queries=MAX_RANKED_QUERIES,
            ),
            BestWeights(monitor, mode=mode, patience=every * settings.patience),
        ]
        planned = dataclasses.replace(settings, epochs=settings.max_epochs)
        model, logs = self._fit(f"Training the {name} model{variant}", planned, build, train, watching)
        best = int(np.argmax(logs[monitor]) if mode == "max" else np.argmin(logs[monitor]))
        return Chosen(
            settings=dataclasses.replace(settings, epochs=best + 1),
            model=model,
            logs=logs,
            value=float(logs[monitor][best]),
        )

    def finish(
        self, name: ModelName, chosen: Chosen, build: _Build, half_life_days: float | None = None
    ) -> tuple[TwoTowerModel, Logs]:
        """Returns the final model, trained on all events or that of the best epoch, and Keras's logs.

        Args:
            name: As of `choose`.
            chosen: What `choose` returned.
            build: As of `choose`.
            half_life_days: As of `choose`.
        """
        if chosen.model is not None and chosen.logs is not None and not self.again:
            return chosen.model, chosen.logs
        task, train = f"Training the {name} model on all events", _weigh(self.seen, half_life_days)
        model, logs = self._fit(task, chosen.settings, build, train, ())
        return model, chosen.logs or logs

    def _fit(
        self,
        task: str,
        settings: ModelSettings,
        build: _Build,
        train: Interactions,
        watching: Sequence[tf.keras.callbacks.Callback],
    ) -> tuple[TwoTowerModel, Logs]:
        tf.keras.utils.set_random_seed(self.seed)
        model = build(settings, train)
        assert settings.epochs is not None  # chosen by now
        training = QueryTraining(
            epochs=settings.epochs,
            batch_size=settings.batch_size,
            learning_rate=settings.learning_rate,
            decay=settings.decay,
        )
        kept = [] if self.run is None else [self.run.checkpoints(task)]
        callbacks = [*watching, StepProgress(task, self.progress), *self.callbacks, *kept]
        return model, fit_by_query(model, train, seed=self.seed, training=training, callbacks=callbacks).history


class StepProgress(tf.keras.callbacks.Callback):
    """Tells a `Progress` how many steps have been done.

    Args:
        task: What is being done, such as "Training the rating model".
        progress: The function to tell.

    Example:
        >>> model = tf.keras.Sequential([tf.keras.layers.Dense(1)])
        >>> model.compile(optimizer="sgd", loss="mse")
        >>> line = StepProgress("Training", lambda task, done, total: print(task, done, "of", total))
        >>> _ = model.fit(tf.ones([4, 1]), tf.ones([4, 1]), batch_size=2, callbacks=[line], verbose=0)
        Training 0 of 2
        Training 1 of 2
        Training 2 of 2
    """

    #: Whether it need not be called after each step.
    takes_many_steps = True

    def __init__(self, task: str, progress: Progress) -> None:
        super().__init__()
        self._task, self._progress = task, progress
        self._begun = self._total = 0
        # It does not look at the logs, which the coordinator of workers does not have after each step.
        self._supports_tf_logs = True

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        """Shows the task."""
        del logs
        self._begun, self._total = 0, self.params["epochs"] * (self.params["steps"] or 0)
        self._progress(self._task, 0, self._total)

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Remembers how many steps the epochs before have taken."""
        del logs
        self._begun = epoch * (self.params["steps"] or 0)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        """Counts steps: `batch` is the number of the epoch's latest one, from 0."""
        del logs
        done = self._begun + batch + 1
        if done < self._total:
            self._progress(self._task, done, self._total)

    def on_train_end(self, logs: Mapping[str, float] | None = None) -> None:
        """Ends the task, which may have been stopped early."""
        del logs
        self._progress(self._task, self._total, self._total)


def _weigh(train: Interactions, half_life_days: float | None) -> Interactions:
    return train if half_life_days is None else weigh_by_recency(train, half_life_days)
