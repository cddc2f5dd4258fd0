"""The declaration of a tower: what it is made of, checked before any layer is built."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import tensorflow as tf

from tfrs_twotower._settings import whole_number
from tfrs_twotower.data.input_names import EVENT_COLUMNS
from tfrs_twotower.features.categorical import Categorical
from tfrs_twotower.features.columns import column_features
from tfrs_twotower.features.config import Declaration
from tfrs_twotower.features.feature import Feature
from tfrs_twotower.features.vocabularies import Vocabularies

if TYPE_CHECKING:
    from tfrs_twotower.model.tower import Tower

#: Name of a history that shares the candidate id's vectors -> the table that holds them.
SharedTables = Mapping[str, tf.keras.layers.Embedding]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TowerConfig(Declaration, abc.ABC):
    """Declares the parts of a tower, and is checked before any layer is built.

    Attributes:
        features: Features, with unique names. The one that identifies a row is usually among them.
        output_dim: Length of the embedding, >= 1; the same in both towers.
        has_bias: Whether the tower has one more output, a bias that is added to the score: how much a query likes any
            candidate, or how much a candidate is liked by any query.
        frequency_of: A `Categorical` among the features, usually the candidate's id: the logarithm of how often its
            value occurs in training, times a learnt factor that starts at 1, becomes part of the bias. A softmax then
            starts from popularity, and the vectors learn what is personal.
        dropout: Share of units dropped in training, in [0, 1).
        l2: Weight of squared norms in the loss, >= 0.
        context: Of a query tower, the names of the features that are columns of the events, such as the hour or the
            device of a request; the other features are columns of the queries.
        context_dropout: Share of the training rows in which the whole context is treated as missing, and of the others
            in which each of its features is, in [0, 1): a missing context then counts as the average one.

    Example:
        >>> from tfrs_twotower.model.sum_tower import SumTowerConfig
        >>> config: TowerConfig = SumTowerConfig(features=(Categorical(name="movie_id"),), output_dim=8, has_bias=True)
        >>> config.num_outputs
        9
        >>> config.build_tower(Vocabularies(), name="candidate").name
        'candidate'
    """

    features: tuple[Feature, ...]
    output_dim: int = 64
    has_bias: bool = False
    frequency_of: str | None = None
    dropout: float = 0.0
    l2: float = 0.0
    context: tuple[str, ...] = ()
    context_dropout: float = 0.1

    #: Name of a setting that is a whole number -> its lowest value.
    minimums: ClassVar[Mapping[str, int]] = {"output_dim": 1}

    def __post_init__(self) -> None:
        if not isinstance(self.features, tuple | list):
            raise TypeError(f"`features` must be a tuple. Received: {self.features!r}.")
        others = [feature for feature in self.features if not isinstance(feature, Feature)]
        if others:
            raise TypeError(f"`features` must be features, such as Categorical(...). Received: {others[0]!r}.")
        object.__setattr__(self, "features", tuple(self.features))
        inputs = [spec.name for feature in self.features for spec in feature.raw_specs]
        if not inputs or len(set(inputs)) < len(inputs):
            raise ValueError(f"`features` must be at least one, with unique names. Received: {inputs}.")
        for setting, minimum in self.minimums.items():
            whole_number(getattr(self, setting), f"`{setting}`", minimum)
        if not isinstance(self.has_bias, bool):
            raise TypeError(f"`has_bias` must be True or False. Received: {self.has_bias!r}.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"`dropout` must be in [0, 1). Received: {self.dropout}.")
        if not self.l2 >= 0:
            raise ValueError(f"`l2` must be at least 0. Received: {self.l2}.")
        self._check_context()
        if self.frequency_of is not None:
            names = [feature.name for feature in self.features if isinstance(feature, Categorical)]
            if not self.has_bias or self.frequency_of not in names:
                raise ValueError(
                    "`frequency_of` must name a Categorical of a tower that has a bias. "
                    f"Received: {self.frequency_of!r}, has_bias={self.has_bias}, Categorical features: {names}."
                )

    def _check_context(self) -> None:
        if not isinstance(self.context, tuple | list) or not all(isinstance(name, str) for name in self.context):
            raise TypeError(f"`context` must be a tuple of names of features. Received: {self.context!r}.")
        object.__setattr__(self, "context", tuple(self.context))
        names = [feature.name for feature in column_features(self.features)]
        others = [name for name in self.context if name not in names]
        if others:
            raise ValueError(
                f"`context` must name features that are columns: {', '.join(names) or 'none'}. Received: {others[0]!r}."
            )
        reserved = [name for name in self.context if name in EVENT_COLUMNS]
        if reserved:
            raise ValueError(
                f"`context` must not be {', '.join(EVENT_COLUMNS)}: these columns of the events have another meaning. "
                f"Received: {reserved[0]!r}."
            )
        if not 0 <= self.context_dropout < 1:
            raise ValueError(f"`context_dropout` must be in [0, 1). Received: {self.context_dropout}.")

    @property
    def num_outputs(self) -> int:
        """Number of outputs: the embedding, and after it the bias if there is one."""
        return self.output_dim + self.has_bias

    @abc.abstractmethod
    def build_tower(
        self, vocabularies: Vocabularies, *, name: str = "tower", shared_tables: SharedTables | None = None
    ) -> Tower:
        """Builds the tower and creates its variables.

        Args:
            vocabularies: From `learn_query_vocabularies` or `learn_candidate_vocabularies` on the training split.
            name: Name of the Keras model.
            shared_tables: Tables of histories that share the candidate id's vectors. A history that is not among them
                gets a table of its own.
        """

    def with_fixed_dims(self, encoders: Mapping[str, tf.keras.layers.Layer]) -> TowerConfig:
        """Returns the configuration with the lengths that its vectors have, which must not change as values are added.

        Args:
            encoders: Feature name -> encoder, of a tower with this configuration.
        """
        features = tuple(
            feature.with_embedding_dim(encoders[feature.name].embedding_dim)
            if hasattr(encoders[feature.name], "embedding_dim")
            else feature
            for feature in self.features
        )
        return dataclasses.replace(self, features=features)
