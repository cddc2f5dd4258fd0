import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_recommenders as tfrs

from tests.conftest import CANDIDATE, QUERY, make_interactions, make_planted
from tfrs_twotower.batches.batch import EventBatch
from tfrs_twotower.batches.negatives import InBatchNegatives, NegativeSampler
from tfrs_twotower.evaluation.ranking import event_pairs, rank_candidates
from tfrs_twotower.features.history import History
from tfrs_twotower.model.build import build_two_tower
from tfrs_twotower.model.mlp_tower import MLPTowerConfig
from tfrs_twotower.model.tasks.full_softmax import FullSoftmaxTask
from tfrs_twotower.model.tasks.rating import RatingTask
from tfrs_twotower.model.tasks.sampled_softmax import SampledSoftmaxTask
from tfrs_twotower.model.two_tower import TwoTowerModel
from tfrs_twotower.training.fit import EventTraining, fit_two_tower

PAST = History(of=CANDIDATE.features[0])


def with_history(**settings) -> MLPTowerConfig:
    return dataclasses.replace(QUERY, features=(*QUERY.features, dataclasses.replace(PAST, **settings)))


def test_the_withheld_candidate_ranks_first_among_those_without_an_event(planted, trained):
    queries, candidates = trained.embed(planted.split.test)
    ranked = rank_candidates(queries, candidates, event_pairs(planted.split.seen), k=1)
    assert np.mean(ranked[:, 0] == planted.withheld) >= 0.95


def test_a_two_tower_model_is_a_tfrs_model(trained):
    assert isinstance(trained, tfrs.Model)


def test_the_logit_is_the_dot_product_of_the_embeddings(planted, trained):
    test = planted.split.test
    queries, candidates = trained.embed(test)
    expected = np.einsum("nd,nd->n", queries[test.query_rows], candidates[test.candidate_rows])
    logits = trained.predict(trained.evaluation_batches(test), verbose=0)
    # The logits are float32 sums of eight products of a size of about 10.
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


def test_a_data_set_of_raw_features_trains_like_the_encoded_one(planted, trained):
    train = planted.split.train
    queries = trained.query_tower.raw_features(train.queries)
    candidates = trained.candidate_tower.raw_features(train.candidates)
    raw = (
        {name: tf.gather(values, train.query_rows) for name, values in queries.items()},
        {name: tf.gather(values, train.candidate_rows) for name, values in candidates.items()},
        tf.constant(train.ratings),
    )
    batches = tf.data.Dataset.from_tensor_slices(raw).batch(64).map(trained.lookup)
    encoded = trained.evaluation_batches(train, batch_size=64)
    histories = []
    for data in (batches, encoded):
        tf.keras.utils.set_random_seed(1)
        model = build_two_tower(train, query=QUERY, candidate=CANDIDATE)
        model.compile(optimizer="sgd")
        histories.append(model.fit(data, epochs=2, verbose=0).history)
    assert histories[0] == histories[1]


def test_implicit_feedback_is_learnt_with_negatives():
    """There are likes only, each with a weight; sampled negatives are what they are told apart from."""
    planted = make_planted(num_queries=60, num_candidates=60)
    likes = planted.split.train.with_events(np.flatnonzero(planted.split.train.ratings == 5))
    # Half of the likes are left out, so that each query has liked candidates that training has not seen.
    likes = likes.with_events(np.arange(0, likes.num_events, 2))
    ones = np.ones(likes.num_events, np.float32)
    events = likes.events.set_column(2, "rating", [ones]).append_column("weight", [ones])
    likes = dataclasses.replace(likes, events=events)
    tf.keras.utils.set_random_seed(0)
    model = build_two_tower(likes, query=QUERY, candidate=CANDIDATE, task=RatingTask(threshold=1))
    model.compile(optimizer=tf.keras.optimizers.Adam(5e-3), steps_per_execution=4)
    sampler = NegativeSampler(likes, per_positive=2, threshold=1)
    model.fit(model.training_batches(likes, batch_size=64, seed=0, negatives=sampler), epochs=20, verbose=0)
    queries, candidates = model.embed(likes)
    ranked = rank_candidates(queries, candidates, event_pairs(likes), k=1)[:, 0]
    assert np.mean(ranked % 2 == np.arange(likes.num_queries) % 2) >= 0.95


def test_a_history_is_every_event_of_the_query_but_the_target(planted):
    """The batch's codes are traced back to users and movies."""
    train = planted.split.train
    model = build_two_tower(train, query=with_history(by_rating=True, length=30), candidate=CANDIDATE)
    users = dict(zip(model.query_tower.encode_table(train.queries)["user_id"].tolist(), range(40), strict=True))
    movies = dict(
        zip(model.candidate_tower.encode_table(train.candidates)["movie_id"].tolist(), range(24), strict=True)
    )
    rated = {user: set(train.candidate_rows[train.query_rows == user].tolist()) for user in range(40)}
    num_seen = 0
    for batch in model.training_batches(train, batch_size=50, seed=0).as_numpy_iterator():
        histories, ratings = batch.query["history"], batch.query["history_rating"]
        for user, target, history, of_history in zip(
            batch.query["user_id"], batch.candidate["movie_id"], histories, ratings, strict=True
        ):
            past = [movies[code] for code in history[history > 0].tolist()]
            assert sorted(past) == sorted(rated[users[user]] - {movies[target]})
            # A movie of the user's parity has 5 stars and any other has 1; the mean lies between.
            likes = [(movie - users[user]) % 2 == 0 for movie in past]
            assert (of_history[history > 0] > 0).tolist() == likes
            num_seen += 1
    assert num_seen == train.num_events


def test_codes_without_training_events_stay_zero(trained):
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
        model = build_two_tower(split.train, query=QUERY, candidate=CANDIDATE)
        fit_two_tower(model, split, seed=3, training=EventTraining(epochs=2, batch_size=16))
        return model.predict(model.evaluation_batches(split.test), verbose=0)

    np.testing.assert_array_equal(logits(), logits())


def test_looked_up_weights_pass_through(trained):
    raw = {"user_id": tf.constant(["u0", "u1"]), "age": tf.constant([30.0, 40.0])}
    candidate = {"movie_id": tf.constant(["m0", "m1"]), "genres": tf.constant([["Even"], ["Odd"]])}
    batch = trained.lookup(raw, candidate, tf.constant([5, 1]), weights=tf.constant([2.0, 0.5]))
    assert isinstance(batch, EventBatch)
    assert batch.ratings.numpy().tolist() == [5.0, 1.0]
    assert batch.ratings.dtype == batch.weights.dtype == tf.float32
    assert batch.weights.numpy().tolist() == [2.0, 0.5]
    assert trained.lookup(raw, candidate, tf.constant([5.0, 1.0])).weights is None


@pytest.mark.parametrize(
    "build_negatives",
    [
        lambda data, threshold: NegativeSampler(data, per_positive=1, threshold=threshold),
        lambda data, threshold: InBatchNegatives(data, threshold=threshold),
    ],
)
def test_negatives_of_other_queries_and_candidates_are_refused(planted, build_negatives):
    other = make_interactions([0, 1], [0, 1], [5, 1], num_queries=2, num_candidates=3)
    negatives = build_negatives(other, 3.0)
    task = RatingTask() if isinstance(negatives, NegativeSampler) else SampledSoftmaxTask()
    model = build_two_tower(planted.split.train, query=QUERY, candidate=CANDIDATE, task=task)
    with pytest.raises(ValueError, match="`negatives` must be of the queries and candidates of `train`"):
        model.training_batches(planted.split.train, seed=0, negatives=negatives)


@pytest.mark.parametrize("batch", [{"query": 1}, (1, 2)])
def test_what_is_no_batch_is_refused(trained, batch):
    with pytest.raises(TypeError, match=f"trained on `training_batches`.*Received: {type(batch).__name__}"):
        trained.compute_loss(batch)
    with pytest.raises(TypeError, match=f"Only a batch of events has pairs to score.*Received: {type(batch).__name__}"):
        trained(batch)


def test_a_task_is_trained_on_batches_of_its_own_kind(planted, trained):
    train = planted.split.train
    towers = {"query_tower": trained.query_tower, "candidate_tower": trained.candidate_tower}
    by_query = TwoTowerModel(**towers, task=FullSoftmaxTask())
    with pytest.raises(TypeError, match="A FullSoftmaxTask is trained by query: use `query_batches`"):
        by_query.training_batches(train, seed=0)
    by_event = TwoTowerModel(**towers, task=SampledSoftmaxTask())
    with pytest.raises(TypeError, match="A SampledSoftmaxTask is trained by event: use `training_batches`"):
        by_event.query_batches(train, seed=0)
    batch = next(iter(by_query.query_batches(train, seed=0)))
    with pytest.raises(TypeError, match="Only a batch of events has pairs to score.*Received: QueryBatch"):
        by_query(batch)
    with pytest.raises(TypeError, match="A SampledSoftmaxTask is trained by event"):
        by_event.compute_loss(batch)


def test_the_task_decides_whether_query_batches_hold_the_whole_catalogue(planted, trained):
    train = planted.split.train
    towers = {"query_tower": trained.query_tower, "candidate_tower": trained.candidate_tower}
    whole = TwoTowerModel(**towers, task=FullSoftmaxTask(max_candidates=24, num_sampled=0))
    for batch in whole.query_batches(train, batch_size=16, seed=0):
        assert batch.candidate_rows.numpy().tolist() == list(range(24))
        assert not batch.log_sampling_probabilities.numpy().any()
    # Without drawn candidates a batch of one query holds the candidates of that query's events only.
    sampled = TwoTowerModel(**towers, task=FullSoftmaxTask(max_candidates=23, num_sampled=0))
    for batch in sampled.query_batches(train, batch_size=1, seed=0):
        (user,) = batch.query["user_id"].numpy()
        values = trained.query_tower.vocabularies.values_of("user_id")
        row = train.queries["user_id"].to_pylist().index(values[user - 2])
        own = sorted(set(train.candidate_rows[train.query_rows == row].tolist()))
        assert batch.candidate_rows.numpy().tolist() == own
        assert len(own) < 24
