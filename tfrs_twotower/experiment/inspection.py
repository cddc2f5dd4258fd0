"""Looking at the data of an experiment without training: what was understood, and what would be done."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from tfrs_twotower._progress import Progress, no_progress
from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.data.splits import Split
from tfrs_twotower.experiment.column_summaries import ColumnSummary, summarise_columns
from tfrs_twotower.experiment.cost import Cost, estimate_cost
from tfrs_twotower.experiment.experiment import Experiment
from tfrs_twotower.experiment.preparation import prepare
from tfrs_twotower.model.recipe import Recipe

# A scale with more different ratings than these is described by its ends alone.
_MAX_RATINGS = 12


@dataclasses.dataclass(frozen=True, kw_only=True)
class ColdShare:
    """How much of the test part has no training event.

    Attributes:
        side: "queries" or "candidates".
        share: Share of the test part's queries or candidates without an event before the test part, in [0, 1].
        share_of_events: Share of the test events that are theirs, in [0, 1].
    """

    side: str
    share: float
    share_of_events: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inspection:
    """What was understood of the data, and what training would do.

    Attributes:
        source: Where the data came from.
        num_queries: Number of queries.
        num_candidates: Number of candidates.
        num_events: Number of events.
        columns: The columns of the three tables.
        ratings: Description of the scale of the ratings.
        positive_share: Share of the events that are positive, in [0, 1].
        time_span: First and last time in ISO 8601; None without times.
        num_repeated: Number of events beyond the first of their pair of query and candidate.
        parts: Name of a part of the split -> number of its events.
        cold: How much of the test part has no training event, for queries and candidates.
        recipe: What would be trained, and why.
        cost: What training would cost.
        notes: What was assumed or noticed, as full sentences.

    Example:
        >>> [field.name for field in dataclasses.fields(Inspection)][:4]
        ['source', 'num_queries', 'num_candidates', 'num_events']
    """

    source: str
    num_queries: int
    num_candidates: int
    num_events: int
    columns: tuple[ColumnSummary, ...]
    ratings: str
    positive_share: float
    time_span: tuple[str, str] | None
    num_repeated: int
    parts: dict[str, int]
    cold: tuple[ColdShare, ...]
    recipe: Recipe
    cost: Cost
    notes: tuple[str, ...]

    def lines(self) -> list[str]:
        """Writes everything but the columns as sentences for people."""
        times = "The events have no times."
        if self.time_span is not None:
            times = f"Times: from {self.time_span[0]} to {self.time_span[1]}."
        parts = ", ".join(f"{num:,} events for {name}" for name, num in self.parts.items())
        return [
            f"Data: {self.source}",
            f"{self.num_events:,} events of {self.num_queries:,} queries with {self.num_candidates:,} candidates.",
            self.ratings,
            f"Positive: {self.positive_share:.0%} of the events.",
            times,
            f"Repeats: {self.num_repeated:,} events are of a pair of query and candidate that occurs before.",
            f"Split: {parts}.",
            *(
                f"Without an event before the test part: {cold.share:.1%} of the test part's {cold.side}, which have "
                f"{cold.share_of_events:.1%} of its events."
                for cold in self.cold
            ),
            *self.recipe.lines(),
            self.cost.describe(),
            *self.notes,
        ]


def inspect_table(experiment: Experiment, *, progress: Progress = no_progress) -> Inspection:
    r"""Says what would be understood and done, without training.

    Args:
        experiment: The experiment, of which the data, the split and the recipe are looked at.
        progress: Called while data are read.

    Raises:
        ValueError: If the data cannot be used, or a setting does not fit them.
        OSError: If a file cannot be read.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from tfrs_twotower.experiment.sections import DataSection
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     lines = [f"c{row % 5},s{row % 7},{1 + row % 5}" for row in range(35)]
        ...     _ = Path(folder, "ratings.csv").write_text("customer_id,sku,stars\n" + "\n".join(lines))
        ...     data = DataSection(ratings=f"{folder}/ratings.csv", rating="stars")
        ...     inspection = inspect_table(Experiment(data=data))
        >>> inspection.num_queries, inspection.ratings
        (5, 'Ratings: 1 (20%), 2 (20%), 3 (20%), 4 (20%), 5 (20%).')
    """
    prepared = prepare(experiment, progress=progress)
    interactions, split, recipe = prepared.interactions, prepared.split, prepared.recipe
    return Inspection(
        source=interactions.source,
        num_queries=interactions.num_queries,
        num_candidates=interactions.num_candidates,
        num_events=interactions.num_events,
        columns=tuple(summarise_columns(interactions, _event_names(experiment))),
        ratings=_describe_ratings(interactions),
        positive_share=float(np.mean(interactions.ratings >= recipe.threshold)),
        time_span=_time_span(interactions),
        num_repeated=_count_repeats(interactions),
        parts={
            "training": split.train.num_events,
            "validation": split.validation.num_events,
            "the test": split.test.num_events,
        },
        cold=_measure_cold(split),
        recipe=recipe,
        cost=estimate_cost(split.seen, recipe),
        notes=prepared.notes,
    )


def _event_names(experiment: Experiment) -> dict[str, str | None]:
    """Returns column of the events -> its name in the user's files."""
    return {name: getattr(experiment.data, name, None) for name in ("rating", "timestamp", "weight", "impressions")}


def _describe_ratings(interactions: Interactions) -> str:
    if not interactions.has_ratings:
        return "There are no ratings: every event is positive."
    values, counts = np.unique(interactions.ratings, return_counts=True)
    if len(values) > _MAX_RATINGS:
        return f"Ratings: {len(values):,} different ones from {values[0]:g} to {values[-1]:g}."
    shares = [f"{value:g} ({count / counts.sum():.0%})" for value, count in zip(values, counts, strict=True)]
    return f"Ratings: {', '.join(shares)}."


def _time_span(interactions: Interactions) -> tuple[str, str] | None:
    times = interactions.timestamps
    if times is None or not len(times):
        return None
    first, last = (np.datetime64(int(time), "s") for time in (times.min(), times.max()))
    return str(first), str(last)


def _count_repeats(interactions: Interactions) -> int:
    pairs = interactions.query_rows.astype(np.int64) * interactions.num_candidates + interactions.candidate_rows
    return len(pairs) - len(np.unique(pairs))


def _measure_cold(split: Split) -> tuple[ColdShare, ...]:
    test, seen = split.test, split.seen
    sides: Sequence[tuple[str, np.ndarray, np.ndarray, int]] = (
        ("queries", test.query_rows, seen.query_rows, test.num_queries),
        ("candidates", test.candidate_rows, seen.candidate_rows, test.num_candidates),
    )
    shares = []
    for side, tested, known, size in sides:
        is_known = np.bincount(known, minlength=size) > 0
        shares.append(
            ColdShare(
                side=side,
                share=float(np.mean(~is_known[np.unique(tested)])),
                share_of_events=float(np.mean(~is_known[tested])),
            )
        )
    return tuple(shares)
