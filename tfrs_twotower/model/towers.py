"""A tower: each feature looked up and encoded, the vectors joined or added, an embedding out."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfrs_twotower.features.encoders import CodeEmbedding, FrequencyBias, build_encoder
from tfrs_twotower.features.features import Embedding, History, Numeric, Timestamp, histories
from tfrs_twotower.features.inputs import MISSING, raw_specs, read_columns
from tfrs_twotower.features.lookups import build_lookups
from tfrs_twotower.features.vocabularies import Vocabularies, Vocabulary
from tfrs_twotower.model.mlp import VectorSum, build_mlp
from tfrs_twotower.model.tower_config import AnyTowerConfig, SumTowerConfig, TowerConfig, tower_config_from_config


def build_tower(
    config: AnyTowerConfig,
    vocabularies: Vocabularies,
    *,
    name: str = "tower",
    shared_tables: Mapping[str, tf.keras.layers.Embedding] | None = None,
) -> Tower:
    """Builds a tower and creates its variables.

    Args:
        config: What it is made of.
        vocabularies: From `learn_query_vocabularies` or `learn_candidate_vocabularies` on the training split.
        name: Name of the Keras model.
        shared_tables: Name of a history that shares the candidate id's vectors -> the table that holds them. A history
            that is not in it gets a table of its own.

    Example:
        >>> from tfrs_twotower.features.features import Categorical
        >>> from tfrs_twotower.features.vocabularies import Vocabulary
        >>> config = TowerConfig(features=(Categorical(name="user_id"),), output_dim=4)
        >>> tower = build_tower(config, Vocabularies({"user_id": Vocabulary(("42", "7"))}), name="query")
        >>> tower({"user_id": tf.constant(["42", "never seen"])}).shape
        TensorShape([2, 4])
    """
    kind = SumTower if isinstance(config, SumTowerConfig) else Tower
    tower = kind(config, vocabularies, name=name, shared_tables=shared_tables)
    tower({spec.name: tf.zeros([size or 1 for size in spec.shape], spec.dtype) for spec in tower.raw_specs})
    return tower


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
class Tower(tf.keras.Model):
    """Raw features in, an embedding out; the two halves, `lookup` and `encode`, can be used apart.

    The training pipeline looks every query and candidate up once (`encode_table`) and feeds `encode` alone.

    What comes out is the embedding and, where the configuration asks for one, a bias after it.

    Attributes:
        config: What the tower is made of.
        vocabularies: What it knows of its features.
        lookups: Input name -> layer from raw values to codes.
        encoders: Feature name -> layer from codes to a vector.
        top: From the features' vectors to what comes out.
        frequency: From the codes of `config.frequency_of` to a part of the bias, or None.
    """

    def __init__(
        self,
        config: AnyTowerConfig,
        vocabularies: Vocabularies,
        *,
        name: str,
        shared_tables: Mapping[str, tf.keras.layers.Embedding] | None = None,
    ) -> None:
        super().__init__(name=name)
        self.config = config
        self.vocabularies = vocabularies
        self.lookups = {}
        for feature in config.features:
            self.lookups.update(build_lookups(feature, vocabularies))
        self.encoders = self._build_encoders(shared_tables or {})
        self.top = self._build_top()
        self.frequency = None
        if config.frequency_of is not None:
            self.frequency = FrequencyBias(num_codes=self.encoders[config.frequency_of].num_codes, name="frequency")
            known = vocabularies.get(config.frequency_of)
            self.frequency.learn(known.counts if isinstance(known, Vocabulary) else ())
        # Not computed in the graph, whose tracing cannot read a `match`.
        self._raw_specs = tuple(spec for feature in config.features for spec in raw_specs(feature))
        self._rated = tuple((past.name, past.rating_name) for past in self.histories if past.by_rating)
        self._inputs = {feature.name: tuple(spec.name for spec in raw_specs(feature)) for feature in config.features}

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
        """Slots that the longest history looks at, 0 where there is none."""
        return max((history.length for history in self.histories), default=0)

    @property
    def lookup_tables(self) -> list[Any]:
        """TensorFlow's resources behind the lookups, which an export has to track."""
        layers = [part for layer in self.lookups.values() for part in (layer, *layer.submodules)]
        return [layer.lookup_table for layer in layers if hasattr(layer, "lookup_table")]

    def lookup(self, raw: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Raw features to codes.

        Args:
            raw: Input name -> tensor as `raw_specs` say, of lists also a ragged one; others are passed over.

        Returns:
            Input name -> codes, as `tfrs_twotower.features.lookups` describes them.

        Raises:
            ValueError: If an input is missing.
            TypeError: If an input has another dtype: an integer id is never taken for an unknown string. Numbers of any
                size are numbers, and whole ones seconds.
        """
        values, codes = {}, {}
        for spec in self.raw_specs:
            if spec.name not in raw:
                names = ", ".join(spec.name for spec in self.raw_specs)
                raise ValueError(f"`{spec.name}` is missing. The {self.name} tower takes: {names}.")
            values[spec.name] = _to_tensor(raw[spec.name], spec)
            codes[spec.name] = self.lookups[spec.name](values[spec.name])
        for name, rating_name in self._rated:
            codes[rating_name] = _of_width(codes[rating_name], tf.shape(values[name])[1])
        return codes

    def encode(self, codes: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """Codes, as `lookup` gives them, to float32 [batch, num_outputs]."""
        return self._with_frequency(self._join(self._feature_vectors(codes, training, self.encoders), training), codes)

    def call(self, raw: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """Raw features to float32 [batch, num_outputs]."""
        return self.encode(self.lookup(raw), training=training)

    def raw_features(self, table: pa.Table) -> dict[str, tf.Tensor]:
        """The tower's columns of a table as raw tensors; see `tfrs_twotower.features.inputs.read_columns`."""
        return read_columns(self.config.features, table)

    def encode_table(self, table: pa.Table) -> dict[str, np.ndarray]:
        """Looks up every row of a table once, for all features but histories.

        Args:
            table: One column per feature; others are passed over.

        Returns:
            Input name -> codes [num_rows, ...].

        Raises:
            ValueError: If a column is missing, or holds a number that its feature cannot take.
            TypeError: If a column's type does not suit its feature.
        """
        raw = self.raw_features(table)
        return {name: self.lookups[name](values).numpy() for name, values in raw.items()}

    def encode_past(self, candidates: pa.Table) -> dict[str, np.ndarray]:
        """Looks up every candidate once as a part of histories.

        Args:
            candidates: The catalogue.

        Returns:
            Name of a history -> int64 codes [num_candidates + 1]; the last is the padding's, so that row -1 finds it.
        """
        past = {}
        for history in self.histories:
            (raw,) = read_columns([history.of], candidates).values()
            codes = self.lookups[history.name](raw).numpy()
            past[history.name] = np.append(codes, np.zeros_like(codes[:1], shape=1))
        return past

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

    def _build_encoders(self, shared_tables: Mapping[str, tf.keras.layers.Embedding]) -> dict[str, Any]:
        config = self.config
        assert isinstance(config, TowerConfig)
        return {
            feature.name: build_encoder(
                feature, self.vocabularies, config.embedding_dim, shared_table=shared_tables.get(feature.name)
            )
            for feature in config.features
        }

    def _build_top(self) -> tf.keras.layers.Layer:
        config = self.config
        assert isinstance(config, TowerConfig)
        return build_mlp(
            hidden_units=config.hidden_units,
            output_dim=config.num_outputs,
            activation=config.activation,
            normalization=config.normalization,
            dropout=config.dropout,
            residual=config.residual,
            num_cross_layers=config.num_cross_layers,
            l2=config.l2,
        )

    def _feature_vectors(self, codes: Mapping[str, tf.Tensor], training: bool, names: Iterable[str]) -> list[tf.Tensor]:
        vectors = []
        for name in names:
            encoder = self.encoders[name]
            inputs = [codes[input_name] for input_name in self._inputs[name]]
            options = {"training": training} if isinstance(encoder, CodeEmbedding) else {}
            vectors.append(encoder(*inputs, **options))
        return vectors

    def _join(self, vectors: list[tf.Tensor], training: bool) -> tf.Tensor:
        return self.top(tf.concat(vectors, axis=1), training=training)

    def _with_frequency(self, outputs: tf.Tensor, codes: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Adds to the bias, the last entry, what frequency contributes to it, if anything."""
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
        """Nothing is left to build: `from_config` gives a tower that has its variables."""

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments but the shared tables: a tower that is loaded alone has its own."""
        return {
            "config": self.config.to_config(),
            "vocabularies": self.vocabularies.to_config(),
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Tower:
        """The untrained tower that `get_config` described, with its vocabularies."""
        del custom_objects
        return build_tower(
            tower_config_from_config(config["config"]),
            Vocabularies.from_config(config["vocabularies"]),
            name=config["name"],
        )


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
class SumTower(Tower):
    """A tower whose features' vectors are added, so that what a past candidate contributes can be taken away."""

    def encode_with_parts(
        self, codes: Mapping[str, tf.Tensor], places: tf.Tensor, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Encodes queries, and what each past candidate contributes to them.

        Args:
            codes: As `lookup` gives them.
            places: int64 [n, 2], (row, slot) of every past candidate in the histories.
            training: Whether to drop units: of a query and its parts the same ones.

        Returns:
            (outputs, parts): float32 [batch, num_outputs] and [n, num_outputs].
        """
        parts = tf.zeros([tf.shape(places)[0], self.config.num_outputs])
        for past in self.histories:
            ratings = codes[past.rating_name] if past.by_rating else None
            parts += self.encoders[past.name].parts(codes[past.name], ratings, places)
        past_names = {past.name for past in self.histories}
        others = self._feature_vectors(codes, training, [name for name in self.encoders if name not in past_names])
        num_rows = tf.shape(next(iter(codes.values())))[0]
        # A history's vector is the sum of its parts, which are looked up once.
        outputs = tf.add_n([tf.math.unsorted_segment_sum(parts, places[:, 0], num_rows), *others])
        kept = self.top.mask(num_rows, training)
        return self._with_frequency(outputs * kept, codes), parts * tf.gather(kept, places[:, 0])

    def _build_encoders(self, shared_tables: Mapping[str, tf.keras.layers.Embedding]) -> dict[str, Any]:
        regularizer = tf.keras.regularizers.L2(self.config.l2) if self.config.l2 else None
        encoders = {}
        for feature in self.config.features:
            encoder = build_encoder(
                feature,
                self.vocabularies,
                self.config.num_outputs,
                shared_table=shared_tables.get(feature.name),
                regularizer=regularizer,
            )
            if isinstance(feature, Numeric | Timestamp | Embedding):
                encoder = tf.keras.layers.Dense(
                    self.config.num_outputs, use_bias=False, kernel_regularizer=regularizer, name=encoder.name
                )
            encoders[feature.name] = encoder
        return encoders

    def _build_top(self) -> tf.keras.layers.Layer:
        return VectorSum(dropout=self.config.dropout, has_bias=self.config.has_bias, name="sum")

    def _join(self, vectors: list[tf.Tensor], training: bool) -> tf.Tensor:
        return self.top(vectors, training=training)


def _to_tensor(values: Any, spec: tf.TensorSpec) -> tf.Tensor:
    """A raw input as a dense tensor of the dtype that its feature wants, and of no other."""
    is_ragged = isinstance(values, tf.RaggedTensor)
    if is_ragged and spec.shape.as_list() != [None, None]:
        raise ValueError(f"`{spec.name}` must have the shape {spec.shape}. Received a ragged tensor: {values.shape}.")
    try:
        values = values if is_ragged else tf.convert_to_tensor(values)
    except (TypeError, ValueError, tf.errors.InvalidArgumentError) as error:
        raise ValueError(f"`{spec.name}` cannot be made a {spec.dtype.name} tensor: {error}") from error
    is_whole = values.dtype.is_integer and values.dtype != tf.uint64
    if (spec.dtype == tf.int64 and is_whole) or (spec.dtype == tf.float32 and (is_whole or values.dtype.is_floating)):
        values = tf.cast(values, spec.dtype)
    if is_ragged:
        values = values.to_tensor(MISSING.get(values.dtype))
    if values.dtype != spec.dtype:
        raise TypeError(f"`{spec.name}` must be {spec.dtype.name}. Received: {values.dtype.name}.")
    if not spec.shape.is_compatible_with(values.shape):
        raise ValueError(f"`{spec.name}` must have the shape {spec.shape}. Received: {values.shape}.")
    return values


def _of_width(ratings: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Standardised ratings [batch, any], cut or filled up with the average's 0 to a history's width.

    A rating belongs to the candidate in its place: how wide the rest of the batch is must not change whose it is.
    """
    filled = tf.pad(ratings, [[0, 0], [0, tf.maximum(0, width - tf.shape(ratings)[1])]])
    return filled[:, :width]
