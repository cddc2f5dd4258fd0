"""Recognising a model that was never trained, by weights that are still those that it was built with."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import tensorflow as tf

if TYPE_CHECKING:
    from tfrs_twotower.model.recommender import Recommender


def fingerprint(variables: Sequence[tf.Variable]) -> str:
    """Computes a short text that changes when a variable changes.

    The bits of each variable are added up as integers, in one pass that needs no copy. Unlike the sum of its numbers,
    this sum does not lose a small change in a large table.

    Args:
        variables: Weights of a model.

    Example:
        >>> weight = tf.Variable([1e6, 1.0])
        >>> before = fingerprint([weight])
        >>> _ = weight.assign([1e6, 1.0001])
        >>> fingerprint([weight]) == before
        False
    """
    sums = [int(tf.reduce_sum(tf.bitcast(tf.cast(variable, tf.float32), tf.int32))) for variable in variables]
    return hashlib.sha256(repr(sums).encode()).hexdigest()


def warn_if_untrained(model: Recommender) -> None:
    """Warns the caller's caller of a model whose weights are still those that it was built with.

    Weights that were trained in any way, or loaded, differ from them.

    Args:
        model: A model, perhaps a joint one, of which a part may be untrained.
    """
    untrained = [part for part in model.models if part.seems_untrained]
    if not untrained:
        return
    what = "The model seems"
    if len(untrained) < len(model.models):
        what = f"The {'retrieval' if untrained[0] is model.retrieval_model else 'rating'} model seems"
    warnings.warn(
        f"{what} never to have been trained: its weights are those that it was built with, which are random. Train it, "
        "for example by `fit_recipe`, or load its weights.",
        stacklevel=3,
    )
