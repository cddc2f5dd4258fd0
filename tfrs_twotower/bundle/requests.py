"""Requests for every signature: those that compare a bundle with the model in memory, and those that warm it up."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import pyarrow as pa
import tensorflow as tf

from tfrs_twotower.bundle.signatures import Inputs
from tfrs_twotower.features.columns import missing_input
from tfrs_twotower.features.input_names import CANDIDATE_INPUT, EXCLUDE_INPUT, FILTER_PREFIX
from tfrs_twotower.features.tensors import raw_tensors
from tfrs_twotower.index.filters import filter_values

#: Number of queries and candidates that a new bundle is compared by.
NUM_CHECKED = 32
# Number of candidates in a history.
_NUM_GIVEN = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """A call of a signature.

    Attributes:
        signature: Name of the signature.
        inputs: Input name -> tensor.
    """

    signature: str
    inputs: Mapping[str, tf.Tensor]


def sample_requests(
    inputs: Inputs, catalogue: pa.Table, *, id_column: str, filter_by: Sequence[str], known: Mapping[str, tf.Tensor]
) -> list[Request]:
    """Makes requests for known queries, for an unknown query with a history, and for the first candidates.

    Args:
        inputs: Inputs of the signatures.
        catalogue: One row per candidate.
        id_column: Column of the candidates' ids.
        filter_by: Columns that recommendations may be filtered by.
        known: Raw features of some known queries, at least their ids; may have no rows.
    """
    rows, num_queries = catalogue.slice(0, NUM_CHECKED), len(next(iter(known.values())))
    ids = tf.constant(rows[id_column].to_pylist(), tf.string)
    unknown = {spec.name: missing_input(spec) for spec in inputs.query}
    unknown.update(dict.fromkeys(inputs.histories, ids[tf.newaxis, :_NUM_GIVEN]))
    queries = unknown
    if num_queries:
        queries = {spec.name: known.get(spec.name, missing_input(spec, num_queries)) for spec in inputs.query}
    num_pairs = min(max(1, num_queries), rows.num_rows)
    pairs = {name: values[:num_pairs] for name, values in queries.items()}
    excluding = {EXCLUDE_INPUT: tf.repeat(ids[tf.newaxis, :_NUM_GIVEN], max(1, num_queries), axis=0)}
    requests = [
        Request(signature="recommend", inputs=queries),
        Request(signature="serving_default", inputs=unknown),
        Request(signature="recommend_excluding", inputs={**queries, **excluding}),
        Request(signature="similar", inputs={CANDIDATE_INPUT: ids}),
        Request(signature="score", inputs={**pairs, CANDIDATE_INPUT: ids[:num_pairs]}),
        Request(signature="embed_query", inputs=queries),
        Request(signature="embed_candidate", inputs=raw_candidates(rows, inputs.candidate)),
    ]
    if filter_by:
        given = {FILTER_PREFIX + name: tf.constant([filter_values(rows, name)[0]], tf.string) for name in filter_by}
        nothing = {EXCLUDE_INPUT: tf.constant([[""]], tf.string)}
        requests.append(Request(signature="recommend_filtered", inputs={**unknown, **nothing, **given}))
    return requests


def invented_requests(
    inputs: Inputs, catalogue: pa.Table, *, id_column: str, filter_by: Sequence[str]
) -> list[Request]:
    """Makes requests that say nothing about any query, for a file that lies beside the model.

    An unknown query runs the same operations as a known one.

    Args:
        inputs: Inputs of the signatures.
        catalogue: One row per candidate.
        id_column: Column of the candidates' ids.
        filter_by: Columns that recommendations may be filtered by.
    """
    nobody = {spec.name: missing_input(spec, 0) for spec in inputs.query}
    return sample_requests(inputs, catalogue, id_column=id_column, filter_by=filter_by, known=nobody)


def raw_candidates(table: pa.Table, specs: Sequence[tf.TensorSpec]) -> dict[str, tf.Tensor]:
    """Returns the raw features of candidates; a column that the table lacks is missing in every row.

    Args:
        table: One row per candidate.
        specs: The features.
    """
    present = [spec for spec in specs if spec.name in table.column_names]
    missing = {spec.name: missing_input(spec, table.num_rows) for spec in specs}
    return {**missing, **raw_tensors(table, present)}
