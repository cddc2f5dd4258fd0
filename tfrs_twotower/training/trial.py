"""One training of one of a recipe's models, measured by the validation part: what a search over settings repeats."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import tensorflow as tf

from tfrs_twotower._progress import no_progress
from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.data.splits import Split
from tfrs_twotower.model.recipe import Recipe
from tfrs_twotower.model.recipe_models import build_retrieval_model
from tfrs_twotower.model.recipe_settings import ModelSettings
from tfrs_twotower.model.two_tower import TwoTowerModel
from tfrs_twotower.training.choosing import find_choices
from tfrs_twotower.training.finishing import build_rating
from tfrs_twotower.training.fitting import Fitting


def try_recipe(
    recipe: Recipe,
    split: Split,
    model: Literal["retrieval", "rating"],
    *,
    seed: int,
    recommend_seen: bool = False,
    callbacks: Sequence[tf.keras.callbacks.Callback] = (),
) -> float:
    """Trains one of a recipe's models on the training part, until the validation part no longer improves.

    The retrieval model has no linear part, and the rating model starts from biases only if the recipe says so.

    Args:
        recipe: Its settings of the model are tried; a number of epochs in them is ignored.
        split: Its training and validation parts are used.
        model: Which of the two models.
        seed: Seed of the weights and of the order of the queries.
        recommend_seen: Whether candidates that a query has seen are recommended again.
        callbacks: More Keras callbacks.

    Returns:
        The best NDCG@10 of the retrieval model, or the lowest log loss of the rating model, on the validation part.

    Raises:
        ValueError: If the split has no validation part that measures the model, or the recipe has no such model.
    """
    settings = recipe.retrieval if model == "retrieval" else recipe.rating
    if settings is None:
        raise ValueError(f"`model` must be one that the recipe has: it has no rating model. Received: {model!r}.")
    if not split.validation.num_events:
        raise ValueError("`split` must have a validation part: it is what settings are compared by. Received: none.")
    choices = find_choices(split, threshold=recipe.threshold, recommend_seen=recommend_seen)
    if not (choices.retrieval if model == "retrieval" else choices.rating):
        raise ValueError(
            f"`split` must have a validation part that measures the {model} model. {choices.reason}. Leave more events "
            "to it."
        )
    fitting = Fitting(
        choosing=split,
        seen=split.train,
        again=False,
        recommend_seen=recommend_seen,
        seed=seed,
        progress=no_progress,
        callbacks=tuple(callbacks),
    )

    def build(settings: ModelSettings, train: Interactions) -> TwoTowerModel:
        if model == "retrieval":
            return build_retrieval_model(dataclasses.replace(recipe, retrieval=settings), train)
        return build_rating(dataclasses.replace(recipe, rating=settings), train)

    half_life_days = recipe.half_life_days if model == "retrieval" else None
    chosen = fitting.choose(model, dataclasses.replace(settings, epochs=None), build, half_life_days)
    assert chosen.value is not None  # there is a validation part
    return chosen.value
