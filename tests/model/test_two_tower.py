import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_recommenders as tfrs

import tfrs_twotower as tt
from tests.conftest import CANDIDATE, QUERY, make_planted
from tfrs_twotower.evaluation.ranking import event_pairs, rank_candidates
from tfrs_twotower.model.two_tower import join_towers


def test_the_withheld_candidate_ranks_first_among_the_unseen(planted, trained):
    queries, candidates = trained.embed(planted.split.test)
    ranked = rank_candidates(queries, candidates, event_pairs(planted.split.seen), k=1)
    assert np.mean(ranked[:, 0] == planted.withheld) >= 0.95


def test_it_is_a_tfrs_model(trained):
    assert isinstance(trained, tfrs.Model)


def test_the_logit_is_the_dot_product_of_the_embeddings(planted, trained):
    test = planted.split.test
    queries, candidates = trained.embed(test)
    expected = np.einsum("nd,nd->n", queries[test.query_rows], candidates[test.candidate_rows])
    logits = trained.predict(trained.evaluation_batches(test), verbose=0)
    # float32 sums of eight products of size about 10
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


def test_a_raw_data_set_trains_like_the_encoded_one(planted, trained):
    train = planted.split.train
    queries = trained.query_tower.raw_features(train.queries)
    candidates = trained.candidate_tower.raw_features(train.candidates)
    raw = {
        "query": {name: tf.gather(values, train.query_rows) for name, values in queries.items()},
        "candidate": {name: tf.gather(values, train.candidate_rows) for name, values in candidates.items()},
        "rating": tf.constant(train.ratings),
    }
    batches = tf.data.Dataset.from_tensor_slices(raw).batch(64).map(trained.lookup)
    encoded = trained.evaluation_batches(train, batch_size=64)
    histories = []
    for data in (batches, encoded):
        tf.keras.utils.set_random_seed(1)
        model = tt.build_two_tower(train, query=QUERY, candidate=CANDIDATE)
        model.compile(optimizer="sgd")
        histories.append(model.fit(data, epochs=2, verbose=0).history)
    assert histories[0] == histories[1]


def test_implicit_feedback_is_learnt_with_negatives():
    """Only likes are known, each with weight; sampled negatives tell them from the rest."""
    planted = make_planted(num_queries=60, num_candidates=60)
    likes = planted.split.train.with_events(np.flatnonzero(planted.split.train.ratings == 5))
    # Half of them, so that much of a query's own taste is left to be found.
    likes = likes.with_events(np.arange(0, likes.num_events, 2))
    ones = np.ones(likes.num_events, np.float32)
    events = likes.events.set_column(2, "rating", [ones]).append_column("weight", [ones])
    likes = dataclasses.replace(likes, events=events)
    tf.keras.utils.set_random_seed(0)
    model = tt.build_two_tower(likes, query=QUERY, candidate=CANDIDATE, task=tt.RatingTask(threshold=1))
    model.compile(optimizer=tf.keras.optimizers.Adam(5e-3), steps_per_execution=4)
    sampler = tt.NegativeSampler(likes, per_positive=2, threshold=1)
    model.fit(model.training_batches(likes, batch_size=64, seed=0, negatives=sampler), epochs=20, verbose=0)
    queries, candidates = model.embed(likes)
    ranked = rank_candidates(queries, candidates, event_pairs(likes), k=1)[:, 0]
    assert np.mean(ranked % 2 == np.arange(likes.num_queries) % 2) >= 0.95


def test_integers_can_be_categorical():
    star = tt.load_ratings(
        {"user": [1, 2, 1], "item": [5, 6, 6], "stars": [5, 1, 2], "aisle": [10, 20, 20]},
        tt.Schema(query_id="user", candidate_id="item", rating="stars", candidate_features=("aisle",)),
    )
    candidate = dataclasses.replace(CANDIDATE, features=(tt.Categorical(name="item"), tt.Categorical(name="aisle")))
    query = dataclasses.replace(QUERY, features=(tt.Categorical(name="user"),))
    model = tt.build_two_tower(star, query=query, candidate=candidate)
    assert {name: known.values for name, known in model.candidate_tower.vocabularies.items()} == {
        "item": ("6", "5"),
        "aisle": ("20", "10"),
    }
    assert model.candidate_tower.encode_table(star.candidates)["aisle"].tolist() == [3, 2]


def test_vocabularies_come_from_the_training_split_alone():
    split = make_planted(num_queries=6, num_candidates=10).split
    train = split.train.with_events(np.flatnonzero(split.train.candidate_rows != 3))
    model = tt.build_two_tower(train, query=QUERY, candidate=CANDIDATE)
    assert "m3" not in model.candidate_tower.vocabularies.values_of("movie_id")
    assert len(model.candidate_tower.vocabularies.values_of("movie_id")) == 9


def test_towers_of_different_lengths_are_refused(planted):
    with pytest.raises(ValueError, match="`output_dim` must be the same in both towers.*query 8, candidate 4"):
        tt.build_two_tower(planted.split.train, query=QUERY, candidate=dataclasses.replace(CANDIDATE, output_dim=4))


PAST = tt.History(of=CANDIDATE.features[0])


def with_history(**settings) -> tt.TowerConfig:
    return dataclasses.replace(QUERY, features=(*QUERY.features, dataclasses.replace(PAST, **settings)))


@pytest.mark.parametrize("shares_embedding", [False, True])
def test_a_history_shares_the_candidates_vectors_if_asked_to(planted, shares_embedding):
    query = with_history(shares_embedding=shares_embedding)
    model = tt.build_two_tower(planted.split.train, query=query, candidate=CANDIDATE)
    tables = [model.query_tower.encoders["history"].table, model.candidate_tower.encoders["movie_id"].table]
    assert (tables[0] is tables[1]) == shares_embedding


def test_a_history_can_only_share_what_the_candidate_tower_has(planted):
    other = tt.Categorical(name="movie_id", min_count=2)
    with pytest.raises(ValueError, match="The history 'history' can share the vectors of a feature of the candidate"):
        tt.build_two_tower(
            planted.split.train, query=with_history(of=other, shares_embedding=True), candidate=CANDIDATE
        )


def test_a_candidate_has_no_history(planted):
    candidate = dataclasses.replace(CANDIDATE, features=(*CANDIDATE.features, PAST))
    with pytest.raises(ValueError, match="Only queries have a History"):
        tt.build_two_tower(planted.split.train, query=QUERY, candidate=candidate)


def test_a_history_is_asked_for_where_it_cannot_be_guessed(planted):
    model = tt.build_two_tower(planted.split.train, query=with_history(length=7), candidate=CANDIDATE)
    with pytest.raises(ValueError, match=r"`history` must be given.*Timeline\(split.context\), length=7"):
        model.evaluation_batches(planted.split.validation)
    with pytest.raises(ValueError, match="`known` must be given: the query tower takes a history"):
        model.embed(planted.split.validation)


def test_a_history_is_all_that_the_query_did_besides(planted):
    """Codes of the batch, traced back to users and movies: everything that the user rated, but the target."""
    train = planted.split.train
    model = tt.build_two_tower(train, query=with_history(by_rating=True, length=30), candidate=CANDIDATE)
    users = dict(zip(model.query_tower.encode_table(train.queries)["user_id"].tolist(), range(40), strict=True))
    movies = dict(
        zip(model.candidate_tower.encode_table(train.candidates)["movie_id"].tolist(), range(24), strict=True)
    )
    rated = {user: set(train.candidate_rows[train.query_rows == user].tolist()) for user in range(40)}
    num_seen = 0
    for batch in model.training_batches(train, batch_size=50, seed=0).as_numpy_iterator():
        histories, ratings = batch["query"]["history"], batch["query"]["history_rating"]
        for user, target, history, of_history in zip(
            batch["query"]["user_id"], batch["candidate"]["movie_id"], histories, ratings, strict=True
        ):
            past = [movies[code] for code in history[history > 0].tolist()]
            assert sorted(past) == sorted(rated[users[user]] - {movies[target]})
            # Planted: a movie of the user's parity has 5 stars, another 1; the mean lies between.
            likes = [(movie - users[user]) % 2 == 0 for movie in past]
            assert (of_history[history > 0] > 0).tolist() == likes
            num_seen += 1
    assert num_seen == train.num_events


def test_a_history_is_of_the_candidates_id(planted):
    query = with_history(of=tt.Categorical(name="title"))
    with pytest.raises(ValueError, match="`of` of the history 'history' must be the candidates' id.*'title'"):
        tt.build_two_tower(planted.split.train, query=query, candidate=CANDIDATE)


@pytest.mark.parametrize("name", ["user id", "class", "candidate_id", "history"])
def test_the_queries_id_must_name_an_input_where_a_history_is_looked_up(planted, name):
    """Before training rather than at the export."""
    train = planted.split.train
    queries = train.queries.rename_columns([name, "age"])
    named = dataclasses.replace(train, queries=queries, query_id=name)
    with pytest.raises(ValueError, match=r"`name` must be|No query feature may|No history may be called"):
        tt.build_two_tower(named, query=dataclasses.replace(QUERY, features=(PAST,)), candidate=CANDIDATE)
    tt.build_two_tower(named, query=dataclasses.replace(QUERY, features=QUERY.features[1:]), candidate=CANDIDATE)


def test_a_tower_with_shared_vectors_stands_alone(planted, tmp_path):
    """Saved and grown without the candidate tower, whose vectors have another length than its own."""
    train = planted.split.train
    candidate = dataclasses.replace(CANDIDATE, embedding_dim=16)
    model = tt.build_two_tower(train, query=with_history(shares_embedding=True), candidate=candidate)
    raw = {**model.query_tower.raw_features(train.queries.slice(0, 1)), "history": tf.constant([["m1", "m2"]])}
    expected = model.query_tower(raw)
    model.query_tower.save(tmp_path / "query.keras")
    np.testing.assert_array_equal(tf.keras.models.load_model(tmp_path / "query.keras")(raw), expected)
    np.testing.assert_array_equal(tt.grow_tower(model.query_tower, model.query_tower.vocabularies)(raw), expected)


def test_a_shared_table_needs_one_vocabulary():
    movie_id = tt.Categorical(name="movie_id")
    past = tt.History(of=movie_id, shares_embedding=True)
    with pytest.raises(ValueError, match=r"`query_vocabularies\['history'\]` must be `candidate_vocabularies\['movie"):
        join_towers(
            query=tt.TowerConfig(features=(past,)),
            candidate=tt.TowerConfig(features=(movie_id,)),
            query_vocabularies=tt.Vocabularies({"history": tt.Vocabulary(("b", "a"))}),
            candidate_vocabularies=tt.Vocabularies({"movie_id": tt.Vocabulary(("a", "b"))}),
            task=tt.RatingTask(),
        )


def test_a_history_must_be_of_the_same_queries_and_candidates(planted):
    split = planted.split
    model = tt.build_two_tower(split.train, query=with_history(), candidate=CANDIDATE)
    others = dataclasses.replace(split.seen, candidates=split.seen.candidates.take(np.arange(24)[::-1]))
    with pytest.raises(ValueError, match="`known` must have the queries and candidates of `interactions`"):
        model.embed(split.test, known=others)
    with pytest.raises(ValueError, match="`history` must be of the same queries and candidates"):
        model.evaluation_batches(split.test, history=tt.HistoryKnown(timeline=tt.Timeline(others), length=100))
    with pytest.raises(ValueError, match="`history` must have a length of at least 100, the.*Received: 3"):
        model.evaluation_batches(split.test, history=tt.HistoryKnown(timeline=tt.Timeline(split.seen), length=3))


def test_nothing_to_train_on_is_said(planted, trained):
    with pytest.raises(ValueError, match="`train` must have an event"):
        trained.training_batches(planted.split.history, seed=0)


def test_embedding_in_blocks_gives_the_whole(planted, monkeypatch):
    split = planted.split
    model = tt.build_two_tower(split.train, query=with_history(by_rating=True), candidate=CANDIDATE)
    whole, _ = model.embed(split.test, known=split.seen)
    monkeypatch.setattr("tfrs_twotower.model.feeding._EMBEDDED_AT_ONCE", 7)
    parts, _ = model.embed(split.test, known=split.seen)
    np.testing.assert_allclose(parts, whole, rtol=1e-5, atol=1e-6)


def test_a_feature_without_a_column_is_named(planted):
    query = dataclasses.replace(QUERY, features=(tt.Categorical(name="zip_code"),))
    with pytest.raises(ValueError, match="The table has no column zip_code. Its columns: user_id, age"):
        tt.build_two_tower(planted.split.train, query=query, candidate=CANDIDATE)


def test_a_query_feature_cannot_take_the_name_of_the_candidates_input(planted):
    query = dataclasses.replace(QUERY, features=(tt.Categorical(name="candidate_id"),))
    with pytest.raises(ValueError, match="No query feature may be called 'candidate_id'"):
        tt.build_two_tower(planted.split.train, query=query, candidate=CANDIDATE)


def test_what_training_never_met_is_neutral(trained):
    """Vectors of missing (0) and unknown (1) values are zero after training, those of known values are not."""
    for tower, feature, num_neutral in (
        (trained.query_tower, "user_id", 2),
        (trained.query_tower, "age", 1),
        (trained.candidate_tower, "movie_id", 2),
    ):
        table = tower.encoders[feature].table.embeddings.numpy()
        assert not table[:num_neutral].any()
        assert np.abs(table[num_neutral:]).max(axis=1).min() > 0


def test_the_same_seed_gives_the_same_model():
    split = make_planted(num_queries=6, num_candidates=12).split

    def logits() -> np.ndarray:
        tf.keras.utils.set_random_seed(3)
        model = tt.build_two_tower(split.train, query=QUERY, candidate=CANDIDATE)
        tt.fit_two_tower(model, split, seed=3, epochs=2, batch_size=16)
        return model.predict(model.evaluation_batches(split.test), verbose=0)

    np.testing.assert_array_equal(logits(), logits())
