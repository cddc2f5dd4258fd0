"""The interface of towers: a tower looks features up, encodes them, and combines their vectors into an embedding.

A kind of tower is a configuration and a Keras model in one module; see `mlp_tower.py` and `sum_tower.py`.
"""

from __future__ import annotations

import abc
import dataclasses
import functools
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, TypeVar

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfrs_twotower._settings import whole_number
from tfrs_twotower.batches.encoded import EncodedHistory
from tfrs_twotower.features.categorical import Categorical
from tfrs_twotower.features.columns import read_columns, to_raw_tensor
from tfrs_twotower.features.config import Declaration, from_config, to_config
from tfrs_twotower.features.feature import Feature
from tfrs_twotower.features.history import History, histories
from tfrs_twotower.features.vocabularies import Vocabularies, Vocabulary
from tfrs_twotower.model.finite import require_finite_codes
from tfrs_twotower.model.frequency_bias import FrequencyBias
from tfrs_twotower.model.precision import full_precision, require_policy
from tfrs_twotower.model.weight_loading import VocabularyBound

_AnyTower = TypeVar("_AnyTower", bound="Tower")

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
        if self.frequency_of is not None:
            names = [feature.name for feature in self.features if isinstance(feature, Categorical)]
            if not self.has_bias or self.frequency_of not in names:
                raise ValueError(
                    "`frequency_of` must name a Categorical of a tower that has a bias. "
                    f"Received: {self.frequency_of!r}, has_bias={self.has_bias}, Categorical features: {names}."
                )

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


class Tower(VocabularyBound, abc.ABC):
    """Turns raw features into an embedding; its two halves, `lookup` and `encode`, can be used separately.

    The training pipeline looks every query and every candidate up once (`encode_table`) and feeds only `encode`.

    The output is the embedding and, if the configuration asks for one, a bias after it.

    Attributes:
        config: Declaration of the tower's parts.
        vocabularies: What was learnt about its features from the training split.
        lookups: Input name -> layer from raw values to codes.
        encoders: Feature name -> layer from codes to a vector.
        frequency: Layer from the codes of `config.frequency_of` to a part of the bias, or None.

    Example:
        >>> from tfrs_twotower.model.sum_tower import SumTowerConfig
        >>> config = SumTowerConfig(features=(Categorical(name="user_id"),), output_dim=8)
        >>> tower: Tower = config.build_tower(Vocabularies({"user_id": Vocabulary(("42", "7"))}))
        >>> codes = tower.lookup({"user_id": tf.constant(["42", "7", "never seen"])})
        >>> codes["user_id"].numpy().tolist(), tower.encode(codes).shape
        ([2, 3, 1], TensorShape([3, 8]))
    """

    def __init__(
        self,
        config: TowerConfig,
        vocabularies: Vocabularies,
        *,
        name: str,
        shared_tables: SharedTables | None = None,
    ) -> None:
        require_policy()
        super().__init__(name=name, autocast=False)  # with mixed precision, raw features are not cast all the same
        self.config = config
        self.vocabularies = vocabularies
        self.lookups = {}
        with full_precision():
            for feature in config.features:
                self.lookups.update(feature.build_lookups(vocabularies))
            self.encoders = {
                feature.name: self.build_encoder(feature, shared_tables or {}) for feature in config.features
            }
        self.top = self.build_top()
        self.frequency = None
        if config.frequency_of is not None:
            with full_precision():
                num_codes = self.encoders[config.frequency_of].num_codes
                self.frequency = FrequencyBias(num_codes=num_codes, name="frequency")
            learnt = vocabularies.get(config.frequency_of)
            self.frequency.learn(learnt.counts if isinstance(learnt, Vocabulary) else ())
        # Saved with the weights, whose rows mean nothing without it.
        self.vocabulary_fingerprint = self.add_weight(
            name="vocabulary_fingerprint",
            shape=(),
            dtype=tf.int64,
            trainable=False,
            initializer=tf.keras.initializers.Constant(vocabularies.fingerprint()),
        )
        self._raw_specs = tuple(spec for feature in config.features for spec in feature.raw_specs)
        self._inputs = {feature.name: tuple(spec.name for spec in feature.raw_specs) for feature in config.features}

    @classmethod
    def create(
        cls: type[_AnyTower],
        config: TowerConfig,
        vocabularies: Vocabularies,
        *,
        name: str,
        shared_tables: SharedTables | None = None,
    ) -> _AnyTower:
        """Builds a tower and creates its variables; see `TowerConfig.build_tower`."""
        tower = cls(config, vocabularies, name=name, shared_tables=shared_tables)
        tower({spec.name: tf.zeros([size or 1 for size in spec.shape], spec.dtype) for spec in tower.raw_specs})
        return tower

    @abc.abstractmethod
    def build_encoder(self, feature: Feature, shared_tables: SharedTables) -> tf.keras.layers.Layer:
        """Builds the layer from a feature's codes to its vector.

        Args:
            feature: One of the configuration's.
            shared_tables: As of `TowerConfig.build_tower`.
        """

    @abc.abstractmethod
    def build_top(self) -> tf.keras.layers.Layer:
        """Builds the layer from the features' vectors to what comes out."""

    @abc.abstractmethod
    def combine(self, vectors: list[tf.Tensor], training: bool) -> tf.Tensor:
        """Combines the features' vectors to float32 [batch, num_outputs].

        Args:
            vectors: float32 [batch, any] of each feature, in order.
            training: Whether this is a training step.
        """

    @property
    def raw_specs(self) -> list[tf.TensorSpec]:
        """Name, shape and dtype of each raw input."""
        return list(self._raw_specs)

    @property
    def feature_names(self) -> list[str]:
        """Names of the features, in order."""
        return [feature.name for feature in self.config.features]

    @property
    def histories(self) -> list[History]:
        """The features that come from events."""
        return histories(self.config.features)

    @property
    def history_length(self) -> int:
        """Slots that the longest history looks at, 0 without a history."""
        return max((history.length for history in self.histories), default=0)

    @property
    def lookup_tables(self) -> list[Any]:
        """TensorFlow's resources behind the lookups, which an export has to track."""
        layers = [part for layer in self.lookups.values() for part in (layer, *layer.submodules)]
        return [layer.lookup_table for layer in layers if hasattr(layer, "lookup_table")]

    def lookup(self, raw: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Turns raw features into codes.

        Args:
            raw: Input name -> tensor, as `raw_specs` describe it; lists may be ragged. Other inputs are ignored.

        Returns:
            Input name -> codes, as `Feature.build_lookups` describes them.

        Raises:
            ValueError: If an input is missing.
            TypeError: If an input has another dtype: an integer id is never treated as an unknown string. Numbers of
                any precision are accepted as numbers, and integers of any width as seconds.
        """
        codes = {}
        for feature in self.config.features:
            found = {}
            for spec in feature.raw_specs:
                if spec.name not in raw:
                    names = ", ".join(spec.name for spec in self.raw_specs)
                    raise ValueError(f"`{spec.name}` is missing. The {self.name} tower takes: {names}.")
                found[spec.name] = self.lookups[spec.name](to_raw_tensor(raw[spec.name], spec))
            codes.update(feature.align(found))
        return codes

    def encode(self, codes: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """Encodes codes, as `lookup` gives them, to float32 [batch, num_outputs]."""
        vectors = self.feature_vectors(codes, self.encoders, training)
        return self.add_frequency(tf.cast(self.combine(vectors, training), tf.float32), codes)

    def call(self, raw: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """Embeds raw features as float32 [batch, num_outputs]."""
        return self.encode(self.lookup(raw), training=training)

    def raw_features(self, table: pa.Table) -> dict[str, tf.Tensor]:
        """Returns the tower's columns of a table as raw tensors; see `tfrs_twotower.features.columns.read_columns`."""
        return read_columns(self.config.features, table)

    def encode_table(self, table: pa.Table) -> dict[str, np.ndarray]:
        """Looks up every row of a table once, for all features except histories.

        Args:
            table: One column per feature; others are ignored.

        Returns:
            Input name -> codes [num_rows, ...].

        Raises:
            ValueError: If a column is missing, or holds values that its feature cannot take.
            TypeError: If a column's type does not suit its feature.
        """
        raw = self.raw_features(table)
        codes = {name: self.lookups[name](values).numpy() for name, values in raw.items()}
        require_finite_codes(codes)
        return codes

    def encode_histories(self, candidates: pa.Table) -> list[EncodedHistory]:
        """Looks up every candidate once, as an entry of histories.

        Args:
            candidates: The catalogue.
        """
        encoded = []
        for history in self.histories:
            (raw,) = read_columns([history.of], candidates).values()
            codes = self.lookups[history.name](raw).numpy()
            encoded.append(
                EncodedHistory(
                    name=history.name,
                    codes=np.append(codes, np.zeros_like(codes[:1], shape=1)),
                    rating_name=history.rating_name if history.by_rating else None,
                    code_ratings=self.lookups[history.rating_name] if history.by_rating else None,
                )
            )
        return encoded

    def embed_codes(self, codes: Mapping[str, np.ndarray], *, batch_size: int = 4096) -> np.ndarray:
        """Embeds every row of encoded features, in inference mode.

        Args:
            codes: Input name -> codes, for every input.
            batch_size: Rows at a time.

        Returns:
            float32 [num_rows, num_outputs].
        """
        num_rows = len(next(iter(codes.values())))
        parts = [np.zeros((0, self.config.num_outputs), np.float32)]
        for start in range(0, num_rows, batch_size):
            part = {name: tf.constant(values[start : start + batch_size]) for name, values in codes.items()}
            parts.append(self._encode_in_graph(part).numpy())
        return np.concatenate(parts)

    @functools.cached_property
    def _encode_in_graph(self) -> Any:
        """`encode`, traced once for any number of rows."""
        return tf.function(lambda codes: self.encode(codes)).get_concrete_function(self._code_specs())

    def feature_vectors(self, codes: Mapping[str, tf.Tensor], names: Iterable[str], training: bool) -> list[tf.Tensor]:
        """Encodes single features.

        Args:
            codes: Input name -> codes.
            names: Names of the features.
            training: Whether this is a training step.

        Returns:
            float32 [batch, any] of each.
        """
        return [
            self.encoders[name](*[codes[input_name] for input_name in self._inputs[name]], training=training)
            for name in names
        ]

    def add_frequency(self, outputs: tf.Tensor, codes: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Adds to the bias, the last output, what frequency contributes to it, if anything.

        Args:
            outputs: float32 [batch, num_outputs].
            codes: Input name -> codes.
        """
        if self.frequency is None or self.config.frequency_of is None:
            return outputs
        bias = self.frequency(codes[self.config.frequency_of])
        return tf.concat([outputs[:, :-1], outputs[:, -1:] + bias[:, tf.newaxis]], axis=1)

    def _code_specs(self) -> dict[str, tf.TensorSpec]:
        """Shape and dtype of each input's codes."""
        specs = {}
        for raw in self._raw_specs:
            codes = self.lookups[raw.name](tf.zeros([size or 1 for size in raw.shape], raw.dtype))
            is_list = codes.dtype.is_integer or None in raw.shape[1:]
            shape = [None] * codes.shape.rank if is_list else [None, *codes.shape[1:]]
            specs[raw.name] = tf.TensorSpec(shape, codes.dtype)
        return specs

    def build_from_config(self, config: Mapping[str, Any]) -> None:
        """Builds nothing, because `from_config` returns a tower that has its variables."""

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments except shared tables: a tower that is loaded on its own has its own."""
        return {
            "config": to_config(self.config),
            "vocabularies": self.vocabularies.to_config(),
            "name": self.name,
        }

    @classmethod
    def from_config(
        cls: type[_AnyTower], config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
    ) -> _AnyTower:
        """Makes the untrained tower that `get_config` described, with its vocabularies."""
        del custom_objects
        vocabularies = Vocabularies.from_config(config["vocabularies"])
        return cls.create(from_config(config["config"]), vocabularies, name=config["name"])
