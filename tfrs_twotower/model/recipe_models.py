"""Builds the untrained models of a recipe: a retrieval model that ranks, a rating model that predicts probabilities.

What mattered for ranking: a target without its own part in the history, a bias that starts from popularity, and strong
dropout. An MLP over history and other features made it worse.
"""

from __future__ import annotations

import dataclasses

from tfrs_twotower._settings import require_having
from tfrs_twotower.data.interactions import Interactions, require_interactions
from tfrs_twotower.features.categorical import Categorical, IdFeature
from tfrs_twotower.features.feature import Feature
from tfrs_twotower.features.history import History
from tfrs_twotower.features.sequences import HistoryEncoder
from tfrs_twotower.model.build import build_two_tower
from tfrs_twotower.model.joint import JointModel
from tfrs_twotower.model.recipe import Recipe
from tfrs_twotower.model.recipe_settings import ModelSettings
from tfrs_twotower.model.recommender import Recommender
from tfrs_twotower.model.sum_tower import SumTowerConfig
from tfrs_twotower.model.tasks.full_softmax import FullSoftmaxTask
from tfrs_twotower.model.tasks.rating import RatingTask
from tfrs_twotower.model.two_tower import TwoTowerModel


def build_recommender(recipe: Recipe, train: Interactions) -> Recommender:
    """Builds the untrained model of a recipe; `fit_recipe` builds and trains it.

    Args:
        recipe: From `choose_recipe`.
        train: The events to train on.

    Returns:
        A `JointModel`, or the retrieval model alone if the recipe has no rating model.

    Example:
        >>> import pyarrow as pa
        >>> from tfrs_twotower.model.recipe import choose_recipe
        >>> ratings = Interactions(
        ...     queries=pa.table({"customer": ["c7"]}), candidates=pa.table({"sku": ["x", "y", "z"]}),
        ...     events=pa.table({"query_row": [0, 0], "candidate_row": [0, 1], "rating": [5.0, 1.0]}),
        ...     query_id="customer", candidate_id="sku",
        ... )
        >>> model = build_recommender(choose_recipe(ratings), ratings)
        >>> type(model).__name__, model.retrieval_model.query_tower.feature_names
        ('JointModel', ['customer', 'history'])
    """
    retrieval = build_retrieval_model(recipe, train)
    rating = build_rating_model(recipe, train)
    return retrieval if rating is None else JointModel(retrieval_model=retrieval, rating_model=rating)


def build_retrieval_model(recipe: Recipe, train: Interactions) -> TwoTowerModel:
    """Builds the untrained retrieval model of a recipe.

    Args:
        recipe: From `choose_recipe`.
        train: The events to train on.

    Example:
        >>> import pyarrow as pa
        >>> from tfrs_twotower.model.recipe import choose_recipe
        >>> ratings = Interactions(
        ...     queries=pa.table({"customer": ["c7"]}), candidates=pa.table({"sku": ["x", "y"]}),
        ...     events=pa.table({"query_row": [0], "candidate_row": [0], "rating": [1.0]}),
        ...     query_id="customer", candidate_id="sku",
        ... )
        >>> build_retrieval_model(choose_recipe(ratings), ratings).task.name
        'full_softmax'
    """
    require_having(recipe, "recipe", "query_features", "a `Recipe`, from `choose_recipe`")
    require_interactions(train, "train")
    settings = recipe.retrieval
    query, candidate = _features(recipe, settings, rating_vectors=False)
    id_feature = _candidate_id(recipe)
    if recipe.encoder is not None:
        query = _with_sequence(query, recipe, recipe.encoder, train)
    return build_two_tower(
        train,
        query=SumTowerConfig(
            features=query,
            output_dim=settings.output_dim,
            # A history shares the candidates' vectors only where both have an entry for a bias.
            has_bias=recipe.encoder is not None,
            dropout=settings.dropout,
            l2=settings.l2,
            context=recipe.context if recipe.encoder is None else (),
        ),
        candidate=SumTowerConfig(
            features=candidate,
            output_dim=settings.output_dim,
            has_bias=True,
            frequency_of=id_feature.name if isinstance(id_feature, Categorical) else None,
            l2=settings.l2,
        ),
        task=FullSoftmaxTask(
            threshold=recipe.threshold,
            highest_rating=recipe.highest_rating if recipe.is_scale else None,
            learns_temperature=True,
            # What the validation part is still to choose is tried by recipes that have it.
            impression_weight=recipe.impression_weight or 0.0,
            dislike_weight=recipe.dislike_weight,
        ),
    )


def build_rating_model(recipe: Recipe, train: Interactions) -> TwoTowerModel | None:
    """Builds the untrained rating model of a recipe, if it has one.

    Args:
        recipe: From `choose_recipe`.
        train: The events to train on.

    Example:
        >>> import pyarrow as pa
        >>> from tfrs_twotower.model.recipe import choose_recipe
        >>> ratings = Interactions(
        ...     queries=pa.table({"customer": ["c7"]}), candidates=pa.table({"sku": ["x", "y"]}),
        ...     events=pa.table({"query_row": [0, 0], "candidate_row": [0, 1], "rating": [5.0, 1.0]}),
        ...     query_id="customer", candidate_id="sku",
        ... )
        >>> build_rating_model(choose_recipe(ratings), ratings).task.name
        'rating_task'
    """
    require_having(recipe, "recipe", "query_features", "a `Recipe`, from `choose_recipe`")
    require_interactions(train, "train")
    settings = recipe.rating
    if settings is None:
        return None
    query, candidate = _features(recipe, settings, rating_vectors=True)
    return build_two_tower(
        train,
        query=SumTowerConfig(
            features=query,
            output_dim=settings.output_dim,
            has_bias=True,
            dropout=settings.dropout,
            l2=settings.l2,
            context=recipe.context,
        ),
        candidate=SumTowerConfig(features=candidate, output_dim=settings.output_dim, has_bias=True, l2=settings.l2),
        task=RatingTask(threshold=recipe.threshold, other_thresholds=recipe.other_thresholds),
    )


def _features(
    recipe: Recipe, settings: ModelSettings, *, rating_vectors: bool
) -> tuple[tuple[Feature, ...], tuple[Feature, ...]]:
    """Returns the features of the query tower, the history after the id and the context last, and the candidates'."""
    past = History(
        of=_candidate_id(recipe),
        length=settings.history_length,
        pooling="sqrtn",
        by_rating=recipe.is_scale,
        dropout=settings.history_dropout,
        rating_vectors=rating_vectors and recipe.is_scale,
    )
    id_choice, *others = recipe.query_features
    choices = (*others, *recipe.event_features)
    query: list[Feature] = [past, *(choice.feature for choice in choices if choice.feature is not None)]
    if isinstance(id_choice.feature, Categorical):
        query.insert(0, dataclasses.replace(id_choice.feature, id_dropout=settings.id_dropout))
    elif id_choice.feature is not None:
        query.insert(0, id_choice.feature)
    candidate = (choice.feature for choice in recipe.candidate_features if choice.feature is not None)
    return tuple(query), tuple(candidate)


def _with_sequence(
    features: tuple[Feature, ...], recipe: Recipe, encoder: HistoryEncoder, train: Interactions
) -> tuple[Feature, ...]:
    """Returns the features of a query tower that reads the history as a sequence, without id and context."""
    past = History(
        of=_candidate_id(recipe),
        length=recipe.retrieval.history_length,
        by_rating=recipe.is_scale,
        by_time=train.timestamps is not None,
        shares_embedding=True,
        encoder=encoder,
    )
    left_out = {recipe.query_features[0].column, *recipe.context}
    others = [feature for feature in features if not isinstance(feature, History) and feature.name not in left_out]
    return (past, *others)


def _candidate_id(recipe: Recipe) -> IdFeature:
    """Returns the candidates' id, which the history is made of."""
    choice = recipe.candidate_features[0]
    if not isinstance(choice.feature, IdFeature):
        raise ValueError(
            f"The feature of {choice.column!r} must be a Categorical or a Hashed: a history is made of the candidates' "
            f"ids. Received: {choice.feature!r}."
        )
    return choice.feature
