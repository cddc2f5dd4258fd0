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
    from tfrs_twotower.batches.event_batches import Shard
    from tfrs_twotower.batches.histories import HistoryApart, HistoryBefore, HistoryKnown, Timeline
    from tfrs_twotower.batches.negatives import InBatchNegatives, NegativeSampler
    from tfrs_twotower.bundle.evaluate import evaluate_bundle
    from tfrs_twotower.bundle.load import LoadedBundle, load_bundle
    from tfrs_twotower.bundle.signatures import Rerank
    from tfrs_twotower.data.interactions import Interactions, normalize_ratings
    from tfrs_twotower.data.splits import (
        Split,
        leave_last_out_split,
        random_split,
        temporal_split,
        temporal_split_at,
        unseen_candidates_split,
        unseen_queries_folds,
        unseen_queries_split,
    )
    from tfrs_twotower.data.storage import open_interactions, save_interactions
    from tfrs_twotower.data.tables import Schema, load_ratings
    from tfrs_twotower.data.times import NO_TIME
    from tfrs_twotower.evaluation.html.page import Background, build_page
    from tfrs_twotower.evaluation.intervals import compare
    from tfrs_twotower.evaluation.projector import write_projector
    from tfrs_twotower.evaluation.report import Answers, Report, answer, evaluate, judge
    from tfrs_twotower.features.features import (
        Bucketized,
        Categorical,
        Embedding,
        Hashed,
        History,
        MultiCategorical,
        Numeric,
        Text,
        Timestamp,
    )
    from tfrs_twotower.features.vocabularies import (
        Vocabularies,
        Vocabulary,
        learn_candidate_vocabularies,
        learn_query_vocabularies,
    )
    from tfrs_twotower.index.build import (
        BuildLimits,
        BuiltIndex,
        build_best_index,
        build_exact_index,
        build_portable_index,
        build_scann_index,
    )
    from tfrs_twotower.index.exact import ExactIndex
    from tfrs_twotower.index.portable import PortableIndex
    from tfrs_twotower.index.scann import ScannIndex
    from tfrs_twotower.index.tuning import IndexOutcome, IndexTarget
    from tfrs_twotower.model.build import build_two_tower
    from tfrs_twotower.model.growth import grow_tower, grow_two_tower
    from tfrs_twotower.model.joint import JointModel
    from tfrs_twotower.model.joint_movielens import build_movielens_joint
    from tfrs_twotower.model.tasks.frequencies import FrequencyEstimator
    from tfrs_twotower.model.tasks.rating import RatingTask
    from tfrs_twotower.model.tasks.softmax import CatalogueTask, RetrievalTask
    from tfrs_twotower.model.tower_config import SumTowerConfig, TowerConfig
    from tfrs_twotower.model.towers import Tower, build_tower
    from tfrs_twotower.model.two_tower import TwoTowerModel
    from tfrs_twotower.movielens.archives import read_archive
    from tfrs_twotower.movielens.load import load_movielens
    from tfrs_twotower.publishing.export import export_bundle
    from tfrs_twotower.publishing.gate import QualityError, QualityGate
    from tfrs_twotower.publishing.refresh import refresh_bundle
    from tfrs_twotower.publishing.versions import Version, list_versions, rollback
    from tfrs_twotower.training.callbacks import AveragedWeights, BestWeights, ValidationMetrics
    from tfrs_twotower.training.fit import QueryTraining, fit_by_query, fit_joint, fit_two_tower
    from tfrs_twotower.training.optimizers import LazyAdam

# Public name -> the module that holds it.
_HOMES = {
    "NO_TIME": "data.times",
    "Answers": "evaluation.report",
    "AveragedWeights": "training.callbacks",
    "Background": "evaluation.html.page",
    "BestWeights": "training.callbacks",
    "Bucketized": "features.features",
    "BuildLimits": "index.build",
    "BuiltIndex": "index.build",
    "CatalogueTask": "model.tasks.softmax",
    "Categorical": "features.features",
    "Embedding": "features.features",
    "ExactIndex": "index.exact",
    "FrequencyEstimator": "model.tasks.frequencies",
    "Hashed": "features.features",
    "History": "features.features",
    "HistoryApart": "batches.histories",
    "HistoryBefore": "batches.histories",
    "HistoryKnown": "batches.histories",
    "InBatchNegatives": "batches.negatives",
    "IndexOutcome": "index.tuning",
    "IndexTarget": "index.tuning",
    "Interactions": "data.interactions",
    "JointModel": "model.joint",
    "LazyAdam": "training.optimizers",
    "LoadedBundle": "bundle.load",
    "MultiCategorical": "features.features",
    "NegativeSampler": "batches.negatives",
    "Numeric": "features.features",
    "PortableIndex": "index.portable",
    "QualityError": "publishing.gate",
    "QualityGate": "publishing.gate",
    "QueryTraining": "training.fit",
    "RatingTask": "model.tasks.rating",
    "Report": "evaluation.report",
    "Rerank": "bundle.signatures",
    "RetrievalTask": "model.tasks.softmax",
    "ScannIndex": "index.scann",
    "Schema": "data.tables",
    "Shard": "batches.event_batches",
    "Split": "data.splits",
    "SumTowerConfig": "model.tower_config",
    "Text": "features.features",
    "Timeline": "batches.histories",
    "Timestamp": "features.features",
    "Tower": "model.towers",
    "TowerConfig": "model.tower_config",
    "TwoTowerModel": "model.two_tower",
    "ValidationMetrics": "training.callbacks",
    "Version": "publishing.versions",
    "Vocabularies": "features.vocabularies",
    "Vocabulary": "features.vocabularies",
    "answer": "evaluation.report",
    "build_best_index": "index.build",
    "build_exact_index": "index.build",
    "build_movielens_joint": "model.joint_movielens",
    "build_page": "evaluation.html.page",
    "build_portable_index": "index.build",
    "build_scann_index": "index.build",
    "build_tower": "model.towers",
    "build_two_tower": "model.build",
    "compare": "evaluation.intervals",
    "evaluate": "evaluation.report",
    "evaluate_bundle": "bundle.evaluate",
    "export_bundle": "publishing.export",
    "fit_by_query": "training.fit",
    "fit_joint": "training.fit",
    "fit_two_tower": "training.fit",
    "grow_tower": "model.growth",
    "grow_two_tower": "model.growth",
    "judge": "evaluation.report",
    "learn_candidate_vocabularies": "features.vocabularies",
    "learn_query_vocabularies": "features.vocabularies",
    "leave_last_out_split": "data.splits",
    "list_versions": "publishing.versions",
    "load_bundle": "bundle.load",
    "load_movielens": "movielens.load",
    "load_ratings": "data.tables",
    "normalize_ratings": "data.interactions",
    "open_interactions": "data.storage",
    "random_split": "data.splits",
    "read_archive": "movielens.archives",
    "refresh_bundle": "publishing.refresh",
    "rollback": "publishing.versions",
    "save_interactions": "data.storage",
    "temporal_split": "data.splits",
    "temporal_split_at": "data.splits",
    "unseen_candidates_split": "data.splits",
    "unseen_queries_folds": "data.splits",
    "unseen_queries_split": "data.splits",
    "write_projector": "evaluation.projector",
}

__all__ = [
    "NO_TIME",
    "Answers",
    "AveragedWeights",
    "Background",
    "BestWeights",
    "Bucketized",
    "BuildLimits",
    "BuiltIndex",
    "CatalogueTask",
    "Categorical",
    "Embedding",
    "ExactIndex",
    "FrequencyEstimator",
    "Hashed",
    "History",
    "HistoryApart",
    "HistoryBefore",
    "HistoryKnown",
    "InBatchNegatives",
    "IndexOutcome",
    "IndexTarget",
    "Interactions",
    "JointModel",
    "LazyAdam",
    "LoadedBundle",
    "MultiCategorical",
    "NegativeSampler",
    "Numeric",
    "PortableIndex",
    "QualityError",
    "QualityGate",
    "QueryTraining",
    "RatingTask",
    "Report",
    "Rerank",
    "RetrievalTask",
    "ScannIndex",
    "Schema",
    "Shard",
    "Split",
    "SumTowerConfig",
    "Text",
    "Timeline",
    "Timestamp",
    "Tower",
    "TowerConfig",
    "TwoTowerModel",
    "ValidationMetrics",
    "Version",
    "Vocabularies",
    "Vocabulary",
    "__version__",
    "answer",
    "build_best_index",
    "build_exact_index",
    "build_movielens_joint",
    "build_page",
    "build_portable_index",
    "build_scann_index",
    "build_tower",
    "build_two_tower",
    "compare",
    "evaluate",
    "evaluate_bundle",
    "export_bundle",
    "fit_by_query",
    "fit_joint",
    "fit_two_tower",
    "grow_tower",
    "grow_two_tower",
    "judge",
    "learn_candidate_vocabularies",
    "learn_query_vocabularies",
    "leave_last_out_split",
    "list_versions",
    "load_bundle",
    "load_movielens",
    "load_ratings",
    "normalize_ratings",
    "open_interactions",
    "random_split",
    "read_archive",
    "refresh_bundle",
    "rollback",
    "save_interactions",
    "temporal_split",
    "temporal_split_at",
    "unseen_candidates_split",
    "unseen_queries_folds",
    "unseen_queries_split",
    "write_projector",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
