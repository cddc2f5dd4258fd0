"""Loading weights only into models that were built with the same vocabularies.

The rows of a table of vectors have no names. Loaded into a model whose vocabulary has the same size but another order,
weights would give every id the vector of another.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf


class VocabularyBound(tf.keras.Model):
    """A Keras model whose weights are refused if they belong to other vocabularies.

    It has, or its parts have, a weight `vocabulary_fingerprint`.
    """

    def load_weights(self, filepath: Any, *arguments: Any, **options: Any) -> Any:
        """Loads weights as Keras does.

        Args:
            filepath: A file or checkpoint that `save_weights` wrote.
            arguments: Further arguments of Keras's `load_weights`.
            options: Further arguments of Keras's `load_weights`.

        Raises:
            ValueError: If the weights are of a model with other vocabularies. The model keeps the weights it had.
        """
        # The towers of two models have the same names.
        towers = [part for part in (self, *self.submodules) if hasattr(part, "vocabulary_fingerprint")]
        expected = [int(tower.vocabulary_fingerprint.numpy()) for tower in towers]
        before = self.get_weights()
        loaded = super().load_weights(filepath, *arguments, **options)
        now = [int(tower.vocabulary_fingerprint.numpy()) for tower in towers]
        changed = {tower.name: None for tower, old, new in zip(towers, expected, now, strict=True) if old != new}
        if changed:
            self.set_weights(before)
            raise ValueError(
                "`filepath` must hold weights of a model with the same vocabularies, in the same order: those of the "
                f"{' and the '.join(changed)} tower differ, so that ids would get the vectors of others. Build the "
                "model from the training part that the saved one was built from, or load a whole model. "
                f"Received: {filepath}."
            )
        return loaded
