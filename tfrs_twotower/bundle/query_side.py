"""What a bundle knows of queries: the heads' query towers, the known queries, and what each of them has seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from tfrs_twotower.batches.histories import Timeline
from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.features.features import History
from tfrs_twotower.features.inputs import MISSING
from tfrs_twotower.features.lookups import is_missing
from tfrs_twotower.index.tables import build_table
from tfrs_twotower.model.joint import JointModel
from tfrs_twotower.model.towers import Tower
from tfrs_twotower.model.two_tower import TwoTowerModel

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
        recall: As `embed`, and "seen": int32 [batch, most], places in `candidate_ids`, padded with their number.
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

        def embed_rows(features: Mapping[str, tf.Tensor], rows: tf.Tensor, past: _Past) -> dict[str, tf.Tensor]:
            embeddings = [head.embed(of, features, rows, past) for head, of in zip(heads, model.heads, strict=True)]
            return by_task(model, embeddings)

        def embed(**features: tf.Tensor) -> dict[str, tf.Tensor]:
            rows = queries.rows(features)
            return embed_rows(features, rows, _Past(queries, rows))

        def recall(**features: tf.Tensor) -> dict[str, tf.Tensor]:
            rows = queries.rows(features)
            past = _Past(queries, rows)
            return {**embed_rows(features, rows, past), "seen": past.candidates(None)}

        # Concrete functions: a `tf.function` that is loaded and saved again is wrapped in another each time.
        self.embed, self.recall = (tf.function(f).get_concrete_function(**specs) for f in (embed, recall))

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
        # The last one is the padding: the number of candidates, where tables of them hold what is said of nothing.
        seen = np.append(timeline.candidate_rows, known.num_candidates).astype(np.int32)
        self.seen = tf.Variable(seen, trainable=False, name="seen_rows")
        self.starts = tf.Variable(np.concatenate([[0], timeline.starts]), trainable=False, name="seen_starts")
        self.most_seen = int(np.max(np.diff(timeline.starts), initial=0))

    def rows(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """int32 [batch], each query's row, 0 where it is not known."""
        if self.id_input is None:
            return tf.zeros(tf.shape(next(iter(features.values())))[:1], tf.int32)
        return self.table.lookup(features[self.id_input])


class _Past:
    """What some queries have seen, each thing looked up once."""

    def __init__(self, queries: _KnownQueries, rows: tf.Tensor) -> None:
        self._queries, self._rows = queries, rows
        self._places: dict[int, tf.Tensor] = {}
        self._candidates: dict[int, tf.Tensor] = {}

    def places(self, length: int | None) -> tf.Tensor:
        """int64 [batch, most], where the latest `length` events of each query lie, in order, or all of them."""
        length = self._longest(length)
        if length not in self._places:
            starts = tf.gather(self._queries.starts, self._rows)
            ends = tf.gather(self._queries.starts, self._rows + 1)
            if length < self._queries.most_seen:
                starts = tf.maximum(starts, ends - length)
            columns = tf.range(tf.maximum(tf.reduce_max(ends - starts), 0))  # of no query the maximum is the least
            places = tf.expand_dims(starts, 1) + columns
            padding = self._queries.seen.shape[0] - 1
            self._places[length] = tf.where(places < tf.expand_dims(ends, 1), places, padding)
        return self._places[length]

    def candidates(self, length: int | None) -> tf.Tensor:
        """int32 [batch, most], the candidates of these events, padded with the number of candidates."""
        length = self._longest(length)
        if length not in self._candidates:
            self._candidates[length] = tf.gather(self._queries.seen, self.places(length))
        return self._candidates[length]

    def _longest(self, length: int | None) -> int:
        """All lengths that cut nothing off are one."""
        most = self._queries.most_seen
        return most if length is None else min(length, most)


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
                np.append(tower.lookups[history.rating_name](timeline.ratings), np.float32(0)),  # the padding's is 0
                trainable=False,
                name=history.rating_name,
            )
            for history in tower.histories
            if history.by_rating
        }

    def embed(self, model: TwoTowerModel, features: Mapping[str, tf.Tensor], rows: tf.Tensor, past: _Past) -> tf.Tensor:
        """float32 [batch, embedding_dim], of what is given, or else remembered, of each query."""
        codes = model.query_tower.lookup(features)
        return model.embed_queries(self._fill_missing(model, codes, rows, past))

    def _fill_missing(
        self, model: TwoTowerModel, codes: Mapping[str, tf.Tensor], rows: tf.Tensor, past: _Past
    ) -> dict[str, tf.Tensor]:
        """Takes what the bundle remembers for each feature that is missing; a given value stands."""
        filled = {}
        for feature in model.query_tower.config.features:
            is_given = ~is_missing(codes[feature.name])
            if isinstance(feature, History):
                remembered = self._remembered_history(feature, past)
            else:
                remembered = {feature.name: tf.gather(self.codes[feature.name], rows)}
            for name, values in remembered.items():
                filled[name] = _choose(is_given, codes[name], values)
        return filled

    def _remembered_history(self, history: History, past: _Past) -> dict[str, tf.Tensor]:
        # The padding's code is the last.
        remembered = {history.name: tf.gather(self.past[history.name], past.candidates(history.length))}
        if history.by_rating:
            remembered[history.rating_name] = tf.gather(self.ratings[history.rating_name], past.places(history.length))
        return remembered


def _choose(is_given: tf.Tensor, codes: tf.Tensor, remembered: tf.Tensor) -> tf.Tensor:
    """Row by row the codes where they are given, or else what is remembered; [batch], [batch, dim] or lists."""
    if codes.shape.rank > 1:
        is_given = tf.expand_dims(is_given, 1)
    if codes.shape.rank == 1 or codes.shape[1] is not None:
        return tf.where(is_given, codes, remembered)
    # Of a list that is not given all is padding already, and padding may lie anywhere.
    nothing = tf.zeros([], remembered.dtype)
    return tf.concat([codes, tf.where(is_given, nothing, remembered)], axis=1)


def _with_first(first: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Codes with another row before them, [1, any] of which only as much counts as fits: the rest is padding."""
    if codes.ndim == 1:
        return np.concatenate([first, codes])
    row = np.zeros_like(codes[:1], shape=(1, codes.shape[1]))
    width = min(codes.shape[1], first.shape[1])
    row[:, :width] = first[:, :width]
    return np.concatenate([row, codes])
