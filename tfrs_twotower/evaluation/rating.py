"""Measures the probabilities that a model predicts for rated pairs, mostly with scikit-learn's metrics."""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.special
import sklearn.metrics

from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.evaluation import metrics

_BLOCK_EVENTS = 2**16


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConfusionMatrix:
    """Counts of events by label and predicted class, where a probability above 0.5 predicts the positive class.

    Attributes:
        true_positives: Positive events that are predicted as positive.
        false_positives: Negative events that are predicted as positive.
        false_negatives: Positive events that are predicted as negative.
        true_negatives: Negative events that are predicted as negative.

    Example:
        >>> matrix = ConfusionMatrix(true_positives=2, false_positives=1, false_negatives=1, true_negatives=4)
        >>> matrix.true_positives / (matrix.true_positives + matrix.false_positives)  # precision
        0.6666666666666666
    """

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int


def pair_probabilities(queries: np.ndarray, candidates: np.ndarray, interactions: Interactions) -> np.ndarray:
    """Computes the probability that each event is positive, from embeddings whose dot products are log-odds.

    Args:
        queries: float32 [num_requests, embedding_dim], embeddings from a rating model in the order of
            `interactions.requests`, which are the queries if the events have no features.
        candidates: float32 [num_candidates, embedding_dim], embeddings from the same model.
        interactions: The events between these queries and candidates.

    Returns:
        float64 [num_events], in [0, 1].

    Example:
        >>> import pyarrow as pa
        >>> ratings = Interactions(
        ...     queries=pa.table({"user_id": ["u1"]}), candidates=pa.table({"movie_id": ["m1", "m2"]}),
        ...     events=pa.table({"query_row": [0, 0], "candidate_row": [0, 1], "rating": [5.0, 1.0]}),
        ...     query_id="user_id", candidate_id="movie_id",
        ... )
        >>> pair_probabilities(np.array([[1.0]]), np.array([[2.0], [0.0]]), ratings).round(4).tolist()
        [0.8808, 0.5]
    """
    logits = np.empty(interactions.num_events, np.float64)
    requests = interactions.requests.of_events
    for start in range(0, interactions.num_events, _BLOCK_EVENTS):
        block = slice(start, start + _BLOCK_EVENTS)
        rows = requests[block], interactions.candidate_rows[block]
        logits[block] = np.einsum("nd,nd->n", queries[rows[0]], candidates[rows[1]])
    return np.asarray(scipy.special.expit(logits))


def has_both_classes(labels: np.ndarray) -> bool:
    """Returns whether both classes occur. Clicks, for example, are positive only, and leave nothing to classify."""
    return bool(labels.any() and not labels.all())


def rating_metrics(
    labels: np.ndarray, probabilities: np.ndarray, query_rows: np.ndarray | None = None
) -> dict[str, float]:
    """Measures predicted probabilities against labels.

    Args:
        labels: bool [n], with both classes present.
        probabilities: float [n], in [0, 1], of the positive class.
        query_rows: int [n], the query of each event, which the AUC by query needs.

    Returns:
        `log_loss` (nats, of probabilities clipped as in `metrics.log_losses`), `accuracy`, `auc`, `f1`, `brier` and
        `calibration_error`. Accuracy and F1 predict the positive class above a probability of 0.5. If `query_rows` is
        given and any query has both classes, `gauc` as well.

    Raises:
        ValueError: If all labels are of one class, for which AUC is not defined, or a probability is missing or not
            finite.

    Example:
        >>> labels, probabilities = np.array([True, True, False]), np.array([0.9, 0.4, 0.2])
        >>> values = rating_metrics(labels, probabilities)
        >>> {name: round(values[name], 3) for name in ("log_loss", "accuracy", "auc", "f1", "brier")}
        {'log_loss': 0.415, 'accuracy': 0.667, 'auc': 1.0, 'f1': 0.667, 'brier': 0.137}
    """
    probabilities = np.asarray(probabilities, np.float64)
    if len(probabilities) != len(labels) or not np.isfinite(probabilities).all():
        raise ValueError(
            f"`probabilities` must be finite, one for each of the {len(labels)} labels. "
            f"Received: {len(probabilities)}, {np.count_nonzero(~np.isfinite(probabilities))} of them not finite."
        )
    if not has_both_classes(labels):
        only_class = "positive" if labels.all() else "negative"
        raise ValueError(f"`labels` must contain both classes. Received: {len(labels)} labels, all {only_class}.")
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
    """Counts events by label and predicted class, where a probability above 0.5 predicts the positive class.

    Args:
        labels: bool [n].
        probabilities: float [n], in [0, 1], of the positive class.

    Example:
        >>> confusion_matrix(np.array([True, True, False]), np.array([0.9, 0.4, 0.2]))
        ConfusionMatrix(true_positives=1, false_positives=0, false_negatives=1, true_negatives=1)
    """
    matrix = sklearn.metrics.confusion_matrix(labels, probabilities > 0.5, labels=[False, True])
    (tn, fp), (fn, tp) = matrix.tolist()
    return ConfusionMatrix(true_positives=tp, false_positives=fp, false_negatives=fn, true_negatives=tn)
