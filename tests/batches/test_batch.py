import itertools

import numpy as np
import pytest
import tensorflow as tf

from tfrs_twotower.batches.batch import EventBatch, ExplicitNegatives, JointBatch, QueryBatch, SoftmaxNegatives
from tfrs_twotower.batches.batch_rows import EventRows, QueryRows, from_flat, to_flat

QUERY = {"user_id": tf.constant([5, 6], tf.int64), "history": tf.constant([[1, 2], [3, 0]], tf.int64)}
CANDIDATE = {"movie_id": tf.constant([7, 8, 9], tf.int64)}
NEGATIVES = SoftmaxNegatives(
    is_other_positive=tf.constant([[False, True, False], [False, False, True]]),
    log_sampling_probabilities=tf.constant([-1.0, -2.0, -3.0]),
)
EXPLICIT = ExplicitNegatives(
    events=tf.constant([0, 2]), candidates=tf.constant([1, 0]), weights=tf.constant([1.0, 0.5])
)
OPTIONAL = {
    "weights": tf.constant([1.0, 2.0, 0.5]),
    "query_places": tf.constant([0, 1, 0]),
    "negatives": NEGATIVES,
    "candidate_keys": tf.constant([70, 80, 90], tf.int64),
}
SUBSETS = [subset for size in range(5) for subset in itertools.combinations(OPTIONAL, size)]


def event_batch(*optional: str) -> EventBatch:
    """A batch of three pairs with the optional fields of these names."""
    return EventBatch(
        query=QUERY,
        candidate=CANDIDATE,
        candidate_rows=tf.constant([0, 1, 2]),
        ratings=tf.constant([5.0, 1.0, 3.0]),
        **{name: OPTIONAL[name] for name in optional},
    )


def query_batch(*optional: str) -> QueryBatch:
    return QueryBatch(
        query=QUERY,
        candidate=CANDIDATE,
        candidate_rows=tf.constant([0, 1, 2]),
        log_sampling_probabilities=tf.zeros(3),
        target_places=tf.constant([[0, 0], [0, 1], [1, 0]], tf.int64),
        target_candidates=tf.constant([2, 0, 1]),
        ratings=tf.constant([5.0, 1.0, 3.0]),
        weights=OPTIONAL["weights"] if "weights" in optional else None,
        explicit_negatives=EXPLICIT if "explicit_negatives" in optional else None,
    )


BATCHES = [
    *(event_batch(*subset) for subset in SUBSETS),
    query_batch(),
    query_batch("weights"),
    query_batch("weights", "explicit_negatives"),
    event_batch("negatives")._replace(optional={"negatives": NEGATIVES, "explicit_negatives": EXPLICIT}),
    JointBatch(event_batch(), event_batch(*OPTIONAL)),
    JointBatch(query_batch(), query_batch("weights")),
]
BATCH_IDS = [
    *("+".join(("events", *subset)) for subset in SUBSETS),
    "queries",
    "queries+weights",
    "queries+weights+explicit_negatives",
    "events+negatives+explicit_negatives",
    "joint events",
    "joint queries",
]


def check_equal(found, expected) -> None:
    """Compares batches field by field: their types, which fields there are, and all values with their dtypes."""
    assert type(found) is type(expected)
    for name, value, wanted in zip(expected._fields, found, expected, strict=True):
        if wanted is None:
            assert value is None, name
        elif isinstance(wanted, tuple):
            check_equal(value, wanted)
        elif isinstance(wanted, dict):
            assert value.keys() == wanted.keys()
            for key, item in wanted.items():
                if isinstance(item, tuple):
                    check_equal(value[key], item)
                else:
                    np.testing.assert_array_equal(value[key], item, err_msg=f"{name}[{key!r}]")
        else:
            np.testing.assert_array_equal(value, wanted, err_msg=name)
            assert np.asarray(value).dtype == np.asarray(wanted).dtype, name


@pytest.mark.parametrize("batch", BATCHES, ids=BATCH_IDS)
def test_a_batch_passes_through_tf_data_unchanged(batch):
    data = tf.data.Dataset.from_tensors(batch).map(lambda found: found).prefetch(1)
    (found,) = data
    check_equal(found, batch)
    (found,) = data.as_numpy_iterator()
    check_equal(found, batch)


@pytest.mark.parametrize("batch", BATCHES, ids=BATCH_IDS)
def test_a_batch_passes_through_a_tf_function_unchanged(batch):
    check_equal(tf.function(lambda given: given)(batch), batch)


class RatingsModel(tf.keras.Model):
    """Predicts the ratings of the batch that it receives, and remembers that batch's type."""

    def __init__(self) -> None:
        super().__init__()
        self.received = []

    def call(self, batch, training=False):
        self.received.append(type(batch))
        return batch.ratings

    def predict_step(self, data):
        return self(data, training=False)


@pytest.mark.parametrize("batch", BATCHES[:-2], ids=BATCH_IDS[:-2])
def test_a_batch_reaches_a_keras_model_as_itself(batch):
    model = RatingsModel()
    predicted = model.predict(tf.data.Dataset.from_tensors(batch), verbose=0)
    assert set(model.received) == {type(batch)}
    np.testing.assert_array_equal(predicted, [5.0, 1.0, 3.0])


def test_pairs_take_the_queries_at_their_places():
    vectors = tf.constant([[1.0, 2.0], [3.0, 4.0]])
    assert event_batch("query_places").queries_of_pairs(vectors).numpy().tolist() == [[1, 2], [3, 4], [1, 2]]
    assert event_batch().queries_of_pairs(vectors) is vectors


def test_a_query_batch_knows_the_query_and_candidate_of_each_event():
    batch = query_batch()
    assert batch.target_queries.numpy().tolist() == [0, 0, 1]
    assert batch.pairs.numpy().tolist() == [[0, 2], [0, 0], [1, 1]]
    assert batch.pairs.dtype == tf.int64


# Queries 0 and 1 with candidates 4 and 2, and candidate 3 besides.
EVENT_ROWS = EventRows(
    queries=np.array([0, 1], np.int32),
    candidates=np.array([4, 2, 3], np.int32),
    ratings=np.array([5, 1], np.float32),
)
OPTIONAL_ROWS = {
    "weights": np.array([1, 0.5], np.float32),
    "query_places": np.array([0, 1], np.int32),
    "is_other_positive": np.array([[False, True, False], [True, False, False]]),
    "log_sampling_probabilities": np.array([-1, -2, -3], np.float32),
    "history": np.array([[-1, 3], [0, 2]], np.int32),
    "history_ratings": np.array([[0, 2], [4, 5]], np.float32),
}
QUERY_ROWS = QueryRows(
    queries=np.array([0, 1], np.int32),
    candidates=np.array([4, 2, 3], np.int32),
    log_sampling_probabilities=np.zeros(3, np.float32),
    history=np.array([[4, 3], [-1, 2]], np.int32),
    history_ratings=np.array([[5, 2], [0, 4]], np.float32),
    target_places=np.array([[0, 0], [0, 1], [1, 1]]),
    target_candidates=np.array([0, 2, 1], np.int32),
    ratings=np.array([5, 2, 4], np.float32),
)


def specs_of(rows):
    """The specs of rows, whose first dimension is unknown."""
    return type(rows)(
        *(None if column is None else tf.TensorSpec([None, *column.shape[1:]], column.dtype) for column in rows)
    )


@pytest.mark.parametrize(
    "rows",
    [
        EVENT_ROWS,
        *(EVENT_ROWS._replace(**{name: column}) for name, column in OPTIONAL_ROWS.items()),
        EVENT_ROWS._replace(**OPTIONAL_ROWS),
        QUERY_ROWS,
        QUERY_ROWS._replace(weights=np.array([1, 2, 3], np.float32)),
    ],
    ids=["events", *OPTIONAL_ROWS, "all", "queries", "queries+weights"],
)
def test_rows_are_restored_from_their_flat_columns(rows):
    columns = to_flat(rows)
    assert len(columns) == sum(column is not None for column in rows)
    specs = specs_of(rows)
    restored = from_flat(specs, [tf.constant(column) for column in columns])
    check_equal(restored, rows)


def test_flat_columns_get_the_shapes_of_their_specs():
    """What `tf.numpy_function` returns has no shape."""
    specs = specs_of(EVENT_ROWS._replace(history=OPTIONAL_ROWS["history"]))
    shapes = []

    @tf.function(input_signature=[tf.TensorSpec(None, spec.dtype) for spec in to_flat(specs)])
    def restore(*columns):
        rows = from_flat(specs, columns)
        shapes.append((rows.queries.shape.as_list(), rows.history.shape.as_list()))
        return rows.ratings

    restore.get_concrete_function()
    assert shapes == [([None], [None, 2])]


def test_assembled_events_have_the_fields_of_their_rows():
    rows = EVENT_ROWS._replace(**OPTIONAL_ROWS)
    check_equal(
        rows.assemble(QUERY, CANDIDATE),
        EventBatch(
            query=QUERY,
            candidate=CANDIDATE,
            candidate_rows=EVENT_ROWS.candidates,
            ratings=EVENT_ROWS.ratings,
            weights=OPTIONAL_ROWS["weights"],
            query_places=OPTIONAL_ROWS["query_places"],
            negatives=SoftmaxNegatives(
                is_other_positive=OPTIONAL_ROWS["is_other_positive"],
                log_sampling_probabilities=OPTIONAL_ROWS["log_sampling_probabilities"],
            ),
        ),
    )
    plain = EVENT_ROWS.assemble(QUERY, CANDIDATE)
    check_equal(plain, EventBatch(QUERY, CANDIDATE, EVENT_ROWS.candidates, EVENT_ROWS.ratings))


def test_assembled_queries_have_the_fields_of_their_rows():
    for weights in (None, np.array([1, 2, 3], np.float32)):
        rows = QUERY_ROWS._replace(weights=weights)
        check_equal(
            rows.assemble(QUERY, CANDIDATE),
            QueryBatch(
                query=QUERY,
                candidate=CANDIDATE,
                candidate_rows=QUERY_ROWS.candidates,
                log_sampling_probabilities=QUERY_ROWS.log_sampling_probabilities,
                target_places=QUERY_ROWS.target_places,
                target_candidates=QUERY_ROWS.target_candidates,
                ratings=QUERY_ROWS.ratings,
                weights=weights,
            ),
        )


def test_scores_of_pairs_are_the_products_of_their_queries_and_candidates():
    batch = query_batch()
    rng = np.random.default_rng(0)
    queries, candidates = rng.normal(size=(2, 3)), rng.normal(size=(batch.candidate_rows.shape[0], 3))
    places = batch.pairs.numpy()
    expected = (queries[places[:, 0]] * candidates[places[:, 1]]).sum(axis=1)
    found = batch.scores_of_pairs(tf.constant(queries), tf.constant(candidates))
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize("optional", SUBSETS, ids="-".join)
def test_scores_of_pairs_of_events_are_the_products_of_their_queries_and_candidates(optional):
    """Candidates beyond the pairs' own, which only a softmax has, are in no pair."""
    batch, rng = event_batch(*optional), np.random.default_rng(0)
    places = [0, 1, 0] if "query_places" in optional else [0, 1, 2]
    queries = rng.normal(size=(max(places) + 1, 4))
    candidates = rng.normal(size=(5 if "negatives" in optional else 3, 4))
    expected = (queries[places] * candidates[:3]).sum(axis=1)
    found = batch.scores_of_pairs(tf.constant(queries), tf.constant(candidates))
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize("batch", BATCHES, ids=BATCH_IDS)
def test_what_a_batch_does_not_have_is_no_element_of_a_data_set(batch):
    """Parameter servers cannot be served an element that is None."""
    specs = tf.nest.flatten(tf.data.Dataset.from_tensors(batch).element_spec)
    assert all(isinstance(spec, tf.TensorSpec) for spec in specs)
