"""A tower: each feature looked up and encoded, the vectors joined, an MLP on top, an embedding out."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfrs_twotower.model.encoders import CodeEmbedding, build_encoder
from tfrs_twotower.model.features import (
    KINDS,
    Feature,
    History,
    feature_from_config,
    feature_to_config,
    histories,
    whole_number,
)
from tfrs_twotower.model.inputs import MISSING, raw_specs, read_columns
from tfrs_twotower.model.lookups import build_lookups
from tfrs_twotower.model.mlp import Normalization, build_mlp
from tfrs_twotower.model.vocabularies import Vocabularies


@dataclasses.dataclass(frozen=True, kw_only=True)
class TowerConfig:
    """What a tower is made of.

    Attributes:
        features: Inputs, by unique names. The one that identifies a row is usually among them.
        embedding_dim: Length of a feature's vector where the feature names none, >= 1; None for a rule by the number
            of values, `tfrs_twotower.model.encoders.ruled_dim`.
        hidden_units: Widths of the hidden layers, each with activation, normalisation and dropout; () for none.
        output_dim: Length of the embedding that comes out, >= 1; the same in both towers.
        activation: Of the hidden layers, a name that Keras knows.
        normalization: Of the hidden layers, "batch", "layer" or "none".
        dropout: Share of hidden units dropped in training, in [0, 1).
        residual: Whether a hidden layer's input is added to its output, through a matrix where their widths differ.
        num_cross_layers: Cross layers (DCN V2) before the hidden ones, >= 0.
        l2: Weight of the squared norms of the MLP's kernels in the loss, >= 0. The default is the validation part's
            choice on MovieLens 100K, for AUC and log loss alike.
    """

    features: tuple[Feature, ...]
    embedding_dim: int | None = 50
    hidden_units: tuple[int, ...] = (128, 64)
    output_dim: int = 64
    activation: str = "relu"
    normalization: Normalization = "batch"
    dropout: float = 0.3
    residual: bool = False
    num_cross_layers: int = 0
    l2: float = 3e-3

    def __post_init__(self) -> None:
        for name in ("features", "hidden_units"):
            if not isinstance(getattr(self, name), tuple | list):
                raise TypeError(f"`{name}` must be a tuple. Received: {getattr(self, name)!r}.")
        strangers = [feature for feature in self.features if not isinstance(feature, tuple(KINDS.values()))]
        if strangers:
            raise TypeError(f"`features` must be of these kinds: {', '.join(KINDS)}. Received: {strangers[0]!r}.")
        object.__setattr__(self, "features", tuple(self.features))
        inputs = [spec.name for feature in self.features for spec in raw_specs(feature)]
        if not inputs or len(set(inputs)) < len(inputs):
            raise ValueError(f"`features` must be at least one, with unique names. Received: {inputs}.")
        widths = tuple(whole_number(units, "`hidden_units`", 1) for units in self.hidden_units)
        object.__setattr__(self, "hidden_units", widths)
        for name, least in (("embedding_dim", 1), ("output_dim", 1), ("num_cross_layers", 0)):
            if name != "embedding_dim" or self.embedding_dim is not None:
                object.__setattr__(self, name, whole_number(getattr(self, name), f"`{name}`", least))
        if self.normalization not in ("batch", "layer", "none"):
            raise ValueError(f"`normalization` must be batch, layer or none. Received: {self.normalization!r}.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"`dropout` must be in [0, 1). Received: {self.dropout}.")
        if not self.l2 >= 0:
            raise ValueError(f"`l2` must be at least 0. Received: {self.l2}.")
        if not isinstance(self.activation, str):
            raise TypeError(f"`activation` must be a name that Keras knows. Received: {self.activation!r}.")
        try:
            tf.keras.activations.get(self.activation)
        except ValueError as error:
            raise ValueError(f"`activation` must be a name that Keras knows. Received: {self.activation!r}.") from error

    def to_config(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        settings = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        features = [feature_to_config(feature) for feature in self.features]
        return {**settings, "features": features, "hidden_units": list(self.hidden_units)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> TowerConfig:
        """What `to_config` described.

        Raises:
            ValueError: If a value is impossible.
            TypeError: If there is no such setting.
        """
        features = tuple(feature_from_config(feature) for feature in config["features"])
        return cls(**{**config, "features": features})


def build_tower(
    config: TowerConfig,
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
        >>> from tfrs_twotower.model.features import Categorical
        >>> from tfrs_twotower.model.vocabularies import Vocabulary
        >>> config = TowerConfig(features=(Categorical(name="user_id"),), output_dim=4)
        >>> tower = build_tower(config, Vocabularies({"user_id": Vocabulary(("42", "7"))}), name="query")
        >>> tower({"user_id": tf.constant(["42", "never seen"])}).shape
        TensorShape([2, 4])
    """
    tower = Tower(config, vocabularies, name=name, shared_tables=shared_tables)
    tower({spec.name: tf.zeros([size or 1 for size in spec.shape], spec.dtype) for spec in tower.raw_specs})
    return tower


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
class Tower(tf.keras.Model):
    """Raw features in, an embedding out; the two halves, `lookup` and `encode`, can be used apart.

    The training pipeline looks every query and candidate up once (`encode_table`) and feeds `encode` alone.

    Attributes:
        config: What the tower is made of.
        vocabularies: What it knows of its features.
        lookups: Input name -> layer from raw values to codes.
        encoders: Feature name -> layer from codes to a vector.
    """

    def __init__(
        self,
        config: TowerConfig,
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
        self.encoders = {
            feature.name: build_encoder(
                feature, vocabularies, config.embedding_dim, shared_table=(shared_tables or {}).get(feature.name)
            )
            for feature in config.features
        }
        self.mlp = build_mlp(
            hidden_units=config.hidden_units,
            output_dim=config.output_dim,
            activation=config.activation,
            normalization=config.normalization,
            dropout=config.dropout,
            residual=config.residual,
            num_cross_layers=config.num_cross_layers,
            l2=config.l2,
        )
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
    def lookup_tables(self) -> list[Any]:
        """TensorFlow's resources behind the lookups, which an export has to track."""
        layers = [part for layer in self.lookups.values() for part in (layer, *layer.submodules)]
        return [layer.lookup_table for layer in layers if hasattr(layer, "lookup_table")]

    def lookup(self, raw: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Raw features to codes.

        Args:
            raw: Input name -> tensor as `raw_specs` say, of lists also a ragged one; others are passed over.

        Returns:
            Input name -> codes, as `tfrs_twotower.model.lookups` describes them.

        Raises:
            ValueError: If an input is missing.
            TypeError: If an input has another dtype: an integer id is never taken for an unknown string. Numbers of any
                size are numbers, and whole ones seconds.
        """
        codes = {}
        for spec in self.raw_specs:
            if spec.name not in raw:
                names = ", ".join(spec.name for spec in self.raw_specs)
                raise ValueError(f"`{spec.name}` is missing. The {self.name} tower takes: {names}.")
            values = _to_tensor(raw[spec.name], spec)
            codes[spec.name] = self.lookups[spec.name](values)
        for name, rating_name in self._rated:
            codes[rating_name] = _of_width(codes[rating_name], tf.shape(codes[name])[1])
        return codes

    def encode(self, codes: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """Codes, as `lookup` gives them, to float32 [batch, output_dim]."""
        vectors = []
        for name, encoder in self.encoders.items():
            inputs = [codes[input_name] for input_name in self._inputs[name]]
            options = {"training": training} if isinstance(encoder, CodeEmbedding) else {}
            vectors.append(encoder(*inputs, **options))
        return self.mlp(tf.concat(vectors, axis=1), training=training)

    def call(self, raw: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """Raw features to float32 [batch, output_dim]."""
        return self.encode(self.lookup(raw), training=training)

    def raw_features(self, table: pa.Table) -> dict[str, tf.Tensor]:
        """The tower's columns of a table as raw tensors; see `tfrs_twotower.model.inputs.read_columns`."""
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
            float32 [num_rows, output_dim].
        """
        num_rows = len(next(iter(codes.values())))
        parts = [np.zeros((0, self.config.output_dim), np.float32)]
        for start in range(0, num_rows, batch_size):
            part = {name: tf.constant(values[start : start + batch_size]) for name, values in codes.items()}
            parts.append(self._encode_in_graph(part).numpy())
        return np.concatenate(parts)

    @functools.cached_property
    def _encode_in_graph(self) -> Any:
        """`encode`, traced once for any number of rows."""
        return tf.function(lambda codes: self.encode(codes)).get_concrete_function(self._code_specs())

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
            TowerConfig.from_config(config["config"]),
            Vocabularies.from_config(config["vocabularies"]),
            name=config["name"],
        )


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
