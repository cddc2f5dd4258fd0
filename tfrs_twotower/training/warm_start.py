"""Warm start: a trained model goes on with newer events, for a fraction of the steps of a training from nothing."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

from tfrs_twotower._progress import Progress, no_progress
from tfrs_twotower._settings import require_seed
from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.data.partition import require_split
from tfrs_twotower.data.splits import Split
from tfrs_twotower.model.expansion import carry_vectors
from tfrs_twotower.model.recipe import Recipe
from tfrs_twotower.model.two_tower import TwoTowerModel
from tfrs_twotower.training.finishing import epochs_of_share, finished, num_epochs, train_on_all
from tfrs_twotower.training.fitting import Fitting, ModelName
from tfrs_twotower.training.recency import choose_half_life
from tfrs_twotower.training.recipe import Trained
from tfrs_twotower.training.run_folder import RunFolder, describe_run, hold
from tfrs_twotower.training.state import TrainingState

#: Share of the epochs of a training from nothing.
DEFAULT_SHARE = 1 / 3


def warm_start(
    state: TrainingState,
    split: Split,
    *,
    seed: int,
    share: float = DEFAULT_SHARE,
    progress: Progress = no_progress,
    callbacks: Sequence[tf.keras.callbacks.Callback] = (),
    run_folder: str | os.PathLike[str] | None = None,
) -> Trained:
    """Trains the models of an earlier training on newer events as well.

    The models are built as a training from nothing builds them on the newer events, with biases that start from
    popularity or from a logistic regression, and a new optimizer. But each id, and each other value that has a vector,
    starts with the vector that it has in the earlier model. New ids are known from their first predictions by their
    other features and their history. Features, sizes and all else are those of the earlier training, but for one thing:
    if later events did not weigh more there, the validation part says whether they do now. Recent popularity and the
    linear part are computed from all events.

    Args:
        state: From `Trained.state`, or `TrainingState.load`.
        split: Of `tt.data.merge_interactions` of the events that the state knows and newer ones. The training and the
            validation part are trained on. Ids that its tables do not have, after `tt.data.drop_unseen`, are dropped:
            their vectors go, and the model treats them as unknown.
        seed: Seed of the order of the queries, >= 0.
        share: Number of epochs, as a share of those of the training from nothing, in (0, 1]; at least one epoch.
        progress: Told how many steps have been done.
        callbacks: More Keras callbacks, for both models.
        run_folder: As of `fit_recipe`.

    Returns:
        The trained model; its recipe has the numbers of epochs of the training from nothing.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If a number is out of range, or another process is training in the folder.

    Example:
        >>> import numpy as np
        >>> from tfrs_twotower.data.interactions import Interactions
        >>> from tfrs_twotower.data.splits import random_split
        >>> from tfrs_twotower.model.recipe import choose_recipe
        >>> from tfrs_twotower.training.recipe import fit_recipe
        >>> pairs = np.indices((4, 6)).reshape(2, -1)
        >>> ratings = Interactions(
        ...     queries=pa.table({"user_id": list("abcd")}), candidates=pa.table({"movie_id": list("uvwxyz")}),
        ...     events=pa.table({"query_row": pairs[0], "candidate_row": pairs[1], "rating": 1.0 + pairs.sum(0) % 5}),
        ...     query_id="user_id", candidate_id="movie_id",
        ... )
        >>> split = random_split(ratings, test=0.25, validation=0.25, seed=1)
        >>> recipe = dataclasses.replace(choose_recipe(split.train).with_settings(epochs=2), rating=None)
        >>> older = fit_recipe(recipe, split, seed=0)
        >>> len(warm_start(older.state, split, seed=0).history["retrieval"]["loss"])
        1
    """
    if not isinstance(state, TrainingState):
        raise TypeError(f"`state` must be a TrainingState, such as `Trained.state`. Received: {type(state).__name__}.")
    require_split(split, "split")
    require_seed(seed)
    if not 0 < share <= 1:
        raise ValueError(f"`share` must be in (0, 1]. Received: {share}.")
    with hold(run_folder) as run:
        return _go_on(state, split, seed, share, progress, tuple(callbacks), run)


def _go_on(
    state: TrainingState,
    split: Split,
    seed: int,
    share: float,
    progress: Progress,
    callbacks: tuple[tf.keras.callbacks.Callback, ...],
    run: RunFolder | None,
) -> Trained:
    """Trains the models on; the arguments are those of `warm_start`."""
    seen = dataclasses.replace(split.train, events=pa.concat_tables([split.train.events, split.validation.events]))
    notes: list[str] = []
    recipe = _followed(state.recipe, split, notes)
    if run is not None:
        known = state.known.fingerprint()
        if run.begin(describe_run(recipe, split, seed=seed, share=share, known=known)):
            notes.append(f"The training was begun before, and went on from {run.path}.")
    fitting = Fitting(
        choosing=None,
        seen=seen,
        again=True,
        recommend_seen=False,
        seed=seed,
        progress=progress,
        callbacks=callbacks,
        run=run,
    )
    notes += _dropped(state.known, seen)
    earlier: dict[ModelName, TwoTowerModel | None] = {"retrieval": state.retrieval, "rating": state.rating}

    def start(name: ModelName, model: TwoTowerModel) -> None:
        carried = earlier[name]
        assert carried is not None  # the recipe has both models, or one
        carry_vectors(carried, model)

    later, histories = train_on_all(recipe, fitting, share=share, start=start)
    for name, epochs in num_epochs(recipe).items():
        notes.append(
            f"The {name} model started from the vectors of the earlier training, and was trained for "
            f"{epochs_of_share(epochs, share)} of {epochs} epochs."
        )
    return Trained(
        model=finished(later, seen),
        recipe=recipe,
        history=histories,
        notes=tuple(notes),
        state=later,
        share=share,
    )


def _followed(recipe: Recipe, split: Split, notes: list[str]) -> Recipe:
    """Returns the recipe with a half-life, if popularity has begun to change with time."""
    half_life_days = recipe.half_life_days or choose_half_life(split, threshold=recipe.threshold)
    if half_life_days != recipe.half_life_days:
        notes.append(
            "Popularity has begun to change with time: for the retrieval model, the weight of an event now halves "
            f"every {half_life_days:.3g} days."
        )
    return dataclasses.replace(recipe, half_life_days=half_life_days)


def _dropped(known: Interactions, seen: Interactions) -> list[str]:
    """Returns a sentence about the ids that are known and dropped, if any."""
    queries, candidates = (
        pc.index_in(theirs, value_set=ours).null_count
        for ours, theirs in (
            (seen.queries[seen.query_id], known.queries[known.query_id]),
            (seen.candidates[seen.candidate_id], known.candidates[known.candidate_id]),
        )
    )
    if not queries and not candidates:
        return []
    return [f"{queries:,} queries and {candidates:,} candidates of the earlier training were dropped."]
