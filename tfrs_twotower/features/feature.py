"""What every kind of feature is: a declaration that knows its raw inputs, its lookups and its encoder.

A kind is one class in one module. It subclasses `ColumnFeature` if its values are a column of a table, or `History` if
they come from the events. Everything else in the library asks a feature through the methods of this interface, so that
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
    """One input of a tower, declared.

    Attributes:
        name: Name of the raw input: a letter, then letters, digits and underscores.
    """

    name: str

    #: Name of a setting that is a whole number -> its lowest value.
    minimums: ClassVar[Mapping[str, int]] = {}

    #: Whether the encoder gives a vector of the length that it is asked for. If not, the codes are numbers already,
    #: and a tower that adds vectors sends them through a matrix.
    is_embedded: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_input_name(self.name)
        for setting, minimum in self.minimums.items():
            value = getattr(self, setting)
            if value is not None:
                whole_number(value, f"`{setting}` of {self.name!r}", minimum)

    @property
    @abc.abstractmethod
    def raw_specs(self) -> tuple[tf.TensorSpec, ...]:
        """Name, shape and dtype of each raw input; the first has the feature's name."""

    @abc.abstractmethod
    def build_lookups(self, vocabularies: Vocabularies) -> dict[str, tf.keras.layers.Layer]:
        """Builds the layers from raw inputs to codes.

        Args:
            vocabularies: What was learnt of the tower's features. What is missing from it counts as learnt from
                nothing.

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
        """Makes the codes of several inputs fit each other; a feature with one input has nothing to align.

        Args:
            codes: Input name -> codes, of this feature's inputs.
        """
        return codes

    def is_missing(self, codes: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Tells which rows say nothing.

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
        """Says where each row of a larger table of vectors starts from, when a vocabulary has been expanded.

        Args:
            lookups: Input name -> layer, of the tower before.
            vocabularies: Those of the tower after.

        Returns:
            int64 [num_codes after], rows of the table before; None if the tables are equally large.
        """
        del lookups, vocabularies
        return None


@dataclasses.dataclass(frozen=True, kw_only=True)
class ColumnFeature(Feature):
    """A feature whose values are a column of a table of queries or candidates, under the same name.

    Attributes:
        name: Name of the column and of the raw input.
    """

    #: What the column holds, in words, for errors.
    wanted_values: ClassVar[str]

    @abc.abstractmethod
    def accepts(self, kind: pa.DataType) -> bool:
        """Tells whether a column of an Arrow type can be read; a column of nulls always can."""

    def require_possible_values(self, column: pa.Array) -> None:
        """Refuses values that the feature cannot take; by default it takes all of an accepted type.

        Args:
            column: Of an accepted type.

        Raises:
            ValueError: If there are such values; names the column and the first row.
        """
        del column

    def learn(self, column: pa.Array, counts: np.ndarray) -> Learnt | None:
        """Learns from the training split what the lookup needs to know.

        Args:
            column: One value per row of the table.
            counts: int64 [num_rows], the training events of each row. Rows without any teach nothing.

        Returns:
            What was learnt, or None if there is nothing to learn.
        """
        del column, counts
        return None

    @abc.abstractmethod
    def build_lookup(self, learnt: Learnt | None, name: str) -> tf.keras.layers.Layer:
        """Builds the layer from raw values to codes.

        Args:
            learnt: What `learn` gave; None counts as learnt from nothing.
            name: Name of the layer.
        """

    def build_lookups(self, vocabularies: Vocabularies) -> dict[str, tf.keras.layers.Layer]:
        """Builds the one layer; see `Feature`."""
        return {self.name: self.build_lookup(vocabularies.get(self.name), f"{self.name}_lookup")}


class Encoder(tf.keras.layers.Layer, abc.ABC):
    """A layer from the codes of a feature's inputs to float32 [batch, any]."""

    @abc.abstractmethod
    def call(self, *args: Any, **kwargs: Any) -> tf.Tensor:
        """Encodes codes.

        Args:
            *args: Codes of each raw input, in the order of `Feature.raw_specs`.
            **kwargs: `training`, whether this is a training step.
        """


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
class NumberEncoder(Encoder):
    """Passes codes that are numbers already on to the tower."""

    def call(self, codes: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns float32 [batch, dim] as it is."""
        del training
        return codes


@dataclasses.dataclass(frozen=True, kw_only=True)
class NumberFeature(ColumnFeature):
    """A column feature whose codes are the numbers that go into the tower."""

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
