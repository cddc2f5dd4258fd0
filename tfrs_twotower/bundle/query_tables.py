"""Tables of queries as inputs of a bundle's signatures, and the signatures' outputs as tables of recommendations."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

from tfrs_twotower.bundle.manifest import Manifest
from tfrs_twotower.data.columns import plain_column, plain_table, require_columns
from tfrs_twotower.data.times import seconds
from tfrs_twotower.features.columns import MISSING, as_float32, is_any_list, is_number, list_rows, missing_input
from tfrs_twotower.features.input_names import EXCLUDE_INPUT, FILTER_PREFIX
from tfrs_twotower.features.tensors import raw_tensors
from tfrs_twotower.index.ordering import NO_SCORE


class QueryTables:
    """Turns tables of queries, which all have the same columns, into inputs of a bundle's signatures.

    The column of the queries' ids must be there, since it says whose recommendations a row has. Another input without a
    column is missing. Columns that are not inputs are ignored.

    Args:
        manifest: Description of the bundle.
        schema: The columns of the tables. They have the names of the inputs, or those that they had in the user's table
            when the model was trained.

    Attributes:
        signature: Name of the signature that takes these columns.
        id_column: Column of the queries' ids.
        columns: All columns that are read, that of the ids first.
        ignored: The other columns.
        missing: Query features of the bundle that have no column, except those of the context.
        missing_context: Features of the context that have no column.

    Raises:
        ValueError: If there is no column of ids, a column occurs twice, or the bundle does not have a filter.
        TypeError: If a column holds values of another type than its input.
    """

    def __init__(self, manifest: Manifest, schema: pa.Schema) -> None:
        query, originals = manifest.model.query, manifest.model.original_names
        columns = {
            name: original
            for name, original in originals.items()
            if original in schema.names and name not in schema.names
        }
        self.id_column = columns.get(query.id, query.id)
        require_columns(schema.empty_table(), [self.id_column], "The table of queries")
        specs = {columns.get(spec.name, spec.name): spec.tensor_spec for spec in query.inputs}
        self._specs = {column: spec for column, spec in specs.items() if column in schema.names}
        self._absent = [spec for column, spec in specs.items() if column not in schema.names]
        self._histories_of = {
            columns.get(name, name): columns.get(history, history) for name, history in query.histories_of.items()
        }
        self._conditions = _find_conditions(manifest, schema)
        self.signature = "recommend"
        if self._conditions:
            is_filtered = any(name != EXCLUDE_INPUT for name in self._conditions)
            self.signature = "recommend_filtered" if is_filtered else "recommend_excluding"
            filters = [FILTER_PREFIX + name for name in manifest.filter_by] if is_filtered else []
            lists = [tf.TensorSpec([None, None], tf.string, name=name) for name in (EXCLUDE_INPUT, *filters)]
            self._absent += [spec for spec in lists if spec.name not in self._conditions]
        self.columns = tuple(dict.fromkeys([self.id_column, *self._specs, *self._conditions]))
        self.ignored = tuple(name for name in schema.names if name not in self.columns)
        missing = [spec.name for spec in self._absent if query.input(spec.name) is not None]
        self.missing = tuple(name for name in missing if name not in query.context)
        self.missing_context = tuple(name for name in missing if name in query.context)
        # Columns of a wrong type are found before there are rows.
        nothing = schema.empty_table()
        self.ids(nothing)
        self.tensors(nothing)

    def ids(self, table: pa.Table) -> tf.Tensor:
        """Returns the queries' ids as the bundle compares them, string [batch], "" where they are missing.

        Args:
            table: Queries, at least with the column of ids.
        """
        spec = tf.TensorSpec([None], tf.string, name=self.id_column)
        return raw_tensors(table.select([self.id_column]), [spec])[self.id_column]

    def tensors(self, table: pa.Table, first_row: int = 0) -> dict[str, tf.Tensor]:
        """Returns the inputs of the signature by their names.

        Args:
            table: Queries, at least with the columns that are read.
            first_row: Number of the first row in errors.

        Raises:
            ValueError: If a value is impossible; names the column and the row.
            TypeError: If a column holds values of another type than its input.
        """
        table = plain_table(table.select(self.columns), "queries")
        tensors = {spec.name: missing_input(spec, table.num_rows) for spec in self._absent}
        for column, spec in self._specs.items():
            _require_possible(table[column].combine_chunks(), column, spec, first_row)
            tensors[spec.name] = _to_tensor(table, column, spec)
        for column, history in self._histories_of.items():
            if column in self._specs:
                _require_equal_lengths(table, column, history, first_row)
                width = tf.shape(tensors[self._specs[history].name])[1] if history in self._specs else 1
                name = self._specs[column].name
                tensors[name] = _pad_to(tensors[name], width)
        return tensors | {name: _to_lists(table, name) for name in self._conditions}

    def result(self, queries: pa.Table, outputs: Mapping[str, tf.Tensor]) -> pa.Table:
        """Returns the recommendations for a table of queries.

        Args:
            queries: The queries, of which the result has the ids as they are.
            outputs: Those of the signature, [batch, k].

        Returns:
            The ids of the queries, and a list for each output, without empty slots.
        """
        is_found = outputs["scores"].numpy() != NO_SCORE
        offsets = np.concatenate([[0], np.cumsum(is_found.sum(axis=1))]).astype(np.int32)
        columns = {self.id_column: plain_column(queries[self.id_column], f"queries.{self.id_column}")}
        for name, values in outputs.items():
            found = values.numpy()[is_found]
            flat = pa.array(found, pa.binary()).cast(pa.string()) if values.dtype == tf.string else pa.array(found)
            columns[name] = pa.ListArray.from_arrays(offsets, flat)
        order = ("candidate_ids", "scores", "probabilities")
        return pa.table({name: columns[name] for name in (self.id_column, *order) if name in columns})


def _find_conditions(manifest: Manifest, schema: pa.Schema) -> list[str]:
    """Returns the columns of exclusions and filters."""
    filters = [name for name in schema.names if name.startswith(FILTER_PREFIX)]
    unknown = [name for name in filters if name.removeprefix(FILTER_PREFIX) not in manifest.filter_by]
    if unknown:
        known = ", ".join(FILTER_PREFIX + name for name in manifest.filter_by)
        raise ValueError(
            f"The table of queries has the column {unknown[0]}, but the bundle "
            f"{f'has only these filters: {known}' if known else 'has no filters'}. Rename the column, or export the "
            "bundle with another `filter_by`."
        )
    return [EXCLUDE_INPUT, *filters] if EXCLUDE_INPUT in schema.names else filters


def _to_tensor(table: pa.Table, column: str, spec: tf.TensorSpec) -> tf.Tensor:
    # Errors name the column, which may be called otherwise than the input.
    named = tf.TensorSpec(spec.shape, spec.dtype, name=column)
    return raw_tensors(table.select([column]), [named])[column]


def _to_lists(table: pa.Table, name: str) -> tf.Tensor:
    """Returns string [batch, any] of a column of lists, or of single values."""
    kind = table.schema.field(name).type
    is_list = is_any_list(kind) or pa.types.is_null(kind)
    tensor = _to_tensor(table, name, tf.TensorSpec([None, None] if is_list else [None], tf.string, name=name))
    return tensor if is_list else tensor[:, tf.newaxis]


def _pad_to(numbers: tf.Tensor, width: tf.Tensor | int) -> tf.Tensor:
    return tf.pad(numbers, [[0, 0], [0, width - tf.shape(numbers)[1]]], constant_values=MISSING[numbers.dtype])


def _require_possible(column: pa.Array, name: str, spec: tf.TensorSpec, first_row: int) -> None:
    """Checks that numbers are finite, that vectors have their length, and that times exist; not the column's type."""
    is_list = is_any_list(column.type)
    values = column.flatten() if is_list else column
    if spec.dtype == tf.float32 and is_number(values.type):
        is_bad = values.is_valid().to_numpy(zero_copy_only=False) & ~np.isfinite(as_float32(values))
        rows = list_rows(column) if is_list else np.arange(len(column))
        _refuse(rows[is_bad], column, name, "hold numbers that are finite in float32", first_row)
        if is_list and spec.shape[1] is not None:
            lengths = _lengths(column)
            is_bad = ~np.isnan(lengths) & (lengths != spec.shape[1])
            _refuse(np.flatnonzero(is_bad), column, name, f"hold lists of {spec.shape[1]} numbers", first_row)
    elif spec.dtype == tf.int64 and (pa.types.is_string(values.type) or pa.types.is_floating(values.type)):
        is_bad = pc.and_(column.is_valid(), seconds(column).is_null()).to_numpy(zero_copy_only=False)
        _refuse(np.flatnonzero(is_bad), column, name, "hold times", first_row)


def _refuse(rows: np.ndarray, column: pa.Array, name: str, rule: str, first_row: int) -> None:
    """Raises an error that names the first of some rows, if there is one."""
    if rows.size:
        raise ValueError(
            f"`{name}` must {rule}; a missing value is null. Received in row {first_row + rows[0]}: "
            f"{column[int(rows[0])].as_py()!r}."
        )


def _require_equal_lengths(table: pa.Table, name: str, history: str, first_row: int) -> None:
    """Checks that a history has as many ratings, or times, as candidates, or null for all of them."""
    lengths, expected = _lengths(table[name].combine_chunks()), np.zeros(table.num_rows)
    if history in table.column_names:
        expected = np.nan_to_num(_lengths(table[history].combine_chunks()))
    bad = np.flatnonzero(~np.isnan(lengths) & (lengths != expected))
    if bad.size:
        row = bad[0]
        raise ValueError(
            f"`{name}` must be as long as `{history}`. Received in row {first_row + row}: lists of "
            f"{lengths[row]:.0f} and {expected[row]:.0f}."
        )


def _lengths(column: pa.Array) -> np.ndarray:
    """Returns float64 [num_rows], the lengths of lists, NaN for null."""
    if pa.types.is_null(column.type):
        return np.full(len(column), np.nan)
    lengths: np.ndarray = pc.list_value_length(column).cast(pa.float64()).to_numpy(zero_copy_only=False)
    return lengths
