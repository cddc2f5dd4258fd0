"""Dropping contexts in training, so that a missing one counts as the average one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from tfrs_twotower.features.codes import MISSING_CODE
from tfrs_twotower.features.columns import missing_input
from tfrs_twotower.features.draws import uniform
from tfrs_twotower.features.feature import Feature


def drop_features(
    codes: Mapping[str, tf.Tensor], features: Sequence[Feature], missing: Mapping[str, np.ndarray], rate: float
) -> dict[str, tf.Tensor]:
    """Treats a share of rows as if all features were missing, and each feature as missing in a share of the others.

    Args:
        codes: Input name -> codes [batch, ...].
        features: The features that are dropped, at least one.
        missing: From `missing_codes`.
        rate: Both shares, in [0, 1).

    Returns:
        Input name -> codes.
    """
    num_rows = tf.shape(codes[features[0].name])[0]
    whole = uniform([num_rows], 0.0, 1.0, tf.float32) < rate
    dropped = {}
    for feature in features:
        is_dropped = whole | (uniform([num_rows], 0.0, 1.0, tf.float32) < rate)
        for spec in feature.raw_specs:
            of_missing, given = missing[spec.name], codes[spec.name]
            places = tf.reshape(is_dropped, [num_rows, *(1 for _ in of_missing.shape[1:])])
            dropped[spec.name] = tf.where(places, tf.constant(of_missing, given.dtype), given)
    return {**codes, **dropped}


def missing_codes(features: Sequence[Feature], lookups: Mapping[str, tf.keras.layers.Layer]) -> dict[str, np.ndarray]:
    """Returns the codes of missing values, of one row; a list has one place, since padding is the same.

    Args:
        features: The features.
        lookups: Input name -> layer from raw values to codes.

    Returns:
        Input name -> codes [1, ...].
    """
    with tf.init_scope():
        missing = {
            spec.name: lookups[spec.name](missing_input(spec)).numpy()
            for feature in features
            for spec in feature.raw_specs
        }
    no_list = np.full((1, 1), MISSING_CODE)
    are_lists = {name: codes.dtype.kind == "i" and codes.ndim > 1 for name, codes in missing.items()}
    return {name: no_list if are_lists[name] else codes for name, codes in missing.items()}
