"""A bundle whose query tower takes every kind of feature: what is given, what is remembered, what is missing."""

import dataclasses
import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import tensorflow as tf

import tfrs_twotower as tt
from tests.conftest import CANDIDATE, QUERY, export_unchecked
from tfrs_twotower.batches.histories import FixedHistory, LeaveOneOutHistory, Timeline
from tfrs_twotower.bundle.load import LoadedBundle
from tfrs_twotower.data.splits import Split
from tfrs_twotower.evaluation.predictions import predict
from tfrs_twotower.model.two_tower import TwoTowerModel

MOVIE_ID = CANDIDATE.features[0]
FEATURES = (
    tt.Categorical(name="user_id"),
    tt.Numeric(name="income", log=True),
    tt.Timestamp(name="joined"),
    tt.Text(name="about"),
    tt.PretrainedEmbedding(name="face", dim=2),
    tt.Hashed(name="city", num_buckets=9),
    tt.History(of=MOVIE_ID, length=4, by_rating=True, half_life=3.0),
)


@pytest.fixture(scope="module")
def known(planted) -> tt.Interactions:
    """The planted data, with times of the events in another order than that of the rows."""
    seen = planted.split.seen
    rng = np.random.default_rng(0)
    times = pa.array(rng.permutation(seen.num_events))
    number = seen.num_queries
    queries = pa.table(
        {
            "user_id": seen.queries["user_id"],
            "income": rng.uniform(0, 1e5, number),
            "joined": [datetime.datetime(2024, 1, 1) + datetime.timedelta(hours=row) for row in range(number)],
            "about": [f"Likes words {row % 7}" for row in range(number)],
            "face": pa.array(rng.normal(size=(number, 2)).tolist()),
            "city": [f"city {row % 5}" for row in range(number)],
        }
    )
    return dataclasses.replace(seen, queries=queries, events=seen.events.append_column("timestamp", times))


@pytest.fixture(scope="module")
def model(known) -> TwoTowerModel:
    tf.keras.utils.set_random_seed(0)
    query = dataclasses.replace(QUERY, features=FEATURES)
    model = tt.build_two_tower(known, query=query, candidate=CANDIDATE)
    model.compile(optimizer=tt.training.LazyAdam(5e-3))
    model.fit(model.training_batches(known, batch_size=64, seed=0), epochs=3, verbose=0)
    return model


@pytest.fixture(scope="module")
def bundle(model, known, tmp_path_factory) -> LoadedBundle:
    folder = tmp_path_factory.mktemp("features")
    return tt.load_bundle(export_unchecked(model, known, folder, k=10, build_index=tt.index.build_exact_index))


@pytest.fixture(scope="module")
def signatures(bundle):
    return bundle.module.signatures


def only_id(user: str, **given) -> dict[str, tf.Tensor]:
    """A query that gives its id, and of its features only those in `given`."""
    nan = float("nan")
    inputs = {
        "user_id": [user],
        "income": [nan],
        "joined": [tt.data.NO_TIME],
        "about": [""],
        "face": [[nan, nan]],
        "city": [""],
        "history": [[""]],
        "history_rating": [[nan]],
        **given,
    }
    dtypes = {"income": tf.float32, "joined": tf.int64, "face": tf.float32, "history_rating": tf.float32}
    return {name: tf.constant(values, dtypes.get(name, tf.string)) for name, values in inputs.items()}


def embed(signatures, user: str, **given) -> np.ndarray:
    return signatures["embed_query"](**only_id(user, **given))["retrieval"].numpy()[0]


def test_every_feature_that_a_known_query_leaves_out_is_remembered(signatures, model, known):
    queries, _ = model.embed(known, known=known)
    for row in (0, 7, 39):
        np.testing.assert_allclose(embed(signatures, f"u{row}"), queries[row], rtol=1e-4, atol=1e-5)


def past(known: tt.Interactions, row: int, length: int) -> tuple[list[str], list[float]]:
    """Computes the ids and ratings of a query's latest events by hand."""
    of_query = np.flatnonzero(known.query_rows == row)
    latest = of_query[np.argsort(known.timestamps[of_query])][-length:]
    ids = known.candidates["movie_id"].to_pylist()
    return [ids[place] for place in known.candidate_rows[latest]], known.ratings[latest].tolist()


def test_the_remembered_history_is_that_of_the_latest_events(signatures, known):
    ids, ratings = past(known, 3, 4)
    given = embed(signatures, "u3", history=[ids], history_rating=[ratings])
    np.testing.assert_allclose(given, embed(signatures, "u3"), rtol=1e-5, atol=1e-6)
    more_ids, more_ratings = past(known, 3, 9)
    longer = embed(signatures, "u3", history=[more_ids], history_rating=[more_ratings])
    np.testing.assert_allclose(longer, given, rtol=1e-5, atol=1e-6)


def test_a_given_history_replaces_the_remembered_one(signatures, known):
    ids, _ = past(known, 3, 4)
    other = [f"m{row}" for row in range(24) if f"m{row}" not in ids][:2]
    assert np.abs(embed(signatures, "u3", history=[other]) - embed(signatures, "u3")).max() > 1e-4


@pytest.mark.parametrize("user", ["u3", "stranger"])
def test_a_rating_that_is_not_given_is_missing(signatures, user):
    """It counts as the average, alone and in a batch with another history."""
    nan = float("nan")
    ids = ["m1", "m2", "m5", "m6", "m7", "m8"]
    none, filled = (embed(signatures, user, history=[ids], history_rating=[given]) for given in ([nan], [nan] * 6))
    np.testing.assert_array_equal(none, filled)
    two = {name: tf.concat([values, values], axis=0) for name, values in only_id(user).items()}
    two["history"] = tf.constant([[*ids, "", ""], ["m1"] * 8])
    two["history_rating"] = tf.constant([[1.0, *[nan] * 7], [5.0] * 8])
    in_batch = signatures["embed_query"](**two)["retrieval"].numpy()[0]
    alone = embed(signatures, user, history=[ids], history_rating=[[1.0, *[nan] * 5]])
    np.testing.assert_allclose(in_batch, alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "change",
    [
        {"income": [5.0]},
        {"joined": [0]},
        {"about": ["likes"]},
        {"face": [[9.0, -9.0]]},
        {"city": ["city 4"]},
        {"history": [["m1"]]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_each_feature_changes_the_scores_of_an_unknown_query(signatures, change):
    plain, changed = (signatures["recommend"](**only_id("stranger", **given)) for given in ({}, change))
    assert np.abs(plain["scores"].numpy() - changed["scores"].numpy()).max() > 0


def test_a_given_history_is_not_recommended_again(signatures):
    inputs = only_id("stranger", history=[["m1", "m2", "m3", "no such movie"]])
    ids = signatures["recommend"](**inputs)["candidate_ids"].numpy()[0].astype(str)
    assert len(set(ids)) == 10
    assert not {"m1", "m2", "m3", ""} & set(ids)


def test_queries_with_and_without_a_history_go_in_one_batch(signatures):
    alone = [embed(signatures, "u5"), embed(signatures, "stranger", history=[["m1", "m2"]])]
    both = {name: tf.concat([values, values], axis=0) for name, values in only_id("u5").items()}
    both.update(user_id=tf.constant(["u5", "stranger"]), history=tf.constant([["", ""], ["m1", "m2"]]))
    nan = float("nan")
    both["history_rating"] = tf.constant([[nan, nan], [nan, nan]])
    together = signatures["embed_query"](**both)["retrieval"].numpy()
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-6)


def test_plain_values_give_what_tensors_give(bundle, signatures):
    asked = {"user_id": "new", "income": 10, "joined": 86_400, "about": "words", "face": [[1.0, 2]], "city": "city 1"}
    found = bundle.recommend({**asked, "history": [["m1", "m2"]], "history_rating": [[5, 1.0]]})
    inputs = only_id(
        "new",
        income=[10.0],
        joined=[86_400],
        about=["words"],
        face=[[1.0, 2.0]],
        city=["city 1"],
        history=[["m1", "m2"]],
        history_rating=[[5.0, 1.0]],
    )
    expected = signatures["recommend"](**inputs)
    np.testing.assert_array_equal(found.candidate_ids, expected["candidate_ids"].numpy().astype(str))
    np.testing.assert_allclose(found.scores, expected["scores"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("queries", "error", "message"),
    [
        (
            {"history": [["m1", "m2"]], "history_rating": [[5.0]]},
            ValueError,
            "`history_rating` must be as long as `history`. Received in row 0: lists of 1 and 2",
        ),
        ({"history_rating": [[5.0]]}, ValueError, "Received in row 0: lists of 1 and 0"),
        ({"face": [[1.0]]}, ValueError, "`face` must be lists of 2 numbers. Received in row 0: 1"),
        ({"face": [["a", "b"]]}, TypeError, "`face` must be numbers. Received in row 0: 'a'"),
        ({"history": [[1, 2]]}, TypeError, "`history` must be strings. Received in row 0: 1"),
        (
            {"joined": ["2024-01-01"]},
            TypeError,
            "`joined` must be whole seconds since 1970 or datetimes",
        ),
        ({"joined": [pd.NaT]}, TypeError, "`joined` must be whole seconds since 1970 or datetimes.*NaT"),
        ({"joined": np.array(["NaT"], "datetime64[ns]")}, TypeError, "`joined` must be whole seconds"),
        ({"movie_id": ["m1"]}, ValueError, "Unknown query feature 'movie_id'. Known: user_id, income"),
    ],
)
def test_a_wrong_value_is_named(bundle, queries, error, message):
    with pytest.raises(error, match=message):
        bundle.recommend({"user_id": ["u1"], **queries})


def test_a_time_may_be_a_datetime(bundle):
    when = datetime.datetime(2024, 1, 2, 3, 4, 5, 600_000)
    forms = [when, when.replace(tzinfo=datetime.timezone.utc), pd.Timestamp(when), 1_704_164_645]
    forms += [np.datetime64(when, unit) for unit in ("s", "ms", "us", "ns")]
    column = np.array([when], "datetime64[ns]")
    np.testing.assert_array_equal(
        bundle.recommend({"user_id": "new", "joined": column}).scores,
        bundle.recommend({"user_id": "new", "joined": pd.Series(column)}).scores,
    )
    scores = [bundle.recommend({"user_id": "new", "joined": [form]}).scores for form in forms]
    for others in scores[1:]:
        np.testing.assert_array_equal(scores[0], others)
    missing = bundle.recommend({"user_id": "new", "joined": [tt.data.NO_TIME]}).scores
    np.testing.assert_array_equal(missing, bundle.recommend({"user_id": "new"}).scores)
    assert np.abs(missing - scores[0]).max() > 0


def ask_pairs(signatures, events: tt.Interactions) -> np.ndarray:
    """Asks for the scores of the pairs of some events, by ids alone."""
    ids, count = events.candidates["movie_id"].take(events.candidate_rows).to_pylist(), events.num_events
    inputs = {name: tf.repeat(values, count, axis=0) for name, values in only_id("nobody").items()}
    inputs["user_id"] = tf.constant(events.queries["user_id"].take(events.query_rows).to_pylist())
    return signatures["score"](**inputs, candidate_id=tf.constant(ids))["scores"].numpy()


def test_a_pair_of_the_stored_history_is_scored_without_its_candidate_as_in_training(signatures, model, known):
    history = LeaveOneOutHistory(timeline=Timeline(known), length=4)
    expected = model.predict(model.evaluation_batches(known, history=history), verbose=0)
    np.testing.assert_allclose(ask_pairs(signatures, known), expected, rtol=1e-4, atol=1e-5)
    # The candidate would have changed the score.
    queries, candidates = model.embed(known, known=known)
    with_it = np.einsum("nd,nd->n", queries[known.query_rows], candidates[known.candidate_rows])
    assert np.abs(with_it - expected).max() > 0.01


def test_a_pair_outside_the_stored_history_is_scored_with_all_of_it_as_in_the_evaluation(signatures, model, known):
    times = pa.array(np.zeros(160, np.int64))
    rows = {"query_row": np.repeat(np.arange(40), 4), "candidate_row": np.tile(np.arange(4), 40)}
    events = {**{name: pa.array(values, pa.int32()) for name, values in rows.items()}, "rating": np.ones(160)}
    pairs = dataclasses.replace(known, events=pa.table(events).append_column("timestamp", times))
    seen = set(zip(known.query_rows.tolist(), known.candidate_rows.tolist(), strict=True))
    is_new = [pair not in seen for pair in zip(*(values.tolist() for values in rows.values()), strict=True)]
    pairs = pairs.with_events(np.flatnonzero(is_new))
    assert pairs.num_events > 10
    batches = model.evaluation_batches(pairs, history=FixedHistory(timeline=Timeline(known), length=4))
    expected = model.predict(batches, verbose=0)
    np.testing.assert_allclose(ask_pairs(signatures, pairs), expected, rtol=1e-4, atol=1e-5)
    queries, candidates = model.embed(pairs, known=known)
    products = np.einsum("nd,nd->n", queries[pairs.query_rows], candidates[pairs.candidate_rows])
    np.testing.assert_allclose(expected, products, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("user", ["u3", "stranger"])
@pytest.mark.parametrize(
    ("given", "ratings", "left", "ratings_left"),
    [
        (["m1", "m7", "m2"], [5.0, 1.0, 4.0], ["m1", "m2"], [5.0, 4.0]),
        # An earlier candidate takes the slot that becomes free, of four.
        (["m5", "m1", "m7", "m2", "m3"], [1.0, 5.0, 1.0, 4.0, 3.0], ["m5", "m1", "m2", "m3"], [1.0, 5.0, 4.0, 3.0]),
        (["m7", "m1", "m7"], [5.0, 1.0, 4.0], ["m1"], [1.0]),
    ],
)
def test_a_given_history_is_used_without_the_candidate_of_the_pair(
    signatures, user, given, ratings, left, ratings_left
):
    pair = {"candidate_id": tf.constant(["m7"])}
    whole = signatures["score"](**only_id(user, history=[given], history_rating=[ratings]), **pair)
    without = signatures["score"](**only_id(user, history=[left], history_rating=[ratings_left]), **pair)
    np.testing.assert_allclose(whole["scores"], without["scores"], rtol=1e-5, atol=1e-6)


def test_a_given_history_of_nothing_but_the_candidate_is_empty_and_not_the_stored_one(signatures, model, known):
    inputs = only_id("u3", history=[["m7"]], history_rating=[[5.0]])
    score = signatures["score"](**inputs, candidate_id=tf.constant(["m7"]))["scores"].numpy()
    queries, candidates = model.embed(known, known=known.with_events(np.zeros(0, np.int64)))
    np.testing.assert_allclose(score, [queries[3] @ candidates[7]], rtol=1e-4, atol=1e-5)


def test_a_refreshed_bundle_scores_pairs_as_before(bundle, unchecked, known):
    again = tt.load_bundle(tt.refresh_bundle(bundle, bundle.candidates))
    np.testing.assert_array_equal(ask_pairs(again.module.signatures, known), ask_pairs(bundle.module.signatures, known))


def test_a_bundle_and_a_refreshed_one_remember_all_events_with_their_ratings(bundle, unchecked, known):
    again = tt.load_bundle(tt.refresh_bundle(bundle, bundle.candidates.slice(0, 12)))
    ids, ratings = past(known, 3, known.num_events)
    for loaded in (bundle, again):
        found = loaded.module.query_side.remember(tf.constant(["u3", "stranger"]))
        assert found["candidate_ids"].numpy().astype(str).tolist() == [ids, [""] * len(ids)]
        np.testing.assert_allclose(found["ratings"], [ratings, [np.nan] * len(ids)], rtol=1e-6)


def test_a_pair_of_the_test_part_that_was_seen_before_is_predicted_alike_by_model_and_bundle(bundle, model, known):
    nothing = known.with_events(np.zeros(0, np.int64))
    split = Split(train=known, validation=nothing, test=known.with_events(np.arange(40)), history=nothing)
    probabilities = predict(model, split, k=1).probabilities
    expected = 1 / (1 + np.exp(-ask_pairs(bundle.module.signatures, split.test).astype(np.float64)))
    np.testing.assert_allclose(probabilities, expected, rtol=1e-4, atol=1e-5)


def test_the_manifest_describes_every_feature_and_every_input(bundle):
    schema = bundle.manifest.model.query
    assert [feature["kind"] for feature in schema.features] == [type(feature).__name__ for feature in FEATURES]
    assert schema.features[-1]["of"]["name"] == "movie_id"
    shapes = {spec.name: (spec.dtype, list(spec.shape)) for spec in schema.inputs}
    assert shapes == {
        "user_id": ("string", [None]),
        "income": ("float32", [None]),
        "joined": ("int64", [None]),
        "about": ("string", [None]),
        "face": ("float32", [None, 2]),
        "city": ("string", [None]),
        "history": ("string", [None, None]),
        "history_rating": ("float32", [None, None]),
    }
    assert schema.histories == ("history",)
    assert schema.ratings_of == {"history_rating": "history"}


def test_the_timeline_gives_each_querys_latest(known):
    timeline = Timeline(known)
    slots = timeline.latest(np.array([3, 5]), 4)
    rows, ratings = timeline.candidates_at(slots)
    for place, query in enumerate((3, 5)):
        ids, expected = past(known, query, 4)
        assert [f"m{row}" for row in rows[place]] == ids
        assert ratings[place].tolist() == expected


@pytest.fixture(scope="module")
def of_history_alone(known, tmp_path_factory) -> tuple[TwoTowerModel, LoadedBundle]:
    """A model whose query tower takes a history and no id, and its bundle."""
    tf.keras.utils.set_random_seed(0)
    model = tt.build_two_tower(known, query=dataclasses.replace(QUERY, features=FEATURES[-1:]), candidate=CANDIDATE)
    folder = tmp_path_factory.mktemp("alone")
    return model, tt.load_bundle(export_unchecked(model, known, folder, k=24, build_index=tt.index.build_exact_index))


def test_a_known_query_is_recognised_by_its_id_even_if_the_tower_takes_only_a_history(known, of_history_alone):
    model, bundle = of_history_alone
    assert [spec.name for spec in bundle.manifest.model.query.inputs] == ["user_id", "history", "history_rating"]
    found = bundle.recommend({"user_id": ["u3"]})
    queries, candidates = model.embed(known, known=known)
    scores = candidates @ queries[3]
    scores[known.candidate_rows[known.query_rows == 3]] = -np.inf
    expected = np.sort(scores[np.isfinite(scores)])[::-1]
    np.testing.assert_allclose(found.scores[0][: len(expected)], expected, rtol=1e-4, atol=1e-5)
    assert (found.candidate_ids[0] != "").sum() == len(expected)
    stranger = bundle.recommend({"history": [["m1", "m2"]]})
    assert (stranger.candidate_ids[0] != "").sum() == 22


def test_a_bundle_may_remember_no_query(known, of_history_alone, tmp_path):
    model, _ = of_history_alone
    no_query = dataclasses.replace(known, queries=known.queries.slice(0, 0), events=known.events.slice(0, 0))
    path = export_unchecked(model, no_query, tmp_path / "no-query", k=3, build_index=tt.index.build_exact_index)
    found = tt.load_bundle(path).recommend({"user_id": "u1", "history": [["m1"]]})
    assert set(found.candidate_ids[0]) <= set(known.candidates["movie_id"].to_pylist()) - {"m1"}
