"""A side of a loaded bundle that can be saved again any number of times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf


class RestoredSide(tf.Module):
    """The functions and variables of a loaded side, with new lookup tables.

    A loaded table that is saved again is wrapped in three more functions each time, so that a bundle would load more
    slowly every time its catalogue had been refreshed.

    Args:
        side: A `QuerySide` or `CandidateSide` as TensorFlow loads it.
        functions: Names of its functions.
        variables: Names of the variables that are read by name.
    """

    def __init__(self, side: Any, functions: Sequence[str], variables: Sequence[str]) -> None:
        super().__init__(name="restored_side")
        loaded = {name: getattr(side, name) for name in functions}
        self.captured_variables = [v for function in loaded.values() for v in function.graph.variables]
        handles = {id(variable.handle) for variable in self.captured_variables}
        tables: dict[int, tf.lookup.StaticHashTable] = {}
        for name, function in loaded.items():
            captures = list(function.captured_inputs)
            for place, capture in enumerate(captures):
                if capture.dtype == tf.resource and id(capture) not in handles:
                    if id(capture) not in tables:
                        tables[id(capture)] = _copy_table(capture)
                    captures[place] = tables[id(capture)].resource_handle
            function.set_external_captures(captures)
            setattr(self, name, function)
        self.tables = list(tables.values())
        for name in variables:
            setattr(self, name, getattr(side, name))


def _copy_table(handle: tf.Tensor) -> tf.lookup.StaticHashTable:
    """Returns a table with the keys and values of another; the caller of a lookup gives the default."""
    for key_dtype, value_dtype in ((tf.string, tf.int64), (tf.string, tf.int32), (tf.int64, tf.int64)):
        nothing, default = tf.constant([], key_dtype), tf.constant(-1, value_dtype)
        try:
            # Looking up nothing in a table of other types is an error. Exporting it with them would end the process.
            tf.raw_ops.LookupTableFindV2(table_handle=handle, keys=nothing, default_value=default)
        except tf.errors.InvalidArgumentError:
            continue
        exported = tf.raw_ops.LookupTableExportV2(table_handle=handle, Tkeys=key_dtype, Tvalues=value_dtype)
        return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(exported.keys, exported.values), default)
    raise ValueError("The bundle has a lookup table of an unknown kind. Export it again.")
