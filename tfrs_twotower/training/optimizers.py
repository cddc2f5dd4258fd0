"""Adam whose step does not grow with the vocabulary."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

_TOUCHING_ALL = ("amsgrad", "weight_decay", "use_ema")
_WITHOUT_EFFECT = ("adaptive_epsilon", "ema_momentum", "ema_overwrite_frequency", "is_legacy_optimizer", "jit_compile")


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
class LazyAdam(tf.keras.optimizers.Adam):
    """Adam that updates only those rows of a table that a batch looks up.

    Keras's Adam decays the moments of every row at every step and moves every row by them, so that a step takes time in
    proportion to the size of the table. Here a row and its moments do not change until the row is looked up again.
    Variables that are not tables are trained as by Adam. The arguments are those of Adam except `amsgrad`,
    `weight_decay` and `use_ema`, which would touch all rows.

    Args:
        learning_rate: A number or a schedule.
        beta_1: Share of the first moment that a step keeps, in [0, 1).
        beta_2: Share of the second moment that a step keeps, in [0, 1).
        epsilon: Number that keeps the division by the root of the second moment finite, > 0.
        clipnorm: Largest norm of a variable's gradient; None for no limit.
        clipvalue: Largest size of an element of a gradient; None for no limit.
        global_clipnorm: Largest norm of all gradients together; None for no limit.
        name: Name of the optimizer.

    References:
        Kingma & Ba 2015, "Adam", algorithm 1.

    Example:
        >>> table = tf.Variable([[1.0], [1.0]])
        >>> optimizer = LazyAdam(0.1)
        >>> for row in (0, 1):
        ...     gradient = tf.IndexedSlices(tf.constant([[2.0]]), tf.constant([row]), tf.constant([2, 1]))
        ...     _ = optimizer.apply_gradients([(gradient, table)])
        ...     print(table.numpy().ravel().round(3))
        [0.9 1. ]
        [0.9 0.926]
    """

    def __init__(
        self,
        learning_rate: float | tf.keras.optimizers.schedules.LearningRateSchedule = 1e-3,
        *,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str = "LazyAdam",
        **kwargs: Any,
    ) -> None:
        # Keras's configuration of an optimizer names these, too.
        refused = [key for key in _TOUCHING_ALL if kwargs.get(key)]
        if refused:
            raise ValueError(f"LazyAdam has no {', '.join(refused)}: they would touch all rows. Use Keras's Adam.")
        unknown = set(kwargs) - {*_TOUCHING_ALL, *_WITHOUT_EFFECT}
        if unknown:
            raise TypeError(f"LazyAdam has no argument {', '.join(sorted(unknown))}.")
        super().__init__(
            learning_rate,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            clipnorm=clipnorm,
            clipvalue=clipvalue,
            global_clipnorm=global_clipnorm,
            # XLA would compile anew for every number of rows that a batch looks up.
            jit_compile=False,
            name=name,
        )

    def update_step(self, gradient: tf.Tensor | tf.IndexedSlices, variable: tf.Variable) -> None:
        """Moves a variable by its gradient; called by Keras, which has added up the parts of equal rows."""
        if not isinstance(gradient, tf.IndexedSlices):
            super().update_step(gradient, variable)
            return
        place = self._index_dict[self._var_key(variable)]
        first, second = self._momentums[place], self._velocities[place]
        step = tf.cast(self.iterations + 1, variable.dtype)
        beta_1, beta_2 = tf.cast(self.beta_1, variable.dtype), tf.cast(self.beta_2, variable.dtype)
        rate = tf.cast(self.learning_rate, variable.dtype) * tf.sqrt(1 - beta_2**step) / (1 - beta_1**step)
        rows, values = gradient.indices, gradient.values
        new_first = beta_1 * tf.gather(first, rows) + (1 - beta_1) * values
        new_second = beta_2 * tf.gather(second, rows) + (1 - beta_2) * tf.square(values)
        first.scatter_update(tf.IndexedSlices(new_first, rows))
        second.scatter_update(tf.IndexedSlices(new_second, rows))
        change = rate * new_first / (tf.sqrt(new_second) + self.epsilon)
        variable.scatter_sub(tf.IndexedSlices(change, rows))
