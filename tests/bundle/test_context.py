"""A bundle of a model with a context: the same query gets other lists in other contexts, by every way of asking."""

import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

import tfrs_twotower as tt
from tests.contexts import DEVICES, NUM_GROUPS
from tfrs_twotower.bundle.batch import batch_recommend
from tfrs_twotower.bundle.load import LoadedBundle
from tfrs_twotower.bundle.vectors import read_vectors, write_query_vectors
from tfrs_twotower.bundle.warmup import read_warmup
from tfrs_twotower.evaluation.predictions import predict
from tfrs_twotower.index.kinds import build_exact_index
from tfrs_twotower.server.exploration import Exploration


@pytest.fixture(scope="module")
def bundle(contextual_path) -> LoadedBundle:
    return tt.load_bundle(contextual_path)


def groups(recommended) -> np.ndarray:
    """The groups of recommended candidates, int of the same shape."""
    return np.vectorize(lambda name: int(name[1:]) % NUM_GROUPS)(recommended.candidate_ids)


def test_the_same_user_at_two_hours_gets_different_right_lists(bundle, choices):
    """The first five have nearly as much of the planted probability as any five can have."""
    lists = bundle.recommend({"user_id": ["u3", "u3"], "hour": ["9", "21"], "device": ["tv", "tv"]}, k=5).candidate_ids
    assert set(lists[0].tolist()) != set(lists[1].tolist())
    for found, hour in zip(lists, (9, 21), strict=True):
        probabilities = choices.probabilities([3], [hour], ["tv"])[0]
        rows = [int(name[1:]) for name in found]
        assert probabilities[rows].sum() > 0.9 * np.sort(probabilities)[-5:].sum()


def test_every_signature_takes_the_context(bundle):
    signatures = tf.saved_model.load(str(bundle.path)).signatures
    for name in ("serving_default", "recommend", "recommend_excluding", "score", "embed_query"):
        specs = {spec.name: spec for spec in signatures[name].structured_input_signature[1].values()}
        for column in ("hour", "device"):
            assert (specs[column].shape.as_list(), specs[column].dtype) == ([None], tf.string)
    query = {"user_id": ["u3", "u3"], "hour": ["9", "21"], "device": ["tv", "tv"]}
    scores = bundle.score(query, ["i2", "i2"]).scores  # of the group of 9 o'clock
    assert scores[0] > scores[1] + 1


def test_a_missing_context_is_the_average(bundle):
    hours = [str(hour) for hour in range(24)]
    ids = bundle.candidates["item_id"].to_pylist()

    def scores(**context) -> np.ndarray:
        num = max(map(len, context.values()), default=1)
        return np.stack(
            [bundle.score({"user_id": ["u3"] * num, **context}, [name] * num).scores for name in ids], axis=1
        )

    of_hours = tf.nn.softmax(scores(hour=hours, device=["tv"] * 24), axis=1).numpy()
    missing = tf.nn.softmax(scores(device=["tv"]), axis=1).numpy()[0]
    difference = np.abs(missing - of_hours.mean(axis=0)).sum() / 2
    assert difference < np.mean(np.abs(of_hours - of_hours.mean(axis=0)).sum(axis=1) / 2) / 2


def test_a_context_that_training_never_met_is_recommended_for_all_the_same(bundle):
    found = bundle.recommend({"user_id": ["u3", "nobody"], "hour": ["25", "9"], "device": ["fridge", "tv"]})
    assert (found.candidate_ids != "").all()
    assert np.isfinite(found.scores).all()
    assert (groups(found)[1, :5] == 2).all()  # an unknown user at 9


def test_a_bundle_is_evaluated_by_request_as_its_model_is(choices, contextual, bundle):
    split = choices.split
    exact = predict(contextual.model, split, k=10, recommend_seen=True, max_queries=200)
    served = tt.bundle.evaluate_bundle(bundle, split, exact=exact)
    report = tt.evaluation.build_report(exact, split, threshold=1)
    assert served.index_recall > 0.999
    assert served.metrics["ndcg@10"] == pytest.approx(report.metrics["ndcg@10"], abs=1e-3)  # ties


def test_files_of_queries_have_a_row_for_each_context(bundle, tmp_path):
    table = {"user_id": ["u3", "u3", "u4"], "hour": [9, 21, None], "device": ["tv", "tv", None]}
    pq.write_table(pa.table(table), tmp_path / "queries.parquet")
    summary = batch_recommend(bundle, tmp_path / "queries.parquet", tmp_path / "out")
    found = pq.read_table(tmp_path / "out")["candidate_ids"].to_pylist()
    expected = bundle.recommend({"user_id": table["user_id"], "hour": ["9", "21", ""], "device": ["tv", "tv", ""]})
    assert found == expected.candidate_ids.tolist()
    assert (summary.missing, summary.missing_context) == (("history",), ())
    write_query_vectors(bundle, tmp_path / "queries.parquet", tmp_path / "vectors.parquet")
    (vectors,) = read_vectors(tmp_path / "vectors.parquet")
    assert np.abs(vectors.retrieval[0] - vectors.retrieval[1]).max() > 0.1

    pq.write_table(pa.table({"user_id": ["u3"]}), tmp_path / "ids.parquet")
    summary = batch_recommend(bundle, tmp_path / "ids.parquet", tmp_path / "average")
    assert summary.missing_context == ("hour", "device")
    line = "Context without a column: hour, device. The recommendations are those of an average context."
    assert line in summary.lines()


def test_warm_up_requests_are_answered_and_tell_nothing_of_a_context(bundle):
    requests = read_warmup(bundle.path)
    signatures = tf.saved_model.load(str(bundle.path)).signatures
    assert {request.signature for request in requests} >= {"serving_default", "recommend", "score", "embed_query"}
    for request in requests:
        signatures[request.signature](**request.inputs)
        for name in {"hour", "device"} & request.inputs.keys():
            assert set(request.inputs[name].numpy().tolist()) == {b""}


def test_the_index_is_measured_by_queries_in_their_latest_context(choices, contextual, bundle):
    seen = choices.split.seen
    side = bundle.module.query_side
    query_id = side.sample_ids[0].numpy().decode()
    last = np.flatnonzero(seen.query_rows == seen.queries["user_id"].to_pylist().index(query_id))[-1]
    context = {name: [str(seen.events[name][int(last)].as_py())] for name in ("hour", "device")}
    embedded = bundle.call(
        "embed_query",
        {
            "user_id": tf.constant([query_id]),
            "history": tf.constant([[""]]),
            **{name: tf.constant(value) for name, value in context.items()},
        },
    )
    np.testing.assert_allclose(embedded["retrieval"], side.sample[:1], rtol=1e-4, atol=1e-5)


def test_the_manifest_and_the_explorer_name_the_context(bundle):
    query = bundle.manifest.model.query
    assert query.context == ("hour", "device")
    assert tt.bundle.Manifest.read(bundle.path) == bundle.manifest
    description = Exploration(bundle).describe()
    assert [(field.name, field.kind) for field in description.fields] == [("hour", "text"), ("device", "text")]


def test_a_new_catalogue_leaves_the_context_as_it_is(bundle, tmp_path, unchecked):
    shutil.copytree(bundle.path, tmp_path / "choices" / "1")
    kept = bundle.candidates.slice(0, 50)
    path = tt.refresh_bundle(tmp_path / "choices" / "1", kept, build_index=build_exact_index)
    refreshed = tt.load_bundle(path)
    assert refreshed.manifest.model.query.context == ("hour", "device")
    query = {"user_id": ["u3"] * 3, "hour": ["9"] * 3, "device": list(DEVICES)}
    ours, theirs = refreshed.recommend(query), bundle.recommend(query)
    for row in range(3):
        still_there = [name for name in theirs.candidate_ids[row] if int(name[1:]) < 50]
        assert ours.candidate_ids[row, : len(still_there)].tolist() == still_there
