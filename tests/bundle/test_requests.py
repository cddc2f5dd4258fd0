"""Requests that compare a bundle with the model in memory, made without a model."""

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from tfrs_twotower.bundle.requests import NUM_CHECKED, invented_requests, raw_candidates, sample_requests
from tfrs_twotower.bundle.signatures import Inputs

INPUTS = Inputs(
    query=[
        tf.TensorSpec([None], tf.string, name="user_id"),
        tf.TensorSpec([None], tf.float32, name="age"),
        tf.TensorSpec([None, None], tf.string, name="history"),
    ],
    candidate=[
        tf.TensorSpec([None], tf.string, name="movie_id"),
        tf.TensorSpec([None], tf.float32, name="price"),
        tf.TensorSpec([None, None], tf.string, name="genres"),
    ],
    histories=["history"],
    ratings_of={},
)
CATALOGUE = pa.table(
    {
        "movie_id": ["m0", "m1", "m2", "m3", "m4"],
        "price": pa.array([1.5, None, 2.5, 3.5, 4.5], pa.float32()),
        "genres": [["War", "Drama"], [], ["War"], None, ["Drama"]],
        "year": [1990, 1991, 1992, 1993, 1994],
    }
)
KNOWN = {"user_id": tf.constant(["u0", "u1"]), "age": tf.constant([30.0, 40.0])}


def requests_of(catalogue=CATALOGUE, *, filter_by=(), known=KNOWN) -> dict[str, dict[str, np.ndarray]]:
    """Signature -> input name -> values."""
    requests = sample_requests(INPUTS, catalogue, id_column="movie_id", filter_by=filter_by, known=known)
    assert len({request.signature for request in requests}) == len(requests)
    return {
        request.signature: {name: values.numpy() for name, values in request.inputs.items()} for request in requests
    }


def test_every_signature_is_asked_with_all_of_its_inputs():
    query, given = {"user_id", "age", "history"}, {"exclude_ids"}
    found = {name: set(inputs) for name, inputs in requests_of(filter_by=["genres", "year"]).items()}
    assert found == {
        "serving_default": query,
        "recommend": query,
        "recommend_excluding": query | given,
        "recommend_filtered": query | given | {"filter_genres", "filter_year"},
        "similar": {"candidate_id"},
        "score": query | {"candidate_id"},
        "embed_query": query,
        "embed_candidate": {"movie_id", "price", "genres"},
    }
    assert "recommend_filtered" not in requests_of()


def test_all_inputs_of_a_request_have_equally_many_rows():
    for name, inputs in requests_of(filter_by=["genres"]).items():
        assert len({len(values) for values in inputs.values()}) == 1, name


def test_known_queries_are_asked_with_their_features_and_what_is_not_known_is_missing():
    inputs = requests_of()["recommend"]
    assert inputs["user_id"].tolist() == [b"u0", b"u1"]
    assert inputs["age"].tolist() == [30.0, 40.0]
    assert inputs["history"].tolist() == [[b""], [b""]]
    only_ids = requests_of(known={"user_id": KNOWN["user_id"]})["recommend"]
    assert np.isnan(only_ids["age"]).all()


def test_an_unknown_query_gives_only_a_history_of_the_first_candidates():
    inputs = requests_of()["serving_default"]
    assert inputs["user_id"].tolist() == [b""]
    assert np.isnan(inputs["age"]).tolist() == [True]
    assert inputs["history"].tolist() == [[b"m0", b"m1", b"m2"]]


def test_without_known_queries_the_unknown_one_is_asked_everywhere():
    no_query = {"user_id": tf.zeros([0], tf.string)}
    requests = requests_of(known=no_query)
    for name in ("recommend", "recommend_excluding", "score", "embed_query"):
        assert requests[name]["history"].tolist() == [[b"m0", b"m1", b"m2"]], name
    assert requests["score"]["candidate_id"].tolist() == [b"m0"]


def test_invented_requests_ask_every_signature_and_name_no_query():
    requests = invented_requests(INPUTS, CATALOGUE, id_column="movie_id", filter_by=["genres"])
    assert {request.signature for request in requests} == set(requests_of(filter_by=["genres"]))
    for request in requests:
        if "user_id" in request.inputs:
            assert request.inputs["user_id"].numpy().tolist() == [b""]
            assert np.isnan(request.inputs["age"]).tolist() == [True]
            assert request.inputs["history"].numpy().tolist() == [[b"m0", b"m1", b"m2"]]


def test_exclusions_and_filters_name_candidates_and_values_of_the_catalogue():
    requests = requests_of(filter_by=["genres", "year"])
    assert requests["recommend_excluding"]["exclude_ids"].tolist() == [[b"m0", b"m1", b"m2"]] * 2
    assert requests["recommend_filtered"]["exclude_ids"].tolist() == [[b""]]
    assert requests["recommend_filtered"]["filter_genres"].tolist() == [[b"Drama", b"War"]]
    assert requests["recommend_filtered"]["filter_year"].tolist() == [[b"1990"]]


def test_a_filter_that_the_first_candidate_has_no_value_of_has_no_value():
    catalogue = CATALOGUE.take([1, 0])
    assert requests_of(catalogue, filter_by=["genres"])["recommend_filtered"]["filter_genres"].shape == (1, 0)


@pytest.mark.parametrize(("num_candidates", "num_pairs"), [(1, 1), (5, 2)])
def test_a_pair_is_scored_for_each_query_that_there_is_a_candidate_for(num_candidates, num_pairs):
    inputs = requests_of(CATALOGUE.slice(0, num_candidates))["score"]
    assert inputs["user_id"].tolist() == [b"u0", b"u1"][:num_pairs]
    assert inputs["candidate_id"].tolist() == [b"m0", b"m1"][:num_pairs]


def test_a_large_catalogue_is_asked_about_by_its_first_candidates():
    size = NUM_CHECKED + 10
    catalogue = pa.table({"movie_id": [f"m{row}" for row in range(size)]})
    requests = requests_of(catalogue)
    assert len(requests["similar"]["candidate_id"]) == len(requests["embed_candidate"]["movie_id"]) == NUM_CHECKED


def test_columns_that_a_catalogue_lacks_are_missing_in_every_row():
    raw = raw_candidates(CATALOGUE.select(["movie_id", "price"]), INPUTS.candidate)
    assert raw["movie_id"].numpy().tolist() == [b"m0", b"m1", b"m2", b"m3", b"m4"]
    np.testing.assert_array_equal(raw["price"], np.array([1.5, np.nan, 2.5, 3.5, 4.5], np.float32))
    assert raw["genres"].numpy().tolist() == [[b""]] * 5


def test_lists_of_candidates_are_padded():
    raw = raw_candidates(CATALOGUE, INPUTS.candidate)
    assert raw["genres"].numpy().tolist() == [
        [b"War", b"Drama"],
        [b"", b""],
        [b"War", b""],
        [b"", b""],
        [b"Drama", b""],
    ]
