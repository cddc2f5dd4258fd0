"""Metrics of predicted probabilities and of scores, in pure NumPy: how well they fit and how well they tell apart."""

from __future__ import annotations

import numpy as np

#: Probabilities are clipped to this distance from 0 and 1 before their logarithm is taken. It is the resolution of a
#: float32 near 1.
MIN_PROBABILITY = float(np.finfo(np.float32).eps)


def log_losses(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Returns the log loss of each event in nats, float64 [n].

    The log loss is minus the logarithm of the probability predicted for the class that was observed.

    Args:
        labels: bool [n].
        probabilities: float [n], in [0, 1], of the positive class; clipped to at least `MIN_PROBABILITY` and at most
            1 - `MIN_PROBABILITY`.

    Example:
        >>> log_losses(np.array([True, False]), np.array([0.5, 0.5])).round(4).tolist()
        [0.6931, 0.6931]
    """
    clipped = np.clip(np.asarray(probabilities, np.float64), MIN_PROBABILITY, 1 - MIN_PROBABILITY)
    return np.asarray(-np.log(np.where(labels, clipped, 1 - clipped)))


def brier_score(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Returns the mean squared difference between the predicted probability and the label.

    Args:
        labels: bool [n], n >= 1.
        probabilities: float [n], in [0, 1], of the positive class.

    References:
        Brier 1950, "Verification of Forecasts Expressed in Terms of Probability".

    Example:
        >>> brier_score(np.array([True, False]), np.array([0.5, 0.0]))
        0.125
    """
    return float(np.mean((np.asarray(probabilities, np.float64) - labels) ** 2))


def reliability(labels: np.ndarray, probabilities: np.ndarray, *, num_bins: int = 10) -> np.ndarray:
    """Compares predicted probabilities with observed frequencies, in bins that hold equally many events.

    Args:
        labels: bool [n], n >= 1.
        probabilities: float [n], in [0, 1], of the positive class.
        num_bins: Maximum number of bins, >= 1. Events of equal probability stay in one bin.

    Returns:
        float64 [bins, 3]: the mean predicted probability, the share of positive labels and the number of events of each
        bin.

    Example:
        >>> reliability(np.array([False, True, True, True]), np.array([0.2, 0.4, 0.8, 1.0]), num_bins=2).tolist()
        [[0.30000000000000004, 0.5, 2.0], [0.9, 1.0, 2.0]]
    """
    order = np.argsort(probabilities, kind="stable")
    ascending, observed = np.asarray(probabilities, np.float64)[order], np.asarray(labels, np.float64)[order]
    edges = np.quantile(ascending, np.linspace(0, 1, num_bins + 1)[1:-1], method="lower")
    starts = np.unique(np.concatenate([[0], np.searchsorted(ascending, edges, side="right")]))
    starts = starts[starts < len(ascending)]
    counts = np.diff(np.append(starts, len(ascending)))
    sums = np.stack([np.add.reduceat(values, starts) for values in (ascending, observed)], axis=1)
    return np.column_stack([sums / counts[:, np.newaxis], counts])


def calibration_error(labels: np.ndarray, probabilities: np.ndarray, *, num_bins: int = 10) -> float:
    """Computes the expected calibration error over the bins of `reliability`.

    It is the mean absolute difference between a bin's mean predicted probability and its share of positive labels,
    weighted by the number of events in the bin.

    Args:
        labels: bool [n], n >= 1.
        probabilities: float [n], in [0, 1], of the positive class.
        num_bins: Maximum number of bins, >= 1.

    References:
        Nixon et al. 2019, "Measuring Calibration in Deep Learning", section 3 (adaptive bins).

    Example:
        >>> calibration_error(np.array([False, True, True, True]), np.full(4, 0.75))
        0.0
    """
    predicted, observed, counts = reliability(labels, probabilities, num_bins=num_bins).T
    return float(np.average(np.abs(predicted - observed), weights=counts))


def grouped_auc(labels: np.ndarray, scores: np.ndarray, groups: np.ndarray) -> float:
    """Computes the mean AUC of groups, weighted by their numbers of events; with users as groups this is the GAUC.

    A group with labels of one class only has no AUC and is left out.

    Args:
        labels: bool [n].
        scores: float [n]; a pair with equal scores counts one half.
        groups: int [n], the group of each event.

    Returns:
        The weighted mean, NaN if no group has labels of both classes.

    References:
        Zhou et al. 2018, "Deep Interest Network for Click-Through Rate Prediction", eq. 8.

    Example:
        >>> labels = np.array([True, False, True, False, True])
        >>> grouped_auc(labels, np.array([0.9, 0.1, 0.2, 0.3, 0.5]), np.array([0, 0, 1, 1, 2]))
        0.5
    """
    _, areas, sizes = auc_by_group(labels, scores, groups)
    return float(np.average(areas, weights=sizes)) if len(areas) else float("nan")


def auc_by_group(
    labels: np.ndarray, scores: np.ndarray, groups: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Computes the area under the ROC curve (AUC) of each group that has labels of both classes.

    Args:
        labels: bool [n].
        scores: float [n]; a pair with equal scores counts one half.
        groups: int [n], the group of each event.

    Returns:
        (groups, areas, sizes): int, the groups that have labels of both classes, ascending; float64, in [0, 1], their
        AUC; int64, their numbers of events.

    References:
        Hanley & McNeil 1982, "The Meaning and Use of the Area under a Receiver Operating Characteristic (ROC) Curve"
        (the area as a sum of ranks).

    Example:
        >>> labels, scores = np.array([True, False, True]), np.array([0.9, 0.1, 0.2])
        >>> groups, areas, sizes = auc_by_group(labels, scores, np.array([7, 7, 8]))
        >>> groups.tolist(), areas.tolist(), sizes.tolist()
        ([7], [1.0], [2])
    """
    order = np.lexsort([scores, groups])
    labels, scores, groups = np.asarray(labels, bool)[order], np.asarray(scores)[order], np.asarray(groups)[order]
    if not len(groups):
        return groups, np.zeros(0), np.zeros(0, np.int64)
    is_first = np.append(True, groups[1:] != groups[:-1])
    starts = np.flatnonzero(is_first)
    counts = np.diff(np.append(starts, len(groups)))
    # Ranks within the group; equal scores share the mean of their ranks.
    is_new = is_first | np.append(True, scores[1:] != scores[:-1])
    run_starts = np.flatnonzero(is_new)
    run_lengths = np.diff(np.append(run_starts, len(groups)))
    ranks = np.repeat(run_starts + (run_lengths + 1) / 2, run_lengths) - np.repeat(starts, counts)
    num_positive = np.add.reduceat(labels.astype(np.int64), starts)
    num_negative = counts - num_positive
    has_both = (num_positive > 0) & (num_negative > 0)
    rank_sums = np.add.reduceat(ranks * labels, starts)[has_both]
    num_positive, num_negative = num_positive[has_both], num_negative[has_both]
    areas = (rank_sums - num_positive * (num_positive + 1) / 2) / (num_positive * num_negative)
    return groups[starts][has_both], areas, counts[has_both]
