"""What a tower looks at, declared without TensorFlow: frozen, checked when made.

Every kind knows missing values apart from all others. The vectors of missing and of unknown values start at zero and
stay there unless training meets such values; in a pooled list, missing values do not count at all.
"""

from __future__ import annotations

import dataclasses
import keyword
import math
import operator
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

#: How the vectors of a list become one: their sum, weighted mean, or sum over the root of the weights' squares.
Pooling = Literal["sum", "mean", "sqrtn"]

_POOLINGS = ("sum", "mean", "sqrtn")


#: Settings that are whole numbers, and the least that each may be.
_LEAST = {
    "embedding_dim": 1,
    "min_count": 1,
    "max_size": 1,
    "max_words": 1,
    "num_oov_buckets": 1,
    "num_buckets": 2,
    "length": 1,
    "dim": 1,
}


def whole_number(value: Any, name: str, least: int) -> int:
    """A setting as an int.

    Raises:
        TypeError: If it is no whole number; a bool is none.
        ValueError: If it is below the least.
    """
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be a whole number. Received: {value!r}.")
    if operator.index(value) < least:
        raise ValueError(f"{name} must be at least {least}. Received: {value}.")
    return operator.index(value)


def require_input_name(name: str) -> None:
    """Checks that a SavedModel's signature can have an input of that name.

    Raises:
        ValueError: If it cannot.
    """
    # What TensorFlow takes as the name of a signature's input, unchanged.
    if re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) is None:
        raise ValueError(
            "`name` must be a letter, then letters, digits and underscores: it names an input of the SavedModel. "
            f"Received: {name!r}."
        )
    if keyword.iskeyword(name) or name == "self":
        raise ValueError(f"`name` must be no word of Python's: the signature could not be called. {name!r} is.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Named:
    """What all kinds share: a name, which is that of the column and of the raw input."""

    name: str

    def __post_init__(self) -> None:
        require_input_name(self.name)
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name in _LEAST and not (value is None and field.default is None):
                number = whole_number(value, f"`{field.name}` of {self.name!r}", _LEAST[field.name])
                object.__setattr__(self, field.name, number)
        if getattr(self, "pooling", "mean") not in _POOLINGS:
            raise ValueError(
                f"`pooling` of {self.name!r} must be one of {', '.join(_POOLINGS)}. "
                f"Received: {getattr(self, 'pooling', None)!r}."
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _WithVocabulary(_Named):
    embedding_dim: int | None = None
    min_count: int = 1
    max_size: int | None = None
    num_oov_buckets: int = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Categorical(_WithVocabulary):
    """One string per row, such as an id: each value of the training split has its own vector, others share one.

    The shared vector of unknown values is trained by the rare values, if `min_count` or `max_size` leaves any over,
    and by `unknown_rate`; otherwise it stays zero.

    Raw input: string [batch], "" is missing, which has a vector of its own.

    Attributes:
        name: Column and input name.
        embedding_dim: Length of the vector; None takes the tower's.
        min_count: Training events a value needs to get a vector of its own, >= 1.
        max_size: Values with a vector of their own at most, the most frequent ones; None for all.
        num_oov_buckets: Vectors that unknown values share by their hash, >= 1.
        unknown_rate: Share of training rows whose value is taken for an unknown one, in [0, 1): the tower learns to do
            without it (Volkovs et al. 2017, "DropoutNet").
    """

    unknown_rate: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.unknown_rate < 1:
            raise ValueError(f"`unknown_rate` of {self.name!r} must be in [0, 1). Received: {self.unknown_rate}.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hashed(_Named):
    """One string per row, for values without end: values share `num_buckets` vectors by their hash, nothing is learnt.

    Raw input: string [batch], "" is missing, which has a vector of its own. No value is unknown.

    Attributes:
        name: Column and input name.
        num_buckets: Vectors, >= 2. Two of n values share one with a probability of about n / num_buckets.
        embedding_dim: Length of the vector; None takes the tower's.
    """

    num_buckets: int
    embedding_dim: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class MultiCategorical(_WithVocabulary):
    """A list of strings per row, such as genres: the values' vectors pooled, zero for an empty list.

    Raw input: string [batch, any], padded with "", which never counts. A missing list is an empty one.

    Attributes:
        name: Column and input name.
        embedding_dim: Length of the vector; None takes the tower's.
        min_count: Training events a value needs to get a vector of its own, >= 1.
        max_size: Values with a vector of their own at most, the most frequent ones; None for all.
        num_oov_buckets: Vectors that unknown values share by their hash, >= 1.
        pooling: "sum", "mean" or "sqrtn".
    """

    pooling: Pooling = "mean"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Text(_WithVocabulary):
    """A text per row, such as a title: the vectors of its words pooled, zero for a text without any.

    Words are runs of letters and digits of any script, in lower case.

    Raw input: string [batch], UTF-8. A missing text is an empty one.

    Attributes:
        name: Column and input name.
        embedding_dim: Length of the vector; None takes the tower's.
        min_count: Training events a word needs to get a vector of its own, >= 1; a word counts as often as it occurs.
        max_size: Words with a vector of their own at most, the most frequent ones; None for all.
        num_oov_buckets: Vectors that unknown words share by their hash, >= 1.
        max_words: Words that count, the first ones; None for all. The encoded table is as wide as its longest text.
        pooling: "sum", "mean" or "sqrtn".
    """

    max_words: int | None = None
    pooling: Pooling = "mean"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Numeric(_Named):
    """One number per row, such as a price: less the training events' mean, over their standard deviation.

    Raw input: float32 [batch]. A number that is not finite is missing: it counts as the mean, and a second input of
    the tower says so.

    Attributes:
        name: Column and input name.
        log: Take log(1 + x) first, for what spreads over orders of magnitude. Then no number may be negative.
    """

    log: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bucketized(_Named):
    """One number per row, such as an age, cut into buckets: each bucket has its own vector.

    Raw input: float32 [batch], NaN is missing, which has a vector of its own. A value equal to a boundary belongs to
    the bucket above it.

    Attributes:
        name: Column and input name.
        boundaries: Ascending, finite, at least one.
        num_buckets: In place of boundaries: cut at the quantiles of the training events into so many, >= 2; fewer
            where events share a value.
        embedding_dim: Length of the vector; None takes the tower's.

    Example:
        >>> Bucketized(name="age", boundaries=(18, 25, 35)).boundaries
        (18.0, 25.0, 35.0)
    """

    boundaries: tuple[float, ...] | None = None
    num_buckets: int | None = None
    embedding_dim: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.boundaries is None) == (self.num_buckets is None):
            raise ValueError(
                f"{self.name!r} needs either `boundaries` or `num_buckets`. "
                f"Received: {self.boundaries} and {self.num_buckets}."
            )
        if self.boundaries is None:
            return
        if isinstance(self.boundaries, str):
            raise TypeError(f"`boundaries` of {self.name!r} must be numbers. Received: {self.boundaries!r}.")
        object.__setattr__(self, "boundaries", tuple(float(boundary) for boundary in self.boundaries))
        ascending = all(a < b for a, b in zip(self.boundaries, self.boundaries[1:], strict=False))
        if not self.boundaries or not ascending or not all(map(math.isfinite, self.boundaries)):
            raise ValueError(
                f"`boundaries` of {self.name!r} must be finite, ascending, at least one. Received: {self.boundaries}."
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Timestamp(_Named):
    """A time per row, such as that of publication: hour and weekday as points on circles (UTC), and how long ago.

    Long ago is log(1 + days) before the latest time of the training split, over that of its earliest; a later time
    counts as the latest.

    Raw input: int64 [batch], seconds since 1970-01-01 UTC. `NO_TIME`, the lowest int64, is missing: all is zero, and
    one more input of the tower says so.

    Attributes:
        name: Column and input name. A column may hold times of every form that `tfrs_twotower.data.times` reads.
    """


@dataclasses.dataclass(frozen=True, kw_only=True)
class Embedding(_Named):
    """A given vector per row, such as an image encoder's; it goes into the tower as it is.

    Raw input: float32 [batch, dim]. A vector with a number that is not finite is missing: all is zero, and one more
    input of the tower says so.

    Attributes:
        name: Column and input name. The column holds lists of `dim` numbers, or null.
        dim: Length of the vector, >= 1.
    """

    dim: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class History(_Named):
    """The query's past candidates: their vectors pooled, zero for an empty history. For query towers.

    It comes from the events, not from a column; it is what makes a query that training never met a known one.

    Raw input: string [batch, any], candidate ids, the latest last, padded with "", which never counts. With
    `by_rating` also `<name>_rating`, float32 [batch, any]; NaN is the average rating.

    Attributes:
        of: The candidates' id feature: a `Categorical` or `Hashed`.
        name: Input name.
        length: Candidates that count, the latest ones, >= 1.
        embedding_dim: Length of the vector; None takes the tower's. With `shares_embedding` it is the candidate id's.
        pooling: "sum", "mean" or "sqrtn", of the candidates' vectors times their weights.
        by_rating: Multiply each candidate's vector by 1 + slope * (its rating, normalised by the training split), slope
            learnt: what was disliked may push away. What mean and root are taken over does not change with it.
        rating_vectors: With `by_rating`, each candidate has a second vector, which its rating multiplies, in place of
            one slope for all: what it says that somebody met it, and what, that they liked it (Koren 2008, "SVD++").
        half_life: Weigh each candidate by its place: half as much for each so many later ones, > 0. None: all alike.
        shares_embedding: Use the candidate tower's vectors of `of`, rather than learn others for what was seen.
    """

    of: Categorical | Hashed
    name: str = "history"
    length: int = 100
    embedding_dim: int | None = None
    pooling: Pooling = "mean"
    by_rating: bool = False
    rating_vectors: bool = False
    half_life: float | None = None
    shares_embedding: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.of, Categorical | Hashed):
            raise TypeError(f"`of` must be the candidate id's Categorical or Hashed. Received: {self.of!r}.")
        if self.rating_vectors and not self.by_rating:
            raise ValueError(f"`rating_vectors` of {self.name!r} need `by_rating`.")
        if self.half_life is not None and not 0 < self.half_life < math.inf:
            raise ValueError(f"`half_life` of {self.name!r} must be positive and finite. Received: {self.half_life}.")
        if self.shares_embedding and self.embedding_dim is not None:
            raise ValueError(
                f"`embedding_dim` of {self.name!r} must be left out with `shares_embedding`: it is that of "
                f"{self.of.name!r}. Received: {self.embedding_dim}."
            )

    @property
    def rating_name(self) -> str:
        """Name of the raw input that holds the ratings, there with `by_rating`."""
        return f"{self.name}_rating"


Feature = Categorical | Hashed | MultiCategorical | Text | Numeric | Bucketized | Timestamp | Embedding | History

#: Every kind, by the name that a configuration calls it.
KINDS: Mapping[str, type] = {
    kind.__name__: kind
    for kind in (Categorical, Hashed, MultiCategorical, Text, Numeric, Bucketized, Timestamp, Embedding, History)
}


def feature_to_config(feature: Feature) -> dict[str, Any]:
    """A feature as plain values, for JSON.

    Example:
        >>> feature_to_config(Numeric(name="price"))
        {'kind': 'Numeric', 'name': 'price', 'log': False}
    """
    settings = {field.name: getattr(feature, field.name) for field in dataclasses.fields(feature)}
    for name, value in settings.items():
        if isinstance(value, Categorical | Hashed):
            settings[name] = feature_to_config(value)
        elif isinstance(value, tuple):
            settings[name] = list(value)
    return {"kind": type(feature).__name__, **settings}


def feature_from_config(config: Mapping[str, Any]) -> Feature:
    """The feature that `feature_to_config` described.

    Raises:
        ValueError: If the kind is unknown.
        TypeError: If it has no such setting.

    Example:
        >>> feature_from_config({"kind": "Numeric", "name": "price", "log": True})
        Numeric(name='price', log=True)
    """
    settings = dict(config)
    kind = settings.pop("kind", None)
    if kind not in KINDS:
        raise ValueError(f"`kind` must be one of {', '.join(KINDS)}. Received: {kind!r}.")
    if settings.get("boundaries") is not None:
        settings["boundaries"] = tuple(settings["boundaries"])
    if kind == History.__name__:
        settings["of"] = feature_from_config(settings["of"])
    feature: Feature = KINDS[kind](**settings)
    return feature


def histories(features: Sequence[Feature]) -> list[History]:
    """The features that come from events."""
    return [feature for feature in features if isinstance(feature, History)]


def columns(features: Sequence[Feature]) -> list[Feature]:
    """The features that come from a column."""
    return [feature for feature in features if not isinstance(feature, History)]
