"""TensorFlow Recommenders, imported after the check of ScaNN that its own import depends on."""

import tfrs_twotower._scann  # noqa: F401, I001  # first: the next import depends on its check
import tensorflow_recommenders as tfrs

__all__ = ["tfrs"]
