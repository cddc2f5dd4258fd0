"""What biases rest on: popularity and a logistic regression, which newer events change at once, without a step.

A few epochs move a bias by a fraction of what popularity changes in a month, and a new id would start from nothing. A
model that is trained on therefore starts from biases that have moved as far as these figures have.
"""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.features.categorical import Categorical
from tfrs_twotower.model.recipe import Recipe
from tfrs_twotower.model.two_tower import TwoTowerModel
from tfrs_twotower.training.initial_biases import Biases, add_to_biases, learn_biases
from tfrs_twotower.training.recency import recent_popularity


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Bases:
    """Figures of the events that a training was made of; the rows are those of its tables.

    Attributes:
        popularity: float64 [num_candidates], the positive events of each candidate, weighted by their age.
        biases: Those of the logistic regression that the rating model starts from; None if it does not.

    Example:
        >>> Bases(popularity=np.array([2.0, 0.5])).biases is None
        True
    """

    popularity: np.ndarray
    biases: Biases | None = None

    def save(self, file: str | os.PathLike[str]) -> None:
        """Writes a file of NumPy arrays.

        Args:
            file: Its path, which ends with `.npz`.
        """
        arrays: dict[str, Any] = {"popularity": self.popularity}
        np.savez(file, **arrays, **({} if self.biases is None else dataclasses.asdict(self.biases)))

    def of_rows(self, known: Interactions, train: Interactions) -> Bases:
        """Returns the figures of the rows of other tables; ids that were not known have those of no event.

        Args:
            known: The events whose tables these figures belong to.
            train: Events with other tables.
        """
        candidates = _places(train.candidates[train.candidate_id], known.candidates[known.candidate_id])
        biases = None
        if self.biases is not None:
            queries = _places(train.queries[train.query_id], known.queries[known.query_id])
            biases = Biases(
                queries=_taken(self.biases.queries, queries, self.biases.intercept),
                candidates=_taken(self.biases.candidates, candidates, 0.0),
                intercept=self.biases.intercept,
            )
        return Bases(popularity=_taken(self.popularity, candidates, 0.0), biases=biases)

    @classmethod
    def load(cls, file: str | os.PathLike[str]) -> Bases:
        """Reads what `save` wrote.

        Args:
            file: Its path.

        Raises:
            OSError: If it cannot be read.
        """
        with np.load(file) as arrays:
            biases = None
            if "queries" in arrays:
                biases = Biases(
                    queries=arrays["queries"], candidates=arrays["candidates"], intercept=float(arrays["intercept"])
                )
            return cls(popularity=arrays["popularity"], biases=biases)


def learn_bases(recipe: Recipe, train: Interactions) -> Bases:
    """Computes the figures of some events.

    Args:
        recipe: The recipe, with everything that was chosen.
        train: The events.
    """
    has_biases = recipe.rating is not None and recipe.starts_from_biases
    return Bases(
        popularity=recent_popularity(train, threshold=recipe.threshold, half_life_days=recipe.half_life_days),
        biases=learn_biases(train, threshold=recipe.threshold) if has_biases else None,
    )


def follow_popularity(model: TwoTowerModel, before: Bases, now: Bases, train: Interactions) -> None:
    """Moves the candidates' biases of a retrieval model by the change of log(1 + popularity).

    Args:
        model: The model, expanded to the newer ids.
        before: Of the events that it was trained on, for the rows of `train`.
        now: Of `train`.
        train: The events that it will be trained on.
    """
    change = np.log1p(now.popularity) - np.log1p(before.popularity)
    _move(model.candidate_tower, train.candidates, train.candidate_id, change)


def follow_biases(model: TwoTowerModel, before: Bases, now: Bases, train: Interactions) -> None:
    """Moves the biases of a rating model that started from those of a logistic regression by their change.

    Args:
        model: As of `follow_popularity`.
        before: As of `follow_popularity`.
        now: As of `follow_popularity`.
        train: As of `follow_popularity`.
    """
    if before.biases is None or now.biases is None:
        return
    queries = now.biases.queries - before.biases.queries
    candidates = now.biases.candidates - before.biases.candidates
    _move(model.query_tower, train.queries, train.query_id, queries)
    _move(model.candidate_tower, train.candidates, train.candidate_id, candidates)


def _places(ids: pa.ChunkedArray, known: pa.ChunkedArray) -> np.ndarray:
    """Returns the row of each id among the known ones, or -1."""
    places: np.ndarray = pc.fill_null(pc.index_in(ids, value_set=known), -1).to_numpy()
    return places


def _taken(values: np.ndarray, places: np.ndarray, default: float) -> np.ndarray:
    return np.where(places < 0, default, values[places])


def _move(tower: Any, table: Any, id_column: str, change: np.ndarray) -> None:
    """Adds to the biases of ids that have vectors of their own."""
    if any(isinstance(feature, Categorical) and feature.name == id_column for feature in tower.config.features):
        add_to_biases(tower.encoders[id_column], tower.encode_table(table)[id_column], change)
