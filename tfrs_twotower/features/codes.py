"""Codes: integers that number the vectors of values.

Code 0 is a missing value, or the padding of a list. Then come the codes that unknown values share by their hash, then
those of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

MISSING_CODE = 0
FIRST_UNKNOWN_CODE = 1


def is_missing(codes: tf.Tensor) -> tf.Tensor:
    """Tells which rows of a feature's codes stand for a missing value, or an empty list.

    Args:
        codes: Integers [batch] or [batch, any]; or float32 [batch, dim], whose last entry marks a missing value.

    Returns:
        bool [batch].

    Example:
        >>> is_missing(tf.constant([[0, 0], [3, 0]])).numpy().tolist()
        [True, False]
    """
    if codes.dtype.is_floating:
        return codes[:, -1] == 1
    return codes == MISSING_CODE if codes.shape.rank == 1 else tf.reduce_all(codes == MISSING_CODE, axis=1)


def num_value_codes(num_values: int, num_unknown: int) -> int:
    """Counts the codes of a lookup.

    Args:
        num_values: Size of the vocabulary, >= 0.
        num_unknown: Codes that unknown values share, >= 1.
    """
    # A lookup without a vocabulary still has one value; see `build_string_lookup`.
    return max(1, num_values) + num_unknown + FIRST_UNKNOWN_CODE


def build_string_lookup(values: Sequence[str], num_unknown: int, name: str) -> ValueLookup:
    """Builds the lookup of strings.

    Args:
        values: The vocabulary, most frequent value first; none of them "".
        num_unknown: Codes that unknown values share by their hash, >= 1.
        name: Name of the layer.
    """
    return ValueLookup(
        # Keras refuses an empty vocabulary, so a feature without known values gets one value that no column holds.
        vocabulary=list(values) or ["\x1b"],
        mask_token="",
        # A control character: no value of a real column can be mistaken for it.
        oov_token="\x1a",
        num_oov_indices=num_unknown,
        name=name,
    )


def expanded_source_codes(find: Any, values: Sequence[str], num_unknown: int) -> np.ndarray:
    """Returns the row of a table of vectors from which each row of a larger table starts.

    Args:
        find: The old lookup, which gives known values their code, and new values that of an unknown value.
        values: The new vocabulary.
        num_unknown: Codes that unknown values share.

    Returns:
        int64 [num_codes of the new table].
    """
    before = np.arange(num_unknown + FIRST_UNKNOWN_CODE)
    return np.concatenate([before, find(tf.constant(values, tf.string)).numpy()])


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
class ValueLookup(tf.keras.layers.StringLookup):
    """Keras's `StringLookup` for vocabularies of millions, and for every text.

    Keras tracks each item of a list, which takes seconds for a million, and turns the list into NumPy's own text type,
    which loses a NUL at the end. An array of objects has neither fault.

    Args:
        vocabulary: Known values.
        **kwargs: Those of Keras's `StringLookup`.
    """

    def __init__(self, *, vocabulary: Sequence[str], **kwargs: Any) -> None:
        super().__init__(vocabulary=np.array(vocabulary, dtype=object), **kwargs)

    def save_assets(self, dir_path: str) -> None:
        """Saves nothing: the vocabulary is in the configuration."""

    def load_assets(self, dir_path: str) -> None:
        """Loads nothing: the vocabulary is in the configuration."""
