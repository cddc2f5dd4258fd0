"""Features as an experiment file has them: a kind and its settings by column, or the words "leave out"."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
from collections.abc import Mapping
from typing import Any, get_type_hints

from tfrs_twotower.data.input_names import input_name
from tfrs_twotower.experiment.checks import read_value

#: What an experiment file has in place of a feature that is left out.
LEFT_OUT = "leave out"

#: The parts of the section `features`: columns of the queries, of the candidates, and of the events.
SIDES = ("query", "candidate", "event")


def read_features(value: Any) -> dict[str, dict[str, Any]]:
    """Makes features of the section `features` of an experiment file.

    Args:
        value: Side -> column -> table with the `kind` and its settings, or `LEFT_OUT`.

    Returns:
        Side -> column -> feature, or None if it is left out.

    Raises:
        TypeError: If a part of it is not a table, or a setting has the wrong type; names the key.
        ValueError: If a side, kind or setting does not exist, or a setting is impossible; names the key.

    Example:
        >>> read_features({"query": {"age": {"kind": "Numeric", "log": True}, "zip_code": "leave out"}})
        {'query': {'age': Numeric(name='age', log=True), 'zip_code': None}}
    """
    features: dict[str, dict[str, Any]] = {}
    for side, columns in _require_table(value, "features").items():
        if side not in SIDES:
            raise ValueError(
                f"The section `features` has no part `{side}`.{suggestion(side, SIDES)} Known: {', '.join(SIDES)}."
            )
        table = _require_table(columns, f"features.{side}")
        features[side] = {column: _read_feature(f"features.{side}.{column}", column, table[column]) for column in table}
    return features


def write_feature(feature: Any) -> str | dict[str, Any]:
    """Describes a feature as `read_features` reads it.

    Args:
        feature: A feature of a column; None if it is left out.

    Example:
        >>> from tfrs_twotower.features.numeric import Numeric
        >>> write_feature(Numeric(name="age", log=True)), write_feature(None)
        ({'kind': 'Numeric', 'log': True}, 'leave out')
    """
    if feature is None:
        return LEFT_OUT
    settings = {field.name: getattr(feature, field.name) for field in dataclasses.fields(feature)}
    del settings["name"]
    given = {name: value for name, value in settings.items() if value is not None}
    return {"kind": type(feature).__name__, **given}


def suggestion(name: str, known: Any) -> str:
    """Returns a question after the nearest known name, with a space before it, or an empty text if none is near.

    Args:
        name: What came.
        known: The names that exist.

    Example:
        >>> suggestion("dropuot", ["dropout", "l2"])
        ' Did you mean `dropout`?'
    """
    nearest = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean `{nearest[0]}`?" if nearest else ""


def column_kinds() -> dict[str, Any]:
    """Returns the kinds of features of this library whose values are a column, by name.

    Example:
        >>> "Bucketized" in column_kinds(), "History" in column_kinds()
        (True, False)
    """
    from tfrs_twotower import features

    public = {name: getattr(features, name) for name in dir(features)}
    return {
        name: kind
        for name, kind in public.items()
        if inspect.isclass(kind) and issubclass(kind, features.ColumnFeature) and not inspect.isabstract(kind)
    }


def _read_feature(name: str, column: str, value: Any) -> Any:
    if value == LEFT_OUT:
        return None
    if not isinstance(value, Mapping) or "kind" not in value:
        raise TypeError(f'`{name}` must be a table with a `kind`, or the text "{LEFT_OUT}". Received: {value!r}.')
    kinds = column_kinds()
    kind = kinds.get(value["kind"]) if isinstance(value["kind"], str) else None
    if kind is None:
        near = suggestion(str(value["kind"]), kinds)
        raise ValueError(f"`{name}.kind` must be one of {', '.join(kinds)}. Received: {value['kind']!r}.{near}")
    settings = {key: setting for key, setting in value.items() if key != "kind"}
    known = {field.name: field for field in dataclasses.fields(kind) if field.name != "name"}
    for setting in settings:
        if setting not in known:
            words = ", ".join(known) or "none"
            raise ValueError(
                f"`{name}.{setting}` is not a setting of {kind.__name__}.{suggestion(setting, known)} Known: {words}."
            )
    required = [n for n, field in known.items() if field.default is dataclasses.MISSING and n not in settings]
    if required:
        raise ValueError(
            f"`{name}` must have the setting {', '.join(f'`{n}`' for n in required)}, for {kind.__name__}."
        )
    types = get_type_hints(kind)
    given = {key: read_value(f"{name}.{key}", item, types[key]) for key, item in settings.items()}
    try:
        return kind(name=input_name(column, 1), **given)  # the data may make another name of it
    except (ValueError, TypeError) as error:
        raise type(error)(f"`{name}`: {error}") from error


def _require_table(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(f"`{name}` must be a section. Received: {value!r}.")
    return value
