"""What a tower looks at, declared without TensorFlow: frozen, checked when made.

Every kind encodes a missing value as 0, which has a learnt vector of its own (or none at all in a pooled list).
"""

from __future__ import annotations

import dataclasses
import math


@dataclasses.dataclass(frozen=True, kw_only=True)
class Categorical:
    """One string per row, such as an id: each value of the training split has its own vector, all others share one.

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
        (18, 25, 35)
    """

    name: str
    boundaries: tuple[float, ...]
    embedding_dim: int | None = None

    def __post_init__(self) -> None:
        _check_common(self)
        ascending = all(a < b for a, b in zip(self.boundaries, self.boundaries[1:], strict=False))
        if not self.boundaries or not ascending or not all(map(math.isfinite, self.boundaries)):
            raise ValueError(
                f"`boundaries` of {self.name!r} must be finite, ascending, at least one. Received: {self.boundaries}."
            )


Feature = Categorical | MultiCategorical | Bucketized


def _check_common(feature: Feature) -> None:
    if not feature.name.isidentifier():
        raise ValueError(
            f"`name` must be an identifier: it names an input of the SavedModel. Received: {feature.name!r}."
        )
    if feature.embedding_dim is not None and feature.embedding_dim < 1:
        raise ValueError(f"`embedding_dim` of {feature.name!r} must be at least 1. Received: {feature.embedding_dim}.")


def _check_min_count(feature: Categorical | MultiCategorical) -> None:
    if feature.min_count < 1:
        raise ValueError(f"`min_count` of {feature.name!r} must be at least 1. Received: {feature.min_count}.")
