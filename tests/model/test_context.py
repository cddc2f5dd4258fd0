"""The context of a request: learnt by event and by query, ranked by request, and on average if it is missing."""

import dataclasses
import itertools

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

import tfrs_twotower as tt
from tests.contexts import DEVICES, NUM_CANDIDATES, NUM_QUERIES, make_interactions
from tfrs_twotower.model.recipe import Recipe

USER, ITEM = tt.Categorical(name="user_id"), tt.Categorical(name="item_id")
HOUR, DEVICE = tt.Categorical(name="hour"), tt.Categorical(name="device")
PAST = tt.History(of=ITEM, pooling="sqrtn")
CONTEXT = ("hour", "device")


def test_context_reaches_the_planted_optimum_and_without_it_nothing_does(choices, contextual):
    """Found in the list of each request, of a query at one hour on one device; see `Choices`."""
    optimum = choices.best_metrics()["ndcg@10"]
    without = tt.choose_recipe(choices.split.train, event_features=dict.fromkeys(CONTEXT)).with_settings(epochs=6)
    blind = tt.fit_recipe(without, choices.split, seed=0).model
    assert without.context == ()
    found, best_blind = (
        tt.evaluate(model, choices.split, recommend_seen=True).metrics["ndcg@10"] for model in (contextual.model, blind)
    )
    assert found >= 0.95 * optimum
    assert best_blind < 0.75 * optimum


def test_the_recipe_says_what_becomes_of_the_context(choices, contextual):
    recipe = contextual.recipe
    assert recipe.context == CONTEXT
    assert "event column hour: Categorical (24 whole numbers)" in recipe.lines()
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    content = recipe.to_dict()
    del content["event_features"]  # as an older training wrote it
    assert Recipe.from_dict(content).context == ()
    with pytest.raises(ValueError, match="`event_features` must name columns: hour, device. Received: 'when'"):
        tt.choose_recipe(choices.split.train, event_features={"when": None})


def distributions(model, known, hour, device) -> np.ndarray:
    """The probabilities of all candidates, [num_queries, num_candidates], if each query asks in one context."""
    rows = np.arange(NUM_QUERIES)
    asked = make_interactions(rows, 0 * rows, pa.array([hour] * NUM_QUERIES, pa.int64()), [device] * NUM_QUERIES)
    queries, candidates = model.retrieval_model.embed(asked, known=known)
    return tf.nn.softmax(queries @ candidates.T, axis=1).numpy()


def difference(first: np.ndarray, second: np.ndarray) -> float:
    """The mean total variation of two distributions of each query, in [0, 1]."""
    return 0.5 * float(np.abs(first - second).sum(axis=1).mean())


def test_a_missing_context_is_the_average(choices, contextual):
    known, hours = choices.split.train, range(0, 24, 2)
    found = {
        (hour, device): distributions(contextual.model, known, hour, device)
        for hour, device in itertools.product([None, *hours], [None, *DEVICES])
    }

    def mean(hours, devices) -> np.ndarray:
        return np.mean([found[context] for context in itertools.product(hours, devices)], axis=0)

    average = mean(hours, DEVICES)
    of_one = np.mean([difference(found[context], average) for context in itertools.product(hours, DEVICES)])
    assert of_one > 0.4
    # What training leaves is a fraction of what a context changes.
    assert difference(found[None, None], average) < of_one / 4
    for hour in hours:
        assert difference(found[hour, None], mean([hour], DEVICES)) < of_one / 3
    for device in DEVICES:
        assert difference(found[None, device], mean(hours, [device])) < of_one / 2


@pytest.mark.parametrize("kind", ["mlp", "sum"])
def test_a_model_that_is_trained_by_event_learns_the_context(choices, kind):
    """The rating of a group of candidates depends on the hour alone."""
    train = rated(choices.split.train)
    tf.keras.utils.set_random_seed(0)
    made = {"mlp": tt.MLPTowerConfig, "sum": tt.SumTowerConfig}[kind]
    sizes = {"embedding_dim": 8, "hidden_units": (32,), "dropout": 0.0} if kind == "mlp" else {}
    query = made(features=(USER, HOUR), output_dim=16, context=("hour",), **sizes)
    model = tt.build_two_tower(train, query=query, candidate=made(features=(ITEM,), output_dim=16, **sizes))
    model.compile(optimizer=tt.training.LazyAdam(2e-2))
    model.fit(model.training_batches(train, batch_size=256, seed=0), epochs=6, verbose=0)
    scores = model.predict(model.evaluation_batches(train), verbose=0)
    # Without the hour, half of the ratings would be told right.
    assert np.mean((scores > 0) == (train.ratings >= 3)) > 0.8
    # As in the batches, so by request, and so from raw features.
    queries, candidates = model.embed(train)
    pairs = np.sum(queries[train.requests.of_events] * candidates[train.candidate_rows], axis=1)
    np.testing.assert_allclose(pairs, scores, rtol=1e-3, atol=1e-4)
    raw = {"user_id": tf.constant(["u0", "u0"]), "hour": tf.constant(["3", "23"])}
    assert np.abs(np.diff(model.query_tower(raw), axis=0)).max() > 0.1


def rated(events: tt.Interactions) -> tt.Interactions:
    hours = events.events["hour"].to_numpy()
    ratings = np.where((hours < 12) == (events.candidate_rows % 2 == 0), 5.0, 1.0)
    column = events.events.column_names.index("rating")
    table = events.events.set_column(column, "rating", pa.array(ratings, pa.float32()))
    return dataclasses.replace(events, events=table, has_ratings=True)


def test_a_rating_model_that_is_trained_by_query_learns_the_context(choices):
    train = rated(choices.split.train)
    tf.keras.utils.set_random_seed(0)
    query = tt.SumTowerConfig(features=(PAST, HOUR), output_dim=16, context=("hour",))
    model = tt.build_two_tower(train, query=query, candidate=tt.SumTowerConfig(features=(ITEM,), output_dim=16))
    model.compile(optimizer=tt.training.LazyAdam(2e-2))
    model.fit(model.query_batches(train, batch_size=128, seed=0), epochs=3, verbose=0)
    queries, candidates = model.embed(train, known=train)
    scores = np.sum(queries[train.requests.of_events] * candidates[train.candidate_rows], axis=1)
    assert np.mean((scores > 0) == (train.ratings >= 3)) > 0.95


def test_a_sampled_softmax_takes_what_a_query_chose_in_another_context_as_negative(choices):
    train = choices.split.train
    query = tt.SumTowerConfig(features=(USER, HOUR), context=("hour",))
    model = tt.build_two_tower(
        train,
        query=query,
        candidate=tt.SumTowerConfig(features=(ITEM,)),
        task=tt.tasks.SampledSoftmaxTask(threshold=1.0),
    )
    batch = next(model.training_batches(train, batch_size=64, seed=0).as_numpy_iterator())
    contexts = train.contexts
    chosen = set(zip(train.query_rows.tolist(), contexts.rows.tolist(), train.candidate_rows.tolist(), strict=True))
    users, hours = (model.query_tower.encode_table(train.queries)["user_id"], model.query_tower.encode_context(train))
    for row in range(64):
        query_row = int(np.flatnonzero(users == batch.query["user_id"][row])[0])
        # Batches tell the hour of the context, of which there is one for each device.
        same_hour = np.flatnonzero(hours["hour"] == batch.query["hour"][row])
        for place, candidate in enumerate(batch.candidate_rows.tolist()):
            ever = any((query_row, int(context), candidate) in chosen for context in same_hour)
            assert ever or not batch.negatives.is_other_positive[row, place]
    assert batch.negatives.is_other_positive[np.arange(64), np.arange(64)].all()


def test_dropped_contexts_are_missing_ones_in_training_alone():
    features = (
        USER,
        HOUR,
        tt.Numeric(name="price"),
        tt.Text(name="search", max_words=3),
        tt.MultiCategorical(name="tags"),
        tt.PretrainedEmbedding(name="face", dim=2),
    )
    names = tuple(feature.name for feature in features[1:])
    config = tt.SumTowerConfig(features=features, context=names, context_dropout=0.4)
    tower = config.build_tower(tt.features.Vocabularies())
    num = 4000
    codes = tower.lookup(
        {
            "user_id": tf.fill([num], "u"),
            "hour": tf.fill([num], "9"),
            "price": tf.fill([num], 2.0),
            "search": tf.fill([num], "red shoes"),
            "tags": tf.constant([["a", "b"]] * num),
            "face": tf.fill([num, 2], 0.5),
        }
    )
    assert tower.drop_context(codes, training=False) is codes
    tf.random.set_seed(1)
    dropped = tower.drop_context(codes, training=True)
    np.testing.assert_array_equal(dropped["user_id"], codes["user_id"])
    is_missing = np.stack([feature.is_missing(dropped) for feature in features[1:]], axis=1)
    for place, name in enumerate(names):
        kept = ~is_missing[:, place]
        np.testing.assert_array_equal(dropped[name][kept], codes[name][kept])
    # 0.4 of all rows lose the whole context, and 0.4 of the others each feature: a standard error of at most 0.008.
    np.testing.assert_allclose(is_missing.mean(axis=0), 0.4 + 0.6 * 0.4, atol=0.03)
    np.testing.assert_allclose(is_missing.all(axis=1).mean(), 0.4 + 0.6 * 0.4**5, atol=0.03)


def test_a_saved_model_keeps_its_context(choices, contextual, tmp_path):
    model, test, seen = contextual.model, choices.split.test, choices.split.seen
    model.save(tmp_path / "model.keras")
    loaded = tf.keras.models.load_model(tmp_path / "model.keras")
    assert loaded.query_tower.config == model.query_tower.config
    for ours, theirs in zip(loaded.embed(test, known=seen), model.embed(test, known=seen), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_new_values_of_a_context_are_added_to_a_trained_model(choices):
    train = choices.split.train
    query = tt.SumTowerConfig(features=(USER, HOUR), context=("hour",))
    older = train.with_events(np.flatnonzero(train.events["hour"].to_numpy() != 7))
    model = tt.build_two_tower(older, query=query, candidate=tt.SumTowerConfig(features=(ITEM,)))
    assert "7" not in model.query_tower.vocabularies.values_of("hour")
    expanded = tt.model.expand_vocabulary(model, train)
    assert expanded.query_tower.vocabularies.values_of("hour")[-1] == "7"
    for ours, theirs in zip(expanded.embed(train), model.embed(train), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_vocabularies_and_statistics_are_those_of_the_training_events(choices):
    """Each event counts once, whatever the number of contexts."""
    train = choices.split.train
    learnt = tt.features.learn_query_vocabularies([USER, HOUR, DEVICE], train, context=CONTEXT)
    counts = {value: train.events["device"].to_pylist().count(value) for value in DEVICES}
    assert dict(zip(learnt["device"].values, learnt["device"].counts, strict=True)) == counts


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"context": "hour"}, TypeError, "`context` must be a tuple of names of features. Received: 'hour'"),
        (
            {"context": ("place",)},
            ValueError,
            "`context` must name features that are columns: user_id, hour.*'place'",
        ),
        ({"context": ("history",)}, ValueError, "`context` must name features that are columns.*'history'"),
        ({"context_dropout": 1.0}, ValueError, r"`context_dropout` must be in \[0, 1\). Received: 1.0"),
        (
            {"features": (USER, tt.Numeric(name="rating")), "context": ("rating",)},
            ValueError,
            "`context` must not be query_row, .*another meaning. Received: 'rating'",
        ),
        ({"features": (USER, HOUR, HOUR)}, ValueError, "with unique names"),
    ],
)
def test_an_impossible_context_is_refused(changes, error, message):
    with pytest.raises(error, match=message):
        tt.SumTowerConfig(**{"features": (USER, HOUR, PAST), **changes})


def test_events_without_the_context_are_refused(choices, contextual):
    train = choices.split.train
    without = dataclasses.replace(train, events=train.events.drop_columns(["hour"]))
    message = "The events have no feature hour, which the query tower takes as context. Their features: device."
    with pytest.raises(ValueError, match=message):
        contextual.model.embed(without, known=train)
    with pytest.raises(ValueError, match=message):
        contextual.model.query_batches(without, seed=0)
    query = tt.SumTowerConfig(features=(USER, HOUR), context=("hour",))
    with pytest.raises(ValueError, match=message):
        tt.build_two_tower(without, query=query, candidate=tt.SumTowerConfig(features=(ITEM,)))
    candidate = tt.SumTowerConfig(features=(ITEM,), context=("item_id",))
    with pytest.raises(ValueError, match="`candidate` must have no context: only queries have one"):
        tt.build_two_tower(train, query=query, candidate=candidate)


def test_the_memory_of_a_context_is_a_few_bytes_an_event(choices):
    train = choices.split.train
    assert train.contexts.table.num_rows == 24 * 3
    assert train.contexts.rows.nbytes == 4 * train.num_events
    assert train.num_candidates == NUM_CANDIDATES


def test_negatives_of_other_contexts_are_refused(choices):
    train = choices.split.train
    query = tt.SumTowerConfig(features=(USER, HOUR), context=("hour",))
    model = tt.build_two_tower(
        train,
        query=query,
        candidate=tt.SumTowerConfig(features=(ITEM,)),
        task=tt.tasks.SampledSoftmaxTask(threshold=1.0),
    )
    negatives = tt.batches.InBatchNegatives(train.with_events(np.arange(9)), threshold=1.0)
    with pytest.raises(ValueError, match="`negatives` must be of events with the contexts of those of `train`"):
        model.training_batches(train, seed=0, negatives=negatives)


def test_models_of_different_contexts_are_not_trained_at_once(choices):
    train = rated(choices.split.train)
    candidate = tt.SumTowerConfig(features=(ITEM,))
    retrieval, rating = (
        tt.build_two_tower(
            train, query=tt.SumTowerConfig(features=features, context=context), candidate=candidate, task=task
        )
        for features, context, task in (
            ((USER, HOUR), ("hour",), tt.tasks.FullSoftmaxTask()),
            ((USER,), (), tt.tasks.RatingTask()),
        )
    )
    joint = tt.model.JointModel(retrieval_model=retrieval, rating_model=rating)
    with pytest.raises(ValueError, match=r"same context to be trained at once.*Received: \['hour'\] and \[\]"):
        joint.query_batches(train, seed=0)
