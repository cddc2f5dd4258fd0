"""The warm-up file: requests that TensorFlow Serving replays before it serves a version, so that no user waits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf
from tensorflow_serving.apis import model_pb2, predict_pb2, prediction_log_pb2

from tfrs_twotower.bundle.layout import WARMUP_FILE
from tfrs_twotower.bundle.requests import Request

# TensorFlow Serving refuses longer files.
_MAX_REQUESTS = 1000


def write_warmup(path: Path, requests: Sequence[Request], batch_sizes: Sequence[int], *, name: str) -> None:
    """Writes requests at several batch sizes, with their rows repeated to fill them.

    Args:
        path: A bundle on disk.
        requests: At least one row each. The file is as public as the model: they must hold nothing about a query.
        batch_sizes: Rows of each request, >= 1.
        name: The model's name in the requests.

    Raises:
        OSError: If it cannot be written.
    """
    records = [
        prediction_log_pb2.PredictionLog(
            predict_log=prediction_log_pb2.PredictLog(
                request=predict_pb2.PredictRequest(
                    model_spec=model_pb2.ModelSpec(name=name, signature_name=request.signature),
                    inputs={
                        key: tf.make_tensor_proto(_resized(values, size)) for key, values in request.inputs.items()
                    },
                )
            )
        )
        for size in batch_sizes
        for request in requests
    ]
    try:
        with tf.io.TFRecordWriter(str(path / WARMUP_FILE)) as writer:
            for record in records:
                writer.write(record.SerializeToString(deterministic=True))
    except tf.errors.OpError as error:
        raise OSError(f"The warm-up file cannot be written to {path}: {error.message}") from error


def read_warmup(path: Path) -> list[Request]:
    """Reads the requests of a bundle's warm-up file, in order.

    Args:
        path: A bundle on disk.

    Raises:
        OSError: If there is no such file, or it is damaged.
    """
    requests = []
    try:
        for record in tf.data.TFRecordDataset(str(path / WARMUP_FILE)):
            request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
            inputs = {name: tf.constant(tf.make_ndarray(values)) for name, values in request.inputs.items()}
            requests.append(Request(signature=request.model_spec.signature_name, inputs=inputs))
    except tf.errors.OpError as error:
        raise OSError(f"The warm-up file of {path} cannot be read: {error.message}") from error
    return requests


def require_batch_sizes(batch_sizes: Sequence[int]) -> None:
    """Checks what a user asks for, before anything that takes time.

    Raises:
        ValueError: If a size is less than 1, or there are so many that the file would be too long.
    """
    if not isinstance(batch_sizes, Sequence) or not all(isinstance(size, int) and size >= 1 for size in batch_sizes):
        raise ValueError(f"`warmup_batch_sizes` must be whole numbers >= 1. Received: {batch_sizes!r}.")
    max_sizes = _MAX_REQUESTS // 10
    if len(batch_sizes) > max_sizes:
        raise ValueError(f"`warmup_batch_sizes` must be at most {max_sizes} sizes. Received: {len(batch_sizes)}.")


def _resized(values: tf.Tensor, size: int) -> tf.Tensor:
    return tf.gather(values, tf.range(size) % len(values))
