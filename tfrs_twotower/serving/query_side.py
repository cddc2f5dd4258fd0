"""What a bundle knows of queries: the heads' query towers, the known queries, and what each of them has seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from tfrs_twotower.data.histories import Timeline
from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.model.features import History
from tfrs_twotower.model.inputs import MISSING
from tfrs_twotower.model.joint import JointModel
from tfrs_twotower.model.lookups import is_missing
from tfrs_twotower.model.towers import Tower
from tfrs_twotower.model.two_tower import TwoTowerModel
from tfrs_twotower.serving.tables import build_table
from tfrs_twotower.serving.vectors import NO_ROW

# Queries whose embeddings are kept to measure indexes with: half of them choose, half judge.
_NUM_SAMPLED = 2048
# Of these the ids are kept too, to compare two bundles by.
_NUM_NAMED = 32


class QuerySide(tf.Module):
    """Answers for queries, whatever the catalogue: it stays as it is when that changes.

    Only variables and lookup tables are tracked, no Keras object.

    Args:
        model: A trained model.
        known: The queries to remember, what each has seen, and the candidates which that was.

    Attributes:
        embed: (**features) -> {"retrieval": float32 [batch, dim], "rating": ...} of what is given, or else
            remembered, of each query; "rating" only where the model knows probabilities.
        seen: (**features) -> int32 [batch, most], rows of `candidate_ids`, `NO_ROW` as padding.
        candidate_ids: string [num_candidates], the catalogue at the time of training.
        sample: float32 [num_sampled, dim], embeddings of known queries by the head that ranks.
        sample_ids: string [num_named], ids of the first of them; none where queries are not known by an id.
    """

    def __init__(self, model: TwoTowerModel | JointModel, known: Interactions) -> None:
        super().__init__(name="query_side")
        timeline = Timeline(known)
        specs = {spec.name: spec for spec in query_inputs(model, known)}
        id_input = id_input_of(model, known)
        queries = _KnownQueries(timeline, id_input)
        heads = [_Head(head, timeline) for head in model.heads]
        self.queries, self.heads = queries, heads
        self.candidate_ids = tf.Variable(known.candidates[known.candidate_id].to_pylist(), trainable=False, name="ids")

        def embed(**features: tf.Tensor) -> dict[str, tf.Tensor]:
            rows = queries.rows(features)
            embeddings = [head.embed(of, queries, features, rows) for head, of in zip(heads, model.heads, strict=True)]
            return by_task(model, embeddings)

        def seen(**features: tf.Tensor) -> tf.Tensor:
            return queries.seen_rows(queries.rows(features))

        # Concrete functions: a `tf.function` that is loaded and saved again is wrapped in another each time.
        self.embed, self.seen = (tf.function(f).get_concrete_function(**specs) for f in (embed, seen))

        chosen = np.random.default_rng(0).permutation(known.num_queries)[:_NUM_SAMPLED]
        ids = known.queries[known.query_id].take(chosen)
        inputs = {spec.name: missing_input(spec, len(chosen)) for spec in specs.values()}
        if id_input is None:
            for head in model.heads:
                inputs.update(head.query_tower.raw_features(known.queries.take(chosen)))
        else:
            inputs[id_input] = tf.constant(ids.to_pylist(), tf.string)
        self.sample = tf.Variable(self.embed(**inputs)["retrieval"], trainable=False, name="sample")
        named = [] if id_input is None else ids.slice(0, _NUM_NAMED).to_pylist()
        self.sample_ids = tf.Variable(tf.constant(named, tf.string), trainable=False, name="sample_ids")


def by_task(model: TwoTowerModel | JointModel, embeddings: Sequence[tf.Tensor]) -> dict[str, tf.Tensor]:
    """The heads' embeddings by what they are for."""
    if model.rating_head is None:
        return {"retrieval": embeddings[0]}
    return {"retrieval": embeddings[0], "rating": embeddings[-1]}


def query_inputs(model: TwoTowerModel | JointModel, known: Interactions) -> list[tf.TensorSpec]:
    """The raw inputs of the signatures about queries: all heads' towers', and the id if no tower takes it."""
    id_input = id_input_of(model, known)
    specs = {} if id_input is None else {id_input: tf.TensorSpec([None], tf.string, name=id_input)}
    for tower in query_towers(model):
        specs.update({spec.name: spec for spec in tower.raw_specs})
    return list(specs.values())


def id_input_of(model: TwoTowerModel | JointModel, known: Interactions) -> str | None:
    """The input by which a query is recognised: its id, if a tower takes it, or a history, which is looked up by it."""
    towers = query_towers(model)
    is_taken = any(known.query_id in tower.feature_names or tower.histories for tower in towers)
    return known.query_id if is_taken else None


def query_towers(model: TwoTowerModel | JointModel) -> list[Tower]:
    """The heads' query towers."""
    return [head.query_tower for head in model.heads]


def missing_input(spec: tf.TensorSpec, num_rows: int = 1) -> tf.Tensor:
    """A raw input of rows that say nothing, with one missing value where a list may have any length."""
    return tf.fill([num_rows, *(size or 1 for size in spec.shape[1:])], tf.constant(MISSING[spec.dtype], spec.dtype))


class _KnownQueries(tf.Module):
    """The queries the bundle knows, and what each has seen. Row 0 is any other."""

    def __init__(self, timeline: Timeline, id_input: str | None) -> None:
        super().__init__(name="known_queries")
        known = timeline.interactions
        self.id_input = id_input
        ids = known.queries[known.query_id].to_pylist()
        self.table = build_table(ids, np.arange(1, len(ids) + 1), default=0)
        self.seen = tf.Variable(timeline.candidate_rows, trainable=False, name="seen_rows")
        self.splits = tf.Variable(np.concatenate([[0], timeline.starts]), trainable=False, name="seen_splits")

    def rows(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """int32 [batch], each query's row, 0 where it is not known."""
        if self.id_input is None:
            return tf.zeros(tf.shape(next(iter(features.values())))[:1], tf.int32)
        return self.table.lookup(features[self.id_input])

    def seen_rows(self, rows: tf.Tensor) -> tf.Tensor:
        """int32 [batch, most], the candidates each query has seen, padded with -1."""
        return self.of_queries(self.seen, rows).to_tensor(default_value=NO_ROW)

    def of_queries(self, values: tf.Variable, rows: tf.Tensor) -> tf.RaggedTensor:
        """[batch, any], what each query has of something that every seen event has."""
        return tf.gather(tf.RaggedTensor.from_row_splits(values, self.splits, validate=False), rows)


class _Head(tf.Module):
    """One head of the model with what the bundle remembers for it: queries' features, and ratings."""

    def __init__(self, model: TwoTowerModel, timeline: Timeline) -> None:
        super().__init__(name=f"{model.task.name}_head")
        tower = model.query_tower
        # The model itself is no attribute: no Keras object may be tracked.
        self.weights = [*tower.variables, *model.task.score_variables]
        self.tables = tower.lookup_tables
        known = timeline.interactions
        nobody = {spec.name: missing_input(spec) for spec in tower.raw_specs}
        missing = {name: codes.numpy() for name, codes in tower.lookup(nobody).items()}
        self.codes = {
            name: tf.Variable(_with_first(missing[name], codes), trainable=False, name=f"{name}_codes")
            for name, codes in tower.encode_table(known.queries).items()
        }
        self.past = {
            name: tf.Variable(codes, trainable=False, name=f"{name}_past")
            for name, codes in tower.encode_past(known.candidates).items()
        }
        self.ratings = {
            history.rating_name: tf.Variable(
                tower.lookups[history.rating_name](timeline.ratings), trainable=False, name=history.rating_name
            )
            for history in tower.histories
            if history.by_rating
        }

    def embed(
        self, model: TwoTowerModel, queries: _KnownQueries, features: Mapping[str, tf.Tensor], rows: tf.Tensor
    ) -> tf.Tensor:
        """float32 [batch, embedding_dim], of what is given, or else remembered, of each query."""
        codes = model.query_tower.lookup(features)
        return model.embed_queries(self._fill_missing(model, queries, codes, rows))

    def _fill_missing(
        self, model: TwoTowerModel, queries: _KnownQueries, codes: Mapping[str, tf.Tensor], rows: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Takes what the bundle remembers for each feature that is missing; a given value stands."""
        filled = {}
        for feature in model.query_tower.config.features:
            is_given = ~is_missing(codes[feature.name])
            if isinstance(feature, History):
                remembered = self._remembered_history(queries, feature, rows)
            else:
                remembered = {feature.name: tf.gather(self.codes[feature.name], rows)}
            for name, values in remembered.items():
                filled[name] = _choose(is_given, codes[name], values)
        return filled

    def _remembered_history(self, queries: _KnownQueries, history: History, rows: tf.Tensor) -> dict[str, tf.Tensor]:
        latest = queries.of_queries(queries.seen, rows)[:, -history.length :]
        # The padding's code is the last.
        places = latest.to_tensor(default_value=tf.size(self.past[history.name]) - 1)
        remembered = {history.name: tf.gather(self.past[history.name], places)}
        if history.by_rating:
            ratings = queries.of_queries(self.ratings[history.rating_name], rows)
            remembered[history.rating_name] = ratings[:, -history.length :].to_tensor()
        return remembered


def _choose(is_given: tf.Tensor, codes: tf.Tensor, remembered: tf.Tensor) -> tf.Tensor:
    """Row by row the codes where they are given, or else what is remembered; [batch] or [batch, any]."""
    if codes.shape.rank == 1:
        return tf.where(is_given, codes, remembered)
    # Padding on the right is no part of a list, and its code and rating are 0.
    width = tf.maximum(tf.shape(codes)[1], tf.shape(remembered)[1])
    codes, remembered = (tf.pad(x, [[0, 0], [0, width - tf.shape(x)[1]]]) for x in (codes, remembered))
    return tf.where(is_given[:, tf.newaxis], codes, remembered)


def _with_first(first: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Codes with another row before them, [1, any] of which only as much counts as fits: the rest is padding."""
    if codes.ndim == 1:
        return np.concatenate([first, codes])
    row = np.zeros_like(codes[:1], shape=(1, codes.shape[1]))
    width = min(codes.shape[1], first.shape[1])
    row[:, :width] = first[:, :width]
    return np.concatenate([row, codes])
