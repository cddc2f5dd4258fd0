"""NaN and infinity stop training and export, and are named: the batch, the column, or the weight."""

import dataclasses
import re

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

import tfrs_twotower as tt
from tests.conftest import bundle_of, make_interactions
from tfrs_twotower.batches.batch import JointBatch
from tfrs_twotower.model.joint import JointModel
from tfrs_twotower.model.two_tower import TwoTowerModel

MOVIE = tt.Categorical(name="movie_id")
QUERY = tt.SumTowerConfig(
    features=(
        tt.Categorical(name="user_id"),
        tt.Numeric(name="age"),
        tt.PretrainedEmbedding(name="face", dim=2),
        tt.History(of=MOVIE, by_rating=True),
    ),
    output_dim=4,
)
CANDIDATE = tt.SumTowerConfig(features=(MOVIE,), output_dim=4, has_bias=True)
NAN, INF = float("nan"), float("inf")


@pytest.fixture(scope="module")
def events() -> tt.Interactions:
    rng = np.random.default_rng(0)
    pairs = np.divmod(rng.choice(200, 60, replace=False), 20)
    made = make_interactions(*pairs, rng.integers(1, 6, 60), num_queries=10, num_candidates=20)
    faces = pa.array(rng.normal(size=(10, 2)).tolist())
    return dataclasses.replace(made, queries=made.queries.append_column("face", faces))


def build(events) -> TwoTowerModel:
    tf.keras.utils.set_random_seed(0)
    model = tt.build_two_tower(events, query=QUERY, candidate=CANDIDATE)
    model.compile(optimizer=tt.training.LazyAdam(1e-2), run_eagerly=True)  # tracing would take most of the time
    return model


@pytest.fixture(scope="module")
def sound(events) -> TwoTowerModel:
    """A model for all tests that leave its weights finite."""
    return build(events)


def raw_batch(model, *, age=30.0, face=(0.0, 0.0), rating=5.0, weight=1.0):
    """A batch of two events, of which the second has the given numbers."""
    query = {
        "user_id": tf.constant(["u1", "u2"]),
        "age": tf.constant([30.0, age]),
        "face": tf.constant([[0.0, 0.0], face]),
        "history": tf.constant([["m1"], ["m2"]]),
        "history_rating": tf.constant([[5.0], [NAN]]),
    }
    weights = tf.constant([1.0, weight])
    return model.lookup(query, {"movie_id": tf.constant(["m1", "m2"])}, tf.constant([1.0, rating]), weights)


def with_codes(batch, name, value):
    """Puts a number into codes, as the lookup of a feature of one's own may give."""
    codes = tf.where(tf.range(2)[:, tf.newaxis] == 1, value, batch.query[name])
    return batch._replace(query={**batch.query, name: codes})


def data_set(*batches):
    """A data set of one's own, of three batches."""
    pieces = [tf.data.Dataset.from_tensors(batch) for batch in batches]
    return pieces[0].concatenate(pieces[1]).concatenate(pieces[2])


BAD = {
    "a rating that is NaN": ("ratings", lambda model: raw_batch(model, rating=NAN)),
    "an infinite rating": ("ratings", lambda model: raw_batch(model, rating=INF)),
    "a weight that is NaN": ("weights", lambda model: raw_batch(model, weight=NAN)),
    "an infinite weight": ("weights", lambda model: raw_batch(model, weight=-INF)),
    "a weight that overflows": ("weights", lambda model: raw_batch(model, weight=3e38)),
    "codes of a number": ("age", lambda model: with_codes(raw_batch(model), "age", NAN)),
    "codes of a vector": ("face", lambda model: with_codes(raw_batch(model), "face", INF)),
    "codes that overflow": ("face", lambda model: with_codes(raw_batch(model), "face", 1e30)),
    "codes of ratings": ("history_rating", lambda model: with_codes(raw_batch(model), "history_rating", NAN)),
}


def message_of(name: str) -> str:
    return rf"`{name}` must be finite numbers in ±1e\+18. Received NaN, infinity or a larger number in batch 2"


@pytest.mark.parametrize("kind", BAD)
def test_a_number_in_a_batch_stops_training_and_is_named(sound, kind):
    name, make = BAD[kind]
    good = raw_batch(sound)
    with pytest.raises(FloatingPointError, match=message_of(name)):
        sound.fit(data_set(good, good, make(sound)), verbose=0)


def test_a_number_in_a_batch_is_named_in_a_graph_in_validation_data_and_by_a_joint_model(events):
    model, joint = build(events), JointModel(retrieval_model=build(events), rating_model=build(events))
    for one in (model, joint):
        one.compile(optimizer=tt.training.LazyAdam(1e-2))
    name, make = BAD["a weight that is NaN"]
    good = raw_batch(model)
    good, bad = data_set(good, good, good), data_set(good, good, make(model))
    with pytest.raises(FloatingPointError, match=message_of(name)):
        model.fit(good, validation_data=bad, verbose=0)
    with pytest.raises(FloatingPointError, match=message_of(name)):
        joint.fit(tf.data.Dataset.zip(JointBatch(good, bad)), verbose=0)


@pytest.mark.parametrize(
    "numbers", [{"age": NAN}, {"age": INF}, {"age": 3e38}, {"face": (NAN, 0.0)}, {"face": (3e38, 0.0)}]
)
def test_a_number_that_a_lookup_marks_or_clips_trains_on(events, numbers):
    model = build(events)
    batch = raw_batch(model, **numbers)
    logs = model.fit(data_set(batch, batch, batch), verbose=0).history
    assert np.isfinite(logs["loss"]).all()
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


def bad_table(events, column: str, value) -> tt.Interactions:
    place = events.queries.column_names.index(column)
    values = [*events.queries[column].to_pylist()[:-1], value]
    kind = events.queries[column].type
    return dataclasses.replace(events, queries=events.queries.set_column(place, column, pa.array(values, kind)))


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("age", NAN, "`age` must have no NaN; a missing value is null. Received 1 other values, first in row 9"),
        ("age", INF, "`age` must be finite in float32. Received 1 other values, first in row 9"),
        ("face", [NAN, 0.0], "`face` must hold finite vectors; a missing one is null. .* first in row 9"),
        ("face", [0.0, INF], "`face` must hold finite vectors; a missing one is null. .* first in row 9"),
        ("face", [0.0, 1e7], "`face` must hold vectors of numbers in ±1,000,000; scale them down. .* first in row 9"),
    ],
)
def test_a_number_in_a_column_is_refused_when_it_is_read(events, sound, column, value, message):
    table = bad_table(events, column, value)
    for read in (
        lambda: tt.build_two_tower(table, query=QUERY, candidate=CANDIDATE),
        lambda: sound.training_batches(table, seed=0),
        lambda: sound.query_batches(table, seed=0),
        lambda: sound.embed(table, known=table),
    ):
        with pytest.raises(ValueError, match=message):
            read()


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("rating", NAN, "`rating` must be finite. Received 1 other values, the first in rows .3.."),
        ("rating", INF, "`rating` must be finite"),
        ("weight", NAN, "`weight` must be finite and at least 0"),
        ("weight", INF, "`weight` must be finite and at least 0"),
        ("weight", 3e38, r"`weight` must be at most 1e\+18. Received 1 other values, the first in rows .3.."),
    ],
)
def test_a_number_of_an_event_is_refused_when_it_is_read(events, column, value, message):
    numbers = np.ones(60, np.float32)
    numbers[3] = value
    others = events.events.drop_columns([column] if column == "rating" else [])
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(events, events=others.append_column(column, pa.array(numbers)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reciprocal(tt.Numeric):
    """A feature of one's own, whose lookup makes infinity of 0."""

    def build_lookup(self, learnt, name):
        return tf.keras.layers.Lambda(lambda numbers: tf.stack([1 / (numbers - 30), 0 * numbers], axis=1), name=name)


def test_a_lookup_of_ones_own_that_gives_infinity_is_named(events):
    table = bad_table(events, "age", 30.0)
    model = tt.build_two_tower(
        events, query=dataclasses.replace(QUERY, features=(Reciprocal(name="age"),)), candidate=CANDIDATE
    )
    message = r"`age` must be looked up as finite numbers. Received NaN or infinity in \d rows, first in row \d"
    for read in (lambda: model.training_batches(table, seed=0), lambda: model.embed(table)):
        with pytest.raises(ValueError, match=message):
            read()


WEIGHTS = {
    "a query's vector": ("query", "user_id_embedding/table"),
    "a past candidate's vector": ("query", "history_embedding/table"),
    "the slope of ratings": ("query", "slope"),
    "a matrix": ("query", "age.*projection"),
    "a candidate's vector": ("candidate", "movie_id_embedding/table"),
}


@pytest.mark.parametrize(("kind", "value"), zip(WEIGHTS, (NAN, INF, NAN, INF, NAN), strict=True))
def test_a_weight_that_is_not_finite_is_never_exported(events, sound, kind, value):
    """Even if no query or candidate of the bundle has its vector: the last row is looked up for nobody here."""
    tower_name, pattern = WEIGHTS[kind]
    model = build(events)
    tower = model.query_tower if tower_name == "query" else model.candidate_tower
    (variable,) = (one for one in tower.trainable_variables if re.search(pattern, one.name))
    values = np.array(variable)
    values[(-1,) * values.ndim] = value
    variable.assign(values)
    message = rf"`model` must have finite weights.*{pattern}\S*( \(row \d+\))? of the {tower_name} tower"
    joint = JointModel(retrieval_model=sound, rating_model=model)
    for exported in (model, joint):
        with pytest.raises(ValueError, match=message):
            bundle_of(exported, events, k=3)


def test_a_scale_that_is_not_finite_is_never_exported(events):
    task = tt.tasks.FullSoftmaxTask(learns_temperature=True)
    model = tt.build_two_tower(events, query=QUERY, candidate=CANDIDATE, task=task)
    task.log_scale.assign(NAN)
    with pytest.raises(ValueError, match="must have finite weights to be exported.*log_scale"):
        bundle_of(model, events, k=3)


@pytest.mark.parametrize("side", ["query", "candidate"])
def test_weights_whose_products_overflow_are_never_exported(events, side):
    model = build(events)
    tower = model.query_tower if side == "query" else model.candidate_tower
    for variable in tower.trainable_variables:
        variable.assign(tf.fill(variable.shape, 3e38))
    message = {"query": "embeddings of queries must be finite", "candidate": "`embeddings` must be no longer than 1e"}
    with pytest.raises(ValueError, match=message[side]):
        bundle_of(model, events, k=3)
