"""The numbers of a recipe: the sizes of its models, how they are trained, and the linear part."""

from __future__ import annotations

import dataclasses

import numpy as np

from tfrs_twotower._settings import whole_number


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """The sizes of one of the two models, and how it is trained.

    Attributes:
        output_dim: Length of the embeddings, >= 1.
        dropout: Share of a query's entries that training drops, in [0, 1).
        id_dropout: Share of query ids that training replaces by an unknown one, in [0, 1): the query is then described
            by its history and its other features alone.
        l2: Weight of the squared norms of all vectors in the loss, >= 0.
        history_length: Maximum number of past candidates that describe a query, the latest ones, >= 1.
        batch_size: Queries per step, >= 1.
        learning_rate: Learning rate of `LazyAdam`, > 0.
        decay: Decay of the moving average of the weights, in (0, 1); None for no average.
        max_epochs: Maximum number of epochs, >= 1.
        patience: Measurements of the validation part without a better value after which training stops, >= 1.
        epochs: Number of epochs, >= 1; None if the validation part chooses it.
        history_dropout: Largest share of a history that training drops, in [0, 1); see `History`.

    Example:
        >>> settings = ModelSettings(
        ...     output_dim=128, dropout=0.7, id_dropout=0.5, l2=2e-4, history_length=1000, batch_size=128,
        ...     learning_rate=3e-3, decay=0.97, max_epochs=100, patience=5,
        ... )
        >>> dataclasses.replace(settings, epochs=20).epochs
        20
    """

    output_dim: int
    dropout: float
    id_dropout: float
    l2: float
    history_length: int
    batch_size: int
    learning_rate: float
    decay: float | None
    max_epochs: int
    patience: int
    epochs: int | None = None
    history_dropout: float = 0.0

    def __post_init__(self) -> None:
        for name in ("output_dim", "history_length", "batch_size", "max_epochs", "patience"):
            whole_number(getattr(self, name), f"`{name}`", 1)
        if self.epochs is not None:
            whole_number(self.epochs, "`epochs`", 1)
        for name in ("dropout", "id_dropout", "history_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be in [0, 1). Received: {getattr(self, name)}.")
        if not 0 <= self.l2 < np.inf:
            raise ValueError(f"`l2` must be finite and at least 0. Received: {self.l2}.")
        if not 0 < self.learning_rate < np.inf:
            raise ValueError(f"`learning_rate` must be positive and finite. Received: {self.learning_rate}.")
        if self.decay is not None and not 0 < self.decay < 1:
            raise ValueError(f"`decay` must be in (0, 1), or None. Received: {self.decay}.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LinearSettings:
    """A linear autoencoder that is added to the scores of a retrieval model; see `LinearPart`.

    Attributes:
        rank: Number of directions, >= 1, by which the embeddings grow; the largest one if the validation part chooses.
        l2: Squared norm that stands against those of the directions, > 0; None if the validation part chooses it.
        weight: Spread of the autoencoder's scores, as a share of the spread of the model's, > 0; None if the validation
            part chooses it.

    Example:
        >>> LinearSettings(rank=256).l2 is None
        True
    """

    rank: int
    l2: float | None = None
    weight: float | None = None

    def __post_init__(self) -> None:
        whole_number(self.rank, "`rank`", 1)
        for name in ("l2", "weight"):
            value = getattr(self, name)
            if value is not None and not 0 < value < np.inf:
                raise ValueError(f"`{name}` must be positive and finite, or None. Received: {value}.")
