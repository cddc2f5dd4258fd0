"""Keras's functions for training and testing, with a loop over steps that TensorFlow traces once."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfrs_twotower.model.distributed import Distributed
from tfrs_twotower.model.replicas import uses_coordinator


class StepLoop(Distributed, abc.ABC):
    """A model of which Keras runs many steps at once, as `steps_per_execution` says."""

    train_function: Any
    test_function: Any

    def __init__(self, *, name: str | None = None) -> None:
        super().__init__(name=name)
        # Names of those functions of Keras that were made for many steps, and can run any number of them.
        self._run_many: set[str] = set()

    def compile(self, *arguments: Any, **options: Any) -> None:
        """Configures the model for training; the arguments are Keras's."""
        self._run_many.clear()
        super().compile(*arguments, **options)

    def make_train_function(self, force: bool = False) -> Callable[[Any], Any]:
        """Makes the function that runs steps; called by Keras, whose function for a single step can run no others."""
        self._build_optimizer()  # TensorFlow would trace a function that makes variables twice
        return self._make("train_function", super().make_train_function, force)

    def make_test_function(self, force: bool = False) -> Callable[[Any], Any]:
        """Makes the function that tests on batches; called by Keras, as `make_train_function` is."""
        return self._make("test_function", super().make_test_function, force)

    def _make(self, name: str, make: Callable[[bool], Callable[[Any], Any]], force: bool) -> Callable[[Any], Any]:
        """Makes a function of Keras by its method, and has it run many steps if it should."""
        runs_many = self.steps_per_execution.numpy() > 1
        force = force or (runs_many and name not in self._run_many)
        if force:
            self._run_many.discard(name)
        if runs_many:
            self._run_many.add(name)
        if runs_many and self._loops_itself and (force or getattr(self, name) is None):
            setattr(self, name, _repeated(self._one_step(make), self._steps_per_execution))
            return getattr(self, name)
        return make(force)

    @property
    def _loops_itself(self) -> bool:
        """Whether several steps are this class's loop over Keras's step, and not Keras's own loop."""
        is_one_device = self.distribute_strategy.num_replicas_in_sync == 1
        return is_one_device and not (
            uses_coordinator(self.distribute_strategy) or self.run_eagerly or self.autotune_steps_per_execution
        )

    def _one_step(self, make: Callable[[bool], Callable[[Any], Any]]) -> Callable[[Any], Any]:
        """Makes Keras's function for a single step."""
        num_steps = int(self._steps_per_execution.numpy())
        self._steps_per_execution.assign(1)
        try:
            return make(True)
        finally:
            self._steps_per_execution.assign(num_steps)

    def _build_optimizer(self) -> None:
        # Keras's legacy optimizers make their variables in the first step.
        if hasattr(self.optimizer, "build"):
            with self.distribute_strategy.scope():
                self.optimizer.build(self.trainable_variables)


def _repeated(step: Callable[[Any], Any], num_steps: tf.Variable) -> Callable[[Any], Any]:
    """Makes a function that runs a step several times.

    Keras's own loop has no outputs before its first step, so TensorFlow would trace the step twice: once for their
    types, and once for the loop.

    Args:
        step: A `tf.function` from an iterator of batches to the outputs of a step.
        num_steps: int64 [], the number of steps, >= 1, when they are run.

    Returns:
        A function that returns the outputs of the last step.
    """

    def steps(iterator: Any) -> Any:
        outputs = step(iterator)
        for _ in tf.range(1, num_steps):
            outputs = step(iterator)
        return outputs

    return tf.function(steps, reduce_retracing=True)
