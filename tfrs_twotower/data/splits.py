"""Which events train, which steer the training, and which are kept for the test."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa

from tfrs_twotower.data.interactions import Interactions


@dataclasses.dataclass(frozen=True, kw_only=True)
class Split:
    """A partition of the events; all three parts share the tables of queries and candidates.

    Attributes:
        train: What the model learns from.
        validation: What early stopping and every choice of a setting look at.
        test: What the figures are computed on, and nothing else.
    """

    train: Interactions
    validation: Interactions
    test: Interactions

    @property
    def seen(self) -> Interactions:
        """The training and validation parts together: what a query need not be recommended again."""
        events = pa.concat_tables([self.train.events, self.validation.events])
        return dataclasses.replace(self.train, events=events)


def random_split(interactions: Interactions, *, test: float = 0.2, validation: float = 0.1, seed: int) -> Split:
    """Splits the events at random.

    Args:
        interactions: At least three events.
        test: Share of all events, in (0, 1).
        validation: Share of the remaining (training) events, in (0, 1).
        seed: Any integer >= 0; the same seed gives the same partition.

    Raises:
        ValueError: If a share is outside (0, 1) or a part would be empty.

    Example:
        >>> import pyarrow as pa
        >>> ratings = Interactions(
        ...     queries=pa.table({"u": ["a"]}), candidates=pa.table({"m": ["x"]}), query_id="u", candidate_id="m",
        ...     events=pa.table({"query_row": [0] * 10, "candidate_row": [0] * 10, "rating": [1.0] * 10}),
        ... )
        >>> split = random_split(ratings, test=0.2, validation=0.25, seed=7)
        >>> split.train.num_events, split.validation.num_events, split.test.num_events
        (6, 2, 2)
    """
    for name, share in (("test", test), ("validation", validation)):
        if not 0 < share < 1:
            raise ValueError(f"`{name}` must be a share in (0, 1). Received: {share}.")
    order = np.random.default_rng(seed).permutation(interactions.num_events)
    num_test = round(len(order) * test)
    num_validation = round((len(order) - num_test) * validation)
    # Sorted, so that a part keeps the order of the data and not that of the lot.
    parts = [np.sort(part) for part in np.split(order, [num_test, num_test + num_validation])]
    if not all(part.size for part in parts):
        raise ValueError(
            f"Every part needs an event. Received {len(order)} events for test={test}, validation={validation}: "
            f"{parts[2].size} train, {parts[1].size} validation, {parts[0].size} test."
        )
    test_part, validation_part, train_part = (interactions.with_events(part) for part in parts)
    return Split(train=train_part, validation=validation_part, test=test_part)
