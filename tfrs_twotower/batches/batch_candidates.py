"""The candidates of a batch of queries: the whole catalogue, or the batch's own and some that are drawn."""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln

from tfrs_twotower.batches.explicit_negatives import NegativeLists


class BatchCandidates:
    """Finds the candidates of each batch, and how probably a batch holds a candidate.

    Args:
        owners: int [num_candidates], the number of rows of an epoch that have each candidate. A batch takes rows
            without repetition.
        num_rows: Rows of an epoch, >= 1.
        batch_size: Rows per batch, >= 1.
        num_sampled: Number of candidates drawn uniformly for a batch, beside those of its events, >= 0; None for the
            whole catalogue in every batch.
        seed: Seed of the draws.

    Attributes:
        log_sampling_probabilities: float32 [num_candidates], the logarithm of the probability that a row's batch
            holds a candidate that is none of the row's own; 0 with the whole catalogue.

    Raises:
        ValueError: If `num_sampled` is negative.

    Example:
        >>> owners = np.array([0, 0, 1, 1, 0])
        >>> chosen = BatchCandidates(owners, num_rows=2, batch_size=2, num_sampled=0, seed=0)
        >>> rows, places = chosen.of(np.array([3, 2, 3]), epoch=0, number=0)
        >>> rows.tolist(), places.tolist()
        ([2, 3], [1, 0, 1])
    """

    def __init__(
        self,
        owners: np.ndarray,
        *,
        num_rows: int,
        batch_size: int,
        num_sampled: int | None,
        seed: int,
    ) -> None:
        if num_sampled is not None and num_sampled < 0:
            raise ValueError(f"`num_sampled` must be at least 0. Received: {num_sampled}.")
        self._num_candidates, self._num_sampled, self._seed = len(owners), num_sampled, seed
        self.log_sampling_probabilities = np.zeros(len(owners), np.float32)
        if num_sampled is not None:
            absent = _absence_probabilities(owners, num_rows, batch_size)
            absent *= (1 - 1 / len(owners)) ** num_sampled
            present = np.maximum(1 - absent, np.finfo(np.float32).tiny)
            self.log_sampling_probabilities = np.log(present).astype(np.float32)

    def of(self, targets: np.ndarray, epoch: int, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the rows of a batch's candidates, none twice, and the places of its targets among them.

        Args:
            targets: int [events], rows of the candidates of the batch's events.
            epoch: Number of the epoch.
            number: Number of the batch in the epoch.

        Returns:
            (rows, places): int32 [num_rows], int32 [events].
        """
        if self._num_sampled is None:
            return np.arange(self._num_candidates, dtype=np.int32), targets
        generator = np.random.default_rng([self._seed, epoch, number])
        drawn = generator.integers(0, self._num_candidates, self._num_sampled)
        rows = np.unique(np.concatenate([targets, drawn]))
        return rows.astype(np.int32), np.searchsorted(rows, targets).astype(np.int32)

    def columns(
        self, targets: np.ndarray, events: np.ndarray, negatives: NegativeLists | None, epoch: int, number: int
    ) -> dict[str, np.ndarray]:
        """Returns the columns of a batch's rows that are about its candidates; see `QueryRows`.

        Args:
            targets: int [events], as in `of`.
            events: int [events], the rows of the batch's events, which are the groups of `negatives`.
            negatives: What was shown with each event and not chosen, which the batch then has, too; None for nothing.
            epoch: Number of the epoch.
            number: Number of the batch in the epoch.
        """
        if negatives is None:
            rows, places = self.of(targets, epoch, number)
            return {"candidates": rows, "target_candidates": places}
        negative_events, shown, weights = negatives.of(events)
        rows, places = self.of(np.concatenate([targets, shown]), epoch, number)
        return {
            "candidates": rows,
            "target_candidates": places[: len(targets)],
            "negative_events": negative_events.astype(np.int32),
            "negative_candidates": places[len(targets) :],
            "negative_weights": weights,
        }


def _absence_probabilities(owners: np.ndarray, num_rows: int, batch_size: int) -> np.ndarray:
    """Returns the probability that no other row of a row's batch has a candidate, float64 [num_candidates].

    The batch's other rows are drawn without repetition, from all but the one: hypergeometric.

    Args:
        owners: int [num_candidates], number of rows that have each candidate.
        num_rows: Rows of an epoch.
        batch_size: Rows per batch.
    """
    others, beside = num_rows - 1, min(batch_size, num_rows) - 1
    left = np.maximum(others - owners, 0)
    logs = (
        gammaln(left + 1)
        - gammaln(np.maximum(left - beside, 0) + 1)
        - gammaln(others + 1)
        + gammaln(others - beside + 1)
    )
    return np.where(left >= beside, np.exp(logs), 0.0)
