"""The sizes and settings of a recipe's models, by the numbers of events, queries and candidates."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.features.categorical import Categorical
from tfrs_twotower.features.feature import Feature
from tfrs_twotower.model.recipe_settings import LinearSettings, ModelSettings

_MIN_BATCH_SIZE = 16
_MAX_RETRIEVAL_L2, _MAX_RATING_L2 = 2e-4, 3e-4
# The loss is a mean over events, of which each of many candidates has a small share: l2 falls with their number.
_L2_TIMES_CANDIDATES = 0.1
# A rating tells about its query and its candidate, however many there are: their l2 is a share of the number of events.
_L2_TIMES_EVENTS = 3.0
# Above this number of events l2 is too weak to matter, and it costs a pass over all tables at every step; so does the
# average of the weights.
_MAX_EVENTS_WITH_L2 = 3_000_000
# A linear autoencoder needs more directions for a larger catalogue. With more than some 6,000 candidates, 1,024 of them
# found more than 512, and with fewer they found no more. The table of candidates must stay small enough.
_MAX_CANDIDATES_OF_FEW_DIRECTIONS, _FEW_DIRECTIONS, _MANY_DIRECTIONS = 6_000, 512, 1024
_MAX_TABLE_SIZE, _MIN_DIRECTIONS = 2**24, 32
# All queries are embedded at once where the validation part is ranked.
_MAX_QUERIES_SIZE = 2**27
# Training sees each event up to a hundred times, and a large table fewer times.
_MAX_EVENTS_IN_TRAINING, _MIN_EPOCHS, _MAX_EPOCHS = 150_000_000, 4, 100
# On MovieLens 100K, a model that trains on parts of the histories ranks better for new queries, and for known ones no
# worse; with a tenth of its users it ranked worse.
_HISTORY_DROPOUT = 0.7
# Histories go on growing after training.
_MIN_HISTORY_LENGTH = 1000

# Candidates of a sequence. Those before count little, and every step takes longer with them.
_SEQUENCE_LENGTH = 100


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
    """How large an epoch is.

    Attributes:
        num_rows: Queries with an event; with a context, queries times their contexts.
        num_slots: Events that the histories of these rows hold in all; without a context, the number of events.
    """

    num_rows: int
    num_slots: int

    @classmethod
    def of(cls, train: Interactions, *, has_context: bool) -> Sizes:
        """Counts them."""
        lengths = np.bincount(train.query_rows, minlength=train.num_queries)
        rows = train.requests.query_rows if has_context else np.flatnonzero(lengths)
        return cls(num_rows=len(rows), num_slots=int(lengths[rows].sum()))


def retrieval_settings(train: Interactions, sizes: Sizes) -> ModelSettings:
    """Returns the settings of a retrieval model that pools histories.

    Args:
        train: The training part.
        sizes: How large an epoch of it is.
    """
    return _settings(
        train,
        sizes,
        output_dim=128,
        dropout=0.5,
        l2=_rounded(min(_MAX_RETRIEVAL_L2, _L2_TIMES_CANDIDATES / train.num_candidates)),
        batch_size=_batch_size(sizes, num_steps=8, maximum=128),
        history_dropout=_HISTORY_DROPOUT,
    )


def sequence_settings(train: Interactions) -> ModelSettings:
    """Returns the settings of a retrieval model that reads histories in order.

    Args:
        train: The training part.
    """
    is_large = train.num_events > _MAX_EVENTS_WITH_L2
    return ModelSettings(
        output_dim=64,
        dropout=0.3,
        id_dropout=0.0,
        l2=0.0,
        history_length=_SEQUENCE_LENGTH,
        batch_size=64,
        learning_rate=2e-3,
        decay=None if is_large else 0.97,
        max_epochs=_max_epochs(Sizes.of(train, has_context=False)),
        # It improves slowly, with long stretches that do not show in the validation part.
        patience=1 if is_large else 15,
    )


def linear_settings(train: Interactions, candidate_id: Feature | None) -> LinearSettings | None:
    """Returns the linear part; None where candidates share vectors, or there are too many for a direction.

    Args:
        train: The training part.
        candidate_id: Feature of the candidates' ids.
    """
    num_candidates = train.num_candidates
    is_small = num_candidates <= _MAX_CANDIDATES_OF_FEW_DIRECTIONS
    affordable = min(_MAX_TABLE_SIZE / num_candidates, _MAX_QUERIES_SIZE / train.num_queries)
    affordable = 2 ** math.floor(math.log2(max(1.0, affordable)))
    rank = min(_FEW_DIRECTIONS if is_small else _MANY_DIRECTIONS, affordable)
    has_room = isinstance(candidate_id, Categorical) and rank >= _MIN_DIRECTIONS
    return LinearSettings(rank=rank) if has_room else None


def rating_settings(train: Interactions, sizes: Sizes) -> ModelSettings:
    """Returns the settings of a rating model.

    Args:
        train: The training part.
        sizes: How large an epoch of it is.
    """
    return _settings(
        train,
        sizes,
        output_dim=32,
        dropout=0.5,
        l2=_rounded(min(_MAX_RATING_L2, _L2_TIMES_EVENTS / train.num_events)),
        batch_size=_batch_size(sizes, num_steps=16, maximum=64),
    )


def _rounded(number: float) -> float:
    return float(f"{number:.1g}")


def _settings(
    train: Interactions,
    sizes: Sizes,
    *,
    output_dim: int,
    dropout: float,
    l2: float,
    batch_size: int,
    history_dropout: float = 0.0,
) -> ModelSettings:
    """Returns the settings of a model, of which most follow from the number of events alone."""
    is_large = train.num_events > _MAX_EVENTS_WITH_L2
    return ModelSettings(
        output_dim=output_dim,
        dropout=dropout,
        id_dropout=0.5,
        l2=0.0 if is_large else l2,
        history_length=_history_length(train),
        batch_size=batch_size,
        learning_rate=3e-3,
        decay=None if is_large else 0.97,
        max_epochs=_max_epochs(sizes),
        patience=1 if is_large else 5,
        history_dropout=history_dropout,
    )


def _batch_size(sizes: Sizes, *, num_steps: int, maximum: int) -> int:
    """Returns the queries per step: a power of two that makes about `num_steps` steps of a small table's epoch.

    For more than twenty thousand queries the maximum grows, up to fourfold.
    """
    maximum *= int(np.clip(2 ** round(math.log2(max(1.0, sizes.num_rows / 20_000))), 1, 4))
    return int(np.clip(2 ** round(math.log2(max(1.0, sizes.num_rows / num_steps))), _MIN_BATCH_SIZE, maximum))


def _max_epochs(sizes: Sizes) -> int:
    return int(np.clip(_MAX_EVENTS_IN_TRAINING / sizes.num_slots, _MIN_EPOCHS, _MAX_EPOCHS))


def _history_length(train: Interactions) -> int:
    """Returns the length of the longest history: training by query sees all of it, and so must the tower later."""
    return max(_MIN_HISTORY_LENGTH, int(np.bincount(train.query_rows, minlength=1).max()))
