"""Vocabularies and statistics, which are learnt from the training split before any training."""

from __future__ import annotations

import abc
import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

from tfrs_twotower.features.config import Declaration, from_config, to_config

_NUM_SHOWN = 5

_Kind = TypeVar("_Kind", bound="Learnt")


@dataclasses.dataclass(frozen=True)
class Learnt(Declaration, abc.ABC):
    """What was learnt about one raw input; a kind of feature that learns has a subclass of its own, or shares one.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Extent(Learnt):
        ...     low: float
        ...     high: float
        ...
        ...     def __str__(self):
        ...         return f"{self.low:g} to {self.high:g}"
        >>> print(Extent(0.0, 2.5))
        0 to 2.5
    """

    @abc.abstractmethod
    def __str__(self) -> str:
        """Describes it to people, in a line."""

    def expand(self: _Kind, newer: Learnt | None) -> _Kind:
        """Adds what was learnt from newer data; statistics stay as they are, since the weights were trained for them.

        Args:
            newer: What was learnt about the same input from newer data.
        """
        del newer
        return self

    def is_start_of(self, other: Learnt | None) -> bool:
        """Tells whether another is this one expanded; statistics must be the same."""
        return self == other

    def code_meaning(self) -> bytes:
        """Returns bytes that change when an input's codes mean something else."""
        return json.dumps(to_config(self), sort_keys=True).encode()


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
@dataclasses.dataclass(frozen=True)
class Vocabulary(Learnt):
    """Known values, which have a vector each.

    Attributes:
        values: Most frequent first, values of equal counts in alphabetical order.
        counts: Number of training events of each value; () if they were not counted.

    Example:
        >>> print(Vocabulary(("42", "7"), (3, 1)))
        2 values: 42 (3), 7 (1)
    """

    values: tuple[str, ...]
    counts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.values, str):
            raise TypeError(f"`values` must be a sequence of strings. Received one: {self.values!r}.")
        object.__setattr__(self, "values", tuple(self.values))
        object.__setattr__(self, "counts", tuple(self.counts))
        if self.counts and len(self.counts) != len(self.values):
            raise ValueError(
                f"`counts` must have one number for each value. Received: {len(self.counts)} numbers for "
                f"{len(self.values)} values."
            )
        if "" in self.values or len(set(self.values)) < len(self.values):
            raise ValueError('`values` must be unique and not "", which is a missing value.')

    def __str__(self) -> str:
        """Shows the first values and their counts."""
        counts = [f" ({count:,})" for count in self.counts[:_NUM_SHOWN]] or [""] * _NUM_SHOWN
        first = ", ".join(f"{value}{count}" for value, count in zip(self.values, counts, strict=False))
        return f"{len(self.values):,} values: {first}{', ...' if len(self.values) > _NUM_SHOWN else ''}"

    def expand(self, newer: Learnt | None) -> Vocabulary:
        """Returns these values in their order, then those that only the newer ones have.

        Args:
            newer: Its counts replace the older ones.
        """
        if not isinstance(newer, Vocabulary):
            return self
        recent = dict(zip(newer.values, newer.counts or (0,) * len(newer.values), strict=True))
        counts = [
            recent.pop(value, count)
            for value, count in zip(self.values, self.counts or (0,) * len(self.values), strict=True)
        ]
        return Vocabulary((*self.values, *recent), (*counts, *recent.values()))

    def is_start_of(self, other: Learnt | None) -> bool:
        """Tells whether another vocabulary begins with these values, in this order."""
        return isinstance(other, Vocabulary) and other.values[: len(self.values)] == self.values

    def code_meaning(self) -> bytes:
        """Returns the values in their order; a count changes no code."""
        return "\0".join(self.values).encode("utf-8", "surrogatepass")


class Vocabularies(Mapping[str, Learnt]):
    """Maps each raw input of a tower to what was learnt about it; other inputs are not in the mapping.

    Args:
        learnt: Input name -> what was learnt.

    Example:
        >>> from tfrs_twotower.features.numeric import Moments
        >>> vocabularies = Vocabularies({"user_id": Vocabulary(("42", "7"), (3, 1)), "price": Moments(10.0, 2.5)})
        >>> print(vocabularies)
        user_id: 2 values: 42 (3), 7 (1)
        price: mean 10, standard deviation 2.5
        >>> Vocabularies.from_config(vocabularies.to_config()) == vocabularies
        True
    """

    def __init__(self, learnt: Mapping[str, Learnt] | None = None) -> None:
        self._learnt = dict(learnt or {})

    def __getitem__(self, name: str) -> Learnt:
        return self._learnt[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._learnt)

    def __len__(self) -> int:
        return len(self._learnt)

    def __str__(self) -> str:
        return "\n".join(f"{name}: {learnt}" for name, learnt in self.items())

    def __repr__(self) -> str:
        return f"Vocabularies({self._learnt!r})"

    def values_of(self, name: str) -> tuple[str, ...]:
        """Returns the known values of an input, () if it has none."""
        learnt = self._learnt.get(name)
        return learnt.values if isinstance(learnt, Vocabulary) else ()

    def expand(self, newer: Vocabularies) -> Vocabularies:
        """Returns these values in their order, then those that only the newer ones have; statistics stay as they are.

        A tower's weights were trained for the order of its values and for its statistics; see `expand_vocabulary`. A
        feature's `max_size` limits what is learnt at a time, not what a vocabulary expands to.

        Args:
            newer: Learnt of the same features from newer data. Its counts replace the older ones.

        Example:
            >>> older = Vocabularies({"id": Vocabulary(("a", "b"), (5, 2))})
            >>> older.expand(Vocabularies({"id": Vocabulary(("c", "a"), (9, 6))}))
            Vocabularies({'id': Vocabulary(values=('a', 'b', 'c'), counts=(6, 2, 9))})
        """
        return Vocabularies({name: learnt.expand(newer.get(name)) for name, learnt in self.items()})

    def fingerprint(self) -> int:
        """Returns a number that changes when a code means something else: another value, order or statistic.

        Example:
            >>> ab, ba = (Vocabularies({"id": Vocabulary(values)}) for values in (("a", "b"), ("b", "a")))
            >>> ab.fingerprint() == ba.fingerprint()
            False
        """
        digest = hashlib.sha256()
        for name in sorted(self):
            meaning = self[name].code_meaning()
            digest.update(json.dumps([name, len(meaning)]).encode() + meaning)
        return int.from_bytes(digest.digest()[:7], "big")  # fits into an int64

    def to_config(self) -> dict[str, Any]:
        """Describes all that was learnt as plain values, for JSON."""
        return {name: to_config(learnt) for name, learnt in self.items()}

    @classmethod
    def from_config(cls, config: Mapping[str, Mapping[str, Any]]) -> Vocabularies:
        """Makes the vocabularies that `to_config` described.

        Args:
            config: As returned by `to_config`.

        Raises:
            ValueError: If a class cannot be found.
        """
        return cls({name: from_config(learnt) for name, learnt in config.items()})

    def save(self, path: str | Path) -> None:
        """Writes a JSON file.

        Args:
            path: The file.

        Raises:
            OSError: If it cannot be written.
        """
        Path(path).write_text(json.dumps(self.to_config(), ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Vocabularies:
        """Reads a JSON file that `save` wrote.

        Args:
            path: The file.

        Raises:
            OSError: If it cannot be read.
            ValueError: If it is not such a file.
        """
        try:
            return cls.from_config(json.loads(Path(path).read_text(encoding="utf-8")))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} does not hold vocabularies: {error}") from error


def learnt_of(learnt: Learnt | None, default: _Kind, name: str) -> _Kind:
    """Returns what was learnt of an input, if it is of the kind that the input needs.

    Args:
        learnt: What was learnt, or None.
        default: What holds where nothing was learnt.
        name: Name of the input, for errors.

    Raises:
        TypeError: If it is of another kind.
    """
    if learnt is None:
        return default
    if not isinstance(learnt, type(default)):
        raise TypeError(f"`vocabularies[{name!r}]` must be {type(default).__name__}. Received: {learnt!r}.")
    return learnt


def frequent_values(values: pa.Array, counts: np.ndarray, *, min_count: int, max_size: int | None) -> Vocabulary:
    """Learns a vocabulary.

    Args:
        values: Strings or integers [n], the values of all rows; null and "" are missing values.
        counts: int64 [n], the training events of each value's row.
        min_count: Training events that a value needs, >= 1.
        max_size: Maximum number of values, the most frequent ones; None for all.

    Example:
        >>> print(frequent_values(pa.array(["a", "b", "a"]), np.array([1, 3, 1]), min_count=1, max_size=1))
        1 values: b (3)
    """
    values = values.cast(pa.string())  # of integers the digits, as in the raw inputs
    totals = pa.table({"value": values, "count": counts}).group_by("value").aggregate([("count", "sum")])
    is_kept = pc.and_(pc.greater_equal(totals["count_sum"], min_count), pc.not_equal(totals["value"], ""))
    ordered = totals.filter(is_kept).sort_by([("count_sum", "descending"), ("value", "ascending")])
    ordered = ordered.slice(0, max_size)
    return Vocabulary(tuple(ordered["value"].to_pylist()), tuple(ordered["count_sum"].to_pylist()))
