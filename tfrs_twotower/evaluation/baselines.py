"""What a model has to beat: predictions that look at neither the query nor the candidate's features."""

from __future__ import annotations

import numpy as np
import scipy.sparse
import sklearn.linear_model

from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.evaluation.rating import has_both_classes, rating_metrics

# Of the squared biases, against the summed loss; the validation part's choice on MovieLens 100K, and flat around it.
_L2 = 1.0
# What a decision is judged by, rather than a probability.
_OF_DECISIONS = ("accuracy", "auc", "f1")
_RANDOM_DIM = 16


def all_positive(train: Interactions, labels: np.ndarray, *, threshold: float) -> dict[str, float]:
    """The rating metrics of taking every pair for positive.

    Args:
        train: The training part; its share of positive ratings is the probability that the log loss and other figures
            of probabilities are of, since a probability of 1 would make it infinite.
        labels: bool [n], of both classes.
        threshold: A rating of at least this is positive.

    Returns:
        As `rating_metrics`.
    """
    base_rate = np.full(len(labels), np.mean(train.ratings >= threshold))
    certain, likely = (rating_metrics(labels, said) for said in (np.ones(len(labels)), base_rate))
    return {name: (certain if name in _OF_DECISIONS else likely)[name] for name in likely}


def random(train: Interactions, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Ranks candidates by lot, another order for each query.

    Args:
        train: Any part.
        seed: Of the lot, any integer >= 0.

    Returns:
        (queries, candidates): float32 [num_queries, 16] and [num_candidates, 16]; embeddings whose dot products rank.
    """
    generator = np.random.default_rng(seed)
    queries, candidates = (
        generator.normal(size=(num_rows, _RANDOM_DIM)).astype(np.float32)
        for num_rows in (train.num_queries, train.num_candidates)
    )
    # Long vectors would come first or last everywhere.
    return queries, candidates / np.linalg.norm(candidates, axis=1, keepdims=True)


def popularity(train: Interactions, *, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Ranks candidates by their number of positive training events, alike for every query.

    Args:
        train: The training part.
        threshold: A rating of at least this is positive.

    Returns:
        (queries, candidates): float32 [num_queries, 1], ones, and float32 [num_candidates, 1], counts; embeddings
        whose dot product is the popularity.
    """
    positive = train.candidate_rows[train.ratings >= threshold]
    counts = np.bincount(positive, minlength=train.num_candidates).astype(np.float32)
    return np.ones((train.num_queries, 1), np.float32), counts[:, np.newaxis]


def biases(train: Interactions, *, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Logistic regression on who rates and what is rated: a bias of each query, of each candidate, and of all.

    Most of what a probability can know of a rating is in them, nothing of what a query likes in particular.

    Args:
        train: The training part, with ratings of both classes.
        threshold: A rating of at least this is positive.

    Returns:
        (queries, candidates): float32 [num_queries, 2] and [num_candidates, 2], embeddings whose dot product is the
        log-odds; the bias of what training never met is 0.

    Raises:
        ValueError: If the ratings are of one class only.
    """
    labels = train.ratings >= threshold
    if not has_both_classes(labels):
        raise ValueError(f"`train` must have ratings on both sides of {threshold:g}, for biases to be learnt.")
    num_events, num_queries = train.num_events, train.num_queries
    columns = np.stack([train.query_rows, num_queries + train.candidate_rows.astype(np.int64)], axis=1).ravel()
    rows = np.arange(0, 2 * num_events + 1, 2)
    shape = (num_events, num_queries + train.num_candidates)
    is_of = scipy.sparse.csr_matrix((np.ones(len(columns)), columns, rows), shape=shape)
    regression = sklearn.linear_model.LogisticRegression(C=1 / _L2, max_iter=1000).fit(is_of, labels)
    of_queries, of_candidates = np.split(regression.coef_[0].astype(np.float32), [num_queries])
    queries = np.stack([of_queries + np.float32(regression.intercept_[0]), np.ones_like(of_queries)], axis=1)
    return queries, np.stack([np.ones_like(of_candidates), of_candidates], axis=1)
