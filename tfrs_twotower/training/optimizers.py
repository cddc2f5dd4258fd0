"""Adam whose step does not grow with the vocabulary."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import tensorflow as tf

_Pair = tuple[Any, tf.Variable]


_TOUCHING_ALL = ("amsgrad", "weight_decay", "use_ema")
_WITHOUT_EFFECT = ("adaptive_epsilon", "ema_momentum", "ema_overwrite_frequency", "is_legacy_optimizer", "jit_compile")
#: Elements of a variable, at most, that is moved together with others: to copy a larger one takes too long.
_MAX_JOINT_SIZE = 16_384


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

    def aggregate_gradients(self, grads_and_vars: Iterable[_Pair]) -> list[_Pair]:
        """Adds up the gradients of all replicas; called by Keras, which does not see that one has nothing to add."""
        if tf.distribute.has_strategy():
            return list(super().aggregate_gradients(grads_and_vars))
        return list(grads_and_vars)

    def update_step(self, gradient: tf.Tensor | tf.IndexedSlices, variable: tf.Variable) -> None:
        """Moves a variable by its gradient; called by Keras, which has added up the parts of equal rows."""
        if not isinstance(gradient, tf.IndexedSlices):
            super().update_step(gradient, variable)
            return
        first, second = self._moments_of(variable)
        rows, values = gradient.indices, gradient.values
        beta_1, beta_2 = tf.cast(self.beta_1, variable.dtype), tf.cast(self.beta_2, variable.dtype)
        new_first = beta_1 * tf.gather(first, rows) + (1 - beta_1) * values
        new_second = beta_2 * tf.gather(second, rows) + (1 - beta_2) * tf.square(values)
        first.scatter_update(tf.IndexedSlices(new_first, rows))
        second.scatter_update(tf.IndexedSlices(new_second, rows))
        change = self._rate(variable.dtype) * new_first / (tf.sqrt(new_second) + self.epsilon)
        # Each row is there once: to read and write it takes half as long as `scatter_sub`.
        variable.scatter_update(tf.IndexedSlices(tf.gather(variable, rows) - change, rows))

    def _internal_apply_gradients(self, grads_and_vars: Iterable[_Pair]) -> tf.Tensor:
        """Moves all variables; called by Keras, which moves one after the other.

        An operation on a small variable takes no longer than TensorFlow takes to run any operation, so the small
        variables are moved as one vector.
        """
        if tf.distribute.has_strategy() or self._mesh:
            return super()._internal_apply_gradients(grads_and_vars)
        groups: dict[tuple[tf.DType, str], list[_Pair]] = {}
        for gradient, variable in grads_and_vars:
            if isinstance(gradient, tf.IndexedSlices) or variable.shape.num_elements() > _MAX_JOINT_SIZE:
                self._update_step(gradient, variable)
            else:
                groups.setdefault((variable.dtype, variable.device), []).append((gradient, variable))
        for (dtype, _), pairs in groups.items():
            self._update_jointly(pairs, dtype)
        return self.iterations.assign_add(1)

    def _update_jointly(self, pairs: Sequence[_Pair], dtype: tf.DType) -> None:
        variables = [variable for _, variable in pairs]
        moments = [self._moments_of(variable) for variable in variables]
        firsts, seconds = ([pair[place] for pair in moments] for place in range(2))
        gradient, first, second = (_joined(parts) for parts in ([gradient for gradient, _ in pairs], firsts, seconds))
        # As Keras's Adam rounds it.
        new_first = first + (gradient - first) * (1 - self.beta_1)
        new_second = second + (tf.square(gradient) - second) * (1 - self.beta_2)
        change = new_first * self._rate(dtype) / (tf.sqrt(new_second) + self.epsilon)
        for value, targets in ((new_first, firsts), (new_second, seconds)):
            for part, target in zip(_parted(value, targets), targets, strict=True):
                target.assign(part, read_value=False)
        for part, variable in zip(_parted(change, variables), variables, strict=True):
            variable.assign_sub(part, read_value=False)

    def _moments_of(self, variable: tf.Variable) -> tuple[tf.Variable, tf.Variable]:
        place = self._index_dict[self._var_key(variable)]
        return self._momentums[place], self._velocities[place]

    def _rate(self, dtype: tf.DType) -> tf.Tensor:
        """The learning rate, with the correction of moments that began at zero."""
        step = tf.cast(self.iterations + 1, dtype)
        beta_1, beta_2 = tf.cast(self.beta_1, dtype), tf.cast(self.beta_2, dtype)
        return tf.cast(self.learning_rate, dtype) * tf.sqrt(1 - beta_2**step) / (1 - beta_1**step)


def _joined(tensors: Sequence[tf.Tensor | tf.Variable]) -> tf.Tensor:
    return tf.concat([tf.reshape(tensor, [-1]) for tensor in tensors], axis=0)


def _parted(joined: tf.Tensor, like: Sequence[tf.Variable]) -> list[tf.Tensor]:
    parts = tf.split(joined, [variable.shape.num_elements() for variable in like])
    return [tf.reshape(part, variable.shape) for part, variable in zip(parts, like, strict=True)]
