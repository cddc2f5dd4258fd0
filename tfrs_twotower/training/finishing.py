"""The end of a training: both models are trained on all events, and get what is computed from the events at once."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import TypeAlias

from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.model.joint import JointModel
from tfrs_twotower.model.recipe import Recipe
from tfrs_twotower.model.recipe_models import build_rating_model, build_retrieval_model
from tfrs_twotower.model.recipe_settings import ModelSettings
from tfrs_twotower.model.recommender import Recommender
from tfrs_twotower.model.two_tower import TwoTowerModel
from tfrs_twotower.training.fitting import Chosen, Fitting, Logs, ModelName
from tfrs_twotower.training.initial_biases import start_from_biases
from tfrs_twotower.training.linear import add_linear_part
from tfrs_twotower.training.state import TrainingState
from tfrs_twotower.training.trend import add_trend

#: Changes the weights that a model, of this name, was built with.
Start: TypeAlias = Callable[[ModelName, TwoTowerModel], None]


def train_on_all(
    recipe: Recipe, fitting: Fitting, *, share: float = 1.0, start: Start | None = None
) -> tuple[TrainingState, Mapping[str, Logs]]:
    """Trains the models of a recipe that leaves nothing open, on all events.

    Args:
        recipe: The recipe, with the numbers of epochs.
        fitting: The events, and what the trainings share.
        share: Share of the epochs to train for.
        start: Called with each model before it is trained.

    Returns:
        (state, logs): the models, and Keras's logs by the name of the model.
    """
    histories: dict[str, Logs] = {}

    def train(
        name: ModelName,
        settings: ModelSettings,
        build: Callable[[Recipe, Interactions], TwoTowerModel],
        half_life_days: float | None = None,
    ) -> TwoTowerModel:
        def build_started(_: ModelSettings, events: Interactions) -> TwoTowerModel:
            model = build(recipe, events)
            if start is not None:
                start(name, model)
            return model

        epochs = epochs_of_share(num_epochs(recipe)[name], share)
        chosen = Chosen(settings=dataclasses.replace(settings, epochs=epochs))
        model, histories[name] = fitting.finish(name, chosen, build_started, half_life_days)
        return model

    retrieval = train("retrieval", recipe.retrieval, build_retrieval_model, recipe.half_life_days)
    rating = None if recipe.rating is None else train("rating", recipe.rating, build_rating)
    return TrainingState(recipe=recipe, retrieval=retrieval, rating=rating, known=fitting.seen), histories


def num_epochs(recipe: Recipe) -> dict[ModelName, int]:
    """Returns the number of epochs of each model of a recipe that was trained.

    Args:
        recipe: The recipe.
    """
    models: dict[ModelName, ModelSettings | None] = {"retrieval": recipe.retrieval, "rating": recipe.rating}
    epochs = {name: settings.epochs for name, settings in models.items() if settings is not None}
    return {name: number for name, number in epochs.items() if number is not None}


def epochs_of_share(epochs: int, share: float) -> int:
    """Returns how many epochs, at least one, a share of them is.

    Args:
        epochs: Number of epochs, >= 1.
        share: The share, in (0, 1].

    Example:
        >>> epochs_of_share(64, share=1 / 3), epochs_of_share(2, share=1 / 3)
        (21, 1)
    """
    return max(1, math.floor(share * epochs))


def build_rating(recipe: Recipe, train: Interactions) -> TwoTowerModel:
    """Builds the rating model that a training starts from."""
    model = build_rating_model(recipe, train)
    assert model is not None  # the recipe has one
    if recipe.starts_from_biases:
        start_from_biases(model, train)
    return model


def finished(state: TrainingState, train: Interactions) -> Recommender:
    """Returns the models as one recommender, or the retrieval model if there is no other.

    What is computed from the events at once, recent popularity and the linear part, is added to the retrieval model.

    Args:
        state: The models as `fit` left them; they stay as they are.
        train: The events that they were trained on.
    """
    recipe, retrieval = state.recipe, state.retrieval
    if recipe.trend_weight and recipe.half_life_days is not None:
        retrieval = add_trend(retrieval, train, half_life_days=recipe.half_life_days, weight=recipe.trend_weight)
    if recipe.linear is not None:
        retrieval = add_linear_part(retrieval, train, recipe.linear)
    return retrieval if state.rating is None else JointModel(retrieval_model=retrieval, rating_model=state.rating)
