"""Two towers that fit each other: equally long outputs, and vectors that a history shares with the candidates."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping

import tensorflow as tf

from tfrs_twotower.features.categorical import IdFeature
from tfrs_twotower.features.feature import Feature
from tfrs_twotower.features.history import History, histories
from tfrs_twotower.features.vocabularies import Vocabularies
from tfrs_twotower.model.sum_tower import SumTowerConfig
from tfrs_twotower.model.tower import Tower
from tfrs_twotower.model.tower_config import SharedTables, TowerConfig


def build_tower_pair(
    *,
    query: TowerConfig,
    candidate: TowerConfig,
    query_vocabularies: Vocabularies,
    candidate_vocabularies: Vocabularies,
    query_class: type[Tower] | None = None,
    candidate_class: type[Tower] | None = None,
) -> tuple[Tower, Tower]:
    """Builds a query tower and a candidate tower.

    Args:
        query: The query tower.
        candidate: The candidate tower.
        query_vocabularies: What was learnt of the query tower's features.
        candidate_vocabularies: What was learnt of the candidate tower's features.
        query_class: A subclass of the tower that the configuration builds; None for that one.
        candidate_class: The same for the candidate tower.

    Raises:
        ValueError: If the towers' output lengths differ, the candidate tower has a history or a context, or a history
            shares the vectors of a feature that the candidate tower does not have, or has another vocabulary of.
    """
    if query.output_dim != candidate.output_dim:
        raise ValueError(
            "`output_dim` must be the same in both towers: the score is a dot product. "
            f"Received: query {query.output_dim}, candidate {candidate.output_dim}."
        )
    if histories(candidate.features):
        raise ValueError(f"`candidate` must have no History: only queries have one. Received: {candidate.features}.")
    if candidate.context:
        raise ValueError(f"`candidate` must have no context: only queries have one. Received: {candidate.context}.")
    candidate_tower = _build(candidate, candidate_class, candidate_vocabularies, "candidate", {})
    shared_tables = {}
    for history in histories(query.features):
        if not history.shares_embedding:
            continue
        if not any(_without_dim(history.of) == _without_dim(feature) for feature in candidate.features):
            raise ValueError(
                f"The history {history.name!r} can share the vectors of a feature of the candidate tower only. "
                f"Received: {history.of}."
            )
        if query_vocabularies.get(history.name) != candidate_vocabularies.get(history.of.name):
            raise ValueError(
                f"`query_vocabularies[{history.name!r}]` must be `candidate_vocabularies[{history.of.name!r}]`: they "
                "share a table."
            )
        shared_tables[history.name] = candidate_tower.encoders[history.of.name].table
    if not isinstance(query, SumTowerConfig):
        features = tuple(_with_dim(feature, shared_tables) for feature in query.features)
        query = dataclasses.replace(query, features=features)
    elif any(table.output_dim != query.num_outputs for table in shared_tables.values()):
        raise ValueError(
            "A history can share the candidate's vectors only where they are as long as the query tower's outputs, "
            f"{query.num_outputs}. Received: {[table.output_dim for table in shared_tables.values()]}."
        )
    return _build(query, query_class, query_vocabularies, "query", shared_tables), candidate_tower


def _build(
    config: TowerConfig,
    tower_class: type[Tower] | None,
    vocabularies: Vocabularies,
    name: str,
    shared_tables: SharedTables,
) -> Tower:
    build = config.build_tower if tower_class is None else functools.partial(tower_class.create, config)
    return build(vocabularies, name=name, shared_tables=shared_tables)


def _without_dim(feature: Feature) -> Feature:
    return dataclasses.replace(feature, embedding_dim=None) if isinstance(feature, IdFeature) else feature


def _with_dim(feature: Feature, shared_tables: Mapping[str, tf.keras.layers.Embedding]) -> Feature:
    """Returns a history with the length of the vectors that it shares, for a tower that is loaded on its own."""
    if not isinstance(feature, History) or feature.name not in shared_tables:
        return feature
    dim = shared_tables[feature.name].output_dim
    return dataclasses.replace(feature, of=dataclasses.replace(feature.of, embedding_dim=dim))
