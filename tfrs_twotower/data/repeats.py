"""Pairs of a query and a candidate with several events: counting them, and making one event of each pair."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa

from tfrs_twotower.data.rows import pair_numbers

#: What becomes of a pair with several events: all are kept, or one is made with the last or mean rating, the sum of the
#: ratings, or the number of events as rating.
Repeats = Literal["keep", "last", "mean", "sum", "count"]


def note_repeats(events: pa.Table, num_candidates: int, repeats: Repeats) -> list[str]:
    """Counts the pairs that have several events.

    Args:
        events: As `Interactions.events`, before they are merged.
        num_candidates: Size of the catalogue.
        repeats: What becomes of such events.

    Returns:
        One sentence if there are such pairs.

    Example:
        >>> events = pa.table({"query_row": [0, 0, 1], "candidate_row": [2, 2, 2], "rating": [1.0, 2.0, 3.0]})
        >>> note_repeats(events, 3, "keep")
        ['1 of 2 pairs of a query and a candidate have several events, 2 in all. They are kept; random splits keep ...']
    """
    counts = np.bincount(_pairs(events, num_candidates)[0])
    repeated = counts[counts > 1]
    if not repeated.size:
        return []
    what = {
        "keep": "They are kept; random splits keep the events of a pair in one part.",
        "last": "The last event of each pair is kept.",
        "mean": "Each pair has become one event with the mean rating.",
        "sum": "Each pair has become one event with the sum of the ratings.",
        "count": "Each pair has become one event whose rating is the number of events.",
    }[repeats]
    return [
        f"{repeated.size} of {counts.size} pairs of a query and a candidate have several events, {repeated.sum()} in "
        f"all. {what}"
    ]


def merge_repeats(events: pa.Table, num_candidates: int, repeats: Repeats) -> pa.Table:
    """Makes one event of all events of a pair.

    The time, the weight and the event features of the new event are those of the pair's last event: the latest, and of
    several at one time the one in the last row.

    Args:
        events: As `Interactions.events`.
        num_candidates: Size of the catalogue.
        repeats: How. The mean is weighted by the events' weights, if there are any and their sum is not 0.

    Returns:
        The merged events, in the order of the last event of each pair; the same table for "keep".

    Example:
        >>> events = pa.table({"query_row": [0, 1, 0], "candidate_row": [2, 2, 2], "rating": [1.0, 5.0, 2.0]})
        >>> merge_repeats(events, 3, "mean").to_pydict()
        {'query_row': [1, 0], 'candidate_row': [2, 2], 'rating': [5.0, 1.5]}
    """
    if repeats == "keep":
        return events
    pairs, num_pairs = _pairs(events, num_candidates)
    rows = np.arange(len(pairs))
    times = events["timestamp"].to_numpy() if "timestamp" in events.column_names else rows
    order = np.lexsort((rows, times, pairs))
    last = order[np.cumsum(np.bincount(pairs, minlength=num_pairs)) - 1]  # by pair
    kept = np.sort(last)
    merged = events.take(pa.array(kept))
    if repeats == "last":
        return merged
    ratings = _merged_ratings(events, pairs, num_pairs, repeats)[pairs[kept]]
    return merged.set_column(merged.column_names.index("rating"), "rating", pa.array(ratings.astype(np.float32)))


def _merged_ratings(events: pa.Table, pairs: np.ndarray, num_pairs: int, repeats: Repeats) -> np.ndarray:
    """Computes the rating of each pair, float64 [num_pairs]."""
    counts = np.bincount(pairs, minlength=num_pairs).astype(np.float64)
    if repeats == "count":
        return counts
    ratings = events["rating"].to_numpy().astype(np.float64)
    sums = np.bincount(pairs, ratings, minlength=num_pairs)
    if repeats == "sum":
        return sums
    means = sums / counts
    if "weight" in events.column_names:
        weights = events["weight"].to_numpy().astype(np.float64)
        totals = np.bincount(pairs, weights, minlength=num_pairs)
        weighted = np.bincount(pairs, weights * ratings, minlength=num_pairs)
        means = np.divide(weighted, totals, out=means, where=totals > 0)
    return means


def _pairs(events: pa.Table, num_candidates: int) -> tuple[np.ndarray, int]:
    return pair_numbers(events["query_row"].to_numpy(), events["candidate_row"].to_numpy(), num_candidates)
