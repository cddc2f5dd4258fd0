"""Trains a recipe's models: the validation part chooses the epochs; then they are trained on all that is seen."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfrs_twotower._progress import Progress, no_progress
from tfrs_twotower._settings import require_seed
from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.data.partition import require_split
from tfrs_twotower.data.splits import Split
from tfrs_twotower.model.joint import JointModel
from tfrs_twotower.model.recipe import ModelSettings, Recipe
from tfrs_twotower.model.recipe_models import build_rating_model, build_retrieval_model
from tfrs_twotower.model.recommender import Recommender
from tfrs_twotower.model.two_tower import TwoTowerModel
from tfrs_twotower.training.callbacks import BestWeights, ValidationMetrics
from tfrs_twotower.training.fit import QueryTraining, fit_by_query
from tfrs_twotower.training.recency import choose_half_life, weigh_by_recency

# Steps from one measurement of the validation part to the next; an epoch of more steps is measured at its end.
_MIN_STEPS_BETWEEN = 30
# Queries by which the ranking of the validation part is measured: more would take longer than they are worth.
_MAX_RANKED_QUERIES = 10_000
# Above this number of events, the validation part is too small a share of what is known to train twice for it.
_MAX_EVENTS_TO_RETRAIN = 3_000_000
# Share of the events that is set aside if a split has no validation part, and the fewest events that are worth it.
_VALIDATION_SHARE, _MIN_VALIDATION_EVENTS = 0.1, 50
# Epochs if there is nothing to choose them by.
_DEFAULT_EPOCHS = 30


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trained:
    """A trained model and how it came about.

    Attributes:
        model: The model: a `JointModel`, or the retrieval model alone.
        recipe: The recipe, with the numbers of epochs that were chosen.
        history: "retrieval" and "rating" -> Keras's logs of the training that chose the epochs, by metric, one value
            per epoch.
        notes: What was decided on the way, sentences for people.
        trained_again: Whether the models were trained on all events for numbers of epochs that were chosen before.

    Example:
        >>> import pyarrow as pa
        >>> from tfrs_twotower.model.recipe import choose_recipe
        >>> from tfrs_twotower.model.recipe_models import build_recommender
        >>> ratings = Interactions(
        ...     queries=pa.table({"user_id": ["a"]}), candidates=pa.table({"movie_id": ["x", "y"]}),
        ...     events=pa.table({"query_row": [0], "candidate_row": [0], "rating": [5.0]}),
        ...     query_id="user_id", candidate_id="movie_id",
        ... )
        >>> recipe = choose_recipe(ratings).with_settings(epochs=20)
        >>> trained = Trained(model=build_recommender(recipe, ratings), recipe=recipe, history={}, notes=())
        >>> trained.recipe.retrieval.epochs
        20
    """

    model: Recommender
    recipe: Recipe
    history: Mapping[str, Mapping[str, Sequence[float]]]
    notes: tuple[str, ...]
    trained_again: bool = True


def fit_recipe(
    recipe: Recipe,
    split: Split,
    *,
    seed: int,
    retrain: bool | None = None,
    recommend_seen: bool = False,
    progress: Progress = no_progress,
    callbacks: Sequence[tf.keras.callbacks.Callback] = (),
) -> Trained:
    """Trains the models of a recipe.

    Each model is trained on the training part until the validation part no longer improves: NDCG@10 of the retrieval
    model, the log loss of the rating model. Then it is trained again, for as many epochs, on training and validation
    part together. If popularity changes with time, later events weigh more in the retrieval model's loss
    (`choose_half_life`). The test part is never used.

    Args:
        recipe: From `choose_recipe`. A model whose settings have a number of epochs is trained for it at once.
        split: Its parts except `test` are used. Without a validation part, a tenth of the training events is set aside
            at random to choose the epochs.
        seed: Seed of the weights and of the order of the queries, >= 0; also that of a validation part set aside.
        retrain: Whether to train on training and validation part together in the end; None does so up to three million
            events. Otherwise, the model of the best epoch is the result.
        recommend_seen: Whether candidates that a query has seen are recommended again, when the validation part is
            measured.
        progress: Told how many steps have been done.
        callbacks: More Keras callbacks, for both models and all trainings.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If the seed is negative, or a model cannot learn from the events.

    Example:
        >>> import pyarrow as pa
        >>> from tfrs_twotower.data.splits import random_split
        >>> from tfrs_twotower.model.recipe import choose_recipe
        >>> pairs = np.indices((4, 6)).reshape(2, -1)
        >>> ratings = Interactions(
        ...     queries=pa.table({"user_id": list("abcd")}), candidates=pa.table({"movie_id": list("uvwxyz")}),
        ...     events=pa.table({"query_row": pairs[0], "candidate_row": pairs[1], "rating": 1.0 + pairs.sum(0) % 5}),
        ...     query_id="user_id", candidate_id="movie_id",
        ... )
        >>> split = random_split(ratings, test=0.25, validation=0.25, seed=1)
        >>> recipe = choose_recipe(split.train)
        >>> once = dataclasses.replace(recipe.retrieval, max_epochs=1)
        >>> fit_recipe(dataclasses.replace(recipe, retrieval=once, rating=None), split, seed=0).recipe.retrieval.epochs
        1
    """
    if not isinstance(recipe, Recipe):
        raise TypeError(f"`recipe` must be a Recipe, from `choose_recipe`. Received: {type(recipe).__name__}.")
    require_split(split, "split")
    require_seed(seed)
    notes: list[str] = []
    choosing = _with_validation(split, seed, notes)
    # The history of held-out queries is never trained on.
    everything = pa.concat_tables([split.train.events, split.validation.events])
    seen = dataclasses.replace(split.train, events=everything)
    trains_again = seen.num_events <= _MAX_EVENTS_TO_RETRAIN if retrain is None else retrain
    trains_again = trains_again or choosing is None
    if not trains_again:
        notes.append("The models are those of the best epoch on the training part; they were not trained again.")
    if choosing is not None and recipe.half_life_days is None:
        recipe = dataclasses.replace(recipe, half_life_days=choose_half_life(choosing, threshold=recipe.threshold))
    if recipe.half_life_days is not None:
        notes.append(
            "Popularity changes with time: for the retrieval model, the weight of an event halves every "
            f"{recipe.half_life_days:.3g} days."
        )
    job = _Job(
        recommend_seen=recommend_seen,
        choosing=choosing,
        seen=seen,
        again=trains_again,
        seed=seed,
        progress=progress,
        callbacks=tuple(callbacks),
    )

    def build_retrieval(settings: ModelSettings, train: Interactions) -> TwoTowerModel:
        return build_retrieval_model(dataclasses.replace(recipe, retrieval=settings), train)

    tried = (recipe.retrieval, *recipe.other_retrieval)
    retrieval, settings, of_retrieval = job.run("retrieval", tried, build_retrieval, recipe.half_life_days)
    if len(tried) > 1 and recipe.retrieval.epochs is None and choosing is not None:
        notes.append(f"Of {len(tried)} settings of the retrieval model, the best had an l2 of {settings.l2:.2g}.")
    recipe = dataclasses.replace(recipe, retrieval=settings, other_retrieval=())
    if recipe.rating is None:
        return Trained(
            model=retrieval,
            recipe=recipe,
            history={"retrieval": of_retrieval},
            notes=tuple(notes),
            trained_again=trains_again,
        )

    def build_rating(settings: ModelSettings, train: Interactions) -> TwoTowerModel:
        model = build_rating_model(dataclasses.replace(recipe, rating=settings), train)
        assert model is not None  # the recipe has one
        return model

    rating, settings, of_rating = job.run("rating", (recipe.rating,), build_rating)
    return Trained(
        model=JointModel(retrieval_model=retrieval, rating_model=rating),
        recipe=dataclasses.replace(recipe, rating=settings),
        history={"retrieval": of_retrieval, "rating": of_rating},
        notes=tuple(notes),
        trained_again=trains_again,
    )


_Name = Literal["retrieval", "rating"]
_Build = Callable[[ModelSettings, Interactions], TwoTowerModel]
_Logs = Mapping[str, Sequence[float]]


_NO_LOGS: _Logs = {}


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Candidate:
    """A model that was trained on the training part to see how good it is."""

    model: TwoTowerModel
    settings: ModelSettings
    logs: _Logs
    value: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Job:
    """What both models' trainings share."""

    choosing: Split | None
    seen: Interactions
    again: bool
    recommend_seen: bool
    seed: int
    progress: Progress
    callbacks: tuple[tf.keras.callbacks.Callback, ...]

    def run(
        self, name: _Name, tried: Sequence[ModelSettings], build: _Build, half_life_days: float | None = None
    ) -> tuple[TwoTowerModel, ModelSettings, _Logs]:
        """Returns a trained model, its settings with the number of epochs, and Keras's logs."""

        def weigh(train: Interactions) -> Interactions:
            return train if half_life_days is None else weigh_by_recency(train, half_life_days)

        settings, logs = tried[0], _NO_LOGS
        if self.choosing is None and settings.epochs is None:
            settings = dataclasses.replace(settings, epochs=min(_DEFAULT_EPOCHS, settings.max_epochs))
        elif self.choosing is not None and settings.epochs is None:
            train = weigh(self.choosing.train)
            candidates = [self._choose_epochs(name, each, build, train, self.choosing) for each in tried]
            best = max(candidates, key=lambda candidate: candidate.value)
            if not self.again:
                return best.model, best.settings, best.logs
            settings, logs = best.settings, best.logs
        model, again = self._fit(f"Training the {name} model on all events", settings, build, weigh(self.seen), ())
        return model, settings, logs or again

    def _choose_epochs(
        self, name: _Name, settings: ModelSettings, build: _Build, train: Interactions, split: Split
    ) -> _Candidate:
        k = min(10, train.num_candidates)
        mode: Literal["min", "max"] = "max" if name == "retrieval" else "min"
        monitor = f"val_ndcg@{k}" if name == "retrieval" else "val_log_loss"
        steps = math.ceil(len(np.unique(train.query_rows)) / settings.batch_size)
        every = max(1, round(_MIN_STEPS_BETWEEN / steps))
        watching = [
            ValidationMetrics(
                split,
                k=k if name == "retrieval" else None,
                every=every,
                recommend_seen=self.recommend_seen,
                max_queries=_MAX_RANKED_QUERIES,
            ),
            BestWeights(monitor, mode=mode, patience=every * settings.patience),
        ]
        planned = dataclasses.replace(settings, epochs=settings.max_epochs)
        model, logs = self._fit(f"Training the {name} model", planned, build, train, watching)
        values = np.array(logs[monitor]) * (1 if mode == "max" else -1)
        best = int(values.argmax())
        return _Candidate(
            model=model,
            settings=dataclasses.replace(settings, epochs=best + 1),
            logs=logs,
            value=float(values[best]),
        )

    def _fit(
        self,
        task: str,
        settings: ModelSettings,
        build: _Build,
        train: Interactions,
        watching: Sequence[tf.keras.callbacks.Callback],
    ) -> tuple[TwoTowerModel, _Logs]:
        tf.keras.utils.set_random_seed(self.seed)
        model = build(settings, train)
        assert settings.epochs is not None  # chosen by now
        training = QueryTraining(
            epochs=settings.epochs,
            batch_size=settings.batch_size,
            learning_rate=settings.learning_rate,
            decay=settings.decay,
        )
        callbacks = [*watching, StepProgress(task, self.progress), *self.callbacks]
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

    def __init__(self, task: str, progress: Progress) -> None:
        super().__init__()
        self._task, self._progress = task, progress
        self._done = self._total = 0

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        """Shows the task."""
        del logs
        self._done, self._total = 0, self.params["epochs"] * (self.params["steps"] or 0)
        self._progress(self._task, 0, self._total)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        """Counts a step."""
        del batch, logs
        self._done += 1
        if self._done < self._total:
            self._progress(self._task, self._done, self._total)

    def on_train_end(self, logs: Mapping[str, float] | None = None) -> None:
        """Ends the task, which may have been stopped early."""
        del logs
        self._progress(self._task, self._total, self._total)


def _with_validation(split: Split, seed: int, notes: list[str]) -> Split | None:
    """Returns a split with a validation part; None if there are too few events for one."""
    if split.validation.num_events:
        return split
    train = split.train
    num = int(train.num_events * _VALIDATION_SHARE)
    if num < _MIN_VALIDATION_EVENTS:
        notes.append(f"There are too few events to choose the epochs by: {_DEFAULT_EPOCHS} were taken.")
        return None
    notes.append("The split has no validation part: a tenth of the training events was set aside to choose the epochs.")
    order = np.random.default_rng(seed).permutation(train.num_events)
    return dataclasses.replace(
        split, train=train.with_events(np.sort(order[num:])), validation=train.with_events(np.sort(order[:num]))
    )
