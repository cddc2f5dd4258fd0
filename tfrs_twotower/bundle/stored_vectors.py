"""What a bundle stores of its catalogue's vectors, so that a change of the catalogue embeds only what is new."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_twotower.bundle.manifest import Manifest
from tfrs_twotower.index.stored import StoredIndex

# Where `tf.saved_model.save` writes the variables of a bundle, and how it names those of the index.
_CHECKPOINT = "variables/variables"
_INDEX_VARIABLE = "catalogue/index/{}/.ATTRIBUTES/VARIABLE_VALUE"


def stored_embeddings(module: Any, manifest: Manifest) -> dict[str, np.ndarray]:
    """Returns the embeddings of a bundle's candidates, as `Sides.embed` computed them.

    Args:
        module: The SavedModel as TensorFlow loads it.
        manifest: The bundle's manifest.

    Returns:
        "retrieval" and, if the model predicts probabilities, "rating" -> float32 [num_candidates, dim].
    """
    catalogue = module.catalogue
    embeddings = {"retrieval": _by_row(catalogue.index.vectors)}
    if manifest.model.has_probabilities:
        rating = getattr(catalogue, "rating", None)
        embeddings["rating"] = embeddings["retrieval"] if rating is None else _by_row(rating)
    return embeddings


def stored_index(folder: Path, manifest: Manifest) -> StoredIndex:
    """Returns what a bundle stores of its index, without loading the bundle.

    Args:
        folder: The version's folder.
        manifest: The bundle's manifest.

    Raises:
        OSError: If the variables cannot be read.
    """
    try:
        checkpoint = tf.train.load_checkpoint(str(folder / _CHECKPOINT))
    except (ValueError, tf.errors.OpError) as error:
        raise OSError(f"The variables of {folder} cannot be read: {error}") from error

    def read(name: str) -> np.ndarray:
        variable = _INDEX_VARIABLE.format(name)
        if not checkpoint.has_tensor(variable):
            raise KeyError(name)
        try:
            return np.asarray(checkpoint.get_tensor(variable))
        except (tf.errors.OpError, RuntimeError) as error:
            raise OSError(f"The variables of {folder} cannot be read: {error}") from error

    index = manifest.index
    return StoredIndex(
        kind=index.kind,
        requested=index.requested,
        is_exact=index.is_exact,
        num_candidates=manifest.num_candidates,
        outcome=index.outcome,
        read=read,
    )


def _by_row(vectors: Any) -> np.ndarray:
    """Returns the matrix of a `CandidateVectors`, also as TensorFlow loads it, in the order of its rows."""
    matrix, slots = vectors.matrix.numpy(), getattr(vectors, "slots", None)
    ordered: np.ndarray = matrix if slots is None else matrix[slots.numpy()]
    return ordered
