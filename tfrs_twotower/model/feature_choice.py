"""Chooses a feature for each column of a table by the column's type and values, and says why."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfrs_twotower.data.times import seconds
from tfrs_twotower.features.bucketized import Bucketized
from tfrs_twotower.features.categorical import Categorical
from tfrs_twotower.features.columns import is_any_list, is_number, require_suitable_columns
from tfrs_twotower.features.config import from_config, to_config
from tfrs_twotower.features.feature import Feature
from tfrs_twotower.features.multi_categorical import MultiCategorical
from tfrs_twotower.features.pretrained import PretrainedEmbedding
from tfrs_twotower.features.text import Text
from tfrs_twotower.features.timestamp import Timestamp

# Texts are categories if their values recur: if fewer than half of the rows have a value of their own.
_MAX_SHARE_OF_VALUES = 0.5
# Whole numbers of at most this many values are codes, such as a month or a rating by age.
_MAX_CODES = 20
_NUM_BUCKETS = 10
_MIN_WORD_EVENTS = 20
_MAX_WORDS = 50
_ISO_DATE = r"^\s*[0-9]{4}-[0-9]{2}-[0-9]{2}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class FeatureChoice:
    """What becomes of a column.

    Attributes:
        column: Name of the column.
        feature: The feature that is made of it; None if it is left out.
        reason: Why, for people.
        is_given: Whether the user chose it.

    Example:
        >>> choice = FeatureChoice(column="color", feature=Categorical(name="color"), reason="3 recurring texts")
        >>> FeatureChoice.from_dict(choice.to_dict()) == choice
        True
    """

    column: str
    feature: Feature | None
    reason: str
    is_given: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values, for JSON."""
        feature = None if self.feature is None else to_config(self.feature)
        return {"column": self.column, "feature": feature, "reason": self.reason, "is_given": self.is_given}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> FeatureChoice:
        """Makes the choice that `to_dict` described."""
        feature = content["feature"]
        return cls(**{**content, "feature": None if feature is None else from_config(feature)})


def choose_features(
    table: pa.Table,
    id_column: str | None,
    given: Mapping[str, Feature | None],
    argument: str,
    *,
    max_codes: int = _MAX_CODES,
) -> tuple[FeatureChoice, ...]:
    """Chooses a feature for every column of a table, the id first.

    Args:
        table: Queries, candidates, or the features of events, in plain types.
        id_column: Name of the column that identifies a row; None for events, which have none.
        given: Column -> the feature that the user wants, or None to leave the column out.
        argument: What errors call `given`.
        max_codes: Whole numbers of at most this many values are categories.

    Raises:
        ValueError: If a column does not exist, or a feature has another name than its column, or a column holds values
            that its feature cannot take.
        TypeError: If something given is not a feature, or a column's type does not suit it.

    Example:
        >>> table = pa.table({"sku": list("abcdef"), "color": ["red", "blue"] * 3, "price": [1.5] * 6})
        >>> for choice in choose_features(table, "sku", {}, "`candidate_features`"):
        ...     print(choice.column, type(choice.feature).__name__, choice.reason)
        sku Categorical identifies a row
        color Categorical 2 recurring texts
        price NoneType the same value in every row
    """
    for column, feature in given.items():
        if column not in table.column_names:
            known = ", ".join(table.column_names) or "there are none"
            raise ValueError(f"{argument} must name columns: {known}. Received: {column!r}.")
        if feature is not None and not isinstance(feature, Feature):
            raise TypeError(
                f"{argument}[{column!r}] must be a feature, or None to leave it out. Received: {feature!r}."
            )
        if feature is not None and feature.name != column:
            raise ValueError(f"{argument}[{column!r}] must have the name of its column. Received: {feature.name!r}.")
    ids = [] if id_column is None else [id_column]
    columns = [*ids, *(name for name in table.column_names if name != id_column)]
    choices = []
    for name in columns:
        if name in given:
            choices.append(FeatureChoice(column=name, feature=given[name], reason="you chose it", is_given=True))
        elif name == id_column:
            choices.append(FeatureChoice(column=name, feature=Categorical(name=name), reason="identifies a row"))
        else:
            choices.append(_choose(name, table[name].combine_chunks(), max_codes))
    require_suitable_columns([choice.feature for choice in choices if choice.feature is not None], table)
    return tuple(choices)


def leave_out_columns(choices: Sequence[FeatureChoice], reason: str) -> tuple[FeatureChoice, ...]:
    """Leaves out all columns except the id and those that the user chose.

    Args:
        choices: From `choose_features`, the id first.
        reason: Why they are left out.
    """
    id_choice, *others = choices
    kept = [
        choice
        if choice.feature is None or choice.is_given
        else dataclasses.replace(choice, feature=None, reason=reason)
        for choice in others
    ]
    return (id_choice, *kept)


def _choose(name: str, column: pa.Array, max_codes: int) -> FeatureChoice:
    def left_out(reason: str) -> FeatureChoice:
        return FeatureChoice(column=name, feature=None, reason=reason)

    types = pa.types
    if is_number(column.type):
        column = pc.if_else(pc.is_finite(column), column, None) if types.is_floating(column.type) else column
    given = column.drop_null()
    if not len(given):
        return left_out("no value is given")
    if is_any_list(column.type):
        return _choose_of_lists(name, given)
    try:
        num_values = pc.count_distinct(given).as_py()
    except pa.ArrowException:
        return left_out(f"values of the type {column.type} are not used")
    if num_values == 1 and not column.null_count:
        return left_out("the same value in every row")
    for applies, choose in _CHOOSERS:
        if applies(column.type):
            feature, reason = choose(name, given, num_values, len(column), max_codes)
            return FeatureChoice(column=name, feature=feature, reason=reason)
    return left_out(f"values of the type {column.type} are not used")


def _choose_of_lists(name: str, given: pa.Array) -> FeatureChoice:
    items, lengths = given.flatten(), given.value_lengths().to_numpy()
    kind = given.type.value_type
    feature: Feature | None = None
    if pa.types.is_string(kind) or pa.types.is_integer(kind):
        feature, reason = MultiCategorical(name=name), f"lists of {pc.count_distinct(items).as_py():,} values"
    elif not pa.types.is_floating(kind):
        reason = f"lists of the type {kind} are not used"
    elif lengths.min() != lengths.max() or not lengths[0]:
        reason = "lists of numbers that differ in length are no vectors"
    elif not np.isfinite(items.to_numpy(zero_copy_only=False)).all():
        reason = "vectors with numbers that are not finite are not used"
    else:
        feature, reason = PretrainedEmbedding(name=name, dim=int(lengths[0])), f"vectors of {lengths[0]} numbers"
    return FeatureChoice(column=name, feature=feature, reason=reason)


_Chosen = tuple[Feature | None, str]


def _choose_of_flags(name: str, given: pa.Array, num_values: int, num_rows: int, max_codes: int) -> _Chosen:
    del given, num_values, num_rows, max_codes
    return Categorical(name=name), "true or false"


def _choose_of_texts(name: str, given: pa.Array, num_values: int, num_rows: int, max_codes: int) -> _Chosen:
    del max_codes
    if pc.all(pc.match_substring_regex(given, _ISO_DATE)).as_py() and not seconds(given).null_count:
        return Timestamp(name=name), "times"
    if num_values < _MAX_SHARE_OF_VALUES * num_rows:
        return Categorical(name=name), f"{num_values:,} recurring texts"
    return _choose_of_free_texts(name, given)


def _choose_of_free_texts(name: str, given: pa.Array) -> _Chosen:
    words = pc.utf8_split_whitespace(given)
    num_words = pc.sum(words.value_lengths()).as_py()
    if num_words < 2 * len(given):
        return None, "single words of which few recur tell nothing about other rows"
    feature = Text(name=name, min_count=_MIN_WORD_EVENTS, max_words=_MAX_WORDS, pooling="sqrtn")
    return feature, f"free text, {num_words / len(given):.0f} words in the mean"


def _choose_of_times(name: str, given: pa.Array, num_values: int, num_rows: int, max_codes: int) -> _Chosen:
    del given, num_values, num_rows, max_codes
    return Timestamp(name=name), "times"


def _choose_of_whole_numbers(name: str, given: pa.Array, num_values: int, num_rows: int, max_codes: int) -> _Chosen:
    if num_values == num_rows > max_codes:
        return None, "whole numbers that are all different identify rows"
    if num_values <= max_codes:
        return Categorical(name=name), f"{num_values} whole numbers"
    return _choose_of_numbers(name, given, num_values, num_rows, max_codes)


def _choose_of_numbers(name: str, given: pa.Array, num_values: int, num_rows: int, max_codes: int) -> _Chosen:
    del given, num_rows, max_codes
    return Bucketized(name=name, num_buckets=_NUM_BUCKETS), f"numbers, {num_values:,} different ones"


_CHOOSERS: tuple[tuple[Callable[[pa.DataType], bool], Callable[[str, pa.Array, int, int, int], _Chosen]], ...] = (
    (pa.types.is_boolean, _choose_of_flags),
    (pa.types.is_string, _choose_of_texts),
    (pa.types.is_integer, _choose_of_whole_numbers),
    (pa.types.is_floating, _choose_of_numbers),
    (lambda kind: pa.types.is_timestamp(kind) or pa.types.is_date(kind), _choose_of_times),
)
