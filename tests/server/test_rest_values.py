"""JSON to tensors and back, as tables."""

import json
import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrs_twotower.data.times import NO_TIME
from tfrs_twotower.server.config import Limits
from tfrs_twotower.server.errors import RequestError
from tfrs_twotower.server.frames import unpack_texts
from tfrs_twotower.server.rest_values import read_body, read_inputs, write_error, write_outputs
from tfrs_twotower.server.tensors import Output, SignatureSpec, Spec

LIMITS = Limits(max_rows=4, max_list_length=5, max_values=12)


def signature(**inputs) -> SignatureSpec:
    specs = {name: Spec(name, dtype, shape) for name, (dtype, shape) in inputs.items()}
    return SignatureSpec(name="recommend", inputs=specs, outputs={})


USER = signature(user=("string", (None,)))
HISTORY = signature(history=("string", (None, None)))
MANY = signature(
    age=("float32", (None,)),
    history=("string", (None, None)),
    history_rating=("float32", (None, None)),
    user=("string", (None,)),
    vector=("float32", (None, 2)),
    when=("int64", (None,)),
)
ROW = {"age": 20, "history": ["a"], "history_rating": [5.0], "user": "u", "vector": [1, 2.5], "when": -5}


def read(body, spec) -> tuple[int, dict]:
    """Returns the number of rows, and name -> (width, plain values)."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    rows, inputs = read_inputs(read_body(data), spec, LIMITS)
    return rows, {
        name: (x.width, x.values if isinstance(x.values, list) else x.values.tolist()) for name, x in inputs.items()
    }


@pytest.mark.parametrize(
    ("body", "spec", "expected"),
    [
        ({"instances": ["u1", "Amélie"]}, USER, {"user": (1, [b"u1", "Amélie".encode()])}),
        ({"instances": [{"user": "u1"}]}, USER, {"user": (1, [b"u1"])}),
        ({"instances": [{"b64": "/w=="}]}, USER, {"user": (1, [b"\xff"])}),
        ({"instances": [{"user": {"b64": "dTE="}}]}, USER, {"user": (1, [b"u1"])}),
        ({"inputs": ["u1", "u2"]}, USER, {"user": (1, [b"u1", b"u2"])}),
        ({"inputs": {"user": ["u1"], "else": [1]}}, USER, {"user": (1, [b"u1"])}),
        ({"inputs": {"user": []}}, USER, {"user": (1, [])}),
        ({"inputs": []}, HISTORY, {"history": (0, [])}),
        ({"instances": [["a", "b"], []]}, HISTORY, {"history": (2, [b"a", b"b", b"", b""])}),
        ({"instances": [{"history": []}]}, HISTORY, {"history": (0, [])}),
        ({"inputs": {"history": [["a"], ["b", "c"]]}}, HISTORY, {"history": (2, [b"a", b"", b"b", b"c"])}),
        (
            {"instances": [ROW]},
            MANY,
            {
                "age": (1, [20.0]),
                "history": (1, [b"a"]),
                "history_rating": (1, [5.0]),
                "user": (1, [b"u"]),
                "vector": (2, [1.0, 2.5]),
                "when": (1, [-5]),
            },
        ),
    ],
)
def test_values_are_read(body, spec, expected):
    _, values = read(body, spec)
    assert values == expected


def test_lists_are_padded_with_what_is_missing_in_their_dtype():
    spec = signature(ids=("string", (None, None)), numbers=("float32", (None, None)), times=("int64", (None, None)))
    rows, values = read({"inputs": {"ids": [["a"], []], "numbers": [[], [1]], "times": [[], [1]]}}, spec)
    assert rows == 2
    assert values["ids"] == (1, [b"a", b""])
    assert math.isnan(values["numbers"][1][0])
    assert values["numbers"][1][1] == 1.0
    assert values["times"] == (1, [NO_TIME, 1])


def test_a_missing_number_is_nan_as_tensorflow_serving_reads_it():
    _, values = read(b'{"inputs": {"age": [NaN, Infinity, -Infinity]}}', signature(age=("float32", (None,))))
    assert math.isnan(values["age"][1][0])
    assert values["age"][1][1:] == [math.inf, -math.inf]


@pytest.mark.parametrize(
    ("body", "spec", "message"),
    [
        (b"", USER, "The document is empty"),
        (b"{", USER, "JSON Parse error"),
        (b"\xff", USER, "JSON Parse error"),
        (b'{"instances": [NaN}', USER, "JSON Parse error"),
        (b'{"instances": ["\\ud800"]}', USER, "JSON Parse error"),
        (b'{"instances": [' + b"[" * 2000 + b"NaN" + b"]" * 2000 + b"]}", USER, "JSON Parse error"),
        ([], USER, "Is not object"),
        ({}, USER, "Missing 'inputs' or 'instances' key"),
        ({"inputs": ["u"], "instances": ["u"]}, USER, "only one of"),
        ({"signature_name": 1, "instances": ["u"]}, USER, "'signature_name' key must be a string"),
        ({"instances": "u"}, USER, "to be a list"),
        ({"instances": []}, USER, "No values in 'instances' array"),
        ({"instances": ["u", {"user": "u"}]}, USER, "got object at item 1"),
        ({"instances": [{"user": "u"}, "u"]}, USER, "Expecting object but got String at item 1"),
        ({"instances": ["u"]}, MANY, "expecting list of objects"),
        ({"instances": [{**ROW, "usr": "u"}]}, MANY, 'does not have named input: "usr"'),
        ({"instances": [ROW, {"user": "u"}]}, MANY, "process element: 1 .*Missing: age,history,history_rating,vector,"),
        ({"inputs": ["u"]}, MANY, "expecting an object"),
        ({"inputs": {"user": ["u"]}}, MANY, "Missing named input: age"),
        ({"inputs": {"user": "u"}}, USER, "'user' must be a list"),
        ({"inputs": "u"}, USER, "'user' must be a list"),
        ({"inputs": {name: [value] * (1 + (name == "age")) for name, value in ROW.items()}}, MANY, "equally many rows"),
        ({"instances": [42]}, USER, "Type: Number is not of expected type: string"),
        ({"instances": [None]}, USER, 'Type: Null .*A missing value is ""'),
        ({"instances": [True]}, USER, "Type: Bool"),
        ({"instances": [["u"]]}, USER, "Array of 1 Type: Array"),
        ({"instances": [{"b64": "?"}]}, USER, "Unable to base64 decode"),
        ({"instances": [{"user": {"b64": 1}}]}, USER, "Object of 1"),
        ({"instances": [{**ROW, "age": "20"}]}, MANY, "not of expected type: float"),
        ({"instances": [{**ROW, "age": True}]}, MANY, "not of expected type: float"),
        ({"instances": [{**ROW, "age": None}]}, MANY, "A missing value is NaN"),
        ({"instances": [{**ROW, "age": 1e39}]}, MANY, "without loss of precision"),
        ({"instances": [{**ROW, "age": 2**24 + 1}]}, MANY, "without loss of precision"),
        ({"instances": [{**ROW, "when": 1.0}]}, MANY, "not of expected type: int64"),
        ({"instances": [{**ROW, "when": 2**63}]}, MANY, "not of expected type: int64"),
        ({"instances": [{**ROW, "when": 10**400}]}, MANY, "JSON Parse error"),
        ({"instances": [{**ROW, "when": False}]}, MANY, "not of expected type: int64"),
        ({"instances": [{**ROW, "vector": [1]}]}, MANY, "'vector' must be lists of 2 values. Received in row 0: 1"),
        ({"instances": [{**ROW, "history": "a"}]}, MANY, "'history' must be lists. Received in row 0"),
        ({"instances": [{**ROW, "history": [["a"]]}]}, MANY, "not of expected type: string"),
        ({"instances": ["u"] * 5}, USER, "at most 4 rows. Received: 5"),
        ({"instances": [["a"] * 6]}, HISTORY, "'history' must have at most 5 values. Received: 6"),
        ({"instances": [["a"] * 5, [], []]}, HISTORY, "at most 12 values, .*Received: 3 lists of 5"),
    ],
)
def test_what_does_not_fit_is_refused(body, spec, message):
    with pytest.raises(RequestError, match=message):
        read(body, spec)


def texts(*values: bytes):
    lengths = np.array([len(value) for value in values], np.int64)
    return unpack_texts(memoryview(lengths.tobytes()), memoryview(b"".join(values)))


IDS = Output((2, 2), texts(b"m1", b"", "Amélie".encode(), b"\xff"))
SCORES = Output((2, 2), np.array([0.1, np.finfo(np.float32).min, 2, 1e-20], np.float32))


@pytest.mark.parametrize(
    ("outputs", "is_rows", "expected"),
    [
        (
            {"ids": IDS, "scores": SCORES},
            True,
            {
                "predictions": [
                    {"ids": ["m1", ""], "scores": [0.1, -3.4028235e38]},
                    {"ids": ["Amélie", {"b64": "/w=="}], "scores": [2.0, 1e-20]},
                ]
            },
        ),
        ({"scores": SCORES}, True, {"predictions": [[0.1, -3.4028235e38], [2.0, 1e-20]]}),
        ({"scores": SCORES}, False, {"outputs": [[0.1, -3.4028235e38], [2.0, 1e-20]]}),
        (
            {"ids": Output((1,), texts(b"m1")), "scores": Output((1,), np.array([0.5], np.float32))},
            True,
            {"predictions": [{"ids": "m1", "scores": 0.5}]},
        ),
        (
            {"ids": Output((0, 2), texts()), "scores": Output((0, 2), np.zeros(0, np.float32))},
            False,
            {"outputs": {"ids": [], "scores": []}},
        ),
    ],
)
def test_outputs_are_written(outputs, is_rows, expected):
    assert json.loads(write_outputs(outputs, is_rows=is_rows)) == expected


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_numbers_read_back_to_the_same_float32(values):
    written = write_outputs({"x": Output((len(values),), np.array(values, np.float32))}, is_rows=True)
    read_back = np.array(json.loads(written)["predictions"], np.float32)
    assert read_back.tobytes() == struct.pack(f"<{len(values)}f", *values)


def test_an_error_is_ascii_json():
    assert write_error('a "Amélie" \x1b') == rb'{"error": "a \"Am\u00e9lie\" \u001b"}'
