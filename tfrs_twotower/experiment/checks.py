"""Checks of the keys of a section: their types, by the annotations of its dataclass, and their rules."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from tfrs_twotower._settings import finite_number


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rule:
    """What a value must be beyond its type.

    Attributes:
        words: The rule in words, as errors state it after "must be".
        holds: Tells whether a value obeys it.
    """

    words: str
    holds: Callable[[Any], bool]


SHARE = Rule(words="between 0 and 1, both excluded", holds=lambda value: 0 < value < 1)
SHARE_OR_0 = Rule(words="at least 0 and less than 1", holds=lambda value: 0 <= value < 1)
SHARE_OR_1 = Rule(words="above 0 and at most 1", holds=lambda value: 0 < value <= 1)
POSITIVE = Rule(words="above 0", holds=lambda value: value > 0)
NOT_EMPTY = Rule(words="not empty", holds=bool)


def at_least(minimum: int) -> Rule:
    """Returns the rule that a number is not below a minimum.

    Args:
        minimum: Lowest value allowed.

    Example:
        >>> at_least(1).words
        'at least 1'
    """
    return Rule(words=f"at least {minimum}", holds=lambda value: value >= minimum)


def key(default: Any = dataclasses.MISSING, rule: Rule | None = None) -> Any:
    """Declares a key of a section: a field of its dataclass.

    Args:
        default: Value of the key where the file does not have it; without a default the key is required.
        rule: What the value must be beyond its type.
    """
    return dataclasses.field(default=default, metadata={"rule": rule})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Section:
    """A section of an experiment: its fields are its keys, which are checked when it is made.

    Lists become tuples, and whole numbers become floats where a float is wanted.

    Raises:
        TypeError: If a value has the wrong type; names the key.
        ValueError: If a value breaks its rule; names the key.

    Example:
        >>> @dataclasses.dataclass(frozen=True, kw_only=True)
        ... class Oven(Section):
        ...     section = "oven"
        ...     degrees: float = key(180.0, POSITIVE)
        >>> Oven(degrees=200).degrees
        200.0
        >>> Oven(degrees=-1)
        Traceback (most recent call last):
        ValueError: `oven.degrees` must be a number, above 0. Received: -1.
    """

    def __post_init__(self) -> None:
        section = str(getattr(type(self), "section", type(self).__name__))
        kinds = get_type_hints(type(self))
        for field in dataclasses.fields(self):
            name, rule = f"{section}.{field.name}", field.metadata.get("rule")
            object.__setattr__(self, field.name, read_value(name, getattr(self, field.name), kinds[field.name], rule))


def read_value(name: str, value: Any, kind: Any, rule: Rule | None = None) -> Any:
    """Returns a value as the type that is wanted: tuples for lists, and floats for whole numbers.

    Args:
        name: How errors call it, such as "export.k".
        value: What came.
        kind: An annotation: int, float, bool, str, a tuple of texts or numbers, a `Literal` of texts, or one of these
            or None.
        rule: What the value must be beyond its type.

    Raises:
        TypeError: If the value has another type.
        ValueError: If it is none of the choices, or breaks the rule.

    Example:
        >>> read_value("index.max_build_s", 60, float | None)
        60.0
    """
    if get_origin(kind) in (Union, types.UnionType):
        if value is None:
            return None
        kind = next(part for part in get_args(kind) if part is not type(None))
    words, reads = _TYPES.get(kind) or _choice(kind)
    stated = f"`{name}` must be {words}{f', {rule.words}' if rule else ''}. Received: {value!r}."
    read = reads(value)
    if read is None:
        raise TypeError(stated) if get_origin(kind) is not Literal else ValueError(stated)
    if rule is not None and not rule.holds(read):
        raise ValueError(stated)
    return read


def _choice(kind: Any) -> tuple[str, Callable[[Any], Any]]:
    choices = get_args(kind)
    words = f"one of {', '.join(map(repr, choices))}"
    return words, lambda value: value if isinstance(value, str) and value in choices else None


def _whole_number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _texts(value: Any) -> tuple[str, ...] | None:
    is_list = isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)
    return tuple(value) if is_list else None


def _numbers(value: Any) -> tuple[float, ...] | None:
    numbers = [finite_number(item) for item in value] if isinstance(value, list | tuple) else [None]
    return None if None in numbers else tuple(number for number in numbers if number is not None)


# Type -> it in words, and a function that returns a value as this type, or None if it is of another type.
_TYPES: Mapping[Any, tuple[str, Callable[[Any], Any]]] = {
    int: ("a whole number", _whole_number),
    float: ("a number", finite_number),
    bool: ("true or false", lambda value: value if isinstance(value, bool) else None),
    str: ("a text", lambda value: value if isinstance(value, str) else None),
    tuple[str, ...]: ("a list of texts", _texts),
    tuple[float, ...]: ("a list of numbers", _numbers),
}
