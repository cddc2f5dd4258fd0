"""What the tests of reading share: small tables, and the sentences that errors end with."""

import re

import pytest

from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.data.schema import Schema
from tfrs_twotower.data.tables import load_ratings

IDS = Schema(query_id="u", candidate_id="m", query_features=(), candidate_features=())
RATED = Schema(query_id="u", candidate_id="m", rating="r", query_features=(), candidate_features=())
TIMED = Schema(query_id="u", candidate_id="m", timestamp="t", query_features=(), candidate_features=())

DROP = "Correct them, or leave them out with on_invalid='drop'."
FORMS = (
    "Times may be numbers of seconds, milliseconds, microseconds or nanoseconds since 1970, or text such as "
    "2024-01-31, 2024-01-31 17:30:00, 2024-01-31T17:30:00Z, 2024-01-31T17:30+01:00, 2024/01/31, 31.01.2024, "
    "31/01/2024, 01/31/2024 5:30 PM or 31-Jan-2024."
)


def exactly(error: type[Exception], message: str) -> pytest.RaisesExc:
    """Expects an error with this message, from its first to its last character."""
    return pytest.raises(error, match=rf"\A{re.escape(message)}\Z")


def load_column(schema: Schema, column: str, values, **options) -> Interactions:
    """Loads a table with one column under test; the other ids are different in every row."""
    ids = [f"{letter}{row}" for row, letter in enumerate("x" * len(values))]
    return load_ratings({"u": ids, "m": ids, column: values}, schema, **options)


def query_ids(ratings: Interactions) -> list[str]:
    """Returns the query id of each event."""
    return ratings.queries["u"].take(ratings.query_rows).to_pylist()
