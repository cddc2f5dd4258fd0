"""Chooses what explicit negatives count in the retrieval model's loss, where the recipe leaves it open."""

from __future__ import annotations

import dataclasses

from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.model.recipe import Recipe
from tfrs_twotower.model.recipe_models import build_retrieval_model
from tfrs_twotower.model.recipe_settings import ModelSettings
from tfrs_twotower.model.two_tower import TwoTowerModel
from tfrs_twotower.training.fitting import Chosen, Fitting

# With this weight, the loss is that of a choice among what was shown.
_WEIGHT = 1.0
# Explicit negatives are wanted for their own sake: the validation part may be ranked a little worse with them.
_MIN_GAIN = -0.01


def choose_negative_weight(recipe: Recipe, chosen: Chosen, fitting: Fitting, notes: list[str]) -> tuple[Chosen, Recipe]:
    """Tries a weight for the explicit negatives, and keeps it unless the validation part is ranked worse.

    It is ranked worse where the candidates that were shown had been picked for the query: those that it did not choose
    are then of the kinds that it likes.

    Args:
        recipe: The recipe; weights that are None are open.
        chosen: The training that chose the epochs, without the open weights.
        fitting: What the trainings share.
        notes: Receives what was decided.

    Returns:
        (chosen, recipe): the training that chooses the epochs, and the recipe with the weights.
    """
    what = " and ".join(
        words
        for words, weight in (
            ("shown and not chosen", recipe.impression_weight),
            ("rated below the threshold", recipe.dislike_weight),
        )
        if weight is None
    )
    if not what:
        return chosen, recipe
    without = recipe.with_negative_weight(0.0)
    if chosen.value is None or fitting.choosing is None:
        notes.append(
            f"Candidates that were {what} are negatives like all others, because no validation part says whether they "
            "should count more. The recipe's `impression_weight` and `dislike_weight` decide it."
        )
        return chosen, without
    counted = recipe.with_negative_weight(_WEIGHT)

    def build(settings: ModelSettings, train: Interactions) -> TwoTowerModel:
        return build_retrieval_model(dataclasses.replace(counted, retrieval=settings), train)

    other = fitting.choose(
        "retrieval", recipe.retrieval, build, recipe.half_life_days, variant=" with explicit negatives"
    )
    assert other.value is not None  # as of the first training
    figures = f"its NDCG@10 is {other.value:.4f} with and {chosen.value:.4f} without"
    if other.value < (1 + _MIN_GAIN) * chosen.value:
        notes.append(
            f"Candidates that were {what} are negatives like all others, because the validation part is ranked worse "
            f"where they count more: {figures}."
        )
        return chosen, without
    notes.append(
        f"Candidates that were {what} are compared with the chosen ones in particular in the retrieval model's loss, "
        f"because the validation part is ranked no worse so: {figures}."
    )
    return other, counted
