"""The first half of a tower: layers from raw values to codes, which do not change with training.

Codes of values with vectors are int64: 0 is a missing value, then come the buckets of unknown ones, then the
vocabulary. Of kinds without vectors, codes are the numbers that go into the tower, the last of which is 1 if the value
is missing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_twotower.data.times import NO_TIME
from tfrs_twotower.features.features import (
    Bucketized,
    Categorical,
    Embedding,
    Feature,
    Hashed,
    History,
    MultiCategorical,
    Numeric,
    Text,
    Timestamp,
)
from tfrs_twotower.features.tokens import split_words
from tfrs_twotower.features.vocabularies import Boundaries, Moments, TimeSpan, Vocabularies

MISSING_CODE = 0
FIRST_UNKNOWN_CODE = 1

_DAY_S = 86_400.0
# 1970-01-01 was a Thursday: so many days after a Monday.
_EPOCH_WEEKDAY = 3.0


def build_lookups(feature: Feature, vocabularies: Vocabularies) -> dict[str, tf.keras.layers.Layer]:
    """The layers from a feature's raw inputs to its codes.

    Args:
        feature: Any kind.
        vocabularies: What is known of the feature; what is not counts as learnt from nothing.

    Returns:
        Input name -> layer.
    """
    name = f"{feature.name}_lookup"
    match feature:
        case History():
            lookups = {feature.name: _build_value_lookup(feature.of, vocabularies.values_of(feature.name), name)}
            if feature.by_rating:
                moments = _known(vocabularies, feature.rating_name, Moments(0.0, 1.0))
                lookups[feature.rating_name] = Standardize(
                    mean=moments.mean,
                    standard_deviation=moments.standard_deviation,
                    name=f"{feature.rating_name}_lookup",
                )
            return lookups
        case Bucketized():
            return {feature.name: Buckets(boundaries=_boundaries(feature, vocabularies), name=name)}
        case Numeric():
            moments = _known(vocabularies, feature.name, Moments(0.0, 1.0))
            return {
                feature.name: NumberLookup(
                    mean=moments.mean, standard_deviation=moments.standard_deviation, log=feature.log, name=name
                )
            }
        case Timestamp():
            span = _known(vocabularies, feature.name, TimeSpan(0.0, 0.0))
            return {feature.name: TimeLookup(earliest=span.earliest, latest=span.latest, name=name)}
        case Embedding():
            return {feature.name: VectorLookup(name=name)}
        case _:
            return {feature.name: _build_value_lookup(feature, vocabularies.values_of(feature.name), name)}


def num_codes(feature: Feature, vocabularies: Vocabularies) -> int:
    """Vectors that a feature needs, those of missing and unknown values among them."""
    match feature:
        case History():
            return _num_value_codes(feature.of, vocabularies.values_of(feature.name))
        case Bucketized():
            return len(_boundaries(feature, vocabularies)) + 2
        case _:
            return _num_value_codes(feature, vocabularies.values_of(feature.name))


def is_missing(codes: tf.Tensor) -> tf.Tensor:
    """Bool [batch], the rows of a feature's codes whose raw value was missing, or a list of nothing."""
    if codes.dtype.is_floating:
        return codes[:, -1] == 1
    return codes == MISSING_CODE if codes.shape.rank == 1 else tf.reduce_all(codes == MISSING_CODE, axis=1)


def _boundaries(feature: Bucketized, vocabularies: Vocabularies) -> tuple[float, ...]:
    """Given ones, or those that were learnt."""
    if feature.boundaries is not None:
        return feature.boundaries
    learnt: Boundaries = _known(vocabularies, feature.name, Boundaries(()))
    return learnt.boundaries


def _known(vocabularies: Vocabularies, name: str, default: Any) -> Any:
    learnt = vocabularies.get(name, default)
    if not isinstance(learnt, type(default)):
        raise TypeError(f"`vocabularies[{name!r}]` must be {type(default).__name__}. Received: {learnt!r}.")
    return learnt


def _num_value_codes(feature: Feature, values: Sequence[str]) -> int:
    match feature:
        case Hashed():
            return feature.num_buckets + 1
        case Categorical() | MultiCategorical() | Text():
            # Where nothing is known, the lookup still knows one value.
            return max(1, len(values)) + feature.num_oov_buckets + 1
    raise TypeError(f"{type(feature).__name__} has no codes.")


def _build_value_lookup(feature: Feature, values: Sequence[str], name: str) -> tf.keras.layers.Layer:
    match feature:
        case Hashed():
            # Bin 0 is the missing value's.
            return tf.keras.layers.Hashing(feature.num_buckets + 1, mask_value="", name=name)
        case Text():
            return WordLookup(
                vocabulary=values, num_oov_buckets=feature.num_oov_buckets, max_words=feature.max_words, name=name
            )
        case Categorical() | MultiCategorical():
            return _build_string_lookup(values, feature.num_oov_buckets, name)
    raise TypeError(f"{type(feature).__name__} has no values to look up.")


def _build_string_lookup(values: Sequence[str], num_oov_buckets: int, name: str) -> tf.keras.layers.StringLookup:
    return ValueLookup(
        # Keras refuses an empty vocabulary: a feature without known values knows one that no column holds.
        vocabulary=list(values) or ["\x1b"],
        mask_token="",
        # A control character: no value of a real column can be mistaken for it.
        oov_token="\x1a",
        num_oov_indices=num_oov_buckets,
        name=name,
    )


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
class ValueLookup(tf.keras.layers.StringLookup):
    """Keras's `StringLookup` for vocabularies of millions, and for every text.

    Keras tracks each item of a list, which takes seconds for a million, and makes NumPy's own text of it, which loses
    a NUL at its end. An array of objects has neither fault.

    Args:
        vocabulary: Known values.
        **kwargs: As Keras's.
    """

    def __init__(self, *, vocabulary: Sequence[str], **kwargs: Any) -> None:
        super().__init__(vocabulary=np.array(vocabulary, dtype=object), **kwargs)

    def save_assets(self, dir_path: str) -> None:
        """Nothing: the vocabulary is in the configuration."""

    def load_assets(self, dir_path: str) -> None:
        """Nothing: the vocabulary is in the configuration."""


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
class WordLookup(tf.keras.layers.Layer):
    """Codes of the words of a text.

    Args:
        vocabulary: Known words; none of them "".
        num_oov_buckets: Codes that unknown words share by their hash, >= 1.
        max_words: Words that count, the first ones; None for all.

    Example:
        >>> WordLookup(vocabulary=["story", "toy"])(tf.constant(["Toy Story 2", ""])).numpy().tolist()
        [[3, 2, 1], [0, 0, 0]]
    """

    def __init__(
        self, *, vocabulary: Sequence[str], num_oov_buckets: int = 1, max_words: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.max_words = max_words
        self.vocabulary = list(vocabulary)
        self.num_oov_buckets = num_oov_buckets
        self.words = _build_string_lookup(self.vocabulary, num_oov_buckets, "words")

    def call(self, text: tf.Tensor) -> tf.Tensor:
        """Codes string [batch] as int64 [batch, most words], padded with 0."""
        return self.words(split_words(text, self.max_words).to_tensor(""))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "vocabulary": list(self.vocabulary),
            "num_oov_buckets": self.num_oov_buckets,
            "max_words": self.max_words,
        }


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
class Buckets(tf.keras.layers.Layer):
    """Codes a number by the bucket that it falls into: 0 for NaN, then 1, 2, ... from the lowest bucket up.

    Args:
        boundaries: Ascending, finite.

    Example:
        >>> Buckets(boundaries=(18.0, 25.0))(tf.constant([17.0, 18.0, 30.0, float("nan")])).numpy().tolist()
        [1, 2, 3, 0]
    """

    def __init__(self, *, boundaries: Sequence[float], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.boundaries = tuple(float(boundary) for boundary in boundaries)

    def call(self, numbers: tf.Tensor) -> tf.Tensor:
        """Codes float32 [batch] as int64 [batch]."""
        boundaries = tf.constant(self.boundaries, tf.float32)
        buckets = tf.searchsorted(boundaries, numbers, side="right", out_type=tf.int64) + 1
        return tf.where(tf.math.is_nan(numbers), tf.constant(MISSING_CODE, tf.int64), buckets)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "boundaries": list(self.boundaries)}


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
class Standardize(tf.keras.layers.Layer):
    """Numbers less a mean, over a standard deviation; 0, the mean, for what is not finite.

    Args:
        mean: Finite.
        standard_deviation: Positive.

    Example:
        >>> Standardize(mean=3.0, standard_deviation=2.0)(tf.constant([5.0, float("nan")])).numpy().tolist()
        [1.0, 0.0]
    """

    def __init__(self, *, mean: float, standard_deviation: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mean, self.standard_deviation = float(mean), float(standard_deviation)

    def call(self, numbers: tf.Tensor) -> tf.Tensor:
        """Standardises float32 of any shape."""
        return (tf.where(tf.math.is_finite(numbers), numbers, self.mean) - self.mean) / self.standard_deviation

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "mean": self.mean, "standard_deviation": self.standard_deviation}


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
class NumberLookup(tf.keras.layers.Layer):
    """Two inputs of the tower from a number: the standardised number, and whether it is missing.

    Args:
        mean: Of the numbers, or of their logarithms.
        standard_deviation: Positive.
        log: Take log(1 + x) first; what is negative counts as 0.

    Example:
        >>> NumberLookup(mean=3.0, standard_deviation=2.0)(tf.constant([5.0, float("nan")])).numpy().tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """

    def __init__(self, *, mean: float, standard_deviation: float, log: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.log = log
        self.standardize = Standardize(mean=mean, standard_deviation=standard_deviation)

    def call(self, numbers: tf.Tensor) -> tf.Tensor:
        """Codes float32 [batch] as float32 [batch, 2]."""
        is_missing = ~tf.math.is_finite(numbers)
        if self.log:
            # TensorFlow's maximum keeps NaN.
            numbers = tf.math.log1p(tf.maximum(tf.where(is_missing, math.nan, numbers), 0.0))
        return tf.stack([self.standardize(numbers), tf.cast(is_missing, tf.float32)], axis=1)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "mean": self.standardize.mean,
            "standard_deviation": self.standardize.standard_deviation,
            "log": self.log,
        }


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
class TimeLookup(tf.keras.layers.Layer):
    """Six inputs of the tower from a time: sine and cosine of hour and weekday, how long ago, whether it is missing.

    Args:
        earliest: Of the training events, in seconds since 1970-01-01 UTC.
        latest: Of the training events.

    Example:
        >>> monday_3_am = 4 * 86_400 + 3 * 3600
        >>> times = tf.constant([monday_3_am, NO_TIME])
        >>> print(TimeLookup(earliest=0, latest=monday_3_am)(times).numpy().round(2))
        [[0.71 0.71 0.11 0.99 0.   0.  ]
         [0.   0.   0.   0.   0.   1.  ]]
    """

    def __init__(self, *, earliest: float, latest: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.earliest, self.latest = float(earliest), float(latest)

    def call(self, times: tf.Tensor) -> tf.Tensor:
        """Codes int64 [batch] as float32 [batch, 6]."""
        is_given = times != NO_TIME
        # float64, in which seconds are exact.
        days = tf.cast(tf.where(is_given, times, 0), tf.float64) / _DAY_S
        circles = 2 * math.pi * tf.stack([days, (days + _EPOCH_WEEKDAY) / 7], axis=1)
        circles = tf.reshape(tf.stack([tf.sin(circles), tf.cos(circles)], axis=2), [-1, 4])
        span = math.log1p((self.latest - self.earliest) / _DAY_S) or 1.0
        ago = tf.math.log1p(tf.maximum(self.latest / _DAY_S - days, 0.0)) / span
        values = tf.concat([circles, ago[:, tf.newaxis]], axis=1)
        is_given = is_given[:, tf.newaxis]
        values = tf.where(is_given, values, 0.0)
        return tf.cast(tf.concat([values, tf.cast(~is_given, tf.float64)], axis=1), tf.float32)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "earliest": self.earliest, "latest": self.latest}


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
class VectorLookup(tf.keras.layers.Layer):
    """A given vector, and whether it is missing: then it is zero.

    Example:
        >>> VectorLookup()(tf.constant([[0.5, -1.0], [float("nan"), 2.0]])).numpy().tolist()
        [[0.5, -1.0, 0.0], [0.0, 0.0, 1.0]]
    """

    def call(self, vectors: tf.Tensor) -> tf.Tensor:
        """Codes float32 [batch, dim] as float32 [batch, dim + 1]."""
        is_given = tf.reduce_all(tf.math.is_finite(vectors), axis=1, keepdims=True)
        return tf.concat([tf.where(is_given, vectors, 0.0), tf.cast(~is_given, tf.float32)], axis=1)
