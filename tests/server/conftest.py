"""One small bundle with a history and a filter, and one server for it, which every test of this folder may ask."""

import contextlib
import dataclasses
import json
import urllib.error
import urllib.request
import warnings
from pathlib import Path

import grpc
import pyarrow as pa
import pytest

import tfrs_twotower as tt  # isort: skip  # before TensorFlow, so that tf.keras is Keras 2
import tensorflow as tf

from tests.conftest import CANDIDATE, QUERY, export_unchecked
from tfrs_twotower.server import worker_client
from tfrs_twotower.server.protos import predict_pb2

NAME = "shop"
PLAIN = "plain"
#: Titles of the first candidates: one that is markup, and one that fits no line.
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>"
LONG = "Émilie, or " + "a-title-without-a-space-" * 9
LIMITS = tt.server.Limits(max_body_bytes=60_000, max_rows=300, max_list_length=50, max_values=2000, timeout_s=20)


#: What a worker process runs first, so that it leaves out the optimisation of graphs as this process does.
_AS_TRACED = (
    "import tfrs_twotower, tensorflow as tf; "
    "tf.config.optimizer.set_experimental_options({'disable_meta_optimizer': True}); "
)


@pytest.fixture(autouse=True, scope="package")
def graphs_as_traced():
    """Lets no worker process optimise its graphs: answers are compared with this process's to the last bit.

    The workers of `test_command` optimise theirs, as those of users do.
    """
    start = worker_client._START.replace("from tfrs_twotower", f"{_AS_TRACED}from tfrs_twotower", 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker_client, "_START", start)
        yield


@dataclasses.dataclass(frozen=True)
class Running:
    """A running server, and what it has logged."""

    addresses: tt.server.Addresses
    events: list[dict]

    def send(self, path: str, body=None, *, headers=None) -> tuple[int, object]:
        """Sends a GET, or a POST of JSON or of bytes; returns status and JSON."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        url = f"http://127.0.0.1:{self.addresses.rest_port}{path}"
        try:
            with urllib.request.urlopen(urllib.request.Request(url, data, headers or {}), timeout=60) as response:
                return response.status, json.loads(response.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def text(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.addresses.rest_port}{path}", timeout=60) as response:
            return response.read().decode()

    def predict(self, body, *, name=NAME):
        """Sends a prediction's request that must succeed."""
        status, content = self.send(f"/v1/models/{name}:predict", body)
        assert status == 200, content
        return content

    def call(self, method: str, request, response_class, *, metadata=(), timeout=60):
        """Calls a method of gRPC."""
        with grpc.insecure_channel(f"127.0.0.1:{self.addresses.grpc_port}") as channel:
            call = channel.unary_unary(
                f"/tensorflow.serving.{method}",
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=response_class.FromString,
            )
            return call(request, metadata=metadata, timeout=timeout)

    def grpc_predict(self, inputs, *, signature="", version=None, label=None, name=NAME, output_filter=()):
        request = predict_pb2.PredictRequest(output_filter=output_filter)
        request.model_spec.name, request.model_spec.signature_name = name, signature
        if version is not None:
            request.model_spec.version.value = version
        if label is not None:
            request.model_spec.version_label = label
        for key, values in inputs.items():
            request.inputs[key].CopyFrom(
                values if hasattr(values, "dtype") and not hasattr(values, "shape") else tf.make_tensor_proto(values)
            )
        return self.call("PredictionService/Predict", request, predict_pb2.PredictResponse)


@contextlib.contextmanager
def run(models, *, limits=LIMITS, **options):
    """Runs a server on free ports."""
    events = []

    def log(event, **details):
        events.append({"event": event, **details})

    config = tt.server.ServerConfig(models=models, rest_port=0, grpc_port=0, poll_s=0.1, limits=limits, **options)
    with tt.server.run_in_background(config, log=log) as addresses:
        yield Running(addresses, events)


def export_shop(known: tt.Interactions, directory: Path, seed: int) -> Path:
    """Publishes a bundle of untrained towers, whose weights follow from the seed."""
    titles = [HOSTILE, LONG, *known.candidates["title"].to_pylist()[2:]]
    known = dataclasses.replace(known, candidates=known.candidates.set_column(1, "title", pa.array(titles)))
    tf.keras.utils.set_random_seed(seed)
    past = tt.History(of=tt.Categorical(name="movie_id"), name="history", length=10, by_rating=True)
    query = dataclasses.replace(QUERY, features=(*QUERY.features, past))
    model = tt.build_two_tower(known, query=query, candidate=CANDIDATE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is not trained
        exact = tt.index.build_exact_index
        return export_unchecked(model, known, directory, k=10, build_index=exact, filter_by=("genres",))


@pytest.fixture(scope="package")
def shop(planted, tmp_path_factory) -> Path:
    """The folder of versions, with version 1."""
    directory = tmp_path_factory.mktemp("saved_models") / NAME
    export_shop(planted.split.seen, directory, 0)
    return directory


@pytest.fixture(scope="package")
def plain(planted, tmp_path_factory) -> Path:
    """The folder of a bundle that has as little as possible: no known query, history, probability, filter or title."""
    seen = planted.split.seen
    known = dataclasses.replace(seen, candidates=seen.candidates.select(["movie_id"]))
    tf.keras.utils.set_random_seed(2)
    query = dataclasses.replace(QUERY, features=(tt.Numeric(name="age"),))
    candidate = dataclasses.replace(CANDIDATE, features=CANDIDATE.features[:1])
    task = tt.model.tasks.FullSoftmaxTask()
    model = tt.build_two_tower(known, query=query, candidate=candidate, task=task)
    directory = tmp_path_factory.mktemp("saved_models") / PLAIN
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is not trained
        export_unchecked(model, known, directory, k=5, build_index=tt.index.build_exact_index)
    return directory


@pytest.fixture(scope="package")
def bundle(shop):
    """Version 1 as `load_bundle` gives it."""
    return tt.load_bundle(shop / "1")


@pytest.fixture(scope="package")
def server(shop, plain):
    """A server of version 1 of the shop, labelled stable, and of the plain bundle."""
    model = tt.server.ModelConfig(
        name=NAME, directory=shop, policy=tt.server.SpecificVersions(versions=(1,)), labels={"stable": 1, "gone": 7}
    )
    with run((model, tt.server.ModelConfig(name=PLAIN, directory=plain))) as running:
        yield running
