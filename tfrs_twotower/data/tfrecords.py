"""TFRecord files of `tf.train.Example`; the only module of this folder that imports TensorFlow."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf
from google.protobuf.message import DecodeError

_PARSE_BATCH_SIZE = 8192
_NUM_INSPECTED = 1000
_READ_BUFFER_BYTES = 2**23


def parse_tfrecords(paths: Sequence[str], spec: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Parses files of `tf.train.Example` in bulk.

    Args:
        paths: Files, read in this order.
        spec: Feature name -> how to parse it, as `tf.io.parse_example` takes it.

    Returns:
        Batches of parsed tensors.

    Example:
        >>> import tempfile
        >>> example = tf.train.Example()
        >>> example.features.feature["stars"].int64_list.value.append(4)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with tf.io.TFRecordWriter(f"{folder}/a.tfrecord") as writer:
        ...         writer.write(example.SerializeToString())
        ...     batches = parse_tfrecords([f"{folder}/a.tfrecord"], {"stars": tf.io.FixedLenFeature((), tf.int64)})
        >>> batches[0]["stars"].numpy().tolist()
        [4]
    """
    options = tf.data.Options()
    # Autotuning is as likely to halve the rate as to raise it: a file has been read before anything is tuned.
    options.autotune.enabled = False
    batches = (
        tf.data.TFRecordDataset(list(paths), buffer_size=_READ_BUFFER_BYTES)
        .batch(_PARSE_BATCH_SIZE)
        .map(lambda serialized: tf.io.parse_example(serialized, spec), num_parallel_calls=os.cpu_count())
        .prefetch(2)
        .with_options(options)
    )
    return list(batches)


def read_tfrecords(path: Path) -> pa.Table:
    """Reads one TFRecord file of `tf.train.Example` without being told its features.

    Args:
        path: The file.

    Returns:
        The features that occur in the first 1,000 examples, in alphabetical order. A feature that has exactly one value
        in every example becomes a column of scalars, any other a column of lists.

    Raises:
        pa.ArrowInvalid: If the file is damaged or holds something else.
    """
    try:
        return _read_examples(path)
    except (tf.errors.OpError, DecodeError) as error:
        raise pa.ArrowInvalid(str(error)) from error


def _read_examples(path: Path) -> pa.Table:
    records = tf.data.TFRecordDataset([str(path)])
    first = next(iter(records.take(1)), None)
    if first is None:
        if path.stat().st_size:  # TensorFlow takes a fragment shorter than a record's header for the end of the file
            raise pa.ArrowInvalid("it does not hold a whole record")
        return pa.table({})
    kinds = {"bytes_list": tf.string, "float_list": tf.float32, "int64_list": tf.int64}
    spec = {}
    for record in records.take(_NUM_INSPECTED).as_numpy_iterator():
        for name, value in tf.train.Example.FromString(record).features.feature.items():
            if value.WhichOneof("kind") is not None:
                spec[name] = tf.io.RaggedFeature(kinds[value.WhichOneof("kind")])
    batches = parse_tfrecords([str(path)], spec)
    tables = [pa.table({name: _list_array(batch[name]) for name in sorted(spec)}) for batch in batches]
    table = pa.concat_tables(tables).combine_chunks()
    return pa.table({name: _scalars_if_possible(table[name].combine_chunks()) for name in table.column_names})


def _list_array(ragged: tf.RaggedTensor) -> pa.Array:
    values = ragged.values.numpy()
    items = pa.array(values, pa.binary()).cast(pa.string()) if values.dtype == object else pa.array(values)
    return pa.ListArray.from_arrays(pa.array(ragged.row_splits.numpy(), pa.int32()), items)


def _scalars_if_possible(lists: pa.ListArray) -> pa.Array:
    return lists.flatten() if np.all(lists.value_lengths().to_numpy() == 1) else lists
