"""An index as a bundle stores it: its parameters and the values of its variables."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from tfrs_twotower.index.outcome import IndexOutcome


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoredIndex:
    """An index as a bundle stores it.

    Attributes:
        kind: Its kind.
        requested: The kind that was requested, which it has unless it is exact for want of something.
        is_exact: Whether a search always finds the best candidates.
        num_candidates: Size of the catalogue.
        outcome: The outcome of building it.
        read: Reads the value of a variable by its path from the index, such as "vectors/rows"; KeyError if there is
            none.
    """

    kind: str
    requested: str
    is_exact: bool
    num_candidates: int
    outcome: IndexOutcome
    read: Callable[[str], np.ndarray]

    @property
    def parameters(self) -> Any:
        """The index's parameters by name."""
        return self.outcome.parameters

    @property
    def excluding(self) -> list[tuple[int, int]]:
        """The parameter `excluding` of an approximate index."""
        return list(self.parameters["excluding"].items())
