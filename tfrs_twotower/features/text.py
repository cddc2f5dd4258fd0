"""A text per row, with a vector for each known word."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfrs_twotower.features.codes import build_string_lookup
from tfrs_twotower.features.multi_categorical import PooledFeature
from tfrs_twotower.features.vocabularies import Learnt, Vocabulary, frequent_values, learnt_of

# Words of a text without a limit of its own. All texts of a batch are padded to the longest one.
_MAX_WORDS = 4096


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Text(PooledFeature):
    """A text per row, such as a title: the vectors of its words pooled, zero for a text without any.

    Words are runs of letters and digits of any script, in lower case.

    Raw input: string [batch], UTF-8. A missing text is an empty one.

    Attributes:
        name: Name of the column and of the raw input.
        embedding_dim: Length of the vector; None takes the tower's.
        min_count: Training events that a word needs to get a vector of its own, >= 1; a word counts as often as it
            occurs.
        max_size: Maximum number of words with a vector of their own, the most frequent ones; None for all.
        num_oov_buckets: Number of vectors that unknown words share by their hash, >= 1.
        pooling: "sum", "mean" or "sqrtn".
        max_words: Maximum number of words that count, the first ones; None for 4,096. The encoded table is as wide as
            its longest text.

    Example:
        >>> Text(name="title", max_words=20).max_words
        20
    """

    max_words: int | None = None

    minimums: ClassVar[Mapping[str, int]] = {**PooledFeature.minimums, "max_words": 1}
    wanted_values: ClassVar[str] = "strings"

    @property
    def raw_specs(self) -> tuple[tf.TensorSpec, ...]:
        """String [batch], UTF-8."""
        return (tf.TensorSpec([None], tf.string, name=self.name),)

    def accepts(self, kind: pa.DataType) -> bool:
        """Accepts strings."""
        return bool(pa.types.is_string(kind))

    def learn(self, column: pa.Array, counts: np.ndarray) -> Learnt | None:
        """Learns which words are frequent enough; see `ColumnFeature`."""
        texts = column.cast(pa.string()).fill_null("").to_numpy(zero_copy_only=False)
        words = split_words(texts, self.max_words)
        values = pa.array(words.flat_values.numpy(), pa.binary()).cast(pa.string())
        word_counts = counts[words.value_rowids().numpy()]
        return frequent_values(values, word_counts, min_count=self.min_count, max_size=self.max_size)

    def build_lookup(self, learnt: Learnt | None, name: str) -> tf.keras.layers.Layer:
        """Builds a `WordLookup`; see `ColumnFeature`."""
        return WordLookup(
            vocabulary=learnt_of(learnt, Vocabulary(()), self.name).values,
            num_oov_buckets=self.num_oov_buckets,
            max_words=self.max_words,
            name=name,
        )

    def _value_lookup(self, lookup: Any) -> Any:
        return lookup.words


def split_words(text: tf.Tensor, max_words: int | None = None) -> tf.RaggedTensor:
    r"""Splits each text into its words: runs of letters, marks and digits of any script, in lower case.

    Args:
        text: string [batch], UTF-8.
        max_words: Maximum number of words that count, the first ones; None for 4,096.

    Returns:
        string [batch, any].

    Example:
        >>> split_words(tf.constant(["Toy Story (1995)", "L'Été", ""])).to_list()
        [[b'toy', b'story', b'1995'], [b'l', b'\xc3\xa9t\xc3\xa9'], []]
    """
    lower = tf.strings.lower(text, encoding="utf-8")
    words = tf.strings.split(tf.strings.regex_replace(lower, r"[^\p{L}\p{M}\p{N}]+", " "))
    return words[:, : max_words or _MAX_WORDS]


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
class WordLookup(tf.keras.layers.Layer):
    """The codes of a text's words.

    Args:
        vocabulary: Known words; none of them "".
        num_oov_buckets: Number of codes that unknown words share by their hash, >= 1.
        max_words: Maximum number of words that count, the first ones; None for 4,096.

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
        self.words = build_string_lookup(self.vocabulary, num_oov_buckets, "words")

    def call(self, text: tf.Tensor) -> tf.Tensor:
        """Codes string [batch] as int64 [batch, number of words in the longest text], padded with 0."""
        return self.words(split_words(text, self.max_words).to_tensor(""))

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "vocabulary": list(self.vocabulary),
            "num_oov_buckets": self.num_oov_buckets,
            "max_words": self.max_words,
        }
