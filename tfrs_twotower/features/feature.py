"""The interface of features: a feature declares its raw inputs, its lookups and its encoder.

A kind is one class in one module. It subclasses `ColumnFeature` if its values are a column of a table, or `History` if
they come from the events. Everything else in the library uses a feature through the methods of this interface, so that
a kind defined in a user's own file trains, is saved, exported and served like the kinds defined here.

A tower is built from features in two halves. The *lookup* turns raw values into codes and does not change with
training; the *encoder* turns codes into a vector, and its weights are trained.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfrs_twotower._settings import whole_number
from tfrs_twotower.features.codes import is_missing
from tfrs_twotower.features.config import Declaration
from tfrs_twotower.features.input_names import require_input_name
from tfrs_twotower.features.vocabularies import Learnt, Vocabularies

#: How a list's vectors become one: their sum, weighted mean, or sum over the root of the sum of squared weights.
Pooling = Literal["sum", "mean", "sqrtn"]

POOLINGS = ("sum", "mean", "sqrtn")

_Kind = TypeVar("_Kind", bound="Feature")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Feature(Declaration, abc.ABC):
    """Declares one feature of a tower; a kind of feature is a subclass.

    Attributes:
        name: Name of the raw input: a letter, then letters, digits and underscores.

    Example:
        >>> from tfrs_twotower.features.multi_categorical import MultiCategorical
        >>> feature: Feature = MultiCategorical(name="genres")
        >>> [(spec.name, spec.dtype) for spec in feature.raw_specs]
        [('genres', tf.string)]
    """

    name: str

    #: Name of a setting that is a whole number -> its lowest value.
    minimums: ClassVar[Mapping[str, int]] = {}

    #: Whether the encoder gives a vector of the requested length. If not, the codes are numbers already,
    #: and a tower that adds vectors multiplies them by a matrix.
    is_embedded: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_input_name(self.name)
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        for setting, minimum in self.minimums.items():
            value = getattr(self, setting)
            # None is a choice only where it is the default.
            if value is not None or defaults[setting] is not None:
                whole_number(value, f"`{setting}` of {self.name!r}", minimum)

    @property
    @abc.abstractmethod
    def raw_specs(self) -> tuple[tf.TensorSpec, ...]:
        """Name, shape and dtype of each raw input; the first has the feature's name."""

    @abc.abstractmethod
    def build_lookups(self, vocabularies: Vocabularies) -> dict[str, tf.keras.layers.Layer]:
        """Builds the layers from raw inputs to codes.

        Args:
            vocabularies: What was learnt about the tower's features. An input that is not in it is built as if there
                had been no training data.

        Returns:
            Input name -> layer. Codes are integers [batch] or [batch, any], where 0 is a missing value or padding; or
            float32 [batch, dim], whose last entry is 1 if the value is missing.
        """

    @abc.abstractmethod
    def build_encoder(
        self,
        vocabularies: Vocabularies,
        *,
        embedding_dim: int | None,
        regularizer: tf.keras.regularizers.Regularizer | None = None,
    ) -> Encoder:
        """Builds the layer from codes to a vector.

        Args:
            vocabularies: As in `build_lookups`.
            embedding_dim: The tower's length of a vector, which the feature's own setting overrides; None for a rule by
                the number of values.
            regularizer: Regulariser of the trained vectors.
        """

    def align(self, codes: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Makes the codes of several inputs equally wide; a feature with one input returns them as they are.

        Args:
            codes: Input name -> codes, of this feature's inputs.
        """
        return codes

    def is_missing(self, codes: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Tells in which rows the value is missing.

        Args:
            codes: Input name -> codes, as the lookups give them.

        Returns:
            bool [batch].
        """
        return is_missing(codes[self.name])

    def with_embedding_dim(self: _Kind, embedding_dim: int) -> _Kind:
        """Returns the same feature with a fixed length of its vector, which a growing vocabulary must not change."""
        del embedding_dim
        return self

    def source_codes(self, lookups: Mapping[str, Any], vocabularies: Vocabularies) -> np.ndarray | None:
        """Returns the row from which each row of a larger table of vectors starts, after a vocabulary was expanded.

        Args:
            lookups: Input name -> layer, of the old tower.
            vocabularies: Vocabularies of the new tower.

        Returns:
            int64 [num_codes of the new table], rows of the old table; None if both have the same size.
        """
        del lookups, vocabularies
        return None


@dataclasses.dataclass(frozen=True, kw_only=True)
class ColumnFeature(Feature):
    """A feature whose values are a column of a table of queries or candidates, under the same name.

    Attributes:
        name: Name of the column and of the raw input.

    Example:
        >>> from tfrs_twotower.features.categorical import Categorical
        >>> feature: ColumnFeature = Categorical(name="color")
        >>> learnt = feature.learn(pa.array(["red", "blue", "red"]), np.array([1, 1, 1]))
        >>> print(learnt)
        2 values: red (2), blue (1)
        >>> lookup = feature.build_lookup(learnt, "color_lookup")
        >>> lookup(tf.constant(["", "green", "red", "blue"])).numpy().tolist()  # missing, unknown, known, known
        [0, 1, 2, 3]
    """

    #: What the column holds, in words, for errors.
    wanted_values: ClassVar[str]

    @abc.abstractmethod
    def accepts(self, kind: pa.DataType) -> bool:
        """Tells whether a column of an Arrow type can be read; a column of nulls always can."""

    def require_possible_values(self, column: pa.Array) -> None:
        """Raises an error for values that the feature cannot take; by default it takes all values of an accepted type.

        Args:
            column: A column of an accepted type.

        Raises:
            ValueError: If there are such values; names the column and the first row.
        """
        del column

    def learn(self, column: pa.Array, counts: np.ndarray) -> Learnt | None:
        """Learns what the lookup needs from the training split.

        Args:
            column: One value per row of the table.
            counts: int64 [num_rows], the training events of each row. Rows without events are ignored.

        Returns:
            What was learnt, or None if there is nothing to learn.
        """
        del column, counts
        return None

    @abc.abstractmethod
    def build_lookup(self, learnt: Learnt | None, name: str) -> tf.keras.layers.Layer:
        """Builds the layer from raw values to codes.

        Args:
            learnt: What `learn` returned; with None the lookup is built as if there had been no training data.
            name: Name of the layer.
        """

    def build_lookups(self, vocabularies: Vocabularies) -> dict[str, tf.keras.layers.Layer]:
        """Builds the one layer; see `Feature`."""
        return {self.name: self.build_lookup(vocabularies.get(self.name), f"{self.name}_lookup")}


class Encoder(tf.keras.layers.Layer, abc.ABC):
    """A layer from the codes of a feature's inputs to float32 [batch, any].

    Example:
        >>> class Doubling(Encoder):
        ...     def call(self, codes, training=False):
        ...         return 2 * codes
        >>> Doubling()(tf.constant([[1.5, 0.0]])).numpy().tolist()
        [[3.0, 0.0]]
    """

    @abc.abstractmethod
    def call(self, *args: Any, **kwargs: Any) -> tf.Tensor:
        """Encodes codes.

        Args:
            *args: Codes of each raw input, in the order of `Feature.raw_specs`.
            **kwargs: `training`, whether this is a training step.
        """


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
class NumberEncoder(Encoder):
    """Returns codes that are numbers already as they are."""

    def call(self, codes: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns float32 [batch, dim] as it is."""
        del training
        return codes


@dataclasses.dataclass(frozen=True, kw_only=True)
class NumberFeature(ColumnFeature):
    """A column feature whose codes are the numbers that go into the tower.

    Example:
        A kind of your own: a place, given as latitude and longitude in degrees, becomes a point on the unit sphere.

        >>> class SphereLookup(tf.keras.layers.Layer):
        ...     def call(self, degrees):
        ...         is_given = tf.reduce_all(tf.math.is_finite(degrees), axis=1, keepdims=True)
        ...         latitude, longitude = tf.unstack(tf.where(is_given, degrees, 0.0) * np.pi / 180, axis=1)
        ...         x, y = tf.cos(latitude) * tf.cos(longitude), tf.cos(latitude) * tf.sin(longitude)
        ...         point = tf.where(is_given, tf.stack([x, y, tf.sin(latitude)], axis=1), 0.0)
        ...         return tf.concat([point, tf.cast(~is_given, tf.float32)], axis=1)
        >>> @dataclasses.dataclass(frozen=True, kw_only=True)
        ... class Place(NumberFeature):
        ...     wanted_values = "lists of two numbers"
        ...
        ...     @property
        ...     def raw_specs(self):
        ...         return (tf.TensorSpec([None, 2], tf.float32, name=self.name),)
        ...
        ...     def accepts(self, kind):
        ...         return pa.types.is_list(kind) and pa.types.is_floating(kind.value_type)
        ...
        ...     def build_lookup(self, learnt, name):
        ...         return SphereLookup(name=name)
        >>> lookup = Place(name="home").build_lookup(None, "home_lookup")
        >>> lookup(tf.constant([[0.0, 0.0], [float("nan"), 0.0]])).numpy().tolist()  # the second is missing
        [[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
    """

    is_embedded: ClassVar[bool] = False

    def build_encoder(
        self,
        vocabularies: Vocabularies,
        *,
        embedding_dim: int | None,
        regularizer: tf.keras.regularizers.Regularizer | None = None,
    ) -> Encoder:
        """Builds a layer that passes the numbers on; see `Feature`."""
        del vocabularies, embedding_dim, regularizer
        return NumberEncoder(name=f"{self.name}_embedding")


def require_pooling(pooling: str, name: str) -> None:
    """Checks the name of a way to pool.

    Raises:
        ValueError: If it is none of `POOLINGS`.
    """
    if pooling not in POOLINGS:
        raise ValueError(f"`pooling` of {name!r} must be one of {', '.join(POOLINGS)}. Received: {pooling!r}.")
