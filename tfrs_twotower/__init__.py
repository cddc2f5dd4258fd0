"""Two-tower recommenders with TensorFlow Recommenders and Keras.

Importing this package makes `tf.keras` be Keras 2, which TensorFlow Recommenders needs, and nothing else; TensorFlow
itself is imported with the first name that needs it. The public names are listed in `__init__.pyi`, which editors and
type checkers read; each namespace lists its own in the same way.
"""

import lazy_loader

from tfrs_twotower._keras import require_legacy_keras
from tfrs_twotower._version import __version__ as __version__

require_legacy_keras()

#: The rooms of the library, and two modules that users open often: everything public is in one of these.
NAMESPACES = (
    "batches",
    "bundle",
    "data",
    "evaluation",
    "experiment",
    "features",
    "index",
    "model",
    "movielens",
    "publishing",
    "server",
    "splits",
    "tasks",
    "training",
)

__getattr__, __dir__, _public = lazy_loader.attach_stub(__name__, __file__)
__all__ = [name for name in _public if name not in NAMESPACES]
