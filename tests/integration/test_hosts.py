"""A bundle predicts the same for every host: Python, C++, C and REST, with and without ScaNN's operations.

Python without this library and the C++ program optimise graphs, as TensorFlow does by default: one those of a bundle
with the exact index, the other those of one with ScaNN's. That takes most of such a process's time, so the others run
graphs as they were written. `test_main_job` asks a bundle with ScaNN's index from Python without this library.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import tfrs_twotower as tt
from tests import forks
from tests.checks import no_check
from tests.conftest import CANDIDATE, QUERY
from tfrs_twotower._scann import library_path
from tfrs_twotower.bundle.build import build_bundle, build_sides
from tfrs_twotower.bundle.check import ask_in_fresh_process
from tfrs_twotower.bundle.fresh_process import to_plain
from tfrs_twotower.bundle.warmup import read_warmup
from tfrs_twotower.model.joint import JointModel
from tfrs_twotower.publishing.export import publish_bundle

HOSTS = Path(__file__).parent / "hosts"

pytestmark = [pytest.mark.compiler, pytest.mark.scann]


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    """A folder with both compiled programs."""
    folder = tmp_path_factory.mktemp("hosts")
    subprocess.run([HOSTS / "compile", sys.executable, folder], check=True)
    return folder


@pytest.fixture(scope="module")
def bundles(planted, tmp_path_factory):
    """Kind of index -> (bundle in memory, its folder), of a joint model with ids, a history and filters."""
    tf.keras.utils.set_random_seed(0)
    known = planted.split.seen
    past = tt.History(
        of=tt.Categorical(name="movie_id"), name="history", length=10, encoder=tt.features.SelfAttention()
    )
    query = tt.MLPTowerConfig(features=(*QUERY.features, past), hidden_units=(), output_dim=8)
    retrieval = tt.build_two_tower(known, query=query, candidate=CANDIDATE, task=tt.tasks.SampledSoftmaxTask())
    model = JointModel(
        retrieval_model=retrieval, rating_model=tt.build_two_tower(known, query=QUERY, candidate=CANDIDATE)
    )
    sides = build_sides(model, known, filter_by=["genres"], rerank=tt.bundle.Rerank(first=5, weight=0.5))
    embeddings = sides.embed(known.candidates)
    folder = tmp_path_factory.mktemp("saved_models")
    built = {
        folder / kind: build_bundle(sides, known.candidates, embeddings, build_index, k=10)
        for kind, build_index in (("scann", tt.index.build_scann_index), ("exact", tt.index.build_exact_index))
    }
    # The first test makes the same check.
    return {path.name: (bundle, publish_bundle(path, bundle, None, no_check())) for path, bundle in built.items()}


@pytest.fixture(scope="module", params=["scann", "exact"])
def asked(request, bundles):
    """(requests of the warm-up file, predictions of this process, the bundle's folder, the op libraries it needs)."""
    bundle, path = bundles[request.param]
    requests = read_warmup(path)
    assert {request.signature for request in requests} == set(bundle.signatures)
    predictions = [bundle.signatures[request.signature](**request.inputs) for request in requests]
    return requests, predictions, path, [str(library_path())] if request.param == "scann" else []


@pytest.fixture(scope="module")
def loaded(asked):
    """The bundle as this library loads it."""
    _, _, path, _ = asked
    return tt.load_bundle(path)


def require_same(predictions, replies):
    """Requires equal ids, and numbers equal to 1e-5. A reply may be flat, without its shape."""
    assert len(predictions) == len(replies)
    for prediction, reply in zip(predictions, replies, strict=True):
        assert set(prediction) == set(reply)
        for name, expected in prediction.items():
            values, got = expected.numpy(), np.array(reply[name]).reshape(expected.shape)
            if values.dtype == object:
                assert to_plain(values.tolist()) == got.tolist()
            else:
                np.testing.assert_allclose(got.astype(np.float32), values, rtol=1e-5, atol=1e-5)


def run(*command) -> list[dict]:
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-2000:]
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_fresh_python_with_only_tensorflow(bundles):
    """It answers the requests of the warm-up file, and those by which `export_bundle` checks what it has written."""
    bundle, path = bundles["exact"]
    requests = [*read_warmup(path), *bundle.requests]
    predictions = [bundle.signatures[request.signature](**request.inputs) for request in requests]
    (replies,) = ask_in_fresh_process({path: requests})
    require_same(predictions, replies)


def test_python_with_this_library(asked, loaded):
    requests, predictions, _, _ = asked
    signatures = loaded.module.signatures
    replies = [signatures[request.signature](**request.inputs) for request in requests]
    require_same(predictions, [{name: to_plain(x.numpy().tolist()) for name, x in reply.items()} for reply in replies])


def test_cpp_predicts_the_same_and_its_memory_does_not_grow(asked, hosts):
    _, predictions, path, library = asked
    as_written = ["as_written"] if path.parent.name == "exact" else []
    *replies, times, memory = run(hosts / "host_cc", path, *(library or [""]), 20, 4, 2_000, *as_written)
    require_same(predictions, [reply["outputs"] for reply in replies])
    assert times["median_ms"] > 0
    # 2,000 calls that leaked a kilobyte each would be 2 MiB.
    assert memory["after_mib"] - memory["before_mib"] < 1.6


def test_c(asked, hosts, tmp_path):
    requests, predictions, path, library = asked
    words = []
    for request in requests:
        takes, gives = tensors(path, request.signature)
        words.append(f"request {request.signature}")
        for name, values in request.inputs.items():
            flat = np.ravel(values.numpy()).tolist()
            texts = [f"x{value.hex()}" if isinstance(value, bytes) else repr(value) for value in flat]
            kind = {"float32": "float"}.get(values.dtype.name, values.dtype.name)
            words.append(" ".join(map(str, ["input", takes[name], kind, values.shape.rank, *values.shape, *texts])))
        words += [f"output {name} {tensor}" for name, tensor in gives.items()]
        words.append("end")
    (tmp_path / "requests").write_text("\n".join(words) + "\n")
    replies = run(hosts / "host_c", path, tmp_path / "requests", *library)
    require_same(predictions, [reply["outputs"] for reply in replies])


def tensors(path: Path, signature: str) -> list[dict[str, str]]:
    """Returns the inputs and outputs of a signature, name -> operation and index, as saved_model_cli shows them."""
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    definition = saved.meta_graphs[0].signature_def[signature]
    return [
        {name: info.name.replace(":", " ") for name, info in side.items()}
        for side in (definition.inputs, definition.outputs)
    ]


def test_saved_model_cli_works(bundles):
    _, path = bundles["exact"]
    command = f"saved_model_cli run --dir {path} --tag_set serve --signature_def similar --input_exprs"
    program, *options = command.split()
    process = forks.start([Path(sys.executable).parent / program, *options, "candidate_id=['m0']"])
    assert "Result for output key candidate_ids" in process.finish()


def from_json(body, signature) -> dict[str, tf.Tensor]:
    """Makes the inputs that TensorFlow Serving makes of a body, by the rules of its REST API."""
    _, specs = signature.structured_input_signature
    if "instances" in body:
        rows = body["instances"]
        if len(specs) == 1 and not isinstance(rows[0], dict):
            columns = {next(iter(specs)): rows}  # one input may go without its name
        else:
            assert all(set(row) == set(specs) for row in rows)
            columns = {name: [row[name] for row in rows] for name in specs}
    else:
        columns = body["inputs"] if isinstance(body["inputs"], dict) else {next(iter(specs)): body["inputs"]}
    assert set(columns) == set(specs)
    return {name: tf.constant(values, specs[name].dtype) for name, values in columns.items()}


def to_strict_json(outputs) -> str:
    return json.dumps({name: to_plain(values.numpy().tolist()) for name, values in outputs.items()}, allow_nan=False)


def test_rest_by_rows_and_by_columns_gives_the_same_in_strict_json(asked, loaded):
    requests, predictions, _, _ = asked
    signatures = loaded.module.signatures
    for request, prediction in zip(requests, predictions, strict=True):
        name = request.signature
        columns = {key: to_plain(values.numpy().tolist()) for key, values in request.inputs.items()}
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        assert not any(key.endswith("_bytes") for key in [*columns, *prediction])  # REST would take them for base64
        bodies = [{"signature_name": name, "instances": rows}, {"signature_name": name, "inputs": columns}]
        if len(columns) == 1:
            bodies += [{"instances": next(iter(columns.values()))}, {"inputs": next(iter(columns.values()))}]
        # A missing number is NaN, which TensorFlow Serving reads although JSON does not have it.
        replies = [signatures[name](**from_json(json.loads(json.dumps(body)), signatures[name])) for body in bodies]
        for reply in replies:
            require_same([prediction], [json.loads(to_strict_json(reply))])


def test_rest_gives_strict_json_if_a_filter_leaves_no_candidate(asked, loaded):
    requests, _, _, _ = asked
    signatures = loaded.module.signatures
    inputs = dict(next(request.inputs for request in requests if request.signature == "recommend_filtered"))
    size = len(inputs["user_id"])
    inputs["filter_genres"] = tf.fill([size, 1], "no such genre")
    reply = json.loads(to_strict_json(signatures["recommend_filtered"](**inputs)))
    assert set(np.ravel(reply["candidate_ids"])) == {""}
    assert set(np.ravel(reply["probabilities"])) == {0.0}
