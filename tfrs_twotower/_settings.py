"""Checks of settings, shared by every room."""

from __future__ import annotations

import math
import operator
from typing import Any


def whole_number(value: Any, name: str, minimum: int) -> int:
    """Returns a setting as an int.

    Args:
        value: What the caller gave.
        name: How errors call it, such as "`epochs`".
        minimum: Lowest value allowed.

    Raises:
        TypeError: If it is not a whole number; a bool is none.
        ValueError: If it is below the minimum.

    Example:
        >>> whole_number(3, "`epochs`", 1)
        3
    """
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be a whole number. Received: {value!r}.")
    if operator.index(value) < minimum:
        raise ValueError(f"{name} must be at least {minimum}. Received: {value}.")
    return operator.index(value)


def finite_number(value: Any) -> float | None:
    """Returns a plain number as a float, None for everything else: a bool, text, NaN, infinity, too large an integer.

    Args:
        value: What came from a file or a caller.

    Example:
        >>> finite_number(3), finite_number(True), finite_number(10**400), finite_number(float("nan"))
        (3.0, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def require_seed(seed: Any, name: str = "`seed`") -> int:
    """Returns a seed as an int.

    Args:
        seed: What the caller gave.
        name: How errors call it.

    Raises:
        TypeError: If it is not a whole number; None and a bool are none.
        ValueError: If it is negative.

    Example:
        >>> require_seed(-1)
        Traceback (most recent call last):
        ValueError: `seed` must be a whole number of at least 0. Received: -1. The same seed gives the same result.
    """
    advice = "The same seed gives the same result."
    if isinstance(seed, bool) or not hasattr(seed, "__index__"):
        raise TypeError(f"{name} must be a whole number of at least 0. Received: {seed!r}. {advice}")
    if operator.index(seed) < 0:
        raise ValueError(f"{name} must be a whole number of at least 0. Received: {seed}. {advice}")
    return operator.index(seed)


def require_having(value: Any, name: str, attribute: str, wanted: str) -> None:
    """Checks that an argument is of the right kind, by an attribute of its kind.

    Args:
        value: What the caller gave.
        name: Name of the argument.
        attribute: An attribute that nothing else has.
        wanted: What the argument must be, in words that follow "must be".

    Raises:
        TypeError: If it does not have the attribute.

    Example:
        >>> require_having("ratings.csv", "model", "retrieval_model", "a recommender, such as a `TwoTowerModel`")
        Traceback (most recent call last):
        TypeError: `model` must be a recommender, such as a `TwoTowerModel`. Received: a str.
    """
    if not hasattr(value, attribute):
        raise TypeError(f"`{name}` must be {wanted}. Received: a {type(value).__name__}.")


def require_model(value: Any) -> None:
    """Checks that the argument `model` is a model that ranks, single or joint.

    Args:
        value: What the caller gave.

    Raises:
        TypeError: If it is anything else.
    """
    require_having(value, "model", "retrieval_model", "a recommender, such as a `TwoTowerModel`")
