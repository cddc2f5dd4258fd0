"""What the explorer's page asks a version beyond its signatures, inside a worker process: names, ids and histories."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

from tfrs_twotower.bundle.candidate_names import choose_name_column
from tfrs_twotower.bundle.known_queries import list_known
from tfrs_twotower.bundle.layout import REPORT_FILE
from tfrs_twotower.bundle.load import LoadedBundle
from tfrs_twotower.bundle.model_entry import InputSpec
from tfrs_twotower.data.rows import NO_ROW
from tfrs_twotower.server.explorer_answers import (
    Candidate,
    Description,
    Field,
    Filter,
    Found,
    HistoryInput,
    Past,
    PastEvent,
)
from tfrs_twotower.server.text_search import fold, search

# Other columns of a candidate that the page shows beside its name, and characters of each.
_MAX_DETAILS = 3
_MAX_DETAIL = 120
_MAX_NAME = 300
# Values of a filter that the page offers, the most frequent ones.
_MAX_VALUES = 200
# Events of a history that the page shows, the latest ones.
_MAX_EVENTS = 500


class Exploration:
    """Answers questions about a version; what a search needs is prepared when it is first asked for.

    Args:
        bundle: The version.
    """

    def __init__(self, bundle: LoadedBundle) -> None:
        self._bundle, self._manifest = bundle, bundle.manifest
        self._candidates = bundle.candidates
        model = bundle.manifest.model
        self._ids = bundle.candidates[model.candidate.id]
        name = choose_name_column(bundle.candidates, model.candidate.id, model.card.name_column)
        self._names = None if name is None else bundle.candidates[name]
        self._detail_columns = self._choose_details(name)

    def reply(self, question: Mapping[str, Any]) -> bytes:
        """Answers a question, as JSON.

        Args:
            question: Under "ask" the name of a method, and its arguments.
        """
        arguments = dict(question)
        methods = {
            method.__name__: method
            for method in (
                self.describe,
                self.find_candidates,
                self.name_candidates,
                self.find_queries,
                self.draw_query,
                self.remember,
            )
        }
        return orjson.dumps(methods[arguments.pop("ask")](**arguments), option=orjson.OPT_SERIALIZE_NUMPY)

    def describe(self) -> Description:
        """Describes the version."""
        return self._description

    def find_candidates(self, text: str, limit: int) -> Found:
        """Finds candidates whose names or ids contain all words of a text, whatever the case and the accents.

        Args:
            text: The words.
            limit: Maximum number of results.
        """
        folded = self._folded_ids if self._folded_names is None else self._folded_names
        rows, num_found = search([self._folded_ids, folded], text, limit)
        return Found(results=[self._candidate(row) for row in rows], num_found=num_found)

    def name_candidates(self, ids: Sequence[str]) -> list[Candidate]:
        """Names candidates.

        Args:
            ids: Their ids; those that are not in the catalogue are named by their ids.
        """
        table = self._bundle.module.catalogue.table
        default = tf.constant(NO_ROW, tf.int32)
        keys = tf.constant(ids, tf.string, [len(ids)])
        rows = tf.raw_ops.LookupTableFindV2(table_handle=table.resource_handle, keys=keys, default_value=default)
        return [
            Candidate(id=given, name=given, details=[], is_served=False) if row == NO_ROW else self._candidate(row)
            for given, row in zip(ids, rows.numpy().tolist(), strict=True)
        ]

    def find_queries(self, text: str, limit: int) -> Found:
        """Finds known queries whose ids contain all words of a text.

        Args:
            text: The words.
            limit: Maximum number of results.
        """
        rows, num_found = search([self._folded_queries], text, limit)
        return Found(results=self._queries.take(rows).to_pylist(), num_found=num_found)

    def draw_query(self) -> Found:
        """Draws a known query at random."""
        number = len(self._queries)
        rows = np.random.default_rng().integers(0, number, min(1, number))
        return Found(results=self._queries.take(rows).to_pylist(), num_found=number)

    def remember(self, query_id: str) -> Past:
        """Returns what a query has seen.

        Args:
            query_id: Its id.
        """
        if self._known_table is None:
            return Past(is_known=False, num_events=0, events=[])
        is_known = bool(self._bundle.knows([query_id])[0])
        if self._remember is None:
            return Past(is_known=is_known, num_events=0, events=[])
        found = {name: values.numpy()[0] for name, values in self._remember(tf.constant([query_id])).items()}
        ids = [candidate_id.decode() for candidate_id in found["candidate_ids"] if candidate_id]
        ratings: list[float | None] = [None] * len(ids)
        if "ratings" in found:
            ratings = [_rounded(rating) for rating in found["ratings"][: len(ids)].tolist()]
        candidates = self.name_candidates(ids[-_MAX_EVENTS:])
        events = [
            PastEvent(candidate=candidate, rating=rating)
            for candidate, rating in zip(candidates, ratings[-_MAX_EVENTS:], strict=True)
        ]
        return Past(is_known=is_known, num_events=len(ids), events=events[::-1])

    @functools.cached_property
    def _description(self) -> Description:
        model = self._manifest.model
        query = model.query
        rating_of = {history: rating for rating, history in query.ratings_of.items()}
        special = {*query.histories, *query.histories_of}
        if self._known_table is not None:
            special.add(query.id)
        return Description(
            created=self._manifest.created,
            source=model.data.source,
            num_candidates=self._manifest.num_candidates,
            num_queries=model.num_queries,
            k=self._manifest.k,
            positive_threshold=model.positive_threshold,
            highest_rating=self._highest_rating(),
            has_probabilities=model.has_probabilities,
            has_report=(self._bundle.path / REPORT_FILE).is_file(),
            recommends_seen=self._manifest.recommend_seen,
            query_id=query.id if self._known_table is not None else None,
            remembers=self._known_table is not None and self._remember is not None,
            fields=[self._field(spec) for spec in query.inputs if spec.name not in special],
            histories=[HistoryInput(name=name, rating_name=rating_of.get(name)) for name in query.histories],
            filters=[self._filter(name) for name in self._manifest.filter_by],
            metrics=model.metrics,
        )

    @property
    def _known_table(self) -> Any:
        """The table of known queries; None if the bundle knows none, or is too old to tell."""
        query = self._manifest.model.query
        queries = getattr(getattr(self._bundle.module, "query_side", None), "queries", None)
        return None if query.input(query.id) is None or queries is None else queries.table

    @property
    def _remember(self) -> Any:
        """What tells the history of a query; None if the bundle is too old."""
        return getattr(getattr(self._bundle.module, "query_side", None), "remember", None)

    @functools.cached_property
    def _queries(self) -> pa.Array:
        return pa.array([] if self._known_table is None else list_known(self._known_table), pa.binary()).cast(
            pa.string()
        )

    @functools.cached_property
    def _folded_queries(self) -> pa.ChunkedArray:
        return fold(self._queries)

    @functools.cached_property
    def _folded_ids(self) -> pa.ChunkedArray:
        return fold(self._ids)

    @functools.cached_property
    def _folded_names(self) -> pa.ChunkedArray | None:
        return None if self._names is None else fold(self._names)

    def _candidate(self, row: int) -> Candidate:
        candidate_id = self._ids[row].as_py()
        name = None if self._names is None else self._names[row].as_py()
        details = [_to_text(self._candidates[column][row].as_py())[:_MAX_DETAIL] for column in self._detail_columns]
        return Candidate(
            id=candidate_id,
            name=(name or candidate_id)[:_MAX_NAME],
            details=[detail for detail in details if detail],
            is_served=True,
        )

    def _highest_rating(self) -> float | None:
        """Returns the highest rating of the queries that are kept by name."""
        found = {} if self._remember is None else self._remember(self._bundle.module.query_side.sample_ids)
        ratings = found["ratings"].numpy() if "ratings" in found else np.empty(0)
        ratings = ratings[np.isfinite(ratings)]
        return _rounded(ratings.max()) if ratings.size else None

    def _choose_details(self, name: str | None) -> list[str]:
        """Chooses columns that people can read, those of filters first."""
        left_out = {name, self._manifest.model.candidate.id}
        readable = [field.name for field in self._candidates.schema if _is_readable(field.type)]
        ordered = [
            *self._manifest.filter_by,
            *(column for column in readable if column not in self._manifest.filter_by),
        ]
        return [column for column in ordered if column not in left_out][:_MAX_DETAILS]

    def _field(self, spec: InputSpec) -> Field:
        number = {"string": "text", "float32": "number", "int64": "time"}[spec.dtype]
        return Field(
            name=spec.name,
            label=self._label(spec.name),
            kind=f"{number}s" if spec.is_list else number,
            size=spec.shape[1] if spec.is_list else None,
        )

    def _filter(self, name: str) -> Filter:
        column = self._candidates[name]
        values = pc.list_flatten(column) if _is_list(column.type) else column
        values = values.cast(pa.string()).drop_null()
        counted = values.filter(pc.not_equal(values, "")).value_counts()
        table = pa.table({"value": counted.field("values"), "count": counted.field("counts")})
        ordered = table.sort_by([("count", "descending"), ("value", "ascending")])["value"]
        return Filter(
            name=name,
            label=self._label(name),
            values=ordered.slice(0, _MAX_VALUES).to_pylist(),
            num_values=len(ordered),
        )

    def _label(self, name: str) -> str:
        return self._manifest.model.original_names.get(name, name)


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _is_readable(kind: pa.DataType) -> bool:
    inner = kind.value_type if _is_list(kind) else kind
    is_vector = _is_list(kind) and pa.types.is_floating(inner)
    is_plain = pa.types.is_primitive(inner) or pa.types.is_string(inner)
    return bool(is_plain and not is_vector)


def _to_text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_to_text(item) for item in value)
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else str(value)


def _rounded(rating: float) -> float:
    """Undoes what float32 has done to a rating."""
    return float(f"{rating:.6g}")
