"""What a model that is built under a distribution strategy gives Keras: batches for its replicas or workers."""

from __future__ import annotations

import abc
from typing import Any

import tensorflow as tf

from tfrs_twotower._tfrs import tfrs
from tfrs_twotower.model.batch_service import BatchService
from tfrs_twotower.model.replicas import (
    distribute_pieces,
    is_supported,
    known_steps,
    undistributed,
    uses_coordinator,
)
from tfrs_twotower.model.step_callbacks import Validation
from tfrs_twotower.model.weight_loading import VocabularyBound


class Distributed(VocabularyBound, tfrs.Model, abc.ABC):
    """A model whose batches are divided among replicas, or served to the workers of parameter servers."""

    steps_per_execution: Any

    def __init__(self, *, name: str | None = None) -> None:
        super().__init__(name=name, autocast=False)  # a batch is not cast with mixed precision
        self._service: BatchService | None = None

    def piece_of(self, batch: Any, index: int, count: int) -> Any:
        """Returns the piece of a batch that replica `index` out of `count` takes; here, it cannot be split.

        Raises:
            NotImplementedError: Always.
        """
        del batch, index
        raise NotImplementedError(
            f"A {type(self).__name__} must define `piece_of` to be trained on several replicas. Received: {count}."
        )

    def _distribute(self, argument: str, batches: Any, options: dict[str, Any], steps: str = "steps_per_epoch") -> Any:
        """Returns what Keras takes for batches, under a strategy for its replicas or workers."""
        strategy = self.distribute_strategy
        if not is_supported(strategy) or isinstance(batches, tf.distribute.DistributedDataset):
            return batches
        if strategy.num_replicas_in_sync > 1:
            self._require_single_steps()
        options[steps] = known_steps(argument, batches, options.get(steps))
        if uses_coordinator(strategy):
            self._service = BatchService(strategy)
            return self._service.serve(batches)
        return distribute_pieces(batches, strategy, self.piece_of)

    def _distribute_validation(self, options: dict[str, Any]) -> list[tf.keras.callbacks.Callback]:
        """Prepares the validation data in the options, and returns a callback if Keras cannot evaluate on them."""
        batches = options.get("validation_data")
        if batches is None:
            return []
        if uses_coordinator(self.distribute_strategy):
            every, steps = options.pop("validation_freq", 1), options.pop("validation_steps", None)
            del options["validation_data"]
            return [Validation(batches, steps, every)]
        options["validation_data"] = self._distribute("validation_data", batches, options, "validation_steps")
        return []

    def _here(self) -> Any:
        """Returns a copy whose weights are in this process, where they are what parameter servers have now."""
        here = undistributed(self)
        if self._is_compiled:
            here.compile_from_config(self.get_compile_config())
        return here

    def _require_single_steps(self) -> None:
        """Refuses several steps at once: TensorFlow requires that what replicas exchange then has the same shapes."""
        if self._is_compiled and self.steps_per_execution.numpy() > 1:
            raise ValueError(
                "`steps_per_execution` must be 1, or None, with several replicas: they exchange tensors whose sizes "
                f"differ from step to step. Compile the model again. Received: {self.steps_per_execution.numpy()}."
            )

    def _stop_serving(self) -> None:
        """Ends the service of a training, if it has one."""
        if self._service is not None:
            self._service.close()
            self._service = None
