"""Finding the id columns of a table whose names leave no doubt, such as `user_id`."""

from __future__ import annotations

import re
from collections.abc import Sequence

_QUERY_WORDS = "user customer client visitor session member account reader viewer listener buyer"
_CANDIDATE_WORDS = "item product movie film article book song track video game recipe artist anime"
# Words that mean an id without saying so.
_CANDIDATE_CODES = "sku isbn asin"


def find_query_id(columns: Sequence[str]) -> str:
    """Finds the column that identifies the query.

    Args:
        columns: The columns of the table.

    Raises:
        ValueError: If no column or several columns have such a name; lists the columns.

    Example:
        >>> find_query_id(["userId", "movieId", "rating"])
        'userId'
    """
    names = {f"{word}_id" for word in _QUERY_WORDS.split()}
    return _find(columns, names, "data.query_id", "who rates, buys or clicks")


def find_candidate_id(columns: Sequence[str]) -> str:
    """Finds the column that identifies the candidate; arguments and errors as in `find_query_id`.

    Example:
        >>> find_candidate_id(["customer", "Product ID", "title"])
        'Product ID'
    """
    names = {f"{word}_id" for word in _CANDIDATE_WORDS.split()} | set(_CANDIDATE_CODES.split())
    return _find(columns, names, "data.candidate_id", "what is rated, bought or clicked")


def _find(columns: Sequence[str], names: set[str], key: str, meaning: str) -> str:
    found = [column for column in columns if _plain(column) in names]
    if len(found) == 1:
        return found[0]
    reason = f"These may: {', '.join(found)}." if found else "None has a name that tells."
    raise ValueError(f"`{key}` must name the column that says {meaning}. {reason} Columns: {', '.join(columns)}.")


def _plain(column: str) -> str:
    """Writes a name in the form `user_id`, whether it was `userId`, `User ID`, `USERID` or `user-id`."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", column.strip())
    plain = re.sub(r"[^a-z0-9]+", "_", words.lower())
    return re.sub(r"(?<=[a-z])(?<!_)id$", "_id", plain)
