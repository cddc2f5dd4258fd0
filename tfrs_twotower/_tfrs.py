"""TensorFlow Recommenders, imported after the verdict on ScaNN that its own import depends on."""

import tfrs_twotower._scann  # noqa: F401, I001  # first: its verdict is what the next import depends on
import tensorflow_recommenders as tfrs

__all__ = ["tfrs"]
