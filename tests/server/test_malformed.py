"""What `scripts/fuzz_server.py` has found: malformed requests are refused as the client's mistakes."""

import gzip
import json
import socket
import time

import grpc
import pytest

from tests.server.conftest import LIMITS, NAME
from tests.server.queries import row
from tfrs_twotower.server.protos import model_pb2, predict_pb2

PATH = f"/v1/models/{NAME}:predict"
FORM = "application/x-www-form-urlencoded"
MULTIPART = b"--x\r\nContent-Disposition: form-data; \r\n\r\nshop\r\n--x--\r\n"


def good_body() -> bytes:
    return json.dumps({"instances": [row("recommend", 1)]}).encode()


def num_defects(server) -> int:
    return sum(event["event"] == "defect" for event in server.events)


@pytest.mark.parametrize(
    ("path", "body", "headers", "status"),
    [
        (PATH, b"no gzip", {"Content-Encoding": "gzip"}, 400),
        (PATH, b"no deflate", {"Content-Encoding": "deflate"}, 400),
        (PATH, gzip.compress(b" " * (LIMITS.max_body_bytes + 1)), {"Content-Encoding": "gzip"}, 413),
        (PATH, b'{"instances": [{"user_id": "\\ud800", "age": NaN, "history": [], "history_rating": []}]}', {}, 400),
        ("/explorer/report", MULTIPART, {"Content-Type": "multipart/form-data; boundary=x"}, 400),
        ("/explorer/report", b"model=\xff", {"Content-Type": FORM}, 400),
        ("/explorer/report", b"model=shop&version=1", {"Content-Type": f"{FORM}; charset=none"}, 404),
        ("/explorer/report", b"a=b&" * 11, {"Content-Type": FORM}, 400),
    ],
    ids=["no gzip", "no deflate", "bomb", "surrogate", "multipart", "no ASCII", "charset", "many fields"],
)
def test_a_body_that_cannot_be_read_is_the_clients_mistake(server, path, body, headers, status):
    before = num_defects(server)
    found, content = server.send(path, body, headers=headers)
    assert (found, list(content)) == (status, ["error"])
    assert num_defects(server) == before


def test_a_compressed_body_is_read(server):
    wanted = server.send(PATH, good_body())
    assert server.send(PATH, gzip.compress(good_body()), headers={"Content-Encoding": "gzip"}) == wanted


def test_bytes_that_are_no_http_are_one_line_of_the_log(server):
    num_events = len(server.events)
    with socket.create_connection(("127.0.0.1", server.addresses.rest_port), timeout=60) as connection:
        connection.sendall(b"GET / HTTP/9.9\r\n\r\n")
        assert connection.makefile("rb").readline().startswith(b"HTTP/1.0 400")
    (event,) = [event for event in server.events[num_events:] if event["event"] == "bad_connection"]
    assert set(event) == {"event", "problem", "kind"}


def test_a_client_that_leaves_is_no_defect(server):
    num_events, before = len(server.events), num_defects(server)
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.addresses.rest_port), timeout=60) as connection:
        connection.sendall(head.encode() + b"{")
    left: list[dict] = []
    for _ in range(1000):  # the server notices it soon, but not at once
        if left := [event for event in server.events[num_events:] if event.get("status") == 499]:
            break
        time.sleep(0.02)
    assert (len(left), num_defects(server)) == (1, before)
    assert not [event for event in server.events[num_events:] if event["event"] == "bad_connection"]


@pytest.mark.parametrize("method", ["PredictionService/Predict", "ModelService/GetModelStatus"])
def test_bytes_that_are_no_message_are_the_clients_mistake(server, method):
    with grpc.insecure_channel(f"127.0.0.1:{server.addresses.grpc_port}") as channel:
        call = channel.unary_unary(f"/tensorflow.serving.{method}")
        with pytest.raises(grpc.RpcError) as caught:
            call(b"\xff\xff", timeout=60)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "The message is not a tensorflow.serving." in caught.value.details()


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ({"name": "a" * 10_000}, grpc.StatusCode.NOT_FOUND),
        ({"name": NAME, "version_label": "a" * 10_000}, grpc.StatusCode.NOT_FOUND),
        ({"name": NAME, "signature_name": "a" * 10_000}, grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
def test_a_long_name_does_not_make_the_message_too_long(server, spec, code):
    request = predict_pb2.PredictRequest(model_spec=model_pb2.ModelSpec(**spec))
    with pytest.raises(grpc.RpcError) as caught:
        server.call("PredictionService/Predict", request, predict_pb2.PredictResponse)
    assert (caught.value.code(), len(caught.value.details()) < 500) == (code, True)


def test_a_long_string_cannot_stand_for_many(server):
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = NAME, "similar"
    tensor = request.inputs["candidate_id"]
    tensor.dtype = 7  # DT_STRING
    tensor.tensor_shape.dim.add().size = LIMITS.max_rows
    # Once for itself, and once for each of the rows that follow.
    tensor.string_val.append(b"x" * (LIMITS.max_body_bytes // (LIMITS.max_rows - 1) + 1))
    with pytest.raises(grpc.RpcError) as caught:
        server.call("PredictionService/Predict", request, predict_pb2.PredictResponse)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    tensor.string_val[0] = b"m1"
    response = server.call("PredictionService/Predict", request, predict_pb2.PredictResponse)
    assert response.outputs["scores"].tensor_shape.dim[0].size == LIMITS.max_rows
