"""Refitting: once the test part has measured a model, its recipe is trained on all events, the test part included."""

from __future__ import annotations

import dataclasses

import numpy as np

from tfrs_twotower._progress import Progress, no_progress
from tfrs_twotower._settings import require_seed
from tfrs_twotower.data.interactions import Interactions, require_interactions
from tfrs_twotower.data.splits import Split
from tfrs_twotower.training.finishing import finished, train_on_all
from tfrs_twotower.training.fitting import Fitting
from tfrs_twotower.training.recipe import Trained
from tfrs_twotower.training.state import TrainingState
from tfrs_twotower.training.warm_start import warm_start


def refit(
    trained: Trained,
    everything: Interactions,
    *,
    seed: int,
    earlier: TrainingState | None = None,
    progress: Progress = no_progress,
) -> Trained:
    """Trains the models of a recipe as they were trained before, on all events.

    What is published then knows the newest events, which a split by time withholds for the test. No events are left to
    measure these models by: the figures stay those of the models that were measured.

    Args:
        trained: The models that were measured. Their recipe stays as it is: numbers of epochs, half-life, linear part.
        everything: All events, those of the test part included.
        seed: Seed of the weights and of the order of the queries, >= 0.
        earlier: What the training went on from, if it was a warm start.
        progress: Told how many steps have been done.

    Returns:
        The models, with the history and the notes of the training that was measured.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If the seed is negative.

    Example:
        >>> import pyarrow as pa
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
        >>> measured = fit_recipe(recipe, split, seed=0)
        >>> refit(measured, ratings, seed=0).state.known.num_events - measured.state.known.num_events
        6
    """
    if not isinstance(trained, Trained):
        raise TypeError(f"`trained` must be a Trained, from `fit_recipe`. Received: {type(trained).__name__}.")
    require_interactions(everything, "everything")
    require_seed(seed)
    if earlier is not None:
        nothing = everything.with_events(np.zeros(0, np.int64))
        whole = Split(train=everything, validation=nothing, test=nothing, history=nothing)
        state = dataclasses.replace(earlier, recipe=trained.recipe)
        again = warm_start(state, whole, seed=seed, share=trained.share, progress=progress)
        return dataclasses.replace(again, history=trained.history, notes=trained.notes)
    fitting = Fitting(
        choosing=None,
        seen=everything,
        again=True,
        recommend_seen=False,
        seed=seed,
        progress=progress,
        callbacks=(),
    )
    state, _ = train_on_all(trained.recipe, fitting)
    return dataclasses.replace(trained, model=finished(state, everything), trained_again=True, state=state)
