"""What a tower looks at, declared without TensorFlow: frozen, checked when made.

Every kind encodes a missing value as 0. The vectors of missing and of unknown values start at zero and stay there
unless training meets such values; in a pooled list, missing values do not count at all.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Sequence

import pyarrow as pa

from tfrs_twotower.data.columns import require_columns


@dataclasses.dataclass(frozen=True, kw_only=True)
class Categorical:
    """One string per row, such as an id: each value of the training split has its own vector, all others share one.

    With `min_count` above 1, the shared vector is trained by the rare values.

    Raw input: string [batch], "" is missing.

    Attributes:
        name: Column and input name.
        embedding_dim: Length of the vector; None takes the tower's.
        min_count: Training events a value needs to get a vector of its own, >= 1.
    """

    name: str
    embedding_dim: int | None = None
    min_count: int = 1

    def __post_init__(self) -> None:
        _check_common(self)
        _check_min_count(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MultiCategorical:
    """A list of strings per row, such as genres: the mean of the values' vectors, zero for an empty list.

    Raw input: string [batch, any], padded with "".

    Attributes:
        name: Column and input name.
        embedding_dim: Length of the vector; None takes the tower's.
        min_count: Training events a value needs to get a vector of its own, >= 1.
    """

    name: str
    embedding_dim: int | None = None
    min_count: int = 1

    def __post_init__(self) -> None:
        _check_common(self)
        _check_min_count(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bucketized:
    """One number per row, such as an age, cut at given boundaries: each bucket has its own vector.

    Raw input: float32 [batch], NaN is missing. A value equal to a boundary belongs to the bucket above it.

    Attributes:
        name: Column and input name.
        boundaries: Ascending, finite, at least one.
        embedding_dim: Length of the vector; None takes the tower's.

    Example:
        >>> Bucketized(name="age", boundaries=(18, 25, 35)).boundaries
        (18.0, 25.0, 35.0)
    """

    name: str
    boundaries: tuple[float, ...]
    embedding_dim: int | None = None

    def __post_init__(self) -> None:
        _check_common(self)
        object.__setattr__(self, "boundaries", tuple(float(boundary) for boundary in self.boundaries))
        ascending = all(a < b for a, b in zip(self.boundaries, self.boundaries[1:], strict=False))
        if not self.boundaries or not ascending or not all(map(math.isfinite, self.boundaries)):
            raise ValueError(
                f"`boundaries` of {self.name!r} must be finite, ascending, at least one. Received: {self.boundaries}."
            )


Feature = Categorical | MultiCategorical | Bucketized


def require_suitable_columns(features: Sequence[Feature], table: pa.Table) -> None:
    """Checks that a table has a column of the right type for every feature.

    Args:
        features: Those of one tower.
        table: Queries or candidates.

    Raises:
        ValueError: If a column is missing.
        TypeError: If a column has another type.
    """
    require_columns(table, [feature.name for feature in features])
    types = pa.types
    for feature in features:
        kind = table[feature.name].type
        match feature:
            case Categorical():
                fits, wanted = (
                    types.is_string(kind) or types.is_integer(kind) or types.is_null(kind),
                    "strings or integers",
                )
            case MultiCategorical():
                fits, wanted = types.is_list(kind) and types.is_string(kind.value_type), "lists of strings"
            case Bucketized():
                fits, wanted = types.is_integer(kind) or types.is_floating(kind) or types.is_null(kind), "numbers"
        if not fits:
            raise TypeError(
                f"`{feature.name}` must hold {wanted} to be {type(feature).__name__}. Received a column of: {kind}."
            )


def _check_common(feature: Feature) -> None:
    # What TensorFlow takes as the name of a signature's input, unchanged.
    if re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", feature.name) is None:
        raise ValueError(
            "`name` must be a letter, then letters, digits and underscores: it names an input of the SavedModel. "
            f"Received: {feature.name!r}."
        )
    if feature.embedding_dim is not None and feature.embedding_dim < 1:
        raise ValueError(f"`embedding_dim` of {feature.name!r} must be at least 1. Received: {feature.embedding_dim}.")


def _check_min_count(feature: Categorical | MultiCategorical) -> None:
    if feature.min_count < 1:
        raise ValueError(f"`min_count` of {feature.name!r} must be at least 1. Received: {feature.min_count}.")
