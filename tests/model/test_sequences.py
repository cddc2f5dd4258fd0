"""Query towers that read histories as sequences: what they learn, and that they keep the contract of every tower."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

import tfrs_twotower as tt
from tests.conftest import bundle_of
from tfrs_twotower.bundle.build import build_sides
from tfrs_twotower.data.times import NO_TIME
from tfrs_twotower.features.self_attention import SelfAttention
from tfrs_twotower.index.kinds import build_exact_index
from tfrs_twotower.model.expansion import expand_vocabulary
from tfrs_twotower.model.linear_part import LinearPart
from tfrs_twotower.model.tasks.full_softmax import FullSoftmaxTask
from tfrs_twotower.model.two_tower import TwoTowerModel
from tfrs_twotower.training.fit import QueryTraining, fit_by_query

NUM_QUERIES, NUM_CANDIDATES, NUM_EVENTS = 48, 6, 12
MOVIE_ID = tt.Categorical(name="movie_id")
# With a missing and an unknown value there are as many codes as entries: tables and matrices have the same shape.
DIM = NUM_CANDIDATES + 2
# What follows each candidate: one cycle through all of them.
NEXT = np.array([2, 0, 5, 1, 3, 4])


def make_cycles() -> tt.Interactions:
    """Each query goes round all candidates twice, from a start of its own; a rating tells the place, from 1."""
    walks = np.empty([NUM_QUERIES, NUM_EVENTS], np.int32)
    walks[:, 0] = np.arange(NUM_QUERIES) % NUM_CANDIDATES
    for place in range(1, NUM_EVENTS):
        walks[:, place] = NEXT[walks[:, place - 1]]
    columns = {
        "query_row": np.repeat(np.arange(NUM_QUERIES, dtype=np.int32), NUM_EVENTS),
        "candidate_row": walks.ravel(),
        "rating": np.tile(np.arange(NUM_EVENTS, dtype=np.float32) + 1, NUM_QUERIES),
        "timestamp": np.tile(np.arange(NUM_EVENTS, dtype=np.int64) ** 3, NUM_QUERIES),
    }
    order = np.random.default_rng(0).permutation(walks.size)  # the times tell the order
    return tt.Interactions(
        queries=pa.table({"user_id": [f"u{row}" for row in range(NUM_QUERIES)]}),
        candidates=pa.table({"movie_id": [f"m{row}" for row in range(NUM_CANDIDATES)]}),
        events=pa.table({name: values[order] for name, values in columns.items()}),
        query_id="user_id",
        candidate_id="movie_id",
    )


CYCLES = make_cycles()
LATEST = np.empty(NUM_QUERIES, np.int64)
LATEST[CYCLES.query_rows[CYCLES.ratings == NUM_EVENTS]] = CYCLES.candidate_rows[CYCLES.ratings == NUM_EVENTS]


def build(train: tt.Interactions = CYCLES, *, task: FullSoftmaxTask | None = None, **settings) -> TwoTowerModel:
    tf.keras.utils.set_random_seed(0)
    past = tt.History(of=MOVIE_ID, **{"length": NUM_EVENTS, **settings})
    return tt.build_two_tower(
        train,
        query=tt.SumTowerConfig(features=(past,), output_dim=DIM),
        candidate=tt.SumTowerConfig(features=(MOVIE_ID,), output_dim=DIM, has_bias=True),
        task=task or FullSoftmaxTask(threshold=1.0),
    )


def build_random(**settings) -> TwoTowerModel:
    """A model without dropout, whose weights are all large enough to matter."""
    model = build(encoder=SelfAttention(num_layers=2, dropout=0.0), by_rating=True, by_time=True, **settings)
    for weight in model.trainable_variables:
        weight.assign_add(tf.random.normal(weight.shape))
    return model


def share_of_next(model: TwoTowerModel) -> float:
    """The share of queries for which the candidate that follows the latest one ranks first."""
    queries, candidates = model.embed(CYCLES, known=CYCLES)
    return float(np.mean((queries @ candidates.T).argmax(axis=1) == NEXT[LATEST]))


def train_by_query(model: TwoTowerModel) -> None:
    fit_by_query(model, CYCLES, seed=0, training=QueryTraining(epochs=30, batch_size=8, learning_rate=0.01, decay=None))


def test_a_sequence_tells_what_comes_next_where_a_pool_cannot():
    """Every query has met each candidate twice, so that only the order of its history tells queries apart."""
    read, pooled = build(encoder=SelfAttention(dropout=0.1)), build(pooling="mean")
    train_by_query(read)
    train_by_query(pooled)
    assert share_of_next(read) == 1
    assert share_of_next(pooled) < 0.5


def test_the_loss_of_all_places_at_once_is_that_of_the_events_one_by_one():
    model = build_random(length=5)
    (batch,) = model.query_batches(CYCLES, batch_size=1000, seed=0)
    loss = float(model.compute_loss(batch))
    # Independently: the query before each event, by the events of its part of the sequence alone.
    times = CYCLES.timestamps
    pasts, targets = [], []
    for query in range(6):  # the others are like these
        rows = np.flatnonzero(CYCLES.query_rows == query)
        rows = rows[np.argsort(times[rows])]
        # Twelve events are two, five and five targets; a part looks back to the one before its first target.
        for start, stop, first in ((0, 2, 0), (1, 7, 2), (6, 12, 7)):
            for place in range(first, stop):
                pasts.append(rows[start:place])
                targets.append(CYCLES.candidate_rows[rows[place]])

    def padded(values: np.ndarray, missing) -> list[list]:
        return [[*values[past].tolist(), *[missing] * (5 - len(past))] for past in pasts]

    raw = {
        "history": padded(np.array([f"m{row}" for row in CYCLES.candidate_rows]), ""),
        "history_rating": padded(CYCLES.ratings, np.nan),
        "history_time": padded(times, NO_TIME),
    }
    inputs = {spec.name: tf.constant(raw[spec.name], spec.dtype) for spec in model.query_tower.raw_specs}
    queries = model.embed_queries(model.query_tower.lookup(inputs)).numpy()
    scores = queries @ model.embed_catalogue(CYCLES.candidates).T
    of_targets = scores[np.arange(len(targets)), targets]
    expected = np.log(np.exp(scores - of_targets[:, np.newaxis]).sum(axis=1))
    assert loss == pytest.approx(np.mean(expected), rel=1e-4)


def test_a_sampled_catalogue_teaches_the_order_too():
    model = build(encoder=SelfAttention(dropout=0.1), task=FullSoftmaxTask(threshold=1.0, max_candidates=1))
    train_by_query(model)
    assert share_of_next(model) == 1


def test_training_by_event_looks_at_earlier_events_only():
    model = build(encoder=SelfAttention(), task=tt.tasks.SampledSoftmaxTask(threshold=1.0))
    batch = next(iter(model.training_batches(CYCLES, batch_size=100, seed=0)))
    # A rating tells the place of its event; the candidate itself, met a cycle before, is left out.
    num_before = batch.ratings.numpy() - 1
    expected = num_before - (num_before >= NUM_CANDIDATES)
    np.testing.assert_array_equal((batch.query["history"].numpy() != 0).sum(axis=1), expected)


def test_a_saved_model_is_the_same(tmp_path):
    model = build_random()
    model.save(tmp_path / "model.keras")
    loaded = tf.keras.models.load_model(tmp_path / "model.keras")
    for before, after in zip(model.embed(CYCLES, known=CYCLES), loaded.embed(CYCLES, known=CYCLES), strict=True):
        np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-5)


def test_new_ids_leave_what_is_known_as_it_was():
    model = build_random()
    more = dataclasses.replace(
        CYCLES,
        candidates=pa.concat_tables([CYCLES.candidates, pa.table({"movie_id": ["new"]})]),
        events=pa.concat_tables(
            [CYCLES.events, CYCLES.events.slice(0, 1).set_column(1, "candidate_row", pa.array([6], pa.int32()))]
        ),
    )
    expanded = expand_vocabulary(model, more)
    queries, candidates = model.embed(CYCLES, known=CYCLES)
    after = expanded.embed(more, known=dataclasses.replace(more, events=CYCLES.events))
    np.testing.assert_allclose(after[0], queries, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(after[1][:NUM_CANDIDATES], candidates, rtol=1e-5)


@pytest.fixture(scope="module")
def model() -> TwoTowerModel:
    return build_random(length=4)


@pytest.fixture(scope="module")
def bundle(model):
    return bundle_of(model, CYCLES, build_exact_index, k=NUM_CANDIDATES, recommend_seen=True)


def ask(bundle, signature: str, **inputs) -> dict[str, np.ndarray]:
    specs = bundle.signatures[signature].structured_input_signature[1]
    given = {name: tf.constant(values, specs[name].dtype) for name, values in inputs.items()}
    return {name: values.numpy() for name, values in bundle.signatures[signature](**given).items()}


MISSING = {"history": [[""]], "history_rating": [[np.nan]], "history_time": [[NO_TIME]]}


def test_a_bundle_remembers_candidates_ratings_and_times_in_order(model, bundle):
    queries, _ = model.embed(CYCLES, known=CYCLES)
    found = ask(bundle, "embed_query", user_id=["u3"], **MISSING)["retrieval"]
    np.testing.assert_allclose(found, queries[3:4], rtol=1e-4, atol=1e-4)


def test_a_request_gives_a_history_with_or_without_ratings_and_times(model, bundle):
    rows = np.flatnonzero(CYCLES.query_rows == 3)
    latest = rows[np.argsort(CYCLES.timestamps[rows])][-4:]
    ids = [[f"m{row}" for row in CYCLES.candidate_rows[latest]]]
    numbers = {
        "history_rating": [CYCLES.ratings[latest].tolist()],
        "history_time": [CYCLES.timestamps[latest].tolist()],
    }
    queries, _ = model.embed(CYCLES, known=CYCLES)
    given = ask(bundle, "embed_query", user_id=[""], history=ids, **numbers)["retrieval"]
    np.testing.assert_allclose(given, queries[3:4], rtol=1e-4, atol=1e-4)
    alone = ask(bundle, "embed_query", user_id=[""], **{**MISSING, "history": ids})["retrieval"]
    nothing = {"history_rating": [[np.nan] * 4], "history_time": [[NO_TIME] * 4]}
    spelt_out = ask(bundle, "embed_query", user_id=[""], history=ids, **nothing)["retrieval"]
    np.testing.assert_allclose(alone, spelt_out, rtol=1e-5, atol=1e-5)
    assert np.abs(alone - given).max() > 0.01
    with pytest.raises(tf.errors.InvalidArgumentError, match="`history_time` must have a time for each place"):
        ask(bundle, "embed_query", user_id=[""], **{**MISSING, "history": ids, "history_time": [[1, 2]]})


def test_a_row_has_the_same_bits_whatever_is_in_the_batch(bundle):
    rng = np.random.default_rng(0)
    ids = np.array([f"m{row}" for row in rng.integers(0, NUM_CANDIDATES, 9 * 20)]).reshape(9, 20)
    ids[np.arange(20) >= np.arange(1, 10)[:, np.newaxis]] = ""
    missing = {"history_rating": np.full([9, 20], np.nan), "history_time": np.full([9, 20], NO_TIME)}
    whole = ask(bundle, "embed_query", user_id=[""] * 9, history=ids, **missing)["retrieval"]
    for row in (0, 4, 8):
        own = {name: values[row : row + 1, : row + 1] for name, values in {"history": ids, **missing}.items()}
        alone = ask(bundle, "embed_query", user_id=[""], **own)["retrieval"]
        np.testing.assert_array_equal(alone[0], whole[row])


def test_a_score_is_that_of_the_history_without_the_candidate(model, bundle):
    rows = np.flatnonzero((CYCLES.query_rows == 3) & (CYCLES.candidate_rows != 2))
    others = dataclasses.replace(CYCLES, events=CYCLES.events.take(rows))
    queries, candidates = model.embed(CYCLES, known=others)
    found = ask(bundle, "score", user_id=["u3"], candidate_id=["m2"], **MISSING)["scores"]
    assert found[0] == pytest.approx(float(candidates[2] @ queries[3]), rel=1e-3)


def test_the_manifest_tells_which_times_belong_to_which_history(model):
    query = build_sides(model, CYCLES).entry.query
    assert (query.ratings_of, query.times_of) == ({"history_rating": "history"}, {"history_time": "history"})


def test_what_does_not_fit_a_sequence_is_refused():
    both = (tt.History(of=MOVIE_ID, name="pooled"), tt.History(of=MOVIE_ID, name="read", encoder=SelfAttention()))
    query = tt.SumTowerConfig(features=both, output_dim=DIM)
    candidate = tt.SumTowerConfig(features=(MOVIE_ID,), output_dim=DIM)
    model = tt.build_two_tower(CYCLES, query=query, candidate=candidate, task=FullSoftmaxTask(threshold=1.0))
    with pytest.raises(TypeError, match="every history needs an `encoder`. Received one without: 'pooled'"):
        model.query_batches(CYCLES, seed=0)
    times = CYCLES.events["timestamp"].cast(pa.float32())
    with_context = dataclasses.replace(CYCLES, events=CYCLES.events.append_column("hour", times))
    query = dataclasses.replace(query, features=(both[1], tt.Numeric(name="hour")), context=("hour",))
    of_contexts = tt.build_two_tower(
        with_context, query=query, candidate=candidate, task=FullSoftmaxTask(threshold=1.0)
    )
    with pytest.raises(TypeError, match=r"each need their own context.*Received: \['hour'\]"):
        of_contexts.query_batches(with_context, seed=0)
    with pytest.raises(TypeError, match="`history` must be pooled"):
        LinearPart(build(encoder=SelfAttention()), CYCLES, rank=2)
    timeless = dataclasses.replace(CYCLES, events=CYCLES.events.drop_columns(["timestamp"]))
    with pytest.raises(ValueError, match="`by_time` of the history 'history' needs the events' times"):
        build(timeless, encoder=SelfAttention(), by_time=True)
