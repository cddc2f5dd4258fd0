"""The reference configuration: the architecture of the notebook that this library started from, on MovieLens 100K."""

import dataclasses

import pyarrow as pa

from tfrs_twotower.features.features import Bucketized, Categorical, MultiCategorical
from tfrs_twotower.model.tower_config import TowerConfig

#: The age groups of the MovieLens data sets, in years.
AGE_BOUNDARIES = (18.0, 25.0, 35.0, 45.0, 50.0, 56.0)

MOVIELENS_QUERY = TowerConfig(
    features=(
        Categorical(name="user_id"),
        Bucketized(name="age", boundaries=AGE_BOUNDARIES),
        Categorical(name="gender"),
        Categorical(name="occupation"),
        Categorical(name="zip_code"),
    )
)
MOVIELENS_CANDIDATE = TowerConfig(
    features=(Categorical(name="movie_id"), Categorical(name="release_year"), MultiCategorical(name="genres"))
)


def with_columns_of(config: TowerConfig, table: pa.Table) -> TowerConfig:
    """A configuration without the features that a table has no column for: only 100k and 1m have demographics.

    Example:
        >>> query = with_columns_of(MOVIELENS_QUERY, pa.table({"user_id": ["1"]}))
        >>> [feature.name for feature in query.features]
        ['user_id']
    """
    features = tuple(feature for feature in config.features if feature.name in table.column_names)
    return dataclasses.replace(config, features=features)
