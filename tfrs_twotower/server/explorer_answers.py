"""What a version answers to questions of the explorer: declared types, which a worker process writes as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Field:
    """An input of the query tower that a form asks for.

    Attributes:
        name: Name of the input.
        label: Name of the user's column.
        kind: "text", "texts", "number", "numbers" or "time".
        size: Numbers of a vector; None for other kinds.
    """

    name: str
    label: str
    kind: str
    size: int | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class HistoryInput:
    """An input that lists past candidates.

    Attributes:
        name: Name of the input.
        rating_name: Name of the input of their ratings; None if there is none.
    """

    name: str
    rating_name: str | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Filter:
    """A column that recommendations may be filtered by.

    Attributes:
        name: Name of the column.
        label: Name of the user's column.
        values: Its values, the most frequent first.
        num_values: Number of its values, of which there may be more than in `values`.
    """

    name: str
    label: str
    values: Sequence[str]
    num_values: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Description:
    """What the page has to know about a version.

    Attributes:
        created: Time of the export, ISO 8601 in UTC.
        source: Where the events came from.
        num_candidates: Size of the catalogue.
        num_queries: Number of queries that the bundle remembers.
        k: Recommendations per query.
        positive_threshold: A rating of at least this is positive.
        highest_rating: Highest rating that some known queries have given; None if the bundle remembers no ratings.
        has_probabilities: Whether there is a rating model.
        has_report: Whether the version has a report.
        recommends_seen: Whether candidates that a query has seen may be recommended again.
        query_id: Input by which queries are known; None if the bundle knows none.
        remembers: Whether it tells what a query has seen.
        fields: Inputs of the query tower other than the id and histories.
        histories: Inputs that list past candidates.
        filters: Columns that recommendations may be filtered by.
        metrics: Metric -> value.
    """

    created: str
    source: str
    num_candidates: int
    num_queries: int
    k: int
    positive_threshold: float
    highest_rating: float | None
    has_probabilities: bool
    has_report: bool
    recommends_seen: bool
    query_id: str | None
    remembers: bool
    fields: Sequence[Field]
    histories: Sequence[HistoryInput]
    filters: Sequence[Filter]
    metrics: Mapping[str, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Candidate:
    """A candidate as people know it.

    Attributes:
        id: Its id.
        name: Its name; the id if it has none.
        details: Values of other columns.
        is_served: Whether it is in the catalogue.
    """

    id: str
    name: str
    details: Sequence[str]
    is_served: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class PastEvent:
    """What a query has seen.

    Attributes:
        candidate: The candidate.
        rating: Its rating; None if the bundle does not remember it.
    """

    candidate: Candidate
    rating: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
    """Results of a search.

    Attributes:
        results: Ids of queries, or candidates; the first that were found.
        num_found: Number of all that were found.
    """

    results: Sequence[Any]
    num_found: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Past:
    """The history of a query.

    Attributes:
        is_known: Whether the bundle knows the query.
        num_events: Number of its events.
        events: The latest events, the latest first.
    """

    is_known: bool
    num_events: int
    events: Sequence[PastEvent]
