"""Names that a SavedModel's input can have, and input names made from the names of a user's columns."""

from __future__ import annotations

import keyword
import re
import unicodedata
from collections.abc import Iterable, Mapping

#: Input that holds the candidate to score, or to find similar candidates of.
CANDIDATE_INPUT = "candidate_id"
#: Input that holds candidates that must not be recommended to a query.
EXCLUDE_INPUT = "exclude_ids"
#: Prefix of an input that filters by a candidate feature.
FILTER_PREFIX = "filter_"
#: Names of the input that holds a query's history, and of the ratings in it, unless a model declares others.
HISTORY_INPUTS = ("history", "history_rating")

#: Columns that `Interactions.events` uses itself.
EVENT_COLUMNS = ("query_row", "candidate_row", "rating", "timestamp", "weight", "impressions")

# What TensorFlow takes as the name of a signature's input, unchanged.
_INPUT_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
# Letters that Unicode does not decompose into ASCII letters and accents.
_LETTERS = str.maketrans(
    {"ß": "ss", "ẞ": "SS", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L",
     "đ": "d", "Đ": "D", "ð": "d", "Ð": "D", "þ": "th", "Þ": "TH", "\u0131": "i"}
)  # fmt: skip


def is_input_name(name: str) -> bool:
    """Tells whether a name has the form that an input of a SavedModel must have.

    Args:
        name: Any name.

    Example:
        >>> is_input_name("customer_id"), is_input_name("Customer ID")
        (True, False)
    """
    return _INPUT_NAME.fullmatch(name) is not None


def require_input_name(name: str) -> None:
    """Checks that a SavedModel's signature can have an input of that name.

    Args:
        name: The name.

    Raises:
        ValueError: If it cannot.
    """
    if not is_input_name(name):
        raise ValueError(
            "`name` must be a letter, then letters, digits and underscores: it names an input of the SavedModel. "
            f"Received: {name!r}."
        )
    if keyword.iskeyword(name) or name == "self":
        raise ValueError(f"`name` must not be a Python keyword or `self`: {name!r} could not be passed to a signature.")


def is_reserved(name: str) -> bool:
    """Tells whether a name is reserved: for an input of the signatures, or by Python.

    Args:
        name: Any name.

    Example:
        >>> is_reserved("exclude_ids"), is_reserved("filter_genre"), is_reserved("class"), is_reserved("genre")
        (True, True, True, False)
    """
    is_signature_input = name in (CANDIDATE_INPUT, EXCLUDE_INPUT, *HISTORY_INPUTS) or name.startswith(FILTER_PREFIX)
    return is_signature_input or keyword.iskeyword(name) or name == "self"


def input_name(name: str, place: int) -> str:
    """Makes an input name of a column's name.

    Accents are removed, other characters than letters and digits become underscores, and letters become small. A name
    that begins with a digit or is reserved gets the prefix `column_`.

    Args:
        name: The column's name.
        place: Number of the column, from 1. It names a column of whose name nothing is left, such as one in Chinese.

    Returns:
        The name itself where it is an input name and not reserved.

    Example:
        >>> [input_name(name, 1) for name in ("Customer ID", "product-sku", "Straße", "2nd", "class", "userId", "评分")]
        ['customer_id', 'product_sku', 'strasse', 'column_2nd', 'column_class', 'userId', 'column_1']
    """
    if is_input_name(name):
        return f"column_{name}" if is_reserved(name) else name
    letters = unicodedata.normalize("NFKD", name.translate(_LETTERS)).encode("ascii", "ignore").decode()
    made = re.sub(r"[^A-Za-z0-9]+", "_", letters).strip("_").lower()
    if not made:
        return f"column_{place}"
    return made if is_input_name(made) and not is_reserved(made) else f"column_{made}"


def input_names(columns: Iterable[str], *, candidate_id: str, event_features: Iterable[str] = ()) -> dict[str, str]:
    """Makes input names of the names of several columns.

    Args:
        columns: Names of the columns; a name that occurs twice counts once.
        candidate_id: The column that identifies candidates, which alone may be called `candidate_id`.
        event_features: Columns that go into the table of events, where some names are taken.

    Returns:
        Column -> input name, in the order of `columns`.

    Raises:
        ValueError: If two columns would have the same input name (both are named).

    Example:
        >>> input_names(["Customer ID", "age", "rating"], candidate_id="sku", event_features=["rating"])
        {'Customer ID': 'customer_id', 'age': 'age', 'rating': 'column_rating'}
    """
    in_events = set(event_features)
    names: dict[str, str] = {}
    first: dict[str, str] = {}
    for place, column in enumerate(dict.fromkeys(columns), start=1):
        name = CANDIDATE_INPUT if column == candidate_id == CANDIDATE_INPUT else input_name(column, place)
        names[column] = f"column_{name}" if column in in_events and name in EVENT_COLUMNS else name
        if first.setdefault(names[column], column) != column:
            raise ValueError(
                f"The columns {first[names[column]]!r} and {column!r} would both be called {names[column]!r}: names "
                "of inputs have only letters, digits and underscores. Rename one of the two columns."
            )
    return names


def describe_names(names: Mapping[str, str]) -> list[str]:
    """Says which columns have got another name.

    Args:
        names: Column -> input name.

    Returns:
        One sentence for each column with another name.

    Example:
        >>> describe_names({"Customer ID": "customer_id", "age": "age"})
        ['The column `Customer ID` is called `customer_id` from here on, so that it can name an input of a SavedModel.']
    """
    return [
        f"The column `{column}` is called `{name}` from here on, so that it can name an input of a SavedModel."
        for column, name in names.items()
        if column != name
    ]
