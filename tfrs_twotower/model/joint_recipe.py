"""The default recipe: a retrieval model that ranks and a rating model that predicts probabilities, for any table.

Its settings were chosen by the validation part of MovieLens 100K. What mattered for ranking: a target without its own
part in the history, a bias that starts from popularity, and strong dropout. An MLP over history and demographics made
it worse.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.features.categorical import Categorical
from tfrs_twotower.features.feature import Feature
from tfrs_twotower.features.history import History
from tfrs_twotower.features.multi_categorical import MultiCategorical
from tfrs_twotower.model.build import build_two_tower
from tfrs_twotower.model.joint import JointModel
from tfrs_twotower.model.sum_tower import SumTowerConfig
from tfrs_twotower.model.tasks.full_softmax import FullSoftmaxTask
from tfrs_twotower.model.tasks.rating import RatingTask
from tfrs_twotower.model.two_tower import TwoTowerModel

# A query whose id is dropped is described by its history alone.
_ID_DROPOUT = 0.5
# Longer than any history of MovieLens 100K; a larger data set's longest history takes its place.
_MIN_HISTORY_LENGTH = 1000
# A column of texts is a category if its values recur: if fewer than half of its rows have a value of their own.
_MAX_SHARE_OF_VALUES = 0.5
# More different ratings than these are a scale too fine to have a threshold each.
_MAX_THRESHOLDS = 10
_RETRIEVAL_L2 = 2e-4
_RATING_L2 = 3e-5


def build_joint(train: Interactions, *, threshold: float = 3.0) -> JointModel:
    """Builds the untrained default model of any table: a joint model that ranks and predicts probabilities.

    Args:
        train: The events to train on.
        threshold: A rating of at least this is positive.

    Raises:
        ValueError: If an id column's name cannot be that of an input, or a column holds values that its feature cannot
            take.

    Example:
        >>> ratings = Interactions(
        ...     queries=pa.table({"customer": ["c7"]}),
        ...     candidates=pa.table({"sku": ["x", "y", "z"], "color": ["red", "red", "red"], "title": ["A", "B", "C"]}),
        ...     events=pa.table({"query_row": [0, 0], "candidate_row": [0, 1], "rating": [5.0, 1.0]}),
        ...     query_id="customer", candidate_id="sku",
        ... )
        >>> build_joint(ratings).retrieval_model.candidate_tower.feature_names
        ['sku', 'color']
    """
    return JointModel(
        retrieval_model=build_retrieval_model(train, threshold=threshold),
        rating_model=build_rating_model(train, threshold=threshold),
    )


def build_retrieval_model(train: Interactions, *, threshold: float = 3.0) -> TwoTowerModel:
    """Builds the untrained retrieval model of `build_joint`.

    Args:
        train: The events to train on.
        threshold: A rating of at least this is positive.

    Example:
        >>> ratings = Interactions(
        ...     queries=pa.table({"customer": ["c7"]}), candidates=pa.table({"sku": ["x", "y"]}),
        ...     events=pa.table({"query_row": [0, 0], "candidate_row": [0, 1], "rating": [5.0, 1.0]}),
        ...     query_id="customer", candidate_id="sku",
        ... )
        >>> model = build_retrieval_model(ratings)
        >>> model.task.name, model.query_tower.feature_names
        ('full_softmax', ['customer', 'history'])
    """
    candidate = Categorical(name=train.candidate_id)
    past = History(of=candidate, length=_history_length(train), pooling="sqrtn", by_rating=True)
    return build_two_tower(
        train,
        query=SumTowerConfig(
            features=(Categorical(name=train.query_id, id_dropout=_ID_DROPOUT), past),
            output_dim=128,
            dropout=0.7,
            l2=_RETRIEVAL_L2,
        ),
        candidate=SumTowerConfig(
            features=(candidate, *_category_features(train)),
            output_dim=128,
            has_bias=True,
            frequency_of=train.candidate_id,
            l2=_RETRIEVAL_L2,
        ),
        task=FullSoftmaxTask(threshold=threshold, by_rating=True, learns_temperature=True),
    )


def build_rating_model(train: Interactions, *, threshold: float = 3.0) -> TwoTowerModel:
    """Builds the untrained rating model of `build_joint`.

    Args:
        train: The events to train on.
        threshold: A rating of at least this is positive.

    Example:
        >>> ratings = Interactions(
        ...     queries=pa.table({"customer": ["c7"]}), candidates=pa.table({"sku": ["x", "y"]}),
        ...     events=pa.table({"query_row": [0, 0], "candidate_row": [0, 1], "rating": [5.0, 1.0]}),
        ...     query_id="customer", candidate_id="sku",
        ... )
        >>> model = build_rating_model(ratings)
        >>> model.task.name, model.query_tower.feature_names
        ('rating_task', ['customer', 'history'])
    """
    candidate = Categorical(name=train.candidate_id)
    past = History(of=candidate, length=_history_length(train), pooling="sqrtn", by_rating=True, rating_vectors=True)
    return build_two_tower(
        train,
        query=SumTowerConfig(
            features=(Categorical(name=train.query_id, id_dropout=_ID_DROPOUT), past),
            output_dim=32,
            has_bias=True,
            dropout=0.3,
            l2=_RATING_L2,
        ),
        candidate=SumTowerConfig(
            features=(candidate, *_category_features(train)), output_dim=32, has_bias=True, l2=_RATING_L2
        ),
        task=RatingTask(threshold=threshold, other_thresholds=_other_thresholds(train, threshold)),
    )


def _category_features(train: Interactions) -> list[Feature]:
    """Returns a feature for each column of the candidates that holds categories, or lists of them."""
    features: list[Feature] = []
    for field in train.candidates.schema:
        column = train.candidates[field.name]
        if field.name == train.candidate_id:
            continue
        if pa.types.is_list(field.type) and pa.types.is_string(field.type.value_type):
            features.append(MultiCategorical(name=field.name))
        elif pa.types.is_string(field.type) and _recurs(column):
            features.append(Categorical(name=field.name))
    return features


def _recurs(column: pa.ChunkedArray) -> bool:
    """Tells whether the values of a column recur, as those of categories do and those of titles do not."""
    return bool(pc.count_distinct(column).as_py() < _MAX_SHARE_OF_VALUES * len(column))


def _history_length(train: Interactions) -> int:
    """Returns the length of the longest history: training by query sees all of it, and so must the tower later."""
    longest = int(np.bincount(train.query_rows, minlength=1).max())
    return max(_MIN_HISTORY_LENGTH, longest)


def _other_thresholds(train: Interactions, threshold: float) -> tuple[float, ...]:
    """Returns the ratings that serve as other thresholds: all but the lowest, if they are few."""
    others = [float(rating) for rating in np.unique(train.ratings)[1:] if rating != threshold]
    return tuple(others) if len(others) <= _MAX_THRESHOLDS else ()
