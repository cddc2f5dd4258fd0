"""The query side of a bundle: the models' query towers, the known queries, and what each of them has seen."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_twotower._autograph import as_written
from tfrs_twotower.batches.histories import Timeline
from tfrs_twotower.bundle.known_queries import KnownQueries, PastEvents
from tfrs_twotower.bundle.whole_packets import with_whole_packets
from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.data.rows import NO_ROW
from tfrs_twotower.data.times import NO_TIME
from tfrs_twotower.features.codes import MISSING_CODE
from tfrs_twotower.features.columns import missing_input
from tfrs_twotower.features.history import History
from tfrs_twotower.features.input_names import CANDIDATE_INPUT
from tfrs_twotower.model.recommender import Recommender
from tfrs_twotower.model.tower import Tower
from tfrs_twotower.model.two_tower import TwoTowerModel

# Queries whose embeddings are kept to measure indexes with: half of them choose an effort, half confirm it.
_NUM_SAMPLED = 2048
# Number of these queries whose ids are kept too, to compare two bundles by.
_NUM_NAMED = 32

#: "retrieval" and, of a model that predicts probabilities, "rating" -> embeddings. A bundle's graph holds these words.
Embeddings = dict[str, tf.Tensor]


class QuerySide(tf.Module):
    """Embeds queries, whatever the catalogue: it stays as it is when that changes.

    Only variables and lookup tables are tracked, no Keras object.

    Args:
        model: A trained model.
        known: The queries to remember, what each has seen, in which context, and the catalogue at that time.

    Attributes:
        embed: (**features) -> {"retrieval": float32 [batch, dim], "rating": ...} of what is given of each query, or
            else remembered; "rating" only if the model predicts probabilities.
        embed_pairs: As `embed`, with the further input `candidate_id`, string [batch]: the candidate that each query is
            embedded for, which is left out of its history, given or remembered.
        recall: As `embed`, and "seen": int32 [batch, any], places in `candidate_ids`, padded with their number.
        remember: (query_ids: string [batch]) -> {"candidate_ids": string [batch, any], what each query has seen, the
            latest last, padded with ""; "ratings": float32 [batch, any], padded with NaN}; "ratings" only if a history
            has ratings. For people who look at a bundle: the signatures do not tell what a query has seen.
        candidate_ids: string [num_candidates], the catalogue at the time of training.
        sample: float32 [num_sampled, dim], retrieval embeddings of known queries.
        sample_ids: string [num_named], ids of the first of them; none if queries are not recognised by an id.
    """

    def __init__(self, model: Recommender, known: Interactions) -> None:
        super().__init__(name="query_side")
        timeline = Timeline(known)
        specs = {spec.name: spec for spec in query_inputs(model, known)}
        id_input = id_input_of(model, known)
        queries = KnownQueries(timeline, id_input)
        remembering = {id(part): _RememberingModel(part, timeline) for part in model.models}
        self.queries, self.models = queries, list(remembering.values())
        self.candidate_ids = tf.Variable(known.candidates[known.candidate_id].to_pylist(), trainable=False, name="ids")

        def embed_rows(
            features: Mapping[str, tf.Tensor], rows: tf.Tensor, past: PastEvents, target: Target | None = None
        ) -> Embeddings:
            return by_role(model, lambda part: remembering[id(part)].embed(part, features, rows, past, target))

        def embed(**features: tf.Tensor) -> Embeddings:
            rows = queries.rows(features)
            return embed_rows(features, rows, PastEvents(queries, rows))

        def embed_pairs(**features: tf.Tensor) -> Embeddings:
            target = Target(features.pop(CANDIDATE_INPUT), self.candidate_ids)
            rows = queries.rows(features)
            return embed_rows(features, rows, PastEvents(queries, rows), target)

        def recall(**features: tf.Tensor) -> dict[str, tf.Tensor]:
            rows = queries.rows(features)
            past = PastEvents(queries, rows)
            return {**embed_rows(features, rows, past), "seen": past.candidates(None)}

        # Concrete functions: a `tf.function` that is loaded and saved again is wrapped in another each time.
        def trace(function: Callable[..., Embeddings], **specs: tf.TensorSpec) -> Any:
            traced = tf.function(as_written(with_whole_packets(function), unless=model.uses_autograph))
            return traced.get_concrete_function(**specs)

        self.embed, self.recall = trace(embed, **specs), trace(recall, **specs)
        candidate_id = tf.TensorSpec([None], tf.string, name=CANDIDATE_INPUT)
        self.embed_pairs = trace(embed_pairs, **specs, **{CANDIDATE_INPUT: candidate_id})
        query_ids = tf.TensorSpec([None], tf.string, name="query_ids")
        self.remember = tf.function(as_written(self._remember)).get_concrete_function(query_ids)

        chosen = np.random.default_rng(0).permutation(known.num_queries)[:_NUM_SAMPLED]
        ids = known.queries[known.query_id].take(chosen)
        inputs = {spec.name: missing_input(spec, len(chosen)) for spec in specs.values()}
        inputs.update(latest_contexts(model, known, chosen))
        if id_input is None:
            for tower in query_towers(model):
                inputs.update(tower.raw_features(known.queries.take(chosen)))
        else:
            inputs[id_input] = tf.constant(ids.to_pylist(), tf.string)
        self.sample = tf.Variable(self.embed(**inputs)["retrieval"], trainable=False, name="sample")
        named = [] if id_input is None else ids.slice(0, _NUM_NAMED).to_pylist()
        self.sample_ids = tf.Variable(tf.constant(named, tf.string), trainable=False, name="sample_ids")

    def _remember(self, query_ids: tf.Tensor) -> dict[str, tf.Tensor]:
        past = PastEvents(self.queries, self.queries.table.lookup(query_ids))
        candidates = past.candidates(None)
        num_candidates = self.candidate_ids.shape[0]
        is_there = candidates < num_candidates  # the others are padding
        ids = tf.gather(self.candidate_ids, tf.minimum(candidates, num_candidates - 1))
        remembered = {"candidate_ids": tf.where(is_there, ids, "")}
        for model in self.models:
            for ratings in model.raw_ratings(past):
                remembered["ratings"] = tf.where(is_there, ratings, math.nan)
        return remembered


def latest_contexts(model: Recommender, known: Interactions, query_rows: np.ndarray) -> dict[str, tf.Tensor]:
    """Returns the raw inputs of the context of each query's latest event, which is missing for one without an event.

    Args:
        model: A trained model.
        known: The known queries and their events.
        query_rows: int [n].

    Returns:
        Input name -> tensor [n, ...]; nothing for a model without a context.
    """
    raw = {name: values for tower in query_towers(model) for name, values in tower.raw_context(known).items()}
    if not raw:
        return {}
    timeline = Timeline(known)
    latest = timeline.latest(query_rows, 1)[:, 0]
    has_event = latest != NO_ROW
    event_of_place = timeline.in_order(np.arange(known.num_events))
    # The first row is a missing context.
    rows = np.zeros(len(query_rows), np.int64)
    rows[has_event] = 1 + known.contexts.rows[event_of_place[latest[has_event]]]
    specs = {spec.name: spec for tower in query_towers(model) for spec in tower.raw_specs}
    missing = {name: tf.broadcast_to(missing_input(specs[name]), [1, *raw[name].shape[1:]]) for name in raw}
    return {name: tf.gather(tf.concat([missing[name], values], axis=0), rows) for name, values in raw.items()}


def by_role(model: Recommender, embed: Callable[[TwoTowerModel], tf.Tensor]) -> Embeddings:
    """Embeds by the retrieval model and, if there is one, by the rating model.

    Args:
        model: A trained model.
        embed: From a single model to its embeddings.
    """
    embeddings = {"retrieval": embed(model.retrieval_model)}
    if model.rating_model is not None:
        is_one = model.rating_model is model.retrieval_model
        embeddings["rating"] = embeddings["retrieval"] if is_one else embed(model.rating_model)
    return embeddings


def query_inputs(model: Recommender, known: Interactions) -> list[tf.TensorSpec]:
    """Returns the raw inputs of the signatures about queries: those of all towers, and the id if no tower takes it.

    Args:
        model: A trained model.
        known: The queries to remember.
    """
    id_input = id_input_of(model, known)
    specs = {} if id_input is None else {id_input: tf.TensorSpec([None], tf.string, name=id_input)}
    for tower in query_towers(model):
        specs.update({spec.name: spec for spec in tower.raw_specs})
    return list(specs.values())


def id_input_of(model: Recommender, known: Interactions) -> str | None:
    """Returns the input by which a query is recognised: its id, if a tower takes it, or takes a history.

    Args:
        model: A trained model.
        known: The queries to remember.
    """
    towers = query_towers(model)
    is_taken = any(known.query_id in tower.feature_names or tower.histories for tower in towers)
    return known.query_id if is_taken else None


def query_towers(model: Recommender) -> list[Tower]:
    """Returns the query towers of all models."""
    return [part.query_tower for part in model.models]


class Target:
    """The candidate that each query is scored with, which is never part of its own history.

    Args:
        ids: string [batch], its id.
        known_ids: string [num_candidates], the candidates of the events that are remembered.
    """

    def __init__(self, ids: tf.Tensor, known_ids: tf.Variable) -> None:
        self._ids, self._known_ids = ids[:, tf.newaxis], known_ids

    def is_given(self, history: tf.Tensor) -> tf.Tensor:
        """Tells where a given history, string [batch, any], has the target, as bool [batch, any]."""
        return history == self._ids

    def is_remembered(self, candidates: tf.Tensor) -> tf.Tensor:
        """Tells where remembered candidates, int32 [batch, any] as of `PastEvents`, are the target."""
        places = tf.minimum(candidates, self._known_ids.shape[0] - 1)  # whatever is told of padding, it stays padding
        return tf.gather(self._known_ids, places) == self._ids


class _RememberingModel(tf.Module):
    """A model's query side with what the bundle remembers for it: the codes of the known queries, and their ratings."""

    def __init__(self, model: TwoTowerModel, timeline: Timeline) -> None:
        super().__init__(name=f"{model.task.name}_queries")
        tower = model.query_tower
        # The model itself must not be an attribute: no Keras object may be tracked.
        self.weights = [*tower.variables, *model.task.score_variables]
        self.tables = tower.lookup_tables
        known = timeline.interactions
        unknown = {spec.name: missing_input(spec) for spec in tower.raw_specs}
        missing = {name: codes.numpy() for name, codes in tower.lookup(unknown).items()}
        self.codes = {
            name: tf.Variable(_with_first(missing[name], codes), trainable=False, name=f"{name}_codes")
            for name, codes in tower.encode_table(known.queries).items()
        }
        self.past = {
            past.name: tf.Variable(past.codes, trainable=False, name=f"{past.name}_past")
            for past in tower.encode_histories(known.candidates)
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
        self.times = {
            history.time_name: tf.Variable(
                np.append(timeline.times_at(np.arange(known.num_events)), NO_TIME),
                trainable=False,
                name=history.time_name,
            )
            for history in tower.histories
            if history.by_time
        }
        self.rating_scales = {
            name: tf.Variable([lookup.mean, lookup.standard_deviation], trainable=False, name=f"{name}_scale")
            for name, lookup in tower.lookups.items()
            if name in self.ratings
        }

    def raw_ratings(self, past: PastEvents) -> list[tf.Tensor]:
        """Returns float32 [batch, any] for each history with ratings: the ratings of all events, not standardised.

        Args:
            past: The events.
        """
        places = past.places(None)
        raw = []
        for name, ratings in self.ratings.items():
            mean, standard_deviation = tf.unstack(self.rating_scales[name])
            raw.append(tf.gather(ratings, places) * standard_deviation + mean)
        return raw

    def embed(
        self,
        model: TwoTowerModel,
        features: Mapping[str, tf.Tensor],
        rows: tf.Tensor,
        past: PastEvents,
        target: Target | None,
    ) -> tf.Tensor:
        """Embeds what is given of each query, or else remembered, as float32 [batch, embedding_dim].

        Args:
            model: The model.
            features: Input name -> tensor.
            rows: int32 [batch], rows of known queries.
            past: Their events.
            target: The candidate that is left out of each query's history, or None.
        """
        codes = model.query_tower.lookup(features)
        filled = {}
        for feature in model.query_tower.config.features:
            is_given = ~feature.is_missing(codes)
            given = {spec.name: codes[spec.name] for spec in feature.raw_specs}
            if isinstance(feature, History):
                remembered = self._remembered_history(feature, past, target)
                if target is not None:
                    # A history of nothing but the target counts as given all the same.
                    given[feature.name] = _left_out(given[feature.name], target.is_given(features[feature.name]))
            elif feature.name in model.query_tower.config.context:
                filled.update(given)  # it belongs to the request, and nothing of it is remembered
                continue
            else:
                remembered = {name: tf.gather(self.codes[name], rows) for name in given}
            for name, values in remembered.items():
                filled[name] = _choose(is_given, given[name], values)
        return model.embed_queries(filled)

    def _remembered_history(self, history: History, past: PastEvents, target: Target | None) -> dict[str, tf.Tensor]:
        # In training an earlier candidate takes the slot of the target that is left out; see `LeaveOneOutHistory`. The
        # history's own layer skips padding, and takes only the latest candidates of those that are left.
        length = history.length if target is None else history.length + 1
        candidates = past.candidates(length)
        codes = tf.gather(self.past[history.name], candidates)  # the padding's code is the last
        if target is not None:
            codes = _left_out(codes, target.is_remembered(candidates))
        remembered = {history.name: codes}
        if history.by_rating:
            remembered[history.rating_name] = tf.gather(self.ratings[history.rating_name], past.places(length))
        if history.by_time:
            remembered[history.time_name] = tf.gather(self.times[history.time_name], past.places(length))
        return remembered


def _left_out(codes: tf.Tensor, is_left_out: tf.Tensor) -> tf.Tensor:
    """Makes padding of the codes of a history, [batch, any], that are left out."""
    return tf.where(is_left_out, tf.cast(MISSING_CODE, codes.dtype), codes)


def _choose(is_given: tf.Tensor, codes: tf.Tensor, remembered: tf.Tensor) -> tf.Tensor:
    """Takes row by row the codes if they are given, or else what is remembered; [batch], [batch, dim] or lists."""
    if codes.shape.rank > 1:
        is_given = tf.expand_dims(is_given, 1)
    if codes.shape.rank == 1 or codes.shape[1] is not None:
        return tf.where(is_given, codes, remembered)
    # A list that is not given is all padding already, and padding may lie anywhere.
    nothing = tf.zeros([], remembered.dtype)
    return tf.concat([codes, tf.where(is_given, nothing, remembered)], axis=1)


def _with_first(first: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Puts another row, [1, any], before codes; of a list only as much as fits, since the rest is padding."""
    if codes.ndim == 1:
        return np.concatenate([first, codes])
    row = np.zeros_like(codes[:1], shape=(1, codes.shape[1]))
    width = min(codes.shape[1], first.shape[1])
    row[:, :width] = first[:, :width]
    return np.concatenate([row, codes])
