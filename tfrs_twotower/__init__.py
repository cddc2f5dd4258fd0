"""Two-tower recommenders with TensorFlow Recommenders and Keras.

Importing this package makes `tf.keras` be Keras 2, which TensorFlow Recommenders needs, and nothing else; TensorFlow
itself is imported with the first name that needs it.
"""

import importlib
from typing import TYPE_CHECKING, Any

from tfrs_twotower._keras import require_legacy_keras
from tfrs_twotower._version import __version__

require_legacy_keras()

