"""The resolved experiment: the same experiment, with everything that was chosen written out, so that it runs again."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.experiment.experiment import Experiment
from tfrs_twotower.experiment.sections import FeaturesSection, ModelSection
from tfrs_twotower.features.feature import ColumnFeature
from tfrs_twotower.model.feature_choice import FeatureChoice
from tfrs_twotower.model.recipe import Recipe
from tfrs_twotower.model.recipe_settings import ModelSettings


def resolve(
    experiment: Experiment, interactions: Interactions, recipe: Recipe, *, is_trained_again: bool
) -> Experiment:
    """Returns an experiment that gives every setting which the recipe chose.

    Args:
        experiment: The experiment that was run.
        interactions: Its data.
        recipe: The recipe that was trained, with its numbers of epochs.
        is_trained_again: Whether the models were trained on all events for numbers of epochs that were chosen before.
            If not, the resolved experiment leaves the epochs open, because models whose epochs are given are trained on
            all events.
    """
    data = experiment.data
    if data is not None:
        data = dataclasses.replace(
            data,
            query_features=_columns(interactions.queries.column_names, interactions.query_id, interactions),
            candidate_features=_columns(interactions.candidates.column_names, interactions.candidate_id, interactions),
        )
    retrieval = _settings(recipe.retrieval)
    # Ratings that are no scale have no threshold to give: every event is positive.
    threshold = recipe.threshold if recipe.is_scale else experiment.training.threshold
    linear = {"train": False} if recipe.linear is None else dataclasses.asdict(recipe.linear)
    rating: dict[str, Any] = {"train": False}
    if recipe.rating is not None:
        rating = _settings(recipe.rating) | {"starts_from_biases": recipe.starts_from_biases}
    if not is_trained_again:
        retrieval["epochs"] = experiment.retrieval_model.epochs
        rating["epochs"] = experiment.rating_model.epochs
    chosen_for_queries = _features(recipe.query_features, interactions.query_id, interactions)
    chosen_for_candidates = _features(recipe.candidate_features, interactions.candidate_id, interactions)
    chosen_for_events = _features(recipe.event_features, None, interactions)
    return dataclasses.replace(
        experiment,
        data=data,
        features=FeaturesSection(
            query=chosen_for_queries | dict(experiment.features.query),
            candidate=chosen_for_candidates | dict(experiment.features.candidate),
            event=chosen_for_events | dict(experiment.features.event),
        ),
        retrieval_model=dataclasses.replace(experiment.retrieval_model, **retrieval),
        linear_part=dataclasses.replace(experiment.linear_part, **linear),
        rating_model=dataclasses.replace(experiment.rating_model, **rating),
        training=dataclasses.replace(
            experiment.training,
            threshold=threshold,
            half_life_days=recipe.half_life_days,
            trend_weight=recipe.trend_weight,
            impression_weight=recipe.impression_weight,
            dislike_weight=recipe.dislike_weight,
        ),
        export=dataclasses.replace(experiment.export, name=experiment.name),
    )


def _columns(columns: Sequence[str], id_column: str, interactions: Interactions) -> tuple[str, ...]:
    """Returns the user's names of the columns beside the id."""
    return tuple(interactions.original_names.get(column, column) for column in columns if column != id_column)


def _features(choices: Sequence[FeatureChoice], id_column: str | None, interactions: Interactions) -> dict[str, Any]:
    """Returns column -> feature of the columns that the recipe decided about; the id's own is not a choice."""
    return {
        interactions.original_names.get(choice.column, choice.column): choice.feature
        for choice in choices
        if choice.column != id_column and (choice.feature is None or isinstance(choice.feature, ColumnFeature))
    }


def _settings(settings: ModelSettings) -> dict[str, Any]:
    given = {field.name: getattr(settings, field.name) for field in dataclasses.fields(ModelSection)}
    return {**given, "decay": given["decay"] or 0.0}
