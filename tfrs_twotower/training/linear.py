"""Chooses the linear part of a retrieval model by the validation part."""

from __future__ import annotations

import itertools

from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.data.splits import Split
from tfrs_twotower.model.linear_part import LinearPart
from tfrs_twotower.model.recipe_settings import LinearSettings
from tfrs_twotower.model.two_tower import TwoTowerModel
from tfrs_twotower.training.validation import ValidationRanking

# What is tried where it is not given, and what is taken where nothing can be tried.
_L2S, _WEIGHTS = (50.0, 150.0), (0.25, 0.5, 1.0)
_DEFAULT_L2, _DEFAULT_WEIGHT = 150.0, 0.25
# What is at least this share of the best NDCG@10 is as good.
_ENOUGH, _MIN_RANK = 0.995, 32


def choose_linear_settings(
    settings: LinearSettings, model: TwoTowerModel, split: Split, ranking: ValidationRanking
) -> LinearSettings | None:
    """Chooses l2, weight and rank of a linear part by the NDCG@10 of the validation part.

    The rank is halved as long as the ranking stays about as good: shorter embeddings are served faster.

    Args:
        settings: Its rank is the largest; its l2 and weight stay if they are given.
        model: The retrieval model, trained on the training part.
        split: Its training and validation parts are used.
        ranking: Measures the validation part.

    Returns:
        The settings that were chosen; None if the model ranks better without a linear part.
    """
    part = LinearPart(model, split.train, rank=settings.rank)
    k, threshold = min(10, split.train.num_candidates), model.threshold
    queries = part.embed_queries(ranking.part, ranking.known)

    def ndcg(l2: float, weight: float, rank: int | None = None) -> float:
        candidates = part.embed_candidates(l2=l2, weight=weight, rank=rank)
        return ranking.metrics(queries, candidates, k=k, threshold=threshold)[f"ndcg@{k}"]

    l2s = _L2S if settings.l2 is None else (settings.l2,)
    weights = _WEIGHTS if settings.weight is None else (settings.weight,)
    tried = {(l2, weight): ndcg(l2, weight) for l2, weight in itertools.product(l2s, weights)}
    l2, weight = max(tried, key=lambda pair: tried[pair])
    enough = _ENOUGH * tried[l2, weight]
    if settings.weight is None and ndcg(l2, 0.0) >= enough:
        return None
    rank = part.rank
    while rank >= 2 * _MIN_RANK and ndcg(l2, weight, rank // 2) >= enough:
        rank //= 2
    return LinearSettings(rank=rank, l2=l2, weight=weight)


def with_defaults(settings: LinearSettings) -> LinearSettings:
    """Returns the settings with an l2 and a weight, for want of a validation part that could choose them.

    Args:
        settings: Its l2 and weight stay if they are given.
    """
    return LinearSettings(
        rank=settings.rank,
        l2=_DEFAULT_L2 if settings.l2 is None else settings.l2,
        weight=_DEFAULT_WEIGHT if settings.weight is None else settings.weight,
    )


def add_linear_part(model: TwoTowerModel, train: Interactions, settings: LinearSettings) -> TwoTowerModel:
    """Returns a retrieval model with a linear part.

    Args:
        model: The retrieval model, trained on these events.
        train: The events.
        settings: Of the linear part, with l2 and weight.
    """
    assert settings.l2 is not None
    assert settings.weight is not None
    return LinearPart(model, train, rank=settings.rank).finish(l2=settings.l2, weight=settings.weight)
