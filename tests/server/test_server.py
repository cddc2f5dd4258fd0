"""A running server answers as TensorFlow Serving does, and what `load_bundle` gives, to the last bit."""

import re
import socket
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.server.conftest import LIMITS, NAME, PLAIN
from tests.server.queries import SIGNATURES, arrays, expected, row
from tfrs_twotower.bundle.fresh_process import to_plain
from tfrs_twotower.server.protos import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    regression_pb2,
)

ROWS = 5


def require_equal(wanted: dict[str, np.ndarray], got: dict) -> None:
    assert set(wanted) == set(got)
    for name, values in wanted.items():
        if values.dtype == object:
            assert to_plain(values.tolist()) == got[name]
        else:
            array = np.array(got[name], np.float32).reshape(values.shape)
            np.testing.assert_array_equal(array, values, strict=True)


@pytest.mark.parametrize("signature", SIGNATURES)
def test_both_forms_of_rest_and_grpc_equal_load_bundle(server, bundle, signature):
    rows = [row(signature, number) for number in range(ROWS)]
    wanted = expected(bundle, signature, rows)
    name = {} if signature == "serving_default" else {"signature_name": signature}

    by_row = server.predict({**name, "instances": rows})["predictions"]
    require_equal(wanted, {key: [prediction[key] for prediction in by_row] for key in wanted})
    assert list(by_row[0]) == sorted(wanted)  # so that two processes of one version send the same bytes

    columns = {key: [values[key] for values in rows] for key in rows[0]}
    require_equal(wanted, server.predict({**name, "inputs": columns})["outputs"])

    response = server.grpc_predict(arrays(rows), signature="" if not name else signature)
    assert (response.model_spec.version.value, response.model_spec.signature_name) == (1, signature)
    require_equal(wanted, {key: to_plain(tf.make_ndarray(x).tolist()) for key, x in response.outputs.items()})


def test_concurrent_requests_are_joined_and_still_equal_load_bundle(server, bundle):
    def ask(number: int):
        return server.predict({"instances": [row("recommend", number)]})["predictions"][0]

    with ThreadPoolExecutor(16) as pool:
        predictions = list(pool.map(ask, range(60)))
    for number, prediction in enumerate(predictions):
        wanted = expected(bundle, "recommend", [row("recommend", number)])
        require_equal(wanted, {key: [values] for key, values in prediction.items()})
    requests = metric(server, "batch_requests_sum", signature="serving_default")
    assert requests > metric(server, "batch_requests_count", signature="serving_default")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"/v1/models/{NAME}:predict", 200),
        (f"/v1/models/{NAME}/versions/1:predict", 200),
        (f"/v1/models/{NAME}/labels/stable:predict", 200),
        (f"/v1/models/{NAME}/versions/2:predict", 404),
        (f"/v1/models/{NAME}/versions/{'9' * 30}:predict", 400),
        (f"/v1/models/{NAME}/labels/canary:predict", 404),
        (f"/v1/models/{NAME}/labels/gone:predict", 404),
        ("/v1/models/nothing:predict", 404),
        (f"/v1/models/{NAME}:classify", 501),
        (f"/v1/models/{NAME}:regress", 501),
        (f"/v1/models/{NAME}:explain", 400),
        (f"/v1/models/{NAME}", 400),
        ("/v1/models/..%2Fshop:predict", 400),
        ("/v2/models", 404),
    ],
)
def test_paths_of_predictions(server, path, status):
    got, content = server.send(path, {"signature_name": "similar", "instances": ["m0"]})
    assert got == status
    assert set(content) == ({"predictions"} if status == 200 else {"error"})


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"nothing", 400, "JSON Parse error"),
        ({"instances": []}, 400, "No values in 'instances'"),
        (
            {"signature_name": "rank", "instances": [{}]},
            400,
            '"rank" not found in signature def. There are: embed_cand',
        ),
        ({"instances": [{"user_id": "u1"}]}, 400, "Missing: age"),
        ({"inputs": {"user_id": ["u1"]}}, 400, "Missing named input: age"),
        ({"signature_name": "similar", "instances": ["m0"] * (LIMITS.max_rows + 1)}, 400, "at most 300 rows"),
        (b'{"instances": ["' + b"x" * LIMITS.max_body_bytes + b'"]}', 413, "at most 60000 bytes"),
        (
            {"instances": [{**row("recommend", 0), "history": ["m1"], "history_rating": [1.0, 2.0]}]},
            400,
            "`history_rating` must have a rating for each place of `history`",
        ),
    ],
)
def test_errors_have_a_code_and_a_message(server, body, status, message):
    got, content = server.send(f"/v1/models/{NAME}:predict", body)
    assert got == status
    assert message in content["error"]


def test_one_wrong_request_is_not_an_error_of_those_that_it_is_joined_with(server):
    wrong = {**row("recommend", 1), "history": ["m1"], "history_rating": [1.0, 2.0]}

    def ask(number: int):
        given = wrong if number % 4 == 0 else row("recommend", number)
        return server.send(f"/v1/models/{NAME}:predict", {"instances": [given]})[0]

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(ask, range(32))) == [400 if number % 4 == 0 else 200 for number in range(32)]


def test_a_request_without_rows(server):
    outputs = server.predict({"signature_name": "similar", "inputs": []})["outputs"]
    assert outputs == {"candidate_ids": [], "scores": []}


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ({"name": "nothing"}, "NOT_FOUND", "Servable not found for request: Latest(nothing)"),
        ({"name": ""}, "INVALID_ARGUMENT", "Missing ModelSpec name"),
        ({"version": 2}, "NOT_FOUND", "Specific(shop, 2)"),
        ({"label": "canary"}, "NOT_FOUND", "no version labelled 'canary'"),
        ({"signature": "rank"}, "INVALID_ARGUMENT", '"rank" not found in signature def'),
        ({"output_filter": ["logits"]}, "INVALID_ARGUMENT", "alias not found in signature: 'logits'"),
        ({"inputs": {"candidate_id": [1]}}, "INVALID_ARGUMENT", "'candidate_id' must be DT_STRING"),
        ({"inputs": {"candidate_id": ["m0"] * 301}}, "INVALID_ARGUMENT", "at most 300 rows"),
        ({"inputs": {"candidate_id": ["m" * 60_000]}}, "RESOURCE_EXHAUSTED", "larger than max"),
    ],
)
def test_errors_of_grpc_have_canonical_codes(server, options, code, message):
    options = {"inputs": {"candidate_id": ["m0"]}, "signature": "similar", **options}
    with pytest.raises(grpc.RpcError) as raised:
        server.grpc_predict(options.pop("inputs"), **options)
    assert raised.value.code().name == code
    assert message in raised.value.details()


def test_an_output_filter_and_a_label(server):
    response = server.grpc_predict(
        {"candidate_id": ["m0"]}, signature="similar", label="stable", output_filter=["scores"]
    )
    assert list(response.outputs) == ["scores"]


@pytest.mark.parametrize(
    ("method", "messages"),
    [
        ("Classify", (classification_pb2.ClassificationRequest, classification_pb2.ClassificationResponse)),
        ("Regress", (regression_pb2.RegressionRequest, regression_pb2.RegressionResponse)),
        ("MultiInference", (inference_pb2.MultiInferenceRequest, inference_pb2.MultiInferenceResponse)),
    ],
)
def test_what_bundles_do_not_have_is_unimplemented(server, method, messages):
    request, response = messages
    with pytest.raises(grpc.RpcError) as raised:
        server.call(f"PredictionService/{method}", request(), response)
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_status(server):
    entry = {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    for path in ("", "/versions/1", "/labels/stable"):
        assert server.send(f"/v1/models/{NAME}{path}") == (200, {"model_version_status": [entry]})
    for path in (f"/v1/models/{NAME}/versions/2", f"/v1/models/{NAME}/labels/x", "/v1/models/nothing"):
        assert server.send(path)[0] == 404
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = NAME
    response = server.call("ModelService/GetModelStatus", request, get_model_status_pb2.GetModelStatusResponse)
    (status,) = response.model_version_status
    assert (status.version, status.state, status.status.error_code) == (1, status.AVAILABLE, 0)


def test_metadata(server, bundle):
    status, content = server.send(f"/v1/models/{NAME}/metadata")
    assert (status, content["model_spec"]) == (200, {"name": NAME, "signature_name": "", "version": "1"})
    declared = content["metadata"]["signature_def"]["signature_def"]
    assert set(SIGNATURES) <= set(declared)
    similar = declared["similar"]
    assert similar["method_name"] == "tensorflow/serving/predict"
    given = similar["inputs"]["candidate_id"]
    assert given["dtype"] == "DT_STRING"
    assert given["tensor_shape"] == {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False}
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = NAME
    response = server.call(
        "PredictionService/GetModelMetadata", request, get_model_metadata_pb2.GetModelMetadataResponse
    )
    found = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(found)
    assert set(found.signature_def) == set(declared)


def test_reflection_describes_both_services(server):
    with grpc.insecure_channel(f"127.0.0.1:{server.addresses.grpc_port}") as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = [
            reflection_pb2.ServerReflectionRequest(list_services=""),
            reflection_pb2.ServerReflectionRequest(file_containing_symbol="tensorflow.serving.ModelService"),
        ]
        listed, file = stub.ServerReflectionInfo(iter(asked))
    names = {service.name for service in listed.list_services_response.service}
    assert {"tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"} <= names
    described = [FileDescriptorProto.FromString(data) for data in file.file_descriptor_response.file_descriptor_proto]
    (declared,) = [message for message in described if message.name.endswith("model_service.proto")]
    assert [method.name for method in declared.service[0].method] == ["GetModelStatus", "HandleReloadConfigRequest"]


def reload(server, plain, **fields):
    request = model_management_pb2.ReloadConfigRequest()
    request.config.model_config_list.config.add(**fields)
    request.config.model_config_list.config.add(name=PLAIN, base_path=str(plain))
    return server.call("ModelService/HandleReloadConfigRequest", request, model_management_pb2.ReloadConfigResponse)


def test_a_request_changes_labels_and_names_no_other_folder(server, shop, plain, tmp_path):
    specific = {"model_version_policy": {"specific": {"versions": [1]}}}
    labels = {"stable": 1, "gone": 7}
    reload(server, plain, name=NAME, base_path=str(shop), version_labels={**labels, "canary": 1}, **specific)
    assert server.send(f"/v1/models/{NAME}/labels/canary")[0] == 200
    reload(server, plain, name=NAME, base_path=str(shop), version_labels=labels, **specific)
    assert server.send(f"/v1/models/{NAME}/labels/canary")[0] == 404
    for fields in ({"name": NAME, "base_path": str(tmp_path)}, {"name": "x", "base_path": str(shop)}, {"name": NAME}):
        with pytest.raises(grpc.RpcError) as raised:
            reload(server, plain, **fields)
        assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert server.send(f"/v1/models/{NAME}/labels/stable")[0] == 200


def test_health(server):
    assert server.send("/healthz") == (200, {"status": "alive"})
    assert server.send("/readyz") == (200, {"status": "ready"})


def metric(server, name: str, **labels) -> float:
    """Returns the sum of a metric over all labels but the given ones."""
    found = 0.0
    for line in server.text("/monitoring/prometheus/metrics").splitlines():
        match = re.fullmatch(rf"tfrs_twotower_{name}(?:\{{(.*)\}})? (\S+)", line)
        if match and all(f'{key}="{value}"' in (match[1] or "") for key, value in labels.items()):
            found += float(match[2])
    return found


def test_metrics_count_what_happens(server):
    before = {
        name: metric(server, name, signature="recommend")
        for name in ("requests_total", "batch_rows_sum", "slots_total", "queries_total", "unknown_queries_total")
    }
    rows = [row("recommend", number) for number in range(4)]  # u0, u7, nobody by name, and an unknown id
    server.predict({"signature_name": "recommend", "instances": rows})
    after = {name: metric(server, name, signature="recommend") for name in before}
    assert {name: after[name] - before[name] for name in before} == {
        "requests_total": 1,
        "batch_rows_sum": 4,
        "slots_total": 40,
        "queries_total": 4,
        "unknown_queries_total": 2,
    }
    before = metric(server, "empty_slots_total")
    server.predict({"signature_name": "similar", "instances": ["unknown", "m0"]})
    assert metric(server, "empty_slots_total") - before == 10
    assert metric(server, "version_available", model=NAME, version="1") == 1


def test_names_that_do_not_exist_are_no_labels(server):
    server.send("/v1/models/invented:predict", {"instances": [1]})
    server.send(f"/v1/models/{NAME}:predict", {"signature_name": "invented", "instances": [1]})
    assert "invented" not in server.text("/monitoring/prometheus/metrics")


def test_the_log_tells_what_each_request_was_about(server):
    server.predict({"signature_name": "similar", "instances": ["m0", "m1"]})
    event = server.events[-1]
    assert (event["event"], event["status"], event["signature"], event["num_rows"]) == ("request", 200, "similar", 2)
    assert event["path"] == f"/v1/models/{NAME}:predict"
    assert event["version"] == 1


def test_many_idle_connections_leave_others_served(server):
    connections = [socket.create_connection(("127.0.0.1", server.addresses.rest_port)) for _ in range(400)]
    try:
        assert server.send("/readyz")[0] == 200
        assert len(server.predict({"signature_name": "similar", "instances": ["m0"]})["predictions"]) == 1
    finally:
        for connection in connections:
            connection.close()
