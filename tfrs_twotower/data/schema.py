"""`Schema`: the meaning of the columns of a user's table."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schema:
    """Declares the meaning of the columns of a table of ratings.

    Attributes:
        query_id: Column that identifies who rates: strings or integers.
        candidate_id: Column that identifies what is rated: strings or integers.
        rating: Column of numbers; None for implicit feedback, where every event counts as a rating of 1.
        timestamp: Column of times in any form that `tfrs_twotower.data.times.seconds` reads, such as ISO 8601 text;
            None if there are no times.
        weight: Column of weights in the loss, >= 0; None if every event has the weight 1.
        impressions: Column of lists of candidate ids, those that were shown with the event: `["a", "b"]`, or text such
            as `a|b`. Those that were not chosen are negatives of the query. None if it is not known what was shown.
        query_features: Columns that depend on the query id alone. None finds them: all columns of a separate table of
            queries, or else the columns of the ratings that have one value per query id.
        candidate_features: Columns that depend on the candidate id alone. None finds them in the same way.
        event_features: Columns that may differ from event to event: the context of an event, such as the hour, the
            device or the search text.

    Raises:
        TypeError: If a column's name is not a string, or features are not a tuple of names.
        ValueError: If a column is named twice.

    Example:
        >>> schema = Schema(query_id="customer", candidate_id="sku", rating="stars", query_features=("age",))
        >>> schema.event_columns
        ('customer', 'sku', 'stars')
    """

    query_id: str
    candidate_id: str
    rating: str | None = None
    timestamp: str | None = None
    weight: str | None = None
    impressions: str | None = None
    query_features: tuple[str, ...] | None = None
    candidate_features: tuple[str, ...] | None = None
    event_features: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, features in (
            ("query_features", self.query_features),
            ("candidate_features", self.candidate_features),
            ("event_features", self.event_features),
        ):
            if isinstance(features, str):
                raise TypeError(f"`{name}` must be a tuple of names. Received: {features!r}; add a comma.")
            if features is None and name != "event_features":
                continue
            if not isinstance(features, Sequence) or not all(isinstance(feature, str) for feature in features):
                raise TypeError(f"`{name}` must be a tuple of names. Received: {features!r}.")
            object.__setattr__(self, name, tuple(features))
        for name in ("query_id", "candidate_id", "rating", "timestamp", "weight", "impressions"):
            column = getattr(self, name)
            if not isinstance(column, str) and (column is not None or name.endswith("_id")):
                raise TypeError(f"`{name}` must be the name of a column. Received: {column!r}.")
        named = [*self.event_columns, *(self.query_features or ()), *(self.candidate_features or ())]
        repeated = sorted({name for name in named if named.count(name) > 1})
        if repeated:
            raise ValueError(f"A column must have only one meaning. Named twice: {', '.join(repeated)}.")

    @property
    def event_columns(self) -> tuple[str, ...]:
        """The columns of a table of ratings that belong to its events: all but the features of one side."""
        columns = (self.query_id, self.candidate_id, self.rating, self.timestamp, self.weight, self.impressions)
        return (*(column for column in columns if column is not None), *self.event_features)
