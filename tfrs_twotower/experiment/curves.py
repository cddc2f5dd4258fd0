"""Curves of several trainings for TensorBoard, each model in a folder of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow as tf


class PerModelTensorBoard(tf.keras.callbacks.TensorBoard):
    """Keras's callback for TensorBoard, for trainings of several models one after the other.

    The curves of the retrieval model are in the folder `retrieval`, those of the rating model in `rating`. A second
    training of the same model, on all events, is in `retrieval-again` and `rating-again`.

    Args:
        logs: TensorBoard's folder.

    Example:
        >>> PerModelTensorBoard("logs").log_dir
        'logs'
    """

    def __init__(self, logs: str) -> None:
        super().__init__(logs, write_graph=False)
        self._logs = Path(logs)
        self._used: set[str] = set()

    def set_model(self, model: Any) -> None:
        """Chooses the folder of the model that is about to be trained."""
        name = "retrieval" if model.rating_model is None else "rating"
        if name in self._used:
            name = f"{name}-again"
        self._used.add(name)
        self.log_dir = str(self._logs / name)
        super().set_model(model)
