"""The Keras example on MovieLens 100K: train, evaluate, export, and recommend from another program."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tfrs_twotower as tt
from tests import forks
from tfrs_twotower.bundle.layout import METRICS_FILE
from tfrs_twotower.bundle.load import LoadedBundle
from tfrs_twotower.data.splits import Split
from tfrs_twotower.evaluation.rating import rating_metrics
from tfrs_twotower.evaluation.report import Report

REPOSITORY = Path(__file__).parents[2]
SCRIPT = REPOSITORY / "examples" / "movielens_keras.py"
USERS = [str(user) for user in range(1, 944)]

pytestmark = [pytest.mark.movielens, pytest.mark.scann]

# Another TensorFlow program, which loads TensorFlow and ScaNN's op library, and neither Keras, TFRS nor this library.
# It reads [signature, inputs] of each request.
HOST = """
import importlib.util, json, pathlib, sys
import tensorflow as tf
scann = pathlib.Path(importlib.util.find_spec("scann").origin).parent
tf.load_op_library(str(scann / "scann_ops" / "cc" / "_scann_ops.so"))
loaded = tf.saved_model.load(sys.argv[1])
replies = []
for signature, inputs in json.load(sys.stdin):
    outputs = loaded.signatures[signature](**{name: tf.constant(values) for name, values in inputs.items()})
    replies.append({name: values.numpy() for name, values in outputs.items()})
for module in ("tf_keras", "tensorflow_recommenders", "tfrs_twotower", "scann"):
    assert module not in sys.modules, module
recommended, scored = replies
ids = [[value.decode() for value in row] for row in recommended["candidate_ids"].tolist()]
recommended = {"ids": ids, "scores": recommended["scores"].tolist()}
print(json.dumps([recommended, {name: values.tolist() for name, values in scored.items()}]))
"""

# The example needs some thirty epochs until its validation loss no longer falls; the thresholds need fewer.
EPOCHS = ("epochs=100", "epochs=20")


@pytest.fixture(scope="module")
def workplace(movielens_dir, tmp_path_factory) -> Path:
    """The folder in which the example has run."""
    folder = tmp_path_factory.mktemp("main-job")
    script = SCRIPT.read_text(encoding="utf-8")
    assert EPOCHS[0] in script
    environment = {**os.environ, "TFDS_DATA_DIR": str(movielens_dir)}
    arguments = ["-c", script.replace(*EPOCHS)]
    forks.start(arguments, folder=folder, environment=environment, as_for_users=False).finish()
    return folder


@pytest.fixture(scope="module")
def split(movielens_dir) -> Split:
    """The data as the example splits them."""
    return tt.random_split(tt.load_movielens(data_dir=movielens_dir), test=0.2, validation=0.1, seed=0)


@pytest.fixture(scope="module")
def bundle(workplace) -> LoadedBundle:
    return tt.load_bundle(workplace / "saved_models" / "movielens-keras")


def test_the_rating_task_is_better_than_the_notebook_on_the_test_split(bundle):
    """On its own test split the notebook reports AUC 0.7783, accuracy 0.8256, F1 0.8967."""
    metrics = bundle.manifest.model.metrics
    report = Report.load(bundle.path / METRICS_FILE)
    assert metrics == report.metrics
    assert metrics["auc"] >= 0.785
    assert metrics["accuracy"] >= 0.84
    assert metrics["f1"] >= 0.905
    assert metrics["accuracy"] > report.cases["all-positive"]["accuracy"]


def test_the_bundle_has_a_scann_index_and_names_its_data(bundle):
    index = bundle.manifest.index
    assert (index.kind, index.is_exact, index.outcome.note) == ("scann", True, None)
    assert bundle.manifest.model.data.source.startswith("movielens/100k-ratings/0.1.1 from ")


@pytest.fixture(scope="module")
def replies(bundle, split) -> tuple[dict, dict]:
    """What another program gets: recommendations to all users, and scores of the pairs of the test part."""
    test = split.test
    movies = np.array(test.candidates["movie_id"].to_pylist())
    of_pairs = np.array(test.queries["user_id"].to_pylist())[test.query_rows]
    requests = [
        ("recommend", only_ids(USERS)),
        ("score", {**only_ids(of_pairs.tolist()), "candidate_id": movies[test.candidate_rows].tolist()}),
    ]
    environment = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    command = [sys.executable, "-I", "-c", HOST, str(bundle.path)]
    result = subprocess.run(
        command, input=json.dumps(requests), env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    recommended, scored = json.loads(result.stdout)
    return recommended, scored


def only_ids(users: list[str]) -> dict[str, list]:
    """Returns the inputs of users of whom nothing else is given."""
    missing = dict.fromkeys(("gender", "occupation", "zip_code"), [""] * len(users))
    return {"user_id": users, **missing, "age": [float("nan")] * len(users)}


def test_another_program_gets_the_same_ids_and_scores(bundle, replies):
    theirs, _ = replies
    ours = bundle.recommend({"user_id": USERS})
    assert theirs["ids"] == ours.candidate_ids.tolist()
    np.testing.assert_allclose(theirs["scores"], ours.scores, rtol=1e-5)


def test_no_user_is_recommended_a_movie_that_they_have_seen(bundle, split):
    seen = split.seen
    users = seen.queries["user_id"].to_pylist()
    rows = {candidate: row for row, candidate in enumerate(seen.candidates["movie_id"].to_pylist())}
    recommended = bundle.recommend({"user_id": users}).candidate_ids
    pairs = {(query, rows[candidate]) for query, ids in enumerate(recommended) for candidate in ids}
    assert len(pairs) == len(users) * 100
    assert not pairs & set(zip(seen.query_rows.tolist(), seen.candidate_rows.tolist(), strict=True))


def test_the_exported_probability_gives_the_reported_log_loss(bundle, split, replies):
    """Log loss and AUC of the test split, from the `score` signature in another program, agree to six digits."""
    _, reply = replies
    # The scores are used, since the float32 probability of a score above 17 is exactly 1, and its log loss 0.
    probabilities = 1 / (1 + np.exp(-np.array(reply["scores"])))
    np.testing.assert_allclose(reply["probabilities"], probabilities, rtol=1e-5)
    values = rating_metrics(split.test.ratings >= 3, probabilities)
    # Six digits are required, because the towers ran in another process, at another batch size.
    reported = bundle.manifest.model.metrics
    assert values == pytest.approx({name: reported[name] for name in values}, abs=1e-6)
