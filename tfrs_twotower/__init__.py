"""Two-tower recommenders with TensorFlow Recommenders and Keras.

Importing this package makes `tf.keras` be Keras 2, which TensorFlow Recommenders needs, and nothing else; TensorFlow
itself is imported with the first name that needs it.
"""

import importlib
from typing import TYPE_CHECKING, Any

from tfrs_twotower._keras import require_legacy_keras
from tfrs_twotower._version import __version__

require_legacy_keras()

if TYPE_CHECKING:
    from tfrs_twotower.data.batches import Shard
    from tfrs_twotower.data.histories import HistoryApart, HistoryBefore, HistoryKnown, Timeline
    from tfrs_twotower.data.interactions import Interactions, normalize_ratings
    from tfrs_twotower.data.layouts import read_archive
    from tfrs_twotower.data.movielens import load_movielens
    from tfrs_twotower.data.negatives import NegativeSampler
    from tfrs_twotower.data.splits import (
        Split,
        leave_last_out_split,
        random_split,
        temporal_split,
        temporal_split_at,
        unseen_queries_split,
    )
    from tfrs_twotower.data.storage import open_interactions, save_interactions
    from tfrs_twotower.data.tables import Schema, load_ratings
    from tfrs_twotower.evaluation.report import Report, evaluate
    from tfrs_twotower.model.features import Bucketized, Categorical, MultiCategorical
    from tfrs_twotower.model.tasks import RatingTask
    from tfrs_twotower.model.towers import Tower, TowerConfig, build_tower
    from tfrs_twotower.model.two_tower import TwoTowerModel, build_two_tower
    from tfrs_twotower.serving.export import export_bundle
    from tfrs_twotower.serving.index import ExactIndex, ScannIndex
    from tfrs_twotower.serving.loading import LoadedBundle, load_bundle
    from tfrs_twotower.training.callbacks import BestWeights
    from tfrs_twotower.training.fit import fit_two_tower

# Public name -> the module that holds it.
_HOMES = {
    "BestWeights": "training.callbacks",
    "Bucketized": "model.features",
    "Categorical": "model.features",
    "ExactIndex": "serving.index",
    "HistoryApart": "data.histories",
    "HistoryBefore": "data.histories",
    "HistoryKnown": "data.histories",
    "Interactions": "data.interactions",
    "LoadedBundle": "serving.loading",
    "MultiCategorical": "model.features",
    "NegativeSampler": "data.negatives",
    "RatingTask": "model.tasks",
    "Report": "evaluation.report",
    "ScannIndex": "serving.index",
    "Schema": "data.tables",
    "Shard": "data.batches",
    "Split": "data.splits",
    "Timeline": "data.histories",
    "Tower": "model.towers",
    "TowerConfig": "model.towers",
    "TwoTowerModel": "model.two_tower",
    "build_tower": "model.towers",
    "build_two_tower": "model.two_tower",
    "evaluate": "evaluation.report",
    "export_bundle": "serving.export",
    "fit_two_tower": "training.fit",
    "leave_last_out_split": "data.splits",
    "load_bundle": "serving.loading",
    "load_movielens": "data.movielens",
    "load_ratings": "data.tables",
    "normalize_ratings": "data.interactions",
    "open_interactions": "data.storage",
    "random_split": "data.splits",
    "read_archive": "data.layouts",
    "save_interactions": "data.storage",
    "temporal_split": "data.splits",
    "temporal_split_at": "data.splits",
    "unseen_queries_split": "data.splits",
}

__all__ = [
    "BestWeights",
    "Bucketized",
    "Categorical",
    "ExactIndex",
    "HistoryApart",
    "HistoryBefore",
    "HistoryKnown",
    "Interactions",
    "LoadedBundle",
    "MultiCategorical",
    "NegativeSampler",
    "RatingTask",
    "Report",
    "ScannIndex",
    "Schema",
    "Shard",
    "Split",
    "Timeline",
    "Tower",
    "TowerConfig",
    "TwoTowerModel",
    "__version__",
    "build_tower",
    "build_two_tower",
    "evaluate",
    "export_bundle",
    "fit_two_tower",
    "leave_last_out_split",
    "load_bundle",
    "load_movielens",
    "load_ratings",
    "normalize_ratings",
    "open_interactions",
    "random_split",
    "read_archive",
    "save_interactions",
    "temporal_split",
    "temporal_split_at",
    "unseen_queries_split",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
