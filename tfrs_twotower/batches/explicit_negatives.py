"""Explicit negatives: candidates that a query is known not to want, because it was shown them or rated them low."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.data.rows import pair_codes, places_within


class NegativeWeights(NamedTuple):
    """What explicit negatives count in the choice between them and what was chosen.

    Attributes:
        impression: Weight of a candidate that was shown with an event and not chosen, >= 0; 1: as much as the chosen
            one.
        dislike: Weight of a candidate that was rated below the threshold, >= 0.

    Example:
        >>> NegativeWeights(impression=1.0, dislike=0.0).impression
        1.0
    """

    impression: float
    dislike: float


class NegativeLists:
    """Lists the explicit negatives of each query, or of each other group of events.

    A candidate that a query has chosen in the training part is none of its negatives, however often it was shown.

    Args:
        interactions: The training part.
        threshold: A rating of at least this is positive.
        weights: What an impression and a dislike count.
        groups: int [num_events], the group of each event, such as its query; all of a group are of one query.
        num_groups: Number of groups.

    Attributes:
        group_rows: int64 [n], ascending, the group of each negative.
        candidate_rows: int32 [n], the row of its candidate, ascending in a group.

    Example:
        >>> import pyarrow as pa
        >>> events = {"query_row": [0, 0], "candidate_row": [0, 1], "rating": [5.0, 1.0], "impressions": [[1, 2], []]}
        >>> ratings = Interactions(
        ...     queries=pa.table({"u": ["a"]}), candidates=pa.table({"m": ["x", "y", "z"]}), events=pa.table(events),
        ...     query_id="u", candidate_id="m",
        ... )
        >>> weights = NegativeWeights(impression=1.0, dislike=4.0)
        >>> lists = NegativeLists(ratings, threshold=3, weights=weights, groups=ratings.query_rows, num_groups=1)
        >>> [found.tolist() for found in lists.of(np.array([0]))]
        [[0, 0], [1, 2], [5.0, 1.0]]
    """

    def __init__(
        self,
        interactions: Interactions,
        *,
        threshold: float,
        weights: NegativeWeights,
        groups: np.ndarray,
        num_groups: int,
    ) -> None:
        num_candidates, rows = interactions.num_candidates, interactions.candidate_rows
        is_positive = interactions.ratings >= threshold
        query_of_group = np.zeros(num_groups, np.int64)
        query_of_group[groups] = interactions.query_rows
        codes, counts = [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
        if weights.impression and interactions.impressions is not None:
            starts, shown = interactions.impressions
            codes.append(pair_codes(np.repeat(groups, np.diff(starts)), shown, num_candidates))
            counts.append(np.full(len(shown), weights.impression, np.float32))
        if weights.dislike:
            codes.append(pair_codes(groups[~is_positive], rows[~is_positive], num_candidates))
            counts.append(np.full(len(codes[-1]), weights.dislike, np.float32))
        pairs, places = np.unique(np.concatenate(codes), return_inverse=True)
        summed = np.bincount(places, np.concatenate(counts), minlength=len(pairs)).astype(np.float32)
        group_rows, candidate_rows = np.divmod(pairs, num_candidates)
        chosen = pair_codes(interactions.query_rows[is_positive], rows[is_positive], num_candidates)
        is_negative = ~np.isin(pair_codes(query_of_group[group_rows], candidate_rows, num_candidates), chosen)
        self.group_rows, self._weights = group_rows[is_negative], summed[is_negative]
        self.candidate_rows = candidate_rows[is_negative].astype(np.int32)
        self._starts = np.searchsorted(self.group_rows, np.arange(num_groups + 1))

    def of(self, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns all negatives of some groups.

        Args:
            groups: int [n].

        Returns:
            (places, candidate_rows, weights): int64 [any], ascending, the place of the negative's group among the
            given ones; int32 [any]; float32 [any].
        """
        counts = self._starts[groups + 1] - self._starts[groups]
        found = np.repeat(self._starts[groups], counts) + places_within(counts)
        return np.repeat(np.arange(len(groups)), counts), self.candidate_rows[found], self._weights[found]

    def draw(
        self, groups: np.ndarray, num: int, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns the negatives of some groups, or some of those of a group that has many.

        Args:
            groups: int [n].
            num: Maximum number of negatives of a group, >= 1. Of more, so many are drawn with repetition, whose weights
                stand for all of them.
            generator: Source of randomness.

        Returns:
            As `of`, but a group may have a candidate twice.
        """
        counts = self._starts[groups + 1] - self._starts[groups]
        taken = np.minimum(counts, num)
        places, within = np.repeat(np.arange(len(groups)), taken), places_within(taken)
        drawn = generator.integers(0, counts[places])
        found = self._starts[groups][places] + np.where(counts[places] > num, drawn, within)
        shares = (taken / np.maximum(counts, 1))[places]
        return places, self.candidate_rows[found], (self._weights[found] / shares).astype(np.float32)


def list_impressions(
    interactions: Interactions, *, threshold: float, weights: NegativeWeights | None
) -> NegativeLists | None:
    """Lists what was shown with each event and not chosen, for batches in which each event is compared with that.

    What a query dislikes is in such batches anyway, as its other events.

    Args:
        interactions: The training part.
        threshold: A rating of at least this is positive.
        weights: What explicit negatives count; None if they count nothing.

    Returns:
        Lists whose groups are the events; None if impressions count nothing.
    """
    if weights is None or not weights.impression:
        return None
    num_events = interactions.num_events
    return NegativeLists(
        interactions,
        threshold=threshold,
        weights=weights._replace(dislike=0.0),
        groups=np.arange(num_events),
        num_groups=num_events,
    )
