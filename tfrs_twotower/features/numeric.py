"""One number per row, standardised."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfrs_twotower.features.columns import as_float32, as_float64, is_number, require_no_nan, require_not
from tfrs_twotower.features.feature import NumberFeature
from tfrs_twotower.features.vocabularies import Learnt, learnt_of

# How far numbers must lie apart, relative to their size, for float32 to tell them apart well.
_MIN_SPREAD = 1e-6
#: A number further from the mean counts as this number of standard deviations from it, so that what is computed from it
#: stays finite. A number among n training events is never further away than sqrt(n).
MAX_DEVIATIONS = 1000.0


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Numeric(NumberFeature):
    """One number per row, such as a price, standardised: minus the training events' mean, over their deviation.

    Raw input: float32 [batch]. A number that is not finite is missing: the mean takes its place, and a second input of
    the tower marks it. A number more than 1,000 standard deviations from the mean counts as that far away.

    Attributes:
        name: Name of the column and of the raw input.
        log: Whether to take log(1 + x) first, for numbers that differ by orders of magnitude; no number may then be
            negative.

    Example:
        >>> Numeric(name="price", log=True)
        Numeric(name='price', log=True)
    """

    log: bool = False

    wanted_values: ClassVar[str] = "numbers"

    @property
    def raw_specs(self) -> tuple[tf.TensorSpec, ...]:
        """float32 [batch]; NaN is missing."""
        return (tf.TensorSpec([None], tf.float32, name=self.name),)

    def accepts(self, kind: pa.DataType) -> bool:
        """Accepts integers and floats."""
        return is_number(kind)

    def require_possible_values(self, column: pa.Array) -> None:
        """Raises an error for NaN, infinity, and with `log` negative numbers; see `ColumnFeature`."""
        require_no_nan(column, self.name)
        numbers = as_float32(column)
        require_not(np.isinf(numbers), column, self.name, "be finite in float32")
        if self.log:
            require_not(numbers < 0, column, self.name, "be at least 0 for its logarithm")

    def learn(self, column: pa.Array, counts: np.ndarray) -> Learnt | None:
        """Learns mean and standard deviation; see `ColumnFeature`.

        Raises:
            ValueError: If float32 cannot tell the numbers apart.
        """
        numbers = as_float64(column)
        given = numbers[~np.isnan(numbers)]
        if given.size and 0 < np.ptp(given) < _MIN_SPREAD * np.abs(given).max():
            raise ValueError(
                f"`{self.name}` must spread further relative to its size: float32 cannot tell the numbers apart. "
                f"Received: {given.min():.17g} to {given.max():.17g}. Subtract a common offset, or declare a time as "
                "a Timestamp."
            )
        return moments(np.log1p(numbers) if self.log else numbers, counts)

    def build_lookup(self, learnt: Learnt | None, name: str) -> tf.keras.layers.Layer:
        """Builds a `NumberLookup`; see `ColumnFeature`."""
        learnt_moments = learnt_of(learnt, Moments(0.0, 1.0), self.name)
        return NumberLookup(
            mean=learnt_moments.mean, standard_deviation=learnt_moments.standard_deviation, log=self.log, name=name
        )


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
@dataclasses.dataclass(frozen=True)
class Moments(Learnt):
    """Mean and standard deviation over the training events.

    Attributes:
        mean: Finite.
        standard_deviation: Positive; 1 if all numbers are equal.

    Example:
        >>> print(Moments(10.0, 2.5))
        mean 10, standard deviation 2.5
    """

    mean: float
    standard_deviation: float

    def __str__(self) -> str:
        """Shows both numbers."""
        return f"mean {self.mean:.6g}, standard deviation {self.standard_deviation:.6g}"


def moments(numbers: np.ndarray, counts: np.ndarray) -> Moments:
    """Computes mean and standard deviation, each number weighted by its events.

    Args:
        numbers: float64 [n]; NaN is missing.
        counts: int [n], the events of each number.

    Example:
        >>> moments(np.array([1.0, 3.0, np.nan]), np.array([1, 1, 7]))
        Moments(mean=2.0, standard_deviation=1.0)
    """
    used = ~np.isnan(numbers) & (counts > 0)
    if not used.any():
        return Moments(0.0, 1.0)
    mean = np.average(numbers[used], weights=counts[used])
    deviation = np.sqrt(np.average((numbers[used] - mean) ** 2, weights=counts[used]))
    # The rounding of equal numbers is not a spread.
    return Moments(float(mean), float(deviation) if deviation > 1e-12 * abs(mean) else 1.0)


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
class Standardize(tf.keras.layers.Layer):
    """Subtracts a mean and divides by a standard deviation; what is not finite becomes 0, the mean.

    The result lies in -`MAX_DEVIATIONS`..`MAX_DEVIATIONS`.

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
        deviations = tf.where(tf.math.is_finite(numbers), numbers, self.mean) - self.mean
        # A standard deviation that float32 rounds to zero would make NaN of the mean.
        divisor = max(self.standard_deviation, float(np.finfo(np.float32).tiny))
        return tf.clip_by_value(deviations / divisor, -MAX_DEVIATIONS, MAX_DEVIATIONS)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "mean": self.mean, "standard_deviation": self.standard_deviation}


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
class NumberLookup(tf.keras.layers.Layer):
    """Turns a number into two inputs of the tower: the standardised number, and whether it is missing.

    Args:
        mean: Mean of the numbers, or of their logarithms.
        standard_deviation: Positive.
        log: Whether to take log(1 + x) first; a negative number counts as 0.

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
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "mean": self.standardize.mean,
            "standard_deviation": self.standardize.standard_deviation,
            "log": self.log,
        }
