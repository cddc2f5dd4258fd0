"""The legacy-Keras gate: runs before anything of this library imports TensorFlow.

TensorFlow Recommenders is written for Keras 2, which TensorFlow 2.16 and later load only where
`TF_USE_LEGACY_KERAS=1` was in the environment at TensorFlow's own import.
"""

import os
import sys


def require_legacy_keras() -> None:
    """Makes `tf.keras` be Keras 2, or explains why it can no longer be.

    Raises:
        ImportError: If TensorFlow was imported earlier with Keras 3 in force.
    """
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is not None and not tensorflow.keras.Model.__module__.startswith("tf_keras"):
        raise ImportError(
            "TensorFlow was imported before tfrs_twotower, with Keras 3 in force; TensorFlow Recommenders "
            "needs Keras 2 (tf-keras), and TensorFlow chooses once, when it is first imported. "
            "Either `import tfrs_twotower` before `import tensorflow`, "
            "or set the environment variable TF_USE_LEGACY_KERAS=1 before Python starts."
        )
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
