"""All that comes before training: data, split and recipe, with every mistake that can be seen beforehand."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tfrs_twotower._progress import Progress, no_progress
from tfrs_twotower.bundle.layout import EXTRA_FOLDER, find_version
from tfrs_twotower.data.dropping import drop_unseen
from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.data.merging import merge_interactions
from tfrs_twotower.data.splits import Split, leave_last_out_split, random_split, temporal_split
from tfrs_twotower.evaluation.relevance import has_relevant
from tfrs_twotower.experiment.checks import Section
from tfrs_twotower.experiment.experiment import Experiment
from tfrs_twotower.experiment.feature_tables import suggestion
from tfrs_twotower.experiment.sections import ModelSection, SplitSection
from tfrs_twotower.experiment.sources import load_data
from tfrs_twotower.features.self_attention import SelfAttention
from tfrs_twotower.model.recipe import Recipe, choose_recipe
from tfrs_twotower.model.recipe_settings import LinearSettings, ModelSettings
from tfrs_twotower.training.choosing import find_choices
from tfrs_twotower.training.state import TrainingState

#: Folder in a version's `assets.extra` with what a later training goes on from.
STATE_FOLDER = "training"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prepared:
    """What is known before training.

    Attributes:
        experiment: The experiment, with the id columns that were found.
        interactions: The data.
        split: Its parts.
        recipe: The recipe, with what the experiment gives in place of what was chosen.
        notes: What was assumed or noticed, as full sentences.
        state: What an earlier training left, from which this one goes on; None for a training from nothing.
    """

    experiment: Experiment
    interactions: Interactions
    split: Split
    recipe: Recipe
    notes: tuple[str, ...]
    state: TrainingState | None = None


def prepare(experiment: Experiment, *, progress: Progress = no_progress) -> Prepared:
    """Loads and splits the data, and chooses the recipe.

    Args:
        experiment: The experiment.
        progress: Called while data are read.

    Raises:
        ValueError: If the data cannot be used, or the experiment names a column that they do not have.
        OSError: If the data cannot be read.
    """
    loaded = load_data(experiment, progress=progress)
    experiment, interactions = loaded.experiment, loaded.interactions
    state, newer = None, None
    dropped: list[str] = []
    if experiment.training.start_from is not None:
        version = find_version(Path(experiment.training.start_from))
        # The version is named for good, since a folder of versions will have newer ones.
        experiment = dataclasses.replace(
            experiment, training=dataclasses.replace(experiment.training, start_from=str(version))
        )
        state = load_state(version)
        # The source of what is known grows with each update, and is in the version's own manifest.
        source = f"{interactions.source}, and what {version} knows"
        interactions, newer = merge_interactions(state.known, interactions)
        interactions = dataclasses.replace(interactions, source=source)
        interactions, newer, dropped = _drop_unseen(interactions, newer, experiment.training.drop_unseen_after_days)
    _check_columns(experiment, interactions)
    k = experiment.export.k
    if k is not None and k > interactions.num_candidates:
        raise ValueError(
            f"`export.k` must be at most the catalogue's {interactions.num_candidates} candidates. Received: {k}."
        )
    if newer is None or state is None:
        split, notes = _split(interactions, experiment.split, experiment.training.seed)
        recipe = _choose(split.train, interactions, experiment)
        choices = find_choices(split, threshold=recipe.threshold, recommend_seen=experiment.export.recommend_seen)
        notes += choices.describe(recipe)
    else:
        split, notes = _split_newer(interactions, newer, experiment)
        recipe = state.recipe
    _check_training_part(split, recipe)
    _check_test_part(split, recipe, recommend_seen=experiment.export.recommend_seen)
    return Prepared(
        experiment=experiment,
        interactions=interactions,
        split=split,
        recipe=recipe,
        notes=(*loaded.notes, *dropped, *notes),
        state=state,
    )


def _drop_unseen(
    interactions: Interactions, newer: np.ndarray, after_days: float | None
) -> tuple[Interactions, np.ndarray, list[str]]:
    """Drops old ids.

    Returns:
        (interactions, newer, notes): what stays; the rows of the newer events in it; a sentence about what was dropped.
    """
    if after_days is None:
        return interactions, newer, []
    kept = drop_unseen(interactions, after_days=after_days)
    num_queries, num_candidates, num_events = (
        getattr(interactions, name) - getattr(kept.interactions, name)
        for name in ("num_queries", "num_candidates", "num_events")
    )
    note = (
        f"{num_queries:,} queries and {num_candidates:,} candidates have had no event for {after_days:g} days before "
        f"the newest one, and were dropped with {num_events:,} events."
    )
    return kept.interactions, np.flatnonzero(np.isin(kept.event_rows, newer)), [note]


def load_state(version: Path) -> TrainingState:
    """Loads what the training of a published version left.

    Args:
        version: Folder of the version.

    Raises:
        FileNotFoundError: If it keeps no state.
    """
    folder = version / EXTRA_FOLDER / STATE_FOLDER
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{version} does not keep what a training could go on from: its `export.keep_state` was false, or it was "
            "not published by `train`. Name another version, or train from nothing, without `training.start_from`."
        )
    return TrainingState.load(folder)


def _choose(train: Interactions, interactions: Interactions, experiment: Experiment) -> Recipe:
    # Features are looked at, and sizes chosen, by the training part alone.
    return with_settings(
        choose_recipe(
            train,
            threshold=experiment.training.threshold,
            query_features=_by_our_names(experiment.features.query, interactions),
            candidate_features=_by_our_names(experiment.features.candidate, interactions),
            event_features=_by_our_names(experiment.features.event, interactions),
            encoder=None if experiment.retrieval_model.history_encoder is None else SelfAttention(),
        ),
        experiment,
    )


def _split_newer(interactions: Interactions, newer: np.ndarray, experiment: Experiment) -> tuple[Split, list[str]]:
    """Splits the newer events, and adds the known ones to the training part."""
    if not len(newer):
        raise ValueError("The table must have events that `training.start_from` does not know yet. Received: none.")
    split, _ = _split(interactions.with_events(newer), experiment.split, experiment.training.seed)
    known = interactions.events.slice(0, interactions.num_events - len(newer))
    train = dataclasses.replace(split.train, events=pa.concat_tables([known, split.train.events]))
    note = (
        f"Training goes on from {experiment.training.start_from}: {len(newer):,} events are new, and the test part is "
        f"taken from them; {known.num_rows:,} are known."
    )
    return dataclasses.replace(split, train=train), [note]


def our_name(column: str, interactions: Interactions) -> str:
    """Returns the name that a column of the user's files has in the tables.

    Args:
        column: The user's name, or that of the tables.
        interactions: The data.
    """
    ours = {original: name for name, original in interactions.original_names.items()}
    return ours.get(column, column)


def _check_columns(experiment: Experiment, interactions: Interactions) -> None:
    """Checks the columns that are used after training: an error must not come that late."""
    evaluation, candidates, queries = experiment.evaluation, interactions.candidates, interactions.queries
    events = interactions.events.select(interactions.event_features)
    columns_of_requests = pa.schema([*queries.schema, *events.schema]).empty_table()
    for key, columns, table, name in (
        ("export.filter_by", experiment.export.filter_by or (), candidates, "candidates"),
        ("evaluation.segment_by", evaluation.segment_by or (), columns_of_requests, "queries"),
        ("evaluation.name_column", (evaluation.name_column,), candidates, "candidates"),
        ("evaluation.group_column", (evaluation.group_column,), candidates, "candidates"),
        ("features.query", tuple(experiment.features.query), queries, "queries"),
        ("features.candidate", tuple(experiment.features.candidate), candidates, "candidates"),
        ("features.event", tuple(experiment.features.event), events, "events that are features"),
    ):
        known = [interactions.original_names.get(column, column) for column in table.column_names]
        for column in columns:
            if column is not None and our_name(column, interactions) not in table.column_names:
                raise ValueError(
                    f"`{key}` must name columns of the {name}: {', '.join(known) or 'there are none'}. "
                    f"Received: {column!r}.{suggestion(column, known)}"
                )


def _split(interactions: Interactions, settings: SplitSection, seed: int) -> tuple[Split, list[str]]:
    """Splits the data.

    Returns:
        (split, notes): the parts; sentences about them.
    """
    names = ("num_test", "num_validation") if settings.kind == "leave-last-out" else ("test", "validation")
    given: dict[str, Any] = {name: getattr(settings, name) for name in names if getattr(settings, name) is not None}
    ways: Mapping[str, Callable[..., Split]] = {"temporal": temporal_split, "leave-last-out": leave_last_out_split}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if settings.kind == "random":
            split = random_split(interactions, seed=seed, **given)
        else:
            split = ways[settings.kind](interactions, **given)
    notes = [str(note.message) for note in caught]
    if settings.kind == "random" and interactions.timestamps is not None:
        notes.append(
            "The events are split at random although they have times. A split by time, `--split temporal` or "
            '`kind = "temporal"` in the section `split`, tests as a model in production is tested.'
        )
    return split, notes


def _check_training_part(split: Split, recipe: Recipe) -> None:
    """Checks that there is something to learn: otherwise, a model could not be built."""
    train = split.train
    if train.num_candidates < 2:
        raise ValueError(
            "The catalogue must have two candidates or more: a single one comes first whatever is learnt. Received: "
            f"{train.num_candidates}."
        )
    if not (train.ratings >= recipe.threshold).any():
        raise ValueError(
            f"The training part must have a positive event. Received: none of {train.num_events:,} events. Lower "
            f"`training.threshold`, which is {recipe.threshold:g}, or train on more events."
        )


def _check_test_part(split: Split, recipe: Recipe, *, recommend_seen: bool) -> None:
    """Checks that the test part has something to find: otherwise, a trained model could not be evaluated."""
    test, seen = split.test, split.seen
    if not has_relevant(test, None if recommend_seen else seen, recipe.threshold):
        raise ValueError(
            "The test part must have a positive event whose candidate the query has not seen before. Received: none of "
            f"{test.num_events:,} events. Lower `training.threshold`, which is {recipe.threshold:g}; or set "
            "`export.recommend_seen`, if queries choose the same candidates again and again."
        )


def _by_our_names(features: Mapping[str, Any], interactions: Interactions) -> dict[str, Any]:
    renamed = {}
    for column, feature in features.items():
        name = our_name(column, interactions)
        renamed[name] = feature if feature is None else dataclasses.replace(feature, name=name)
    return renamed


def with_settings(recipe: Recipe, experiment: Experiment) -> Recipe:
    """Puts the settings that the experiment gives in place of those that were chosen.

    Args:
        recipe: What was chosen.
        experiment: What was given.
    """
    changes: dict[str, Any] = {"retrieval": _changed(recipe.retrieval, experiment.retrieval_model)}
    for name in ("half_life_days", "trend_weight", "impression_weight", "dislike_weight"):
        if getattr(experiment.training, name) is not None:
            changes[name] = getattr(experiment.training, name)
    if not experiment.linear_part.train:
        changes["linear"] = None
    elif recipe.linear is not None:
        changes["linear"] = dataclasses.replace(recipe.linear, **_given(experiment.linear_part, LinearSettings))
    if not experiment.rating_model.train:
        changes |= {"rating": None, "rating_reason": "left out, as the experiment says."}
    elif recipe.rating is not None:
        changes["starts_from_biases"] = experiment.rating_model.starts_from_biases
        changes["rating"] = _changed(recipe.rating, experiment.rating_model)
    return dataclasses.replace(recipe, **changes)


def _changed(settings: ModelSettings, section: ModelSection) -> ModelSettings:
    given = _given(section, ModelSettings)
    if given.get("decay") == 0:
        given["decay"] = None
    return dataclasses.replace(settings, **given)


def _given(section: Section, kind: type[ModelSettings] | type[LinearSettings]) -> dict[str, Any]:
    """Returns the values that a section gives for the settings of a kind."""
    values = {field.name: getattr(section, field.name) for field in dataclasses.fields(kind)}
    return {name: value for name, value in values.items() if value is not None}
