"""Keras's functions for training and testing, with a loop over steps that TensorFlow traces once."""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Callable, Iterator
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
        # Whether the steps that are traced leave the results of the metrics to the end of a loop.
        self._leaves_out_results = False

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
            setattr(self, name, self._repeated(name, self._one_step(make)))
            return getattr(self, name)
        return make(force)

    def _repeated(self, name: str, step: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Makes a function that runs a step, a `tf.function` from an iterator of batches, several times.

        Keras's own loop has no outputs before its first step, so TensorFlow would trace the step twice: once for their
        types, and once for the loop. It also computes the results of all metrics in each step, and drops them.
        """
        num_steps = self._steps_per_execution
        if not self._measures_itself(name):

            def steps(iterator: Any) -> Any:
                outputs = step(iterator)
                for _ in tf.range(1, num_steps):
                    outputs = step(iterator)
                return outputs
        else:

            def steps(iterator: Any) -> Any:
                with self._without_results():
                    for _ in tf.range(num_steps):
                        step(iterator)
                return self.get_metrics_result()

        return tf.function(steps, reduce_retracing=True)

    @contextlib.contextmanager
    def _without_results(self) -> Iterator[None]:
        self._leaves_out_results = True
        try:
            yield
        finally:
            self._leaves_out_results = False

    @abc.abstractmethod
    def _measures_itself(self, name: str) -> bool:
        """Whether the outputs of a function's steps are the results of the metrics, and not those of a user's step."""

    @property
    def _loops_itself(self) -> bool:
        """Whether several steps are this class's loop over Keras's step, and not Keras's own loop."""
        return self._is_one_device and not (self.run_eagerly or self.autotune_steps_per_execution)

    @property
    def _is_one_device(self) -> bool:
        """Whether one device runs all steps, one after the other."""
        strategy = self.distribute_strategy
        return strategy.num_replicas_in_sync == 1 and not uses_coordinator(strategy)

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
