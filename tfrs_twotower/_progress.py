"""How long-running functions say how far they are: one function type that every room shares."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

#: Called with what is being done, such as "Ranking", how much of it is done, and how much there is in all (same unit;
#: 0 if the total is unknown). It is called with `done == 0` first and with `done == total` last.
Progress: TypeAlias = Callable[[str, int, int], None]


def no_progress(task: str, done: int, total: int) -> None:
    """Shows nothing: the default of every function that takes a `Progress`.

    Args:
        task: What is being done.
        done: How much of it is done.
        total: How much there is in all.

    Example:
        >>> no_progress("Ranking", 3, 10)
    """
