"""What a training leaves for the next one, which goes on from it with newer events."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import tensorflow as tf

from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.data.storage import open_interactions, save_interactions
from tfrs_twotower.model.recipe import Recipe
from tfrs_twotower.model.replicas import copy_uncompiled
from tfrs_twotower.model.two_tower import TwoTowerModel

_RECIPE, _RETRIEVAL, _RATING, _EVENTS = "recipe.json", "retrieval.keras", "rating.keras", "events"


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingState:
    """The models of a recipe as training left them, and the events that they know.

    Attributes:
        recipe: The recipe, with everything that was chosen.
        retrieval: The retrieval model, before recent popularity and the linear part are added.
        rating: The rating model; None if there is none.
        known: The events that are known, of which they were trained on all that are not of the test part.

    Example:
        >>> [field.name for field in dataclasses.fields(TrainingState)]
        ['recipe', 'retrieval', 'rating', 'known']
    """

    recipe: Recipe
    retrieval: TwoTowerModel
    rating: TwoTowerModel | None
    known: Interactions

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes the state into a new folder: the weights of the models, and the events, but no optimizer.

        Args:
            folder: Path of the new folder.

        Raises:
            OSError: If it cannot be written.
        """
        target = Path(folder)
        target.mkdir(parents=True)
        (target / _RECIPE).write_text(json.dumps(self.recipe.to_dict(), indent=1), encoding="utf-8")
        copy_uncompiled(self.retrieval).save(target / _RETRIEVAL)
        if self.rating is not None:
            copy_uncompiled(self.rating).save(target / _RATING)
        save_interactions(self.known, target / _EVENTS)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> TrainingState:
        """Reads what `save` wrote.

        Args:
            folder: The folder.

        Raises:
            FileNotFoundError: If it is missing or not whole.
            ValueError: If a file is damaged.
        """
        source = Path(folder)
        for name in (_RECIPE, _RETRIEVAL, _EVENTS):
            if not (source / name).exists():
                raise FileNotFoundError(f"{source} does not hold the state of a training: {name} is missing.")
        content = json.loads((source / _RECIPE).read_text(encoding="utf-8"))
        has_rating = (source / _RATING).exists()
        return cls(
            recipe=Recipe.from_dict(content),
            retrieval=tf.keras.models.load_model(source / _RETRIEVAL),
            rating=tf.keras.models.load_model(source / _RATING) if has_rating else None,
            known=open_interactions(source / _EVENTS),
        )
