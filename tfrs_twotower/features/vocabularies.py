"""What is learnt from the training split before any training: which values get a vector, and statistics."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.data.times import seconds
from tfrs_twotower.features.features import (
    Bucketized,
    Categorical,
    Feature,
    History,
    MultiCategorical,
    Numeric,
    Text,
    Timestamp,
    histories,
)
from tfrs_twotower.features.inputs import list_rows, require_suitable_columns
from tfrs_twotower.features.tokens import split_words


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """Known values, which have a vector each.

    Attributes:
        values: Most frequent first, of equal counts by value.
        counts: Training events of each; () where nobody counted.
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
                f"`counts` must be one for each value. Received: {len(self.counts)} for {len(self.values)} values."
            )
        if "" in self.values or len(set(self.values)) < len(self.values):
            raise ValueError('`values` must be unique and not "", which is a missing value.')


@dataclasses.dataclass(frozen=True)
class Moments:
    """Mean and standard deviation over the training events.

    Attributes:
        mean: Finite.
        standard_deviation: Positive; 1 where all numbers are alike.
    """

    mean: float
    standard_deviation: float


@dataclasses.dataclass(frozen=True)
class Boundaries:
    """Where buckets meet: quantiles of the training events.

    Attributes:
        boundaries: Ascending; () where all numbers are alike.
    """

    boundaries: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "boundaries", tuple(self.boundaries))


@dataclasses.dataclass(frozen=True)
class TimeSpan:
    """The times of the training events.

    Attributes:
        earliest: Seconds since 1970-01-01 UTC.
        latest: Seconds since 1970-01-01 UTC.
    """

    earliest: float
    latest: float


Learnt = Vocabulary | Moments | Boundaries | TimeSpan

#: How far numbers must lie apart for float32 to tell them apart well, over their size.
_LEAST_SPREAD = 1e-6

_KINDS: Mapping[str, type] = {kind.__name__: kind for kind in (Vocabulary, Moments, Boundaries, TimeSpan)}


class Vocabularies(Mapping[str, Learnt]):
    """What is known of each raw input of a tower; inputs about which nothing is learnt are not in it.

    Args:
        learnt: Input name -> what is known.

    Example:
        >>> known = Vocabularies({"user_id": Vocabulary(("42", "7"), (3, 1)), "price": Moments(10.0, 2.5)})
        >>> print(known)
        user_id: 2 values: 42 (3), 7 (1)
        price: mean 10, standard deviation 2.5
        >>> Vocabularies.from_config(known.to_config()) == known
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
        return "\n".join(f"{name}: {_describe(learnt)}" for name, learnt in self.items())

    def __repr__(self) -> str:
        return f"Vocabularies({self._learnt!r})"

    def values_of(self, name: str) -> tuple[str, ...]:
        """The known values of an input, () where it has none."""
        learnt = self._learnt.get(name)
        return learnt.values if isinstance(learnt, Vocabulary) else ()

    def grow(self, newer: Vocabularies) -> Vocabularies:
        """These values in their order, then those that only the newer ones have; statistics stay as they are.

        A tower's weights were trained for the order of its values and for its statistics; see `grow_tower`. A feature's
        `max_size` holds for what is learnt at a time, not for what it grows to.

        Args:
            newer: Learnt of the same features from newer data. Its counts go before the older ones.

        Example:
            >>> older = Vocabularies({"id": Vocabulary(("a", "b"), (5, 2))})
            >>> older.grow(Vocabularies({"id": Vocabulary(("c", "a"), (9, 6))}))
            Vocabularies({'id': Vocabulary(values=('a', 'b', 'c'), counts=(6, 2, 9))})
        """
        grown = dict(self._learnt)
        for name, known in self._learnt.items():
            learnt = newer.get(name)
            if isinstance(known, Vocabulary) and isinstance(learnt, Vocabulary):
                grown[name] = _grow(known, learnt)
        return Vocabularies(grown)

    def to_config(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            name: {"kind": type(learnt).__name__, **{key: _plain(value) for key, value in vars(learnt).items()}}
            for name, learnt in self.items()
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Mapping[str, Any]]) -> Vocabularies:
        """What `to_config` described.

        Raises:
            ValueError: If a kind is unknown.
        """
        learnt = {}
        for name, settings in config.items():
            if settings.get("kind") not in _KINDS:
                raise ValueError(f"`kind` of {name!r} must be one of {', '.join(_KINDS)}: {settings.get('kind')!r}.")
            learnt[name] = _KINDS[settings["kind"]](**{key: settings[key] for key in settings if key != "kind"})
        return cls(learnt)

    def save(self, path: str | Path) -> None:
        """Writes a JSON file."""
        Path(path).write_text(json.dumps(self.to_config(), ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Vocabularies:
        """Reads a JSON file that `save` wrote.

        Raises:
            OSError: If it cannot be read.
            ValueError: If it is no such file.
        """
        try:
            return cls.from_config(json.loads(Path(path).read_text(encoding="utf-8")))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} holds no vocabularies: {error}") from error


def learn_query_vocabularies(features: Sequence[Feature], train: Interactions) -> Vocabularies:
    """Learns what a query tower needs to know, each query weighted by its training events.

    Args:
        features: Those of the query tower.
        train: The training split. Queries without an event teach nothing.

    Returns:
        For a history, the candidates' ids by its name, and the moments of the ratings by its `rating_name`.

    Raises:
        ValueError: If a column is missing or holds what its feature cannot take.
        TypeError: If a column's type does not suit its feature.
    """
    require_suitable_columns(features, train.queries)
    require_suitable_columns([history.of for history in histories(features)], train.candidates)
    query_counts, candidate_counts = _event_counts(train)
    learnt: dict[str, Learnt] = {}
    for feature in features:
        if not isinstance(feature, History):
            learnt.update(_learn(feature, train.queries, query_counts))
            continue
        of = _learn(feature.of, train.candidates, candidate_counts)
        if of:
            learnt[feature.name] = of[feature.of.name]
        if feature.by_rating:
            learnt[feature.rating_name] = _moments(train.ratings.astype(np.float64), np.ones(train.num_events))
    return Vocabularies(learnt)


def learn_candidate_vocabularies(features: Sequence[Feature], train: Interactions) -> Vocabularies:
    """Learns what a candidate tower needs to know, each candidate weighted by its training events.

    Args:
        features: Those of the candidate tower, no histories among them.
        train: The training split. Candidates without an event teach nothing.

    Raises:
        ValueError: If a column is missing or holds what its feature cannot take.
        TypeError: If a column's type does not suit its feature.

    Example:
        >>> train = Interactions(
        ...     queries=pa.table({"user_id": ["u"]}),
        ...     candidates=pa.table({"movie_id": ["m1", "m2", "m3"], "genres": [["War"], ["War", "Drama"], ["Epic"]]}),
        ...     events=pa.table({"query_row": [0, 0, 0], "candidate_row": [0, 1, 1], "rating": [5.0, 4.0, 3.0]}),
        ...     query_id="user_id", candidate_id="movie_id",
        ... )
        >>> features = [Categorical(name="movie_id"), MultiCategorical(name="genres")]
        >>> print(learn_candidate_vocabularies(features, train))
        movie_id: 2 values: m2 (2), m1 (1)
        genres: 2 values: War (3), Drama (2)
    """
    if histories(features):
        raise ValueError(
            f"Only queries have a History. Received among the candidates' features: {histories(features)}."
        )
    require_suitable_columns(features, train.candidates)
    _, counts = _event_counts(train)
    learnt: dict[str, Learnt] = {}
    for feature in features:
        learnt.update(_learn(feature, train.candidates, counts))
    return Vocabularies(learnt)


def _event_counts(train: Interactions) -> tuple[np.ndarray, np.ndarray]:
    return (
        np.bincount(train.query_rows, minlength=train.num_queries),
        np.bincount(train.candidate_rows, minlength=train.num_candidates),
    )


def _learn(feature: Feature, table: pa.Table, counts: np.ndarray) -> dict[str, Learnt]:
    column = table[feature.name].combine_chunks()
    is_null = pa.types.is_null(column.type)
    match feature:
        case Categorical():
            return {feature.name: _frequent(column, counts, feature)}
        case MultiCategorical():
            lists = column.cast(pa.list_(pa.string())) if is_null else column
            return {feature.name: _frequent(lists.flatten(), counts[list_rows(lists)], feature)}
        case Text():
            column = column.cast(pa.string())
            words = split_words(column.fill_null("").to_numpy(zero_copy_only=False), feature.max_words)
            values = pa.array(words.flat_values.numpy(), pa.binary()).cast(pa.string())
            return {feature.name: _frequent(values, counts[words.value_rowids().numpy()], feature)}
        case Numeric():
            numbers = _as_float(column)
            _require_spread(feature, numbers)
            return {feature.name: _moments(np.log1p(numbers) if feature.log else numbers, counts)}
        case Bucketized() if feature.num_buckets is not None:
            return {feature.name: Boundaries(_quantiles(_as_float(column), counts, feature.num_buckets))}
        case Timestamp():
            times = _as_float(seconds(column))[counts > 0]
            times = times[~np.isnan(times)]
            return {feature.name: TimeSpan(*((times.min(), times.max()) if times.size else (0.0, 0.0)))}
    return {}


def _frequent(values: pa.Array, counts: np.ndarray, feature: Categorical | MultiCategorical | Text) -> Vocabulary:
    values = values.cast(pa.string())  # of integers the digits, as in the raw inputs
    totals = pa.table({"value": values, "count": counts}).group_by("value").aggregate([("count", "sum")])
    known = pc.and_(pc.greater_equal(totals["count_sum"], feature.min_count), pc.not_equal(totals["value"], ""))
    ordered = totals.filter(known).sort_by([("count_sum", "descending"), ("value", "ascending")])
    ordered = ordered.slice(0, feature.max_size)
    return Vocabulary(tuple(ordered["value"].to_pylist()), tuple(ordered["count_sum"].to_pylist()))


def _as_float(column: pa.Array) -> np.ndarray:
    numbers: np.ndarray = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return numbers


def _require_spread(feature: Numeric, numbers: np.ndarray) -> None:
    numbers = numbers[~np.isnan(numbers)]
    if numbers.size and 0 < np.ptp(numbers) < _LEAST_SPREAD * np.abs(numbers).max():
        raise ValueError(
            f"`{feature.name}` must not lie so close together beside its size: float32 cannot tell the numbers apart. "
            f"Received: {numbers.min():.17g} to {numbers.max():.17g}. Subtract what all have in common; a time is a "
            "Timestamp."
        )


def _moments(numbers: np.ndarray, counts: np.ndarray) -> Moments:
    used = ~np.isnan(numbers) & (counts > 0)
    if not used.any():
        return Moments(0.0, 1.0)
    mean = np.average(numbers[used], weights=counts[used])
    deviation = np.sqrt(np.average((numbers[used] - mean) ** 2, weights=counts[used]))
    # The rounding of equal numbers is no spread.
    return Moments(float(mean), float(deviation) if deviation > 1e-12 * abs(mean) else 1.0)


def _quantiles(numbers: np.ndarray, counts: np.ndarray, num_buckets: int) -> tuple[float, ...]:
    """The smallest numbers that at least 1/n, 2/n, ... of the events are below, each once."""
    used = ~np.isnan(numbers) & (counts > 0)
    order = np.argsort(numbers[used], kind="stable")
    numbers, cumulative = numbers[used][order], np.cumsum(counts[used][order])
    if not numbers.size:
        return ()
    wanted = np.arange(1, num_buckets) / num_buckets * cumulative[-1]
    places = np.minimum(np.searchsorted(cumulative, wanted, side="right"), numbers.size - 1)
    # float32, as the raw inputs are: a number must not lie below itself. The lowest number bounds an empty bucket.
    boundaries = np.unique(numbers[places].astype(np.float32))
    boundaries = boundaries[np.isfinite(boundaries) & (boundaries > np.float32(numbers[0]))]
    return tuple(boundaries.tolist())


def _grow(known: Vocabulary, learnt: Vocabulary) -> Vocabulary:
    recent = dict(zip(learnt.values, learnt.counts or (0,) * len(learnt.values), strict=True))
    counts = [
        recent.pop(value, count)
        for value, count in zip(known.values, known.counts or (0,) * len(known.values), strict=True)
    ]
    return Vocabulary((*known.values, *recent), (*counts, *recent.values()))


def _describe(learnt: Learnt) -> str:
    match learnt:
        case Vocabulary():
            counts = [f" ({count:,})" for count in learnt.counts[:5]] or [""] * 5
            first = ", ".join(f"{value}{count}" for value, count in zip(learnt.values, counts, strict=False))
            return f"{len(learnt.values):,} values: {first}{', ...' if len(learnt.values) > 5 else ''}"
        case Moments():
            return f"mean {learnt.mean:.6g}, standard deviation {learnt.standard_deviation:.6g}"
        case Boundaries():
            return f"{len(learnt.boundaries) + 1} buckets: {', '.join(f'{value:g}' for value in learnt.boundaries)}"
        case TimeSpan():
            earliest, latest = np.array([learnt.earliest, learnt.latest]).astype("datetime64[s]")
            return f"{earliest} to {latest}"


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
