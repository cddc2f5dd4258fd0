"""Chooses what impressions count in the retrieval model's loss, where the recipe leaves it open."""

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
# Impressions are given to be used: the validation part may be ranked a little worse with them.
_MIN_GAIN = -0.01


def choose_impression_weight(
    recipe: Recipe, chosen: Chosen, fitting: Fitting, notes: list[str]
) -> tuple[Chosen, Recipe]:
    """Tries a weight for the impressions, and keeps it unless the validation part is ranked worse.

    It is ranked worse where the candidates that were shown had been picked for the query: those that it did not choose
    are then of the kinds that it likes.

    Args:
        recipe: The recipe; a weight of None is open.
        chosen: The training that chose the epochs, without the weight.
        fitting: What the trainings share.
        notes: Receives what was decided.

    Returns:
        (chosen, recipe): the training that chooses the epochs, and the recipe with the weight.
    """
    if recipe.impression_weight is not None:
        return chosen, recipe
    without, counted = (dataclasses.replace(recipe, impression_weight=weight) for weight in (0.0, _WEIGHT))
    like_others = "Candidates that were shown and not chosen are negatives like all others"
    if chosen.value is None or fitting.choosing is None:
        notes.append(
            f"{like_others}, because no validation part says whether they should count more. The recipe's "
            "`impression_weight` decides it."
        )
        return chosen, without

    def build(settings: ModelSettings, train: Interactions) -> TwoTowerModel:
        return build_retrieval_model(dataclasses.replace(counted, retrieval=settings), train)

    other = fitting.choose("retrieval", recipe.retrieval, build, recipe.half_life_days, variant=" with impressions")
    assert other.value is not None  # as of the first training
    figures = f"its NDCG@10 is {other.value:.4f} with and {chosen.value:.4f} without"
    if other.value < (1 + _MIN_GAIN) * chosen.value:
        notes.append(f"{like_others}, because the validation part is ranked worse where they count more: {figures}.")
        return chosen, without
    notes.append(
        "Candidates that were shown and not chosen are compared with the chosen ones in particular in the retrieval "
        f"model's loss, because the validation part is ranked no worse so: {figures}."
    )
    return other, counted
