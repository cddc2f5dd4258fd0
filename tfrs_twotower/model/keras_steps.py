"""How Keras trains and tests a model of this library: `compile`, `fit`, the steps, and the means of the losses."""

from __future__ import annotations

import abc
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_twotower._autograph import as_written, is_written_for_graphs
from tfrs_twotower.batches.batch import EventBatch, QueryBatch
from tfrs_twotower.batches.pipeline import Epochs, epochs_of
from tfrs_twotower.features.draws import draws_of_step
from tfrs_twotower.model.callback_states import WatchesCallbacks, companions
from tfrs_twotower.model.file_formats import require_format, warn_of_folder, warn_of_missing_state
from tfrs_twotower.model.finite import naming_numbers, with_checked_numbers
from tfrs_twotower.model.fit_arguments import as_list, require_batches, steps_at_once
from tfrs_twotower.model.loss_means import LossMeans
from tfrs_twotower.model.replicas import (
    SameStop,
    num_replicas,
    num_workers,
    outside_scopes,
    require_supported,
    share_of_loss,
    sum_over_replicas,
    undistributed,
    uses_coordinator,
)
from tfrs_twotower.model.step_callbacks import EpochsBegun, FiniteLoss, FiniteLossOfSteps
from tfrs_twotower.model.step_loop import StepLoop


class KerasSteps(StepLoop, abc.ABC):
    """Keras's `compile` and `fit` for a model whose loss is a task's.

    Keras's logs have three losses: `loss` is the task's, `regularization_loss` that of the weights, and `total_loss`
    their sum, which training minimises. Each is the mean over the epoch so far, in which a batch counts as much as its
    examples weigh, so that a small last batch counts little.

    Attributes:
        after_step: Called in the graph at the end of each training step; None for nothing. A callback that sets it when
            training begins must make the model's `train_function` anew. It is None again after `fit`.
        measures_pairs: Whether metrics were given to `compile`.
    """

    def __init__(self, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.after_step: Callable[[], None] | None = None
        self._means = LossMeans()
        # Every replica knows the metrics of all; Keras would add those of several workers up.
        self.distribute_reduction_method = "first"
        self.measures_pairs = False
        self._chooses_steps = False
        self._epochs: Epochs | None = None
        self._has_been_fit = False

    @property
    def uses_autograph(self) -> bool:
        """Whether Python in the steps may depend on tensors, as in a class of a user's own, even one derived from ours.

        AutoGraph then rewrites it. Everything else is traced as it is written, which saves each new process seconds.
        """
        parts = (self, getattr(self, "optimizer", None), self.after_step, *self.metrics)
        return not all(map(is_written_for_graphs, parts))

    @property
    @abc.abstractmethod
    def threshold(self) -> float:
        """A rating of at least this is positive."""

    def batch_weight(self, batch: Any) -> tf.Tensor:
        """Returns what a batch counts in the mean of the losses, a float32 scalar >= 0; here, 1 for each."""
        del batch
        return tf.ones([])

    def share_of_loss(self, batch: Any, training: bool = False) -> tf.Tensor:
        """Computes a float32 scalar, what a replica's piece adds to the loss of the whole batch; see `replicas`.

        Without a distribution strategy it is the loss.
        """
        return share_of_loss(self.compute_loss(batch, training=training), self.batch_weight(batch))

    @property
    def metrics(self) -> list[tf.keras.metrics.Metric]:
        """The means of the losses, the task's metrics, and those given to `compile`; Keras resets them each epoch."""
        return [*self._means.metrics, *super().metrics]

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        metrics: Any = None,
        loss_weights: Any = None,
        weighted_metrics: Any = None,
        run_eagerly: bool | None = None,
        steps_per_execution: int | None = None,
        **options: Any,
    ) -> None:
        """Configures the model for training; the arguments are Keras's.

        Args:
            optimizer: For models with tables of vectors, a `LazyAdam`.
            loss: Must be None: the loss is the task's.
            metrics: Metrics of the pairs of a batch. They compare labels, 1 for a rating of at least the threshold and
                else 0, with scores, which are log-odds if the model predicts probabilities: float32 [pairs, 1] each.
            loss_weights: Must be None.
            weighted_metrics: The same, with the weights of the pairs.
            run_eagerly: Whether Python runs each step, for debugging.
            steps_per_execution: Steps that run without a return to Python. None: `fit` chooses them, at most 64, and
                one where a callback must be called after each step.
            options: Further arguments of Keras's `compile`.

        Raises:
            ValueError: If a loss is given.
            NotImplementedError: If the model was built under a distribution strategy that is not supported.
        """
        require_supported(self.distribute_strategy)
        for argument, value in (("loss", loss), ("loss_weights", loss_weights)):
            if value is not None and value != {}:
                raise ValueError(
                    f"`{argument}` must not be given: a {type(self).__name__} is trained by the loss of its task. "
                    f"Build it with another `task` for another loss. Received: {value!r}."
                )
        self.measures_pairs = bool(metrics or weighted_metrics)
        self._chooses_steps = steps_per_execution is None and not run_eagerly
        super().compile(
            optimizer,
            metrics=metrics,
            weighted_metrics=weighted_metrics,
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
            **options,
        )
        if options.get("from_serialized"):
            warn_of_folder()

    def save(self, filepath: Any, overwrite: bool = True, save_format: str | None = None, **options: Any) -> None:
        """Saves the model as Keras does; `.keras` is the format that keeps everything.

        Args:
            filepath: A path that ends with `.keras`, or a folder for the older format.
            overwrite: Whether a file that exists is replaced without a question.
            save_format: "keras" or "tf"; by default, the ending of the path decides.
            options: Further arguments of Keras's `save`.

        Raises:
            ValueError: If the format is HDF5, or the older one before the model was called.
        """
        was_called = self._saved_model_inputs_spec is not None
        require_format(filepath, save_format, was_called=was_called)
        if uses_coordinator(self.distribute_strategy):
            warnings.warn(
                "The model is saved without the state of its optimizer, which the parameter servers keep. Keras's "
                "`BackupAndRestore` keeps it for a training that goes on.",
                stacklevel=2,
            )
            undistributed(self).save(filepath, overwrite=overwrite, save_format=save_format, **options)
            return
        super().save(filepath, overwrite=overwrite, save_format=save_format, **options)

    def load_weights(self, filepath: Any, *arguments: Any, **options: Any) -> Any:
        """Loads weights, and the optimizer's state if the file and the model have one; see `VocabularyBound`.

        A warning says if one of them has none.
        """
        is_compiled = getattr(self, "optimizer", None) is not None
        if is_compiled:
            self._build_optimizer()
        loaded = super().load_weights(filepath, *arguments, **options)
        warn_of_missing_state(filepath, is_compiled=is_compiled)
        return loaded

    def compile_from_config(self, config: Any) -> None:
        """Compiles a loaded model as the saved one was; called by Keras."""
        self.compile(**tf.keras.saving.deserialize_keras_object(config))
        self._build_optimizer()  # for the state that is loaded next

    def fit(self, x: Any = None, *arguments: Any, callbacks: Any = None, **options: Any) -> tf.keras.callbacks.History:
        """Trains the model; the arguments are Keras's.

        Args:
            x: Batches, as `training_batches` and `query_batches` make them.
            arguments: Further arguments of Keras's `fit`.
            callbacks: Keras callbacks.
            options: Further arguments of Keras's `fit`.

        Raises:
            TypeError: If `x` or `validation_data` are not batches.
            FloatingPointError: If the loss becomes NaN or infinite; it names the steps and the weights that have. Or if
                a data set of your own has a number that is not finite; it names the batch and the column.
        """
        for argument, batches in (("x", x), ("validation_data", options.get("validation_data"))):
            require_batches(argument, batches)
        if options.get("validation_data") is not None:
            options["validation_data"] = with_checked_numbers(options["validation_data"])
        with naming_numbers():
            return self._fit(with_checked_numbers(x), arguments, callbacks, options)

    def _fit(
        self, x: Any, arguments: tuple[Any, ...], callbacks: Any, options: dict[str, Any]
    ) -> tf.keras.callbacks.History:
        if isinstance(callbacks, tf.keras.callbacks.CallbackList):
            # It has what `fit` adds to a list, and is used as it is.
            callbacks.callbacks[:0] = self._distribute_validation(options)
            return super().fit(self._distribute("x", x, options), *arguments, callbacks=callbacks, **options)
        steps_before = self.steps_per_execution.numpy() if self._chooses_steps and self._is_compiled else None
        if steps_before is not None and self.distribute_strategy.num_replicas_in_sync == 1:
            self.steps_per_execution = steps_at_once(x, options, callbacks)
        callbacks = [*self._distribute_validation(options), *self._in_order(as_list(callbacks))]
        if num_workers(self.distribute_strategy) > 1:
            callbacks.append(SameStop())
        epochs = epochs_of(x)
        try:
            if epochs is None or arguments or options.get("steps_per_epoch") is not None:
                return super().fit(self._distribute("x", x, options), *arguments, callbacks=callbacks, **options)
            options["steps_per_epoch"] = epochs.num_batches
            self._epochs = epochs
            batches = self._distribute("x", epochs.endless(), options)
            return super().fit(batches, callbacks=[*callbacks, EpochsBegun(epochs)], **options)
        finally:
            self._epochs, self._training_state, self._has_been_fit = None, None, True
            self._stop_serving()
            if self.after_step is not None:
                self.after_step = self.train_function = None
            if steps_before is not None:
                # `evaluate` and `predict` use the same number, and would refuse data of unknown length.
                self.steps_per_execution = steps_before

    def evaluate(self, x: Any = None, *arguments: Any, **options: Any) -> Any:
        """Computes the losses and metrics of batches; the arguments are Keras's.

        Args:
            x: Batches, as `evaluation_batches` makes them; for a model trained by query also `query_batches`.
            arguments: Further arguments of Keras's `evaluate`.
            options: Further arguments of Keras's `evaluate`.

        Raises:
            TypeError: If `x` are not batches.
        """
        require_batches("x", x)
        if uses_coordinator(self.distribute_strategy):
            return outside_scopes(lambda: self._here().evaluate(x, *arguments, **options))
        return super().evaluate(self._distribute("x", x, options, "steps"), *arguments, **options)

    def predict(self, x: Any, *arguments: Any, **options: Any) -> Any:
        """Scores the pairs of batches of events; the arguments are Keras's.

        Args:
            x: Batches, as `evaluation_batches` makes them.
            arguments: Further arguments of Keras's `predict`.
            options: Further arguments of Keras's `predict`.

        Raises:
            TypeError: If `x` are not batches.
            ValueError: If several workers train the model: each would give a part of the scores.
        """
        require_batches("x", x)
        if num_workers(self.distribute_strategy) > 1:
            raise ValueError(
                "`predict` gives each of several workers a part of the scores only. Use `embed`, or load the saved "
                f"model in a process without a strategy. Received: {num_workers(self.distribute_strategy)} workers."
            )
        if uses_coordinator(self.distribute_strategy):
            return outside_scopes(lambda: self._here().predict(x, *arguments, **options))
        return super().predict(self._distribute("x", x, options, "steps"), *arguments, **options)

    def train_step(self, batch: Any) -> dict[str, Any]:
        """Trains on a batch, and returns the metrics of the epoch so far; called by Keras."""
        return self._traced(self._train_on)(batch)

    def _train_on(self, batch: Any) -> dict[str, Any]:
        with tf.GradientTape() as tape, draws_of_step(self.optimizer.iterations):
            loss = self.share_of_loss(batch, training=True)
            regularization = self._regularization_loss()
            total = loss + regularization
        self.optimizer.minimize(total, self.trainable_variables, tape=tape)
        if self.after_step is not None:
            self.after_step()
        return self._measure(batch, loss, regularization)

    def test_step(self, batch: Any) -> dict[str, Any]:
        """Computes the losses and metrics of a batch, and returns those of all batches so far; called by Keras."""
        return self._traced(self._test_on)(batch)

    def _test_on(self, batch: Any) -> dict[str, Any]:
        return self._measure(batch, self.share_of_loss(batch, training=False), self._regularization_loss())

    def predict_step(self, data: Any) -> Any:
        """Scores a batch; called by Keras, whose own method would take a batch apart."""
        return self._traced(lambda batch: self(batch, training=False))(data)

    def _traced(self, step: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return as_written(step, unless=self.uses_autograph)

    def measure_pairs(self, batch: EventBatch | QueryBatch, scores: tf.Tensor) -> None:
        """Updates the metrics that were given to `compile`.

        Args:
            batch: The batch.
            scores: float32 [pairs].
        """
        labels = tf.cast(batch.ratings >= self.threshold, tf.float32)
        self.compiled_metrics.update_state(labels[:, tf.newaxis], scores[:, tf.newaxis], batch.weights)

    def _maybe_load_initial_counters_from_ckpt(
        self, steps_per_epoch: int | None, initial_epoch: int
    ) -> tuple[int, int]:
        """Returns the epoch and step that training begins at; called by Keras, after callbacks have restored a backup.

        The order of events goes on there, too.
        """
        epoch, step = map(int, super()._maybe_load_initial_counters_from_ckpt(steps_per_epoch, initial_epoch))
        if self._epochs is not None:
            first = max(self._epochs.next_epoch, initial_epoch)
            if self._training_state is None and self._is_resumed:
                first = max(first, int(self.optimizer.iterations.numpy()) // self._epochs.num_batches)
            self._epochs.start_at(first + epoch - initial_epoch, step)
        return epoch, step

    @property
    def _is_resumed(self) -> bool:
        """Whether the model was loaded with the state of an optimizer, in the middle of a training."""
        return not self._has_been_fit and int(self.optimizer.iterations.numpy()) > 0

    def _in_order(self, callbacks: Sequence[tf.keras.callbacks.Callback]) -> list[tf.keras.callbacks.Callback]:
        """Puts those callbacks last that keep what the others know."""
        others = [callback for callback in callbacks if not isinstance(callback, WatchesCallbacks)]
        watching = [callback for callback in callbacks if isinstance(callback, WatchesCallbacks)]
        for callback in watching:
            callback.watch(others)
        is_resumed = self.optimizer is not None and self._is_resumed
        finite = FiniteLoss() if uses_coordinator(self.distribute_strategy) else FiniteLossOfSteps()
        return [finite, *others, *companions(others, is_resumed=is_resumed), *watching]

    def _regularization_loss(self) -> tf.Tensor:
        losses = [tf.reduce_sum(loss) for loss in self.losses]
        # The replicas' shares are added up.
        return tf.add_n(losses) / num_replicas() if losses else tf.zeros([])

    def _measure(self, batch: Any, loss: tf.Tensor, regularization: tf.Tensor) -> dict[str, Any]:
        # The means add up what each replica has taken in: as many times its share, by as small a part of the weight.
        count, weight = num_replicas(), sum_over_replicas(self.batch_weight(batch))
        self._means.update(count * loss, count * regularization, weight / count)
        return {} if self._leaves_out_results else self.get_metrics_result()

    def _measures_itself(self, name: str) -> bool:
        step = name.replace("function", "step")
        return getattr(type(self), step) is getattr(KerasSteps, step)

    def _validate_and_get_metrics_result(self, logs: Any) -> Any:
        """Returns the results of the metrics as numbers; called by Keras at the end of an epoch.

        Its own method computes them once more outside the graph, which may take longer than the steps. A user's own
        steps and several replicas may need that.
        """
        is_computed = self._measures_itself("train_function") and self._measures_itself("test_function")
        if not is_computed or not self._is_one_device:
            return super()._validate_and_get_metrics_result(logs)
        values = {name: np.asarray(value) for name, value in logs.items()}
        return {name: value.item() if value.ndim == 0 else value for name, value in values.items()}
