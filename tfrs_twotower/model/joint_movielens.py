"""The default configuration on MovieLens: a head that ranks and one that knows probabilities.

Chosen by the validation part of MovieLens 100K. What mattered for ranking: a target without its own part in the
history, the bias that starts from popularity, strong dropout. An MLP over the history and demographics hurt.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.features.features import Categorical, History, MultiCategorical
from tfrs_twotower.model.build import build_two_tower
from tfrs_twotower.model.joint import JointModel
from tfrs_twotower.model.tasks.rating import RatingTask
from tfrs_twotower.model.tasks.softmax import CatalogueTask
from tfrs_twotower.model.tower_config import SumTowerConfig
from tfrs_twotower.model.two_tower import TwoTowerModel

_MOVIE = Categorical(name="movie_id")
# A user without it is known by the history alone.
_USER = Categorical(name="user_id", unknown_rate=0.5)
_ABOUT = (Categorical(name="release_year"), MultiCategorical(name="genres"))
# Longer than any user's of MovieLens 100K; a larger data set's longest history takes its place.
_LENGTH = 1000
_RETRIEVAL_L2 = 2e-4
_RATING_L2 = 3e-5

RETRIEVAL_QUERY = SumTowerConfig(
    features=(_USER, History(of=_MOVIE, length=_LENGTH, pooling="sqrtn", by_rating=True)),
    output_dim=128,
    dropout=0.7,
    l2=_RETRIEVAL_L2,
)
RETRIEVAL_CANDIDATE = SumTowerConfig(
    features=(_MOVIE, *_ABOUT), output_dim=128, has_bias=True, frequency_of="movie_id", l2=_RETRIEVAL_L2
)
RATING_QUERY = SumTowerConfig(
    features=(_USER, History(of=_MOVIE, length=_LENGTH, pooling="sqrtn", by_rating=True, rating_vectors=True)),
    output_dim=32,
    has_bias=True,
    dropout=0.3,
    l2=_RATING_L2,
)
RATING_CANDIDATE = SumTowerConfig(features=(_MOVIE, *_ABOUT), output_dim=32, has_bias=True, l2=_RATING_L2)


def build_retrieval_head(train: Interactions) -> TwoTowerModel:
    """The untrained head that ranks.

    Args:
        train: MovieLens events.
    """
    task = CatalogueTask(by_rating=True, learns_temperature=True)
    query = _with_whole_history(RETRIEVAL_QUERY, train)
    return build_two_tower(train, query=query, candidate=RETRIEVAL_CANDIDATE, task=task)


def build_rating_head(train: Interactions) -> TwoTowerModel:
    """The untrained head that knows probabilities.

    Args:
        train: MovieLens events.
    """
    task = RatingTask(other_cuts=(2.0, 4.0, 5.0))
    query = _with_whole_history(RATING_QUERY, train)
    return build_two_tower(train, query=query, candidate=RATING_CANDIDATE, task=task)


def build_movielens_joint(train: Interactions) -> JointModel:
    """The untrained model of both heads.

    Args:
        train: MovieLens events.
    """
    return JointModel(retrieval=build_retrieval_head(train), rating=build_rating_head(train))


def _with_whole_history(query: SumTowerConfig, train: Interactions) -> SumTowerConfig:
    """Training by query sees all that a user did, and so must the tower when it is asked."""
    longest = int(np.bincount(train.query_rows, minlength=1).max())
    features = tuple(
        dataclasses.replace(feature, length=max(feature.length, longest)) if isinstance(feature, History) else feature
        for feature in query.features
    )
    return dataclasses.replace(query, features=features)
