"""Results whose last digits do not depend on how many rows are computed at once.

The processor's vector instructions compute a packet of eight float32 at a time, and TensorFlow computes the values
beyond the last whole packet one by one. It multiplies a single row by a matrix in another way than several. Without
AVX-512, it takes six rows at once, and one to three that are left over in another way. All of these round differently.
The number of rows is therefore a multiple of eight: such a number leaves none, two or four of six rows, and after one
that leaves two, the next leaves four. A row is then the same to the last bit in any batch.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from tfrs_twotower.features.columns import MISSING

#: Values of a packet, or a multiple of it, in TensorFlow's builds for x86 and Arm. A build of one's own for AVX-512 has
#: packets of 16, and may round differently for other numbers of rows.
_PACKET = 8
# Rows that a product of matrices takes at once, and how many are left over that it computes in another way.
_ROWS_AT_ONCE, _BADLY_LEFT = 6, 2


def with_whole_packets(function: Callable[..., dict[str, tf.Tensor]]) -> Callable[..., dict[str, tf.Tensor]]:
    """Makes a function that computes whole packets of rows: rows of missing values are added, and dropped afterwards.

    Args:
        function: From raw inputs [batch, ...] to outputs [batch, ...].

    Returns:
        A function with the same inputs and outputs.

    Example:
        >>> shapes = []
        >>> def double(x):
        ...     shapes.append(x.shape)
        ...     return {"y": 2 * x}
        >>> with_whole_packets(double)(x=tf.constant([1.0, 2.0, 3.0]))["y"].numpy().tolist(), shapes
        ([2.0, 4.0, 6.0], [TensorShape([16])])
    """

    def compute(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        num_rows = tf.shape(next(iter(inputs.values())))[0]
        num_added = _computed_alike(num_rows) - num_rows

        def padded(values: tf.Tensor) -> tf.Tensor:
            paddings = [[0, num_added], *[[0, 0]] * (values.shape.rank - 1)]
            return tf.pad(values, paddings, constant_values=tf.constant(MISSING[values.dtype], values.dtype))

        outputs = function(**{name: padded(values) for name, values in inputs.items()})
        return {name: values[:num_rows] for name, values in outputs.items()}

    return compute


def sigmoid(logits: tf.Tensor) -> tf.Tensor:
    """Computes `tf.sigmoid` in whole packets.

    Args:
        logits: float32 [...].

    Returns:
        float32 [...].

    Example:
        >>> sigmoid(tf.zeros([3, 5])).shape
        TensorShape([3, 5])
    """
    num_values = tf.size(logits)
    padding = _up_to_whole_packets(num_values) - num_values
    values = tf.sigmoid(tf.pad(tf.reshape(logits, [-1]), [[0, padding]]))
    return tf.reshape(values[:num_values], tf.shape(logits))


def _up_to_whole_packets(num: tf.Tensor) -> tf.Tensor:
    return -(-num // _PACKET) * _PACKET


def _computed_alike(num_rows: tf.Tensor) -> tf.Tensor:
    """The next number of rows at which all rows are computed in the same way."""
    whole = _up_to_whole_packets(num_rows)
    return tf.where(whole % _ROWS_AT_ONCE == _BADLY_LEFT, whole + _PACKET, whole)
