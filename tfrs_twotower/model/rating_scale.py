"""The rating scale: which ratings are positive, and whether a rating is a degree of liking at all."""

from __future__ import annotations

import dataclasses

import numpy as np

# Highest rating of a usual scale -> threshold. Three of five stars count as liked, and as much on the other scales.
_THRESHOLDS = {5.0: 3.0, 10.0: 6.0, 100.0: 60.0}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Threshold:
    """The lowest positive rating, and why it is.

    Attributes:
        value: A rating of at least this is positive.
        reason: A sentence for people.
        is_scale: Whether a higher rating means more liking; otherwise ratings are counts, or all alike.

    Example:
        >>> Threshold(value=4.0, reason="You chose it.", is_scale=True).value
        4.0
    """

    value: float
    reason: str
    is_scale: bool


def choose_threshold(ratings: np.ndarray, *, has_ratings: bool = True, threshold: float | None = None) -> Threshold:
    """Chooses the lowest positive rating from the scale, unless the user has chosen it.

    Args:
        ratings: float32 [num_events], finite, not empty.
        has_ratings: Whether the table has ratings; otherwise every event is positive.
        threshold: The user's choice.

    Raises:
        ValueError: If there is no rating, or `threshold` is not finite.

    Example:
        >>> choose_threshold(np.array([1.0, 4.5, 5.0])).value, choose_threshold(np.array([0.0, 1.0])).value
        (3.0, 1.0)
        >>> print(choose_threshold(np.array([2.0, 3.0, 10.0])).reason)
        The ratings are on a scale up to 10 (received: 2 to 10).
    """
    if not ratings.size:
        raise ValueError("`ratings` must not be empty: a threshold is chosen from the ratings.")
    values = np.unique(ratings)
    lowest, highest = float(values[0]), float(values[-1])
    counts = _are_counts(values)
    if threshold is not None:
        if not np.isfinite(threshold):
            raise ValueError(f"`threshold` must be finite. Received: {threshold}.")
        return Threshold(value=float(threshold), reason="You chose it.", is_scale=has_ratings and not counts)
    if not has_ratings:
        return Threshold(value=lowest, reason="The table has no ratings: every event is positive.", is_scale=False)
    if len(values) == 1:
        reason = f"Every rating is {lowest:g}: every event is positive."
        return Threshold(value=lowest, reason=reason, is_scale=False)
    if len(values) == 2:
        reason = f"There are two ratings, {lowest:g} and {highest:g}: the higher one is positive."
        return Threshold(value=highest, reason=reason, is_scale=True)
    if counts:
        reason = f"The ratings are counts ({lowest:g} to {highest:g}): every event is positive."
        return Threshold(value=lowest, reason=reason, is_scale=False)
    if lowest < 0:
        reason = f"The ratings lie on both sides of 0 ({lowest:g} to {highest:g}): those of at least 0 are positive."
        return Threshold(value=0.0 if highest >= 0 else highest, reason=reason, is_scale=True)
    for end, value in _THRESHOLDS.items():
        if highest <= end:
            reason = f"The ratings are on a scale up to {end:g} (received: {lowest:g} to {highest:g})."
            return Threshold(value=min(value, highest), reason=reason, is_scale=True)
    middle = float(np.median(ratings))
    reason = f"The ratings are on no usual scale ({lowest:g} to {highest:g}): their median is the threshold."
    return Threshold(value=middle, reason=reason, is_scale=True)


def _are_counts(values: np.ndarray) -> bool:
    """Tells counts, such as numbers of plays or purchases, from degrees of liking: whole numbers from 1 without end."""
    return bool(values[0] >= 1 and values[-1] > 100 and (values == np.floor(values)).all())
