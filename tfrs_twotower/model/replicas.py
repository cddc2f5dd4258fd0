"""Training on the replicas of a `tf.distribute` strategy: which piece of a batch each takes, and what they exchange.

A step on several replicas is the step that one device would take with the whole batch. Each replica's loss is its share
of the batch's, because the gradients are added up; what a softmax compares is gathered from all replicas.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

_SUPPORTED = (
    tf.distribute.MirroredStrategy,
    tf.distribute.MultiWorkerMirroredStrategy,
    tf.distribute.OneDeviceStrategy,
    tf.distribute.ParameterServerStrategy,
)
_Result = TypeVar("_Result")
_Model = TypeVar("_Model", bound=tf.keras.Model)


def num_replicas() -> int:
    """Returns the number of replicas that take this step together; 1 outside of one."""
    return 1 if tf.distribute.in_cross_replica_context() else int(tf.distribute.get_strategy().num_replicas_in_sync)


def is_supported(strategy: tf.distribute.Strategy) -> bool:
    """Whether a strategy is of a kind that distributes training, and that this library can train under.

    Args:
        strategy: The strategy of a model.
    """
    return isinstance(strategy, _SUPPORTED)


def uses_coordinator(strategy: tf.distribute.Strategy) -> bool:
    """Whether one process schedules the steps of others, which run no Python, and parameter servers keep the weights.

    Args:
        strategy: The strategy of a model.
    """
    return isinstance(strategy, tf.distribute.ParameterServerStrategy)


def require_supported(strategy: tf.distribute.Strategy) -> None:
    """Raises an error if a model cannot be trained under a strategy, before TensorFlow does.

    Args:
        strategy: The strategy in whose scope the model was built.

    Raises:
        NotImplementedError: If it is of another kind than those that are tested.
    """
    if strategy is not outside_scopes(tf.distribute.get_strategy) and not is_supported(strategy):
        raise NotImplementedError(
            "A model can be trained under a MirroredStrategy, a MultiWorkerMirroredStrategy, a OneDeviceStrategy or a "
            f"ParameterServerStrategy. Received: {type(strategy).__name__}."
        )


def require_whole_tables(function: str) -> None:
    """Raises an error in the scope of a strategy that may split tables between parameter servers.

    Args:
        function: Name of the function that needs them whole.

    Raises:
        NotImplementedError: If there is one.
    """
    if uses_coordinator(tf.distribute.get_strategy()):
        raise NotImplementedError(
            f"`{function}` changes whole tables after training, which parameter servers do not have. Build the model "
            "by `build_two_tower` and train it by `fit`, or use another strategy. Received: ParameterServerStrategy."
        )


def num_workers(strategy: tf.distribute.Strategy) -> int:
    """Returns the number of processes whose replicas take each step together.

    Args:
        strategy: The strategy of a model.
    """
    if strategy.num_replicas_in_sync == 1:
        return 1
    return int(strategy.num_replicas_in_sync) // len(strategy.extended.worker_devices)


def sum_over_replicas(value: tf.Tensor) -> tf.Tensor:
    """Returns the sum of a number over all replicas that take this step together.

    Args:
        value: float32, any shape.
    """
    if num_replicas() == 1:
        return value
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, value)


def mean_over_replicas(values: tf.Tensor) -> tf.Tensor:
    """Returns the mean of a vector over all replicas that take this step together, a scalar.

    Args:
        values: float32 [n], of which each replica has some.
    """
    if num_replicas() == 1:
        return tf.reduce_mean(values)
    total, size = tf.unstack(
        sum_over_replicas(tf.stack([tf.reduce_sum(values), tf.cast(tf.size(values), values.dtype)]))
    )
    return tf.math.divide_no_nan(total, size)


def share_of_loss(loss: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    """Returns what a replica adds to the loss of the whole batch, which is the weighted mean of the replicas' losses.

    Args:
        loss: float32 scalar, the mean over this replica's piece.
        weight: float32 scalar, what the piece counts.
    """
    if num_replicas() == 1:
        return loss
    return loss * tf.math.divide_no_nan(weight, sum_over_replicas(weight))


def gather_candidates(candidates: tf.Tensor, rows_before: tf.Tensor | None) -> tf.Tensor:
    """Returns the candidates of all replicas, this one's first and then those of the next replicas in turn.

    Args:
        candidates: float32 [num_rows, embedding_dim], those of this replica.
        rows_before: The number of candidates of the replicas before this one; None if there is nothing to gather.
    """
    if rows_before is None:
        return candidates
    gathered = tf.distribute.get_replica_context().all_gather(candidates, axis=0)
    return tf.roll(gathered, -rows_before, axis=0)


def distribute_pieces(
    batches: tf.data.Dataset, strategy: tf.distribute.Strategy, piece_of: Callable[[Any, int, int], Any]
) -> Any:
    """Returns an endless `tf.distribute.DistributedDataset` that gives every replica its piece of each batch.

    Each worker computes the rows of all batches and keeps its own.

    Args:
        batches: Batches of all replicas, which are repeated.
        strategy: The strategy.
        piece_of: From (batch, index, count) to the piece of replica `index` out of `count`.
    """

    def pieces_for(context: tf.distribute.InputContext) -> tf.data.Dataset:
        count = context.num_replicas_in_sync
        per_worker = count // context.num_input_pipelines
        first = context.input_pipeline_id * per_worker

        def split(batch: Any) -> tf.data.Dataset:
            pieces = [
                tf.data.Dataset.from_tensors(piece_of(batch, first + place, count)) for place in range(per_worker)
            ]
            joined = pieces[0]
            for piece in pieces[1:]:
                joined = joined.concatenate(piece)
            return joined

        endless = batches.repeat().flat_map(split)
        return endless.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)).prefetch(
            2 * per_worker
        )

    return strategy.distribute_datasets_from_function(pieces_for)


def known_steps(argument: str, batches: tf.data.Dataset, steps: int | None) -> int:
    """Returns the number of steps of a pass over batches.

    Args:
        argument: The argument of `fit` that the batches were given as.
        batches: The batches.
        steps: The number, if it is given.

    Raises:
        TypeError: If the batches are no data set.
        ValueError: If it is neither given nor known.
    """
    if not isinstance(batches, tf.data.Dataset):
        raise TypeError(
            f"`{argument}` must be a tf.data.Dataset of batches to be split among replicas. "
            f"Received: {type(batches).__name__}."
        )
    number = int(batches.cardinality()) if steps is None else steps
    if number < 0:
        raise ValueError(
            f"`{argument}` must have a known number of batches to be split among replicas: apply "
            "`tf.data.experimental.assert_cardinality`, or say how many steps an epoch has. Received: cardinality "
            f"{number}."
        )
    return number


def outside_scopes(function: Callable[[], _Result]) -> _Result:
    """Calls a function outside the scope of any strategy, whose variables would be distributed.

    Args:
        function: Takes nothing.
    """
    if not tf.distribute.has_strategy():
        return function()
    # A scope is of a thread, and there is no other way to leave it for a while.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(function).result()


def undistributed(model: _Model) -> _Model:
    """Returns a model whose weights are not distributed: a copy, or the model itself if they are not.

    Every worker must call it, because some weights, such as the statistics of batch normalisation, are means over all.

    Args:
        model: A model that `get_config` describes.
    """
    is_distributed = model.distribute_strategy is not outside_scopes(tf.distribute.get_strategy)
    return copy_uncompiled(model) if is_distributed else model


def copy_uncompiled(model: _Model) -> _Model:
    """Returns a copy of a model outside the scopes of all strategies, without an optimizer; see `undistributed`.

    Args:
        model: A model that `get_config` describes.
    """
    copy = outside_scopes(lambda: type(model).from_config(model.get_config()))
    copy.set_weights(whole_weights(model.get_weights(), [weight.shape for weight in copy.weights]))
    return copy


def whole_weights(weights: Sequence[np.ndarray], shapes: Sequence[Sequence[int]]) -> list[np.ndarray]:
    """Joins the parts of tables that parameter servers share; other weights stay as they are.

    Args:
        weights: Arrays, the parts of a table one after the other.
        shapes: The shapes of the whole arrays.

    Example:
        >>> [len(weight) for weight in whole_weights([np.zeros([2, 4]), np.ones([1, 4]), np.zeros(4)], [[3, 4], [4]])]
        [3, 4]
    """
    parts = iter(weights)
    whole = []
    for shape in shapes:
        found = [next(parts)]
        while len(shape) and sum(map(len, found)) < shape[0]:
            found.append(next(parts))
        whole.append(found[0] if len(found) == 1 else np.concatenate(found))
    return whole


def mean_of_workers(values: Sequence[float], strategy: tf.distribute.Strategy) -> list[float]:
    """Returns the means of numbers over all workers, the same on each of them. Every worker must call it.

    Args:
        values: This worker's numbers.
        strategy: The strategy of the model.
    """
    if num_workers(strategy) == 1:
        return list(values)

    @tf.function
    def reduce(given: tf.Tensor) -> tf.Tensor:
        return strategy.reduce(tf.distribute.ReduceOp.MEAN, strategy.run(tf.identity, args=(given,)), axis=None)

    return reduce(tf.constant(list(values), tf.float64)).numpy().tolist()


def on_first_worker(function: Callable[[], int], strategy: tf.distribute.Strategy) -> int:
    """Calls a function on one worker, and returns its result on every worker. Every worker must call this.

    Args:
        function: Takes nothing, and returns a number from 0 to 2 ** 31.
        strategy: The strategy of the model.

    Raises:
        RuntimeError: On the other workers, if the function raises an error on the first.
    """
    if num_workers(strategy) == 1:
        return function()
    if not strategy.extended.should_checkpoint:
        (mean,) = mean_of_workers([0.0], strategy)
        if mean < 0:
            raise RuntimeError("The first worker failed. Its own error says why.")
        return round(mean * num_workers(strategy))
    try:
        result = function()
    except BaseException:
        mean_of_workers([-1.0], strategy)
        raise
    mean_of_workers([float(result)], strategy)
    return result


class SameStop(tf.keras.callbacks.Callback):
    """Stops every worker after the epoch in which another callback stops one of them; the others would wait for it."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Asks all workers."""
        del epoch, logs
        (share,) = mean_of_workers([float(self.model.stop_training)], self.model.distribute_strategy)
        self.model.stop_training = share > 0
