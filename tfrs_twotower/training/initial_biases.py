"""A rating model that starts from the biases of a logistic regression.

How high a query rates, and how well a candidate is rated, explains most of what ratings tell. Where events are few, the
vectors of a model overfit before its biases have arrived there step by step.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.evaluation.baselines import biases
from tfrs_twotower.features.categorical import Categorical
from tfrs_twotower.features.codes import FIRST_UNKNOWN_CODE
from tfrs_twotower.features.embeddings import TableEncoder
from tfrs_twotower.model.two_tower import TwoTowerModel

# Events that a bias of 0 counts for: in training, a bias of few events has seen too much of each of them.
_PRIOR_EVENTS = 10


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Biases:
    """Biases of a logistic regression, drawn towards those of an id without events.

    Attributes:
        queries: float64 [num_queries].
        candidates: float64 [num_candidates]; 0 for a candidate without events.
        intercept: The bias of a query without events.
    """

    queries: np.ndarray
    candidates: np.ndarray
    intercept: float


def learn_biases(train: Interactions, *, threshold: float) -> Biases:
    """Fits the logistic regression.

    Args:
        train: The events, with ratings of both classes.
        threshold: A rating of at least this is positive.
    """
    queries, candidates = biases(train, threshold=threshold)
    intercept = float(np.median(queries[:, 0]))
    return Biases(
        queries=intercept + _drawn_to_zero(queries[:, 0] - intercept, train.query_rows),
        candidates=_drawn_to_zero(candidates[:, 1], train.candidate_rows),
        intercept=intercept,
    )


def start_from_biases(model: TwoTowerModel, train: Interactions) -> None:
    """Sets the biases of an untrained rating model's ids to those of a logistic regression, which are drawn towards 0.

    Args:
        model: A rating model whose towers have biases. An id without a vector of its own is left as it is.
        train: The events to train on, with ratings of both classes.
    """
    learnt = learn_biases(train, threshold=model.threshold)
    for tower, table, id_column, values, unknown in (
        (model.query_tower, train.queries, train.query_id, learnt.queries, learnt.intercept),
        (model.candidate_tower, train.candidates, train.candidate_id, learnt.candidates, 0.0),
    ):
        if any(isinstance(feature, Categorical) and feature.name == id_column for feature in tower.config.features):
            _set_biases(tower.encoders[id_column], tower.encode_table(table)[id_column], values, unknown)


def add_to_biases(encoder: TableEncoder, codes: np.ndarray, values: np.ndarray) -> None:
    """Adds to the biases of ids, the last entries of their vectors.

    Args:
        encoder: Of the ids.
        codes: Code of each id; ids that are unknown to the encoder are left out.
        values: What is added to each.
    """
    vectors = encoder.vectors()
    is_known = codes >= FIRST_UNKNOWN_CODE + encoder.num_unknown
    vectors[codes[is_known], -1] += values[is_known]
    encoder.table.embeddings.assign(vectors)


def _drawn_to_zero(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    counts = np.bincount(rows, minlength=len(values))
    return values * counts / (counts + _PRIOR_EVENTS)


def _set_biases(encoder: TableEncoder, codes: np.ndarray, values: np.ndarray, unknown: float) -> None:
    """Sets the last entries of vectors."""
    vectors, first_known = encoder.vectors(), FIRST_UNKNOWN_CODE + encoder.num_unknown
    vectors[FIRST_UNKNOWN_CODE:first_known, -1] = unknown
    is_known = codes >= first_known
    vectors[codes[is_known], -1] = values[is_known]
    encoder.table.embeddings.assign(vectors)
