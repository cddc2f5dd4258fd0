"""The sides of a loaded bundle, which can be saved again any number of times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfrs_twotower.features.input_names import CANDIDATE_INPUT


class RestoredQuerySide(tf.Module):
    """The query side of a loaded bundle, with the functions and variables of a `QuerySide`.

    Args:
        side: A `QuerySide` as TensorFlow loads it.
    """

    def __init__(self, side: Any) -> None:
        super().__init__(name="restored_query_side")
        self.embed, self.recall = side.embed, side.recall
        functions = [self.embed, self.recall]
        # Bundles of older versions score a pair with the whole history.
        self.embed_pairs = self._embed_queries_of_pairs
        if hasattr(side, "embed_pairs"):
            self.embed_pairs = side.embed_pairs
            functions.append(self.embed_pairs)
        if hasattr(side, "remember"):
            self.remember = side.remember
            functions.append(self.remember)
        self.resources = _Resources(functions)
        self.candidate_ids, self.sample, self.sample_ids = side.candidate_ids, side.sample, side.sample_ids
        # Refreshed bundles lacked the known queries at first, except where functions look them up.
        if hasattr(side, "queries"):
            self.queries = _RestoredKnownQueries(self.resources.copy_of(side.queries.table))

    def _embed_queries_of_pairs(self, **features: tf.Tensor) -> Any:
        return self.embed(**{name: values for name, values in features.items() if name != CANDIDATE_INPUT})


class _RestoredKnownQueries(tf.Module):
    """What `are_known` needs of the `KnownQueries` of a loaded bundle."""

    def __init__(self, table: tf.lookup.StaticHashTable) -> None:
        super().__init__(name="restored_known_queries")
        self.table = table


class RestoredCandidateSide(tf.Module):
    """The candidate side of a loaded bundle, with the function and the variable of a `CandidateSide`.

    Args:
        side: A `CandidateSide` as TensorFlow loads it.
    """

    def __init__(self, side: Any) -> None:
        super().__init__(name="restored_candidate_side")
        self.embed = side.embed
        self.resources = _Resources([self.embed])
        self.is_latent = side.is_latent


class _Resources(tf.Module):
    """Holds the variables of loaded functions, and new lookup tables, which replace the functions' own.

    A loaded table that is saved again is wrapped in three more functions each time, so that a bundle would load more
    slowly every time its catalogue had been refreshed.

    Args:
        functions: Loaded concrete functions.
    """

    def __init__(self, functions: Sequence[Any]) -> None:
        super().__init__(name="resources")
        self.captured_variables = [variable for function in functions for variable in function.graph.variables]
        handles = {id(variable.handle) for variable in self.captured_variables}
        tables: dict[int, tf.lookup.StaticHashTable] = {}
        for function in functions:
            captures = list(function.captured_inputs)
            for place, capture in enumerate(captures):
                if capture.dtype == tf.resource and id(capture) not in handles:
                    if id(capture) not in tables:
                        tables[id(capture)] = _copy_table(capture)
                    captures[place] = tables[id(capture)].resource_handle
            function.set_external_captures(captures)
        self.tables = list(tables.values())
        self._replaced = tuple(tables)

    def copy_of(self, table: Any) -> tf.lookup.StaticHashTable:
        """Returns the table that replaces a loaded one, or a new copy if no function looks anything up in it.

        Args:
            table: As TensorFlow loads it.
        """
        handle = table.resource_handle
        return self.tables[self._replaced.index(id(handle))] if id(handle) in self._replaced else _copy_table(handle)


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
