"""Measures probabilities of rated pairs; the metrics are scikit-learn's."""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.special
import sklearn.metrics

from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.evaluation import metrics

_EVENTS_AT_ONCE = 2**16


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConfusionMatrix:
    """Counts of pairs by what they are and what they were taken for, at a probability of 0.5."""

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int


def pair_probabilities(queries: np.ndarray, candidates: np.ndarray, interactions: Interactions) -> np.ndarray:
    """Probabilities of events by a head whose dot products are log-odds.

    Args:
        queries: float32 [num_queries, embedding_dim].
        candidates: float32 [num_candidates, embedding_dim].
        interactions: Their events.

    Returns:
        float64 [num_events].
    """
    logits = np.empty(interactions.num_events, np.float64)
    for start in range(0, interactions.num_events, _EVENTS_AT_ONCE):
        block = slice(start, start + _EVENTS_AT_ONCE)
        rows = interactions.query_rows[block], interactions.candidate_rows[block]
        logits[block] = np.einsum("nd,nd->n", queries[rows[0]], candidates[rows[1]])
    return np.asarray(scipy.special.expit(logits))


def has_both_classes(labels: np.ndarray) -> bool:
    """Whether there is something to tell apart: of one class alone, such as clicks, there is not."""
    return bool(labels.any() and not labels.all())


def rating_metrics(
    labels: np.ndarray, probabilities: np.ndarray, query_rows: np.ndarray | None = None
) -> dict[str, float]:
    """Measures predicted probabilities.

    Args:
        labels: bool [n], both classes present.
        probabilities: float [n], in [0, 1], of the positive class.
        query_rows: int [n], whose pair each is, for the AUC by query.

    Returns:
        `log_loss` (nats, of probabilities cut at `metrics.LEAST_PROBABILITY`), `accuracy`, `auc`, `f1`, `brier` and
        `calibration_error`; accuracy and F1 at a probability of 0.5. With the queries `gauc`, if any of them has both
        classes.

    Raises:
        ValueError: If all labels are alike: AUC is not defined then; or a probability is missing or not finite.

    Example:
        >>> labels, probabilities = np.array([True, True, False]), np.array([0.9, 0.4, 0.2])
        >>> found = rating_metrics(labels, probabilities)
        >>> {name: round(found[name], 3) for name in ("log_loss", "accuracy", "auc", "f1", "brier")}
        {'log_loss': 0.415, 'accuracy': 0.667, 'auc': 1.0, 'f1': 0.667, 'brier': 0.137}
    """
    probabilities = np.asarray(probabilities, np.float64)
    if len(probabilities) != len(labels) or not np.isfinite(probabilities).all():
        raise ValueError(f"`probabilities` must be finite, one for each of the {len(labels)} labels.")
    if not has_both_classes(labels):
        alike = "positive" if labels.all() else "negative"
        raise ValueError(f"`labels` must be of both classes. Received: {len(labels)}, all {alike}.")
    predicted = probabilities > 0.5
    gauc = float("nan") if query_rows is None else metrics.grouped_auc(labels, probabilities, query_rows)
    return {
        "log_loss": float(metrics.log_losses(labels, probabilities).mean()),
        "accuracy": float(sklearn.metrics.accuracy_score(labels, predicted)),
        "auc": float(sklearn.metrics.roc_auc_score(labels, probabilities)),
        "f1": float(sklearn.metrics.f1_score(labels, predicted)),
        "brier": metrics.brier_score(labels, probabilities),
        "calibration_error": metrics.calibration_error(labels, probabilities),
        **({} if np.isnan(gauc) else {"gauc": gauc}),
    }


def confusion_matrix(labels: np.ndarray, probabilities: np.ndarray) -> ConfusionMatrix:
    """The confusion matrix at a probability of 0.5.

    Args:
        labels: bool [n].
        probabilities: float [n], of the positive class.
    """
    matrix = sklearn.metrics.confusion_matrix(labels, probabilities > 0.5, labels=[False, True])
    (tn, fp), (fn, tp) = matrix.tolist()
    return ConfusionMatrix(true_positives=tp, false_positives=fp, false_negatives=fn, true_negatives=tn)
