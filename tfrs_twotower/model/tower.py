"""The interface of towers: a tower looks features up, encodes them, and combines their vectors into an embedding.

A kind of tower is a configuration, which extends that of `tower_config.py`, and a Keras model in one module; see
`mlp_tower.py` and `sum_tower.py`.
"""

from __future__ import annotations

import abc
import functools
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

from tfrs_twotower._autograph import as_written, is_written_for_graphs
from tfrs_twotower.features.columns import to_raw_tensor
from tfrs_twotower.features.config import from_config, to_config
from tfrs_twotower.features.feature import Feature
from tfrs_twotower.features.history import History
from tfrs_twotower.features.vocabularies import Vocabularies, Vocabulary
from tfrs_twotower.model.context_dropout import drop_features, missing_codes
from tfrs_twotower.model.frequency_bias import FrequencyBias
from tfrs_twotower.model.precision import full_precision, require_policy
from tfrs_twotower.model.tower_config import SharedTables, TowerConfig
from tfrs_twotower.model.tower_tables import TowerTables

_AnyTower = TypeVar("_AnyTower", bound="Tower")


class Tower(TowerTables, abc.ABC):
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
        >>> from tfrs_twotower.features.categorical import Categorical
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
    def reads_sequences(self) -> bool:
        """Whether a history is encoded as a sequence, for which only what lies before a target may be looked at."""
        return any(history.encoder is not None for history in self.histories)

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
        codes = self.drop_context(codes, training)
        vectors = self.feature_vectors(codes, self.encoders, training)
        return self.add_frequency(tf.cast(self.combine(vectors, training), tf.float32), codes)

    def encode_each(self, codes: Mapping[str, tf.Tensor], places: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Encodes queries as they were before each of some events of their histories, all at once.

        Args:
            codes: As `lookup` gives them; padding of a history comes before its earliest candidate.
            places: int64 [n, 2], (row, slot) of each event in the histories, all of which have an encoder.
            training: Whether this is a training step.

        Returns:
            float32 [n, num_outputs], each by the slots before its own.
        """
        rows, vectors = places[:, 0], []
        for feature in self.config.features:
            if isinstance(feature, History):
                inputs = [codes[name] for name in self._inputs[feature.name]]
                each = self.encoders[feature.name].encode_each(*inputs, training=training)
                vectors.append(tf.gather_nd(each, places))
            else:
                (vector,) = self.feature_vectors(codes, [feature.name], training)
                vectors.append(tf.gather(vector, rows))
        outputs = tf.cast(self.combine(vectors, training), tf.float32)
        if self.config.frequency_of is None:
            return outputs
        return self.add_frequency(outputs, {self.config.frequency_of: tf.gather(codes[self.config.frequency_of], rows)})

    def call(self, raw: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """Embeds raw features as float32 [batch, num_outputs]."""
        return self.encode(self.lookup(raw), training=training)

    def drop_context(self, codes: Mapping[str, tf.Tensor], training: bool) -> Mapping[str, tf.Tensor]:
        """Treats a share of contexts, and of single features of the others, as missing in training.

        Args:
            codes: As `lookup` gives them.
            training: Whether this is a training step; if not, the codes stay as they are.

        Returns:
            Input name -> codes.
        """
        rate = self.config.context_dropout
        if not (training and rate and self.context):
            return codes
        return drop_features(codes, self.context, missing_codes(self.context, self.lookups), rate)

    @property
    def uses_autograph(self) -> bool:
        """Whether Python in the graph may depend on tensors, as in a tower, feature or layer of a user's own."""
        return not all(map(is_written_for_graphs, (self, *self.config.features)))

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

        def encode(codes: Mapping[str, tf.Tensor]) -> tf.Tensor:
            return self.encode(codes)

        traced = tf.function(as_written(encode, unless=self.uses_autograph))
        return traced.get_concrete_function(self._code_specs())

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
