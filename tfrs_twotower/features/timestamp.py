"""A time per row: hour and weekday as points on circles, and how long ago it was."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfrs_twotower.data.times import NO_TIME, seconds
from tfrs_twotower.features.columns import as_float64, is_number, require_no_nan, require_not
from tfrs_twotower.features.feature import NumberFeature
from tfrs_twotower.features.vocabularies import Learnt, learnt_of

_DAY_S = 86_400.0
# 1970-01-01 was a Thursday, three days after a Monday.
_EPOCH_WEEKDAY = 3.0
# Maximum of how long ago a time is, where the earliest time of the training split is 1.
_MAX_AGO = 1000.0


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Timestamp(NumberFeature):
    """A time per row, such as that of publication: hour and weekday as points on circles (UTC), and how long ago.

    How long ago is log(1 + days) before the latest time of the training split, divided by that of its earliest time; a
    later time counts as the latest, and the result is at most 1,000.

    Raw input: int64 [batch], seconds since 1970-01-01 UTC. `NO_TIME`, the lowest int64, is missing: all is zero, and
    one more input of the tower marks it.

    Attributes:
        name: Name of the column and of the raw input. A column may hold times in every form that
            `tfrs_twotower.data.times` reads.

    Example:
        >>> Timestamp(name="published").raw_specs[0].dtype
        tf.int64
    """

    wanted_values: ClassVar[str] = "times"

    @property
    def raw_specs(self) -> tuple[tf.TensorSpec, ...]:
        """int64 [batch], seconds since 1970-01-01 UTC."""
        # float32 would tell times apart by two minutes, and Keras turns NumPy's float64 into it.
        return (tf.TensorSpec([None], tf.int64, name=self.name),)

    def accepts(self, kind: pa.DataType) -> bool:
        """Accepts numbers, text, timestamps and dates."""
        types = pa.types
        return bool(is_number(kind) or types.is_string(kind) or types.is_timestamp(kind) or types.is_date(kind))

    def require_possible_values(self, column: pa.Array) -> None:
        """Raises an error for values that are not times; see `ColumnFeature`."""
        if is_number(column.type):
            require_no_nan(column, self.name)
        is_given, is_time = (values.is_valid().to_numpy(zero_copy_only=False) for values in (column, seconds(column)))
        rule = "hold times, as ISO 8601 text or seconds since 1970; a missing one is null"
        require_not(is_given & ~is_time, column, self.name, rule)

    def learn(self, column: pa.Array, counts: np.ndarray) -> Learnt | None:
        """Learns the earliest and the latest time; see `ColumnFeature`."""
        times = as_float64(seconds(column))[counts > 0]
        times = times[~np.isnan(times)]
        return TimeSpan(*((times.min(), times.max()) if times.size else (0.0, 0.0)))

    def build_lookup(self, learnt: Learnt | None, name: str) -> tf.keras.layers.Layer:
        """Builds a `TimeLookup`; see `ColumnFeature`."""
        span = learnt_of(learnt, TimeSpan(0.0, 0.0), self.name)
        return TimeLookup(earliest=span.earliest, latest=span.latest, name=name)


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
@dataclasses.dataclass(frozen=True)
class TimeSpan(Learnt):
    """The times of the training events.

    Attributes:
        earliest: Seconds since 1970-01-01 UTC.
        latest: Seconds since 1970-01-01 UTC.

    Example:
        >>> print(TimeSpan(0.0, 86_400.0))
        1970-01-01T00:00:00 to 1970-01-02T00:00:00
    """

    earliest: float
    latest: float

    def __str__(self) -> str:
        """Shows both times."""
        earliest, latest = np.array([self.earliest, self.latest]).astype("datetime64[s]")
        return f"{earliest} to {latest}"


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
class TimeLookup(tf.keras.layers.Layer):
    """Turns a time into six inputs of the tower: sine and cosine of hour and weekday, how long ago, and a mark.

    Args:
        earliest: Earliest time of the training events, in seconds since 1970-01-01 UTC.
        latest: Latest time of the training events.

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
        ago = tf.minimum(tf.math.log1p(tf.maximum(self.latest / _DAY_S - days, 0.0)) / span, _MAX_AGO)
        values = tf.concat([circles, ago[:, tf.newaxis]], axis=1)
        is_given = is_given[:, tf.newaxis]
        values = tf.where(is_given, values, 0.0)
        return tf.cast(tf.concat([values, tf.cast(~is_given, tf.float64)], axis=1), tf.float32)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "earliest": self.earliest, "latest": self.latest}
