"""Splits of the events into a part to train on, a part to validate on and a part to test on."""

from tfrs_twotower.data.partition import Split
from tfrs_twotower.data.random_splits import (
    random_split,
    unseen_candidates_split,
    unseen_queries_folds,
    unseen_queries_split,
)
from tfrs_twotower.data.time_splits import leave_last_out_split, temporal_split, temporal_split_at

__all__ = [
    "Split",
    "leave_last_out_split",
    "random_split",
    "temporal_split",
    "temporal_split_at",
    "unseen_candidates_split",
    "unseen_queries_folds",
    "unseen_queries_split",
]
