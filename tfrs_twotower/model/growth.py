"""New ids for a trained model: it knows more, and so far answers everything as before."""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.features.features import Feature, History
from tfrs_twotower.features.lookups import FIRST_UNKNOWN_CODE, WordLookup
from tfrs_twotower.features.vocabularies import (
    Vocabularies,
    Vocabulary,
    learn_candidate_vocabularies,
    learn_query_vocabularies,
)
from tfrs_twotower.model.tower_config import AnyTowerConfig, SumTowerConfig
from tfrs_twotower.model.towers import Tower, build_tower
from tfrs_twotower.model.two_tower import TwoTowerModel, join_towers


def grow_two_tower(model: TwoTowerModel, train: Interactions) -> TwoTowerModel:
    """A model that knows the ids of a newer training split, too.

    Every known value keeps its vector; a new one starts with the vector of unknown values that it had until now, so
    that training goes on from what the old model says. Statistics stay as they are.

    Args:
        model: A trained model; it stays as it is.
        train: The newer training split.

    Returns:
        A new model, not compiled.
    """
    query, candidate = model.query_tower, model.candidate_tower
    newer_query = learn_query_vocabularies(query.config.features, train)
    newer_candidate = learn_candidate_vocabularies(candidate.config.features, train)
    grown = join_towers(
        query=_with_fixed_dims(query),
        candidate=_with_fixed_dims(candidate),
        query_vocabularies=query.vocabularies.grow(newer_query),
        candidate_vocabularies=candidate.vocabularies.grow(newer_candidate),
        task=type(model.task).from_config(model.task.get_config()),
    )
    grown.task.set_weights(model.task.get_weights())
    _copy_weights(query, grown.query_tower)
    _copy_weights(candidate, grown.candidate_tower)
    return grown


def grow_tower(tower: Tower, vocabularies: Vocabularies) -> Tower:
    """A tower that knows more values, as `grow_two_tower` makes two.

    Args:
        tower: A trained tower; it stays as it is.
        vocabularies: The tower's own, grown: `tower.vocabularies.grow(newer)`.

    Raises:
        ValueError: If a known value has lost its place, or a statistic has changed.
    """
    for name, known in tower.vocabularies.items():
        grown = vocabularies.get(name)
        if isinstance(known, Vocabulary) and isinstance(grown, Vocabulary):
            is_kept = grown.values[: len(known.values)] == known.values
        else:
            is_kept = grown == known
        if not is_kept:
            raise ValueError(f"`vocabularies[{name!r}]` must grow from the tower's own: use `tower.vocabularies.grow`.")
    result = build_tower(_with_fixed_dims(tower), vocabularies, name=tower.name)
    _copy_weights(tower, result)
    return result


def _with_fixed_dims(tower: Tower) -> AnyTowerConfig:
    """A tower's configuration with the vectors' lengths that a rule gave it: they must not grow with the values."""
    if isinstance(tower.config, SumTowerConfig):
        return tower.config
    features: list[Feature] = []
    for feature in tower.config.features:
        dim = getattr(tower.encoders[feature.name], "embedding_dim", None)
        if dim is not None and not (isinstance(feature, History) and feature.shares_embedding):
            feature = dataclasses.replace(feature, embedding_dim=dim)
        features.append(feature)
    return dataclasses.replace(tower.config, features=tuple(features))


def _copy_weights(tower: Tower, grown: Tower) -> None:
    grown.top.set_weights(tower.top.get_weights())
    if tower.frequency is not None and grown.frequency is not None and tower.config.frequency_of is not None:
        rows = _source_rows(tower, grown, tower.config.frequency_of)
        grown.frequency.factor.assign(tower.frequency.factor)
        grown.frequency.log_counts.assign(tf.gather(tower.frequency.log_counts, rows))
    for name, encoder in tower.encoders.items():
        # All but the tables of vectors are alike in both; a layer without codes, such as a number's, has none.
        num_codes = getattr(encoder, "num_codes", None)
        is_table = [len(weight.shape) == 2 and weight.shape[0] == num_codes for weight in encoder.weights]
        for of_table, old, new in zip(is_table, encoder.weights, grown.encoders[name].weights, strict=True):
            values = grown.vocabularies.values_of(name)
            new.assign(tf.gather(old, _source_rows(tower, grown, name)) if of_table and values else old)


def _source_rows(tower: Tower, grown: Tower, name: str) -> np.ndarray:
    """int64 [num_codes], for each row of the grown table the row of the old one that holds what it starts with."""
    # The old lookup finds known values where they are, and new ones among the unknown.
    lookup = tower.lookups[name]
    find = lookup.words if isinstance(lookup, WordLookup) else lookup
    codes = find(tf.constant(grown.vocabularies.values_of(name), tf.string)).numpy()
    num_before = int(grown.encoders[name].num_unknown) + FIRST_UNKNOWN_CODE
    return np.concatenate([np.arange(num_before), codes])
