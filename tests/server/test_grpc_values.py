"""Messages of TensorFlow to tensors and back, as tables."""

import numpy as np
import pytest
import tensorflow as tf

from tests.server.test_rest_values import IDS, LIMITS, MANY, SCORES, USER
from tfrs_twotower.server.errors import RequestError
from tfrs_twotower.server.grpc_values import read_inputs, write_outputs
from tfrs_twotower.server.protos import predict_pb2, tensor_pb2, types_pb2

ROWS = {
    "age": np.array([20, np.nan], np.float32),
    "history": np.array([[b"a", b""], [b"b", b"c"]], object),
    "history_rating": np.array([[5, np.nan], [1, 2]], np.float32),
    "user": np.array(["u1", "Amélie".encode()], object),
    "vector": np.array([[1, 2], [3, 4]], np.float32),
    "when": np.array([-5, 2**62], np.int64),
}


def request(**changed):
    message = predict_pb2.PredictRequest()
    for name, values in {**ROWS, **changed}.items():
        if values is None:
            continue
        is_message = isinstance(values, tensor_pb2.TensorProto)
        message.inputs[name].CopyFrom(values if is_message else tf.make_tensor_proto(values))
    return message.inputs


def tensor(dtype, shape, **fields):
    message = tensor_pb2.TensorProto(dtype=dtype, **fields)
    for size in shape:
        message.tensor_shape.dim.add().size = size
    return message


def test_inputs_are_read():
    num_rows, inputs = read_inputs(request(), MANY, LIMITS)
    assert num_rows == 2
    for name, values in ROWS.items():
        got = inputs[name].values
        if isinstance(got, list):
            expected = [x.encode() if isinstance(x, str) else x for x in values.ravel().tolist()]
            assert got == expected
        else:
            np.testing.assert_array_equal(got, values.ravel())
        assert inputs[name].width == (values.shape[1] if values.ndim > 1 else 1)


def test_the_last_value_stands_for_those_that_follow():
    given = tensor(types_pb2.DT_STRING, [3], string_val=[b"u1", b"u2"])
    _, inputs = read_inputs({"user": given}, USER, LIMITS)
    assert inputs["user"].values == [b"u1", b"u2", b"u2"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"usr": ["u"]}, "alias not found in signature: 'usr'"),
        ({"age": None}, "lacks the input 'age'"),
        ({"age": [1, 2]}, "'age' must be DT_FLOAT. Received: DT_INT32"),
        ({"age": tensor(999, [2])}, "'age' must be DT_FLOAT. Received: 999"),
        ({"user": "u1"}, r"'user' must have the shape \['any'\]. Received: \[\]"),
        ({"user": [["u1"], ["u2"]]}, r"Received: \[2, 1\]"),
        ({"user": tensor(types_pb2.DT_STRING, [-2], string_val=[b"a"])}, r"Received: \[-2\]"),
        ({"vector": np.ones((2, 3), np.float32)}, r"'vector' must have the shape \['any', 2\]"),
        ({"user": ["u1"]}, "equally many rows"),
        ({"user": ["u"] * 5}, "at most 4 rows"),
        ({"user": tensor(types_pb2.DT_STRING, [2**40], string_val=[b"a"])}, "at most 4 rows"),
        ({"history": tensor(types_pb2.DT_STRING, [2, 2**40], string_val=[b"a"])}, "at most 5 values"),
        ({"history": tensor(types_pb2.DT_STRING, [4, 5], string_val=[b"a"])}, "at most 12 values"),
        ({"user": tensor(types_pb2.DT_STRING, [2])}, "'user' must have 2 values. Received: 0"),
        ({"user": tensor(types_pb2.DT_STRING, [2], string_val=[b"a"] * 3)}, "must have 2 values. Received: 3"),
        ({"user": tensor(types_pb2.DT_STRING, [2], tensor_content=b"abc")}, "must be in `string_val`"),
        ({"age": tensor(types_pb2.DT_FLOAT, [2], tensor_content=b"abc")}, "must have 8 bytes of `tensor_content`"),
    ],
)
def test_what_does_not_fit_is_refused(changed, message):
    with pytest.raises(RequestError, match=message):
        read_inputs(request(**changed), MANY, LIMITS)


def test_outputs_are_written_as_tensorflow_reads_them():
    response = predict_pb2.PredictResponse()
    write_outputs({"ids": IDS, "scores": SCORES}, response.outputs)
    assert tf.make_ndarray(response.outputs["ids"]).tolist() == [[b"m1", b""], ["Amélie".encode(), b"\xff"]]
    scores = tf.make_ndarray(response.outputs["scores"])
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(scores.ravel(), SCORES.values)
