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
    from tfrs_twotower.data.interactions import Interactions, normalize_ratings
    from tfrs_twotower.data.movielens import load_movielens
    from tfrs_twotower.data.splits import Split, random_split
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
    "Interactions": "data.interactions",
    "LoadedBundle": "serving.loading",
    "MultiCategorical": "model.features",
    "RatingTask": "model.tasks",
    "Report": "evaluation.report",
    "ScannIndex": "serving.index",
    "Split": "data.splits",
    "Tower": "model.towers",
    "TowerConfig": "model.towers",
    "TwoTowerModel": "model.two_tower",
    "build_tower": "model.towers",
    "build_two_tower": "model.two_tower",
    "evaluate": "evaluation.report",
    "export_bundle": "serving.export",
    "fit_two_tower": "training.fit",
    "load_bundle": "serving.loading",
    "load_movielens": "data.movielens",
    "normalize_ratings": "data.interactions",
    "random_split": "data.splits",
}

__all__ = [
    "BestWeights",
    "Bucketized",
    "Categorical",
    "ExactIndex",
    "Interactions",
    "LoadedBundle",
    "MultiCategorical",
    "RatingTask",
    "Report",
    "ScannIndex",
    "Split",
    "Tower",
    "TowerConfig",
    "TwoTowerModel",
    "__version__",
    "build_tower",
    "build_two_tower",
    "evaluate",
    "export_bundle",
    "fit_two_tower",
    "load_bundle",
    "load_movielens",
    "normalize_ratings",
    "random_split",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
