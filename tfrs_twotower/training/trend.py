"""Recent popularity in a retrieval model's biases, where popularity changes with time.

A softmax whose events weigh by their age starts from recent popularity, but histories reach far back: queries with a
long one get what was popular long ago. What is popular now is therefore added to the score once more.
"""

from __future__ import annotations

import numpy as np

from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.data.splits import Split
from tfrs_twotower.features.categorical import Categorical
from tfrs_twotower.model.two_tower import TwoTowerModel
from tfrs_twotower.training.initial_biases import add_to_biases
from tfrs_twotower.training.recency import recent_popularity
from tfrs_twotower.training.validation import ValidationRanking

# Weights that are tried where none is given.
_WEIGHTS = (0.0, 0.5, 1.0, 2.0)


def choose_trend_weight(
    model: TwoTowerModel, split: Split, ranking: ValidationRanking, *, half_life_days: float
) -> float:
    """Chooses the weight of recent popularity by the NDCG@10 of the validation part.

    Args:
        model: The retrieval model, trained on the training part.
        split: Its training and validation parts are used.
        ranking: Measures the validation part.
        half_life_days: Days after which an event counts half.

    Returns:
        The weight, >= 0.
    """
    k = min(10, split.train.num_candidates)
    queries, candidates = model.embed(ranking.part, known=ranking.known)
    queries = np.concatenate([queries, np.ones((len(queries), 1), np.float32)], axis=1)
    trend = _trend(split.train, model.threshold, half_life_days)[:, np.newaxis]

    def ndcg(weight: float) -> float:
        with_trend = np.concatenate([candidates, np.float32(weight) * trend], axis=1)
        return ranking.metrics(queries, with_trend, k=k, threshold=model.threshold)[f"ndcg@{k}"]

    return max(_WEIGHTS, key=ndcg)


def add_trend(model: TwoTowerModel, train: Interactions, *, half_life_days: float, weight: float) -> TwoTowerModel:
    """Adds recent popularity to the candidates' biases: weight * log(1 + positive events, weighted by their age).

    Args:
        model: A trained retrieval model whose candidate tower has biases; it stays as it is.
        train: The events that it was trained on, with times.
        half_life_days: Days after which an event counts half.
        weight: The weight, >= 0.

    Returns:
        A copy; or the model itself, if the weight is 0 or candidates share vectors.

    Raises:
        ValueError: If a history shares the candidates' vectors, to which the biases belong.
    """
    has_own_vectors = any(
        isinstance(feature, Categorical) and feature.name == train.candidate_id
        for feature in model.candidate_tower.config.features
    )
    if not (weight and has_own_vectors):
        return model
    if any(history.shares_embedding for history in model.query_tower.histories):
        raise ValueError(
            "Recent popularity cannot be added to biases that a history shares with the candidates: leave out "
            f"`trend_weight`, or the recipe's `encoder`. Received: {weight}."
        )
    with_trend = type(model).from_config(model.get_config())
    with_trend.set_weights(model.get_weights())
    tower = with_trend.candidate_tower
    values = weight * _trend(train, model.threshold, half_life_days)
    add_to_biases(tower.encoders[train.candidate_id], tower.encode_table(train.candidates)[train.candidate_id], values)
    return with_trend


def _trend(train: Interactions, threshold: float, half_life_days: float) -> np.ndarray:
    return np.log1p(recent_popularity(train, threshold=threshold, half_life_days=half_life_days)).astype(np.float32)
