"""A simple model of what training costs, measured on machines of 2 cores."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tfrs_twotower.data.interactions import Interactions
    from tfrs_twotower.model.recipe import Recipe

# Seconds per event and epoch. The retrieval model's hold up to so many candidates, and grow with their number above.
_RETRIEVAL_S, _RATING_S = 8e-6, 4.3e-6
_MAX_CANDIDATES = 60_000
# TensorFlow itself; columns of an event (its rows, rating and time, and copies of them in the parts of a split); a
# weight with Adam's two moments, the average and a copy of it.
_BASE_BYTES, _EVENT_BYTES, _WEIGHT_BYTES = 1.5e9, 80, 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cost:
    """What training is estimated to cost.

    Attributes:
        epoch_s: Seconds of an epoch of each model together.
        max_s: Seconds if every model is trained for its maximum number of epochs in every form that may be tried, and
            then again on all events.
        memory_bytes: Memory of the whole process.

    Example:
        >>> Cost(epoch_s=2.0, max_s=400.0, memory_bytes=2_000_000_000).describe()
        'Training takes about 2 s an epoch on 2 cores, at most 7 min in all, and about 2.0 GB of memory.'
    """

    epoch_s: float
    max_s: float
    memory_bytes: int

    def describe(self) -> str:
        """Describes it in a sentence."""
        return (
            f"Training takes about {format_duration(self.epoch_s)} an epoch on 2 cores, at most "
            f"{format_duration(self.max_s)} in all, and about {self.memory_bytes / 1e9:.1f} GB of memory."
        )


def estimate_cost(train: Interactions, recipe: Recipe) -> Cost:
    """Estimates what training costs: time grows with events and epochs, memory with ids, events and embeddings.

    Args:
        train: The events to train on.
        recipe: The recipe; its epochs, or else its maximum numbers of epochs, are what is counted.
    """
    scale = max(1.0, train.num_candidates / _MAX_CANDIDATES)
    # A model is trained to choose the epochs, perhaps again in another form, and at last on all events.
    retrieval_trainings = 2 + (recipe.with_ids_alone() != recipe) + (recipe.impression_weight is None)
    rating_trainings = 2 + (recipe.starts_from_biases is None)
    epoch_s = max_s = num_weights = 0.0
    # A query with a context is trained on once for each of its contexts, each time with its whole history.
    lengths = np.bincount(train.query_rows, minlength=train.num_queries)
    num_slots = int(lengths[train.requests.query_rows].sum()) if recipe.context else train.num_events
    for settings, event_s, num_trainings in (
        (recipe.retrieval, _RETRIEVAL_S * scale, retrieval_trainings),
        (recipe.rating, _RATING_S, rating_trainings),
    ):
        if settings is None:
            continue
        seconds = event_s * num_slots
        epoch_s += seconds
        max_s += seconds * (settings.epochs or num_trainings * settings.max_epochs)
        # Ids of both sides, and the candidates of histories.
        num_weights += settings.output_dim * (train.num_queries + 2 * train.num_candidates)
    memory_bytes = _BASE_BYTES + _EVENT_BYTES * train.num_events + _WEIGHT_BYTES * num_weights
    return Cost(epoch_s=epoch_s, max_s=max_s, memory_bytes=round(memory_bytes))


def format_duration(seconds: float) -> str:
    """Writes a duration with a unit that suits its length.

    Args:
        seconds: The duration.

    Example:
        >>> [format_duration(seconds) for seconds in (0.04, 42, 600, 7300)]
        ['0.04 s', '42 s', '10 min', '2.0 h']
    """
    if seconds < 120:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
