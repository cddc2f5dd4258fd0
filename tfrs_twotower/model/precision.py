"""Which parts of a model Keras's mixed precision applies to: the layers of MLPs, and nothing else.

Tables of vectors, lookups, sums of vectors, scores and losses stay float32. A float16 has three significant digits,
which is too few for a price, and for the difference between two candidates' scores.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tensorflow as tf

_POLICIES = ("float32", "mixed_float16", "mixed_bfloat16")


def require_policy() -> None:
    """Checks Keras's global policy of precision before layers are built.

    Raises:
        ValueError: If it is neither float32 nor one of the mixed ones, whose variables are float32.
    """
    name = tf.keras.mixed_precision.global_policy().name
    if name not in _POLICIES:
        raise ValueError(
            f"Keras's global policy must be one of {', '.join(_POLICIES)}: weights and losses are float32. "
            f"Received: {name}. Call `tf.keras.mixed_precision.set_global_policy('float32')`."
        )


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    """Builds layers that compute in float32 whatever Keras's global policy is."""
    policy = tf.keras.mixed_precision.global_policy()
    tf.keras.mixed_precision.set_global_policy("float32")
    try:
        yield
    finally:
        tf.keras.mixed_precision.set_global_policy(policy)
