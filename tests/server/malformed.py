"""Random requests to a server, nearly all of them malformed: HTTP as bytes, and messages of gRPC."""

from __future__ import annotations

import base64
import copy
import dataclasses
import gzip
import json
import math
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tests.fuzzing import EXTREME, TEXTS, TIMES
from tfrs_twotower.server.protos import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    predict_pb2,
)
from tfrs_twotower.server.tensors import SignatureSpec

_MAX_ROWS, _MAX_WIDTH = 4, 5
_ODD_VALUES: list[Any] = [None, True, 0, -1, 2**63, 10**400, 0.1, math.nan, math.inf, "", "x", "\ud800", [], {}, [[]]]
_ODD_VALUES += [[None], {"b64": "!"}, {"b64": 1}, {"b64": "eA==", "x": 1}, "a" * 70_000, [[1], 2], "\x00", "a\nb"]
_ODD_TEXTS = [b"", b"{", b"nul\x00", b"\xff\xfe", b"[]", b"null", b"NaN", b'"\\ud800"', b"1e999", b"\xef\xbb\xbf{}"]
_ODD_PATHS = [
    "/v1/models/NAME/versions/99999999999999999999:predict",
    "/v1/models/NAME/versions/0:predict",
    "/v1/models/NAME/versions/\u0661:predict",
    "/v1/models/NAME/labels/none:predict",
    "/v1/models/NAME/labels/%00:predict",
    "/v1/models/NAME:classify",
    "/v1/models/NAME:regress",
    "/v1/models/NAME:explode",
    "/v1/models/none:predict",
    "/v1/models/..:predict",
    "/v1/models/../../etc/passwd",
    "/v1/models/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "/v1/models/%ff%fe:predict",
    "/v1/models/%:predict",
    "/v1/models/%zz/metadata",
    "/v1/models/NAME/metadata?" + "a=b&" * 1000,
    "/v1/models/" + "a" * 6000,
    "/v1/" + "../" * 500,
    "/v1/models/NAME\x01:predict",
    "//v1//models//NAME:predict",
    "/explorer/../../../../etc/passwd",
    "/explorer/%2e%2e/worker.py",
    "/explorer/page.html%00",
    "/explorer/models/NAME/versions/9999999999999999999",
    "/explorer/models/%ff/versions/1",
    "/explorer/models/NAME/versions/1/__init__",
    "/explorer/models/NAME/versions/1/reply",
    "*",
    "http://127.0.0.1/v1/models/NAME",
    "http://[::1/v1",
    "",
]
_METHODS = ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT", "PATCH", "get", "PO ST", "\x00", "X"]
_HEADERS = [
    "Content-Type: text/plain",
    "Content-Type: application/json; charset=none",
    "Content-Type: multipart/form-data",
    "Content-Type: multipart/form-data; boundary=",
    "Content-Type: \xff",
    "Content-Encoding: gzip",
    "Content-Encoding: br",
    "Content-Encoding: deflate",
    "Content-Encoding: zstd",
    "Content-Encoding: none",
    "Content-Length: 5",
    "Content-Length: -1",
    "Content-Length: 1e3",
    "Content-Length: 99999999999999999999",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: none",
    "Expect: 100-continue",
    "Expect: none",
    "Upgrade: websocket\r\nConnection: upgrade",
    "Upgrade: h2c\r\nConnection: upgrade",
    "Connection: close",
    "Host: evil.example",
    "Host: [::1",
    "Host: a:b:c",
    "Host:",
    "Range: bytes=5-1",
    "If-Modified-Since: \xff",
    "Authorization: Bearer \xff",
    "Cookie: " + "a=b; " * 500,
    "X: " + "a" * 9000,
    "X" * 9000 + ": a",
    "No colon",
    ": no name",
    " : space",
    "X: a\r\n folded",
    "X: a\x00b",
]
_QUESTIONS = {
    "find_candidates": {"text": "title", "limit": 5},
    "name_candidates": {"ids": ["m1", "none", ""]},
    "find_queries": {"text": "u", "limit": 5},
    "draw_query": {},
    "remember": {"query_id": "u1"},
    "explode": {},
}
_FORM = "application/x-www-form-urlencoded"


@dataclasses.dataclass(frozen=True, kw_only=True)
class HttpRequest:
    """What a client sends over a connection of its own.

    Attributes:
        kind: What is wrong with it, for counts.
        parts: What is sent, one after the other.
        pause_s: Seconds between two parts.
        leaves: Whether the client closes the connection then, without reading.
        is_whole: Whether a server has all that it needs for a response. Otherwise it may close the connection.
    """

    kind: str
    parts: list[bytes]
    pause_s: float = 0.0
    leaves: bool = False
    is_whole: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class GrpcRequest:
    """A call of gRPC.

    Attributes:
        kind: What is wrong with it, for counts.
        method: Path of the method.
        message: The message's bytes.
        timeout_s: The client's deadline.
        cancelled_after_s: Seconds after which the client cancels it; None if it does not.
    """

    kind: str
    method: str
    message: bytes
    timeout_s: float = 60.0
    cancelled_after_s: float | None = None


class MalformedRequests:
    """Makes random requests.

    Args:
        signatures: Signatures of the model.
        name: Name of the model.
        max_body_bytes: The server's limit.
        max_rows: The server's limit.
        seed: Seed of the requests.
    """

    def __init__(
        self, signatures: Mapping[str, SignatureSpec], *, name: str, max_body_bytes: int, max_rows: int, seed: int
    ) -> None:
        self._signatures, self._name = signatures, name
        self._max_body_bytes, self._max_rows = max_body_bytes, max_rows
        self._rng = np.random.default_rng(seed)

    def http(self) -> HttpRequest:
        """Makes a request over HTTP."""
        kinds: list[tuple[float, Callable[[], HttpRequest]]] = [
            (3, self._odd_values),
            (3, self._odd_bytes),
            (1, self._odd_shape),
            (1, self._odd_path),
            (1, self._odd_header),
            (1, self._compressed),
            (1, self._chunked),
            (1, self._question),
            (0.5, self._form),
            (0.5, self._garbage),
            (0.5, self._leaves),
            (0.3, self._pipelined),
            (0.2, self._too_large),
            (0.1, self._slow),
        ]
        return self._draw(kinds)()

    def grpc(self) -> GrpcRequest:
        """Makes a call of gRPC."""
        kinds: list[tuple[float, Callable[[], GrpcRequest]]] = [
            (4, self._odd_tensors),
            (1, self._odd_spec),
            (1, self._odd_message),
            (0.5, self._odd_method),
            (1, self._impatient),
            (0.2, self._large_message),
        ]
        return self._draw(kinds)()

    # HTTP

    def _odd_values(self) -> HttpRequest:
        """Replaces, removes or adds values anywhere in a well-formed body."""
        body = self._body()
        for _ in range(self._rng.integers(1, 4)):
            self._mutate(body)
        return self._post("odd values", json.dumps(body).encode())

    def _odd_bytes(self) -> HttpRequest:
        """Changes the bytes of a well-formed body."""
        data = json.dumps(self._body()).encode()
        place = int(self._rng.integers(0, len(data)))
        odd = _ODD_TEXTS[self._rng.integers(len(_ODD_TEXTS))]
        deep = int(self._rng.integers(1, 100_000))
        choices = [
            lambda: data[:place],
            lambda: data[:place] + odd + data[place:],
            lambda: data[:place] + self._rng.bytes(3) + data[place + 3 :],
            lambda: b"[" * deep,
            lambda: b'{"instances": ' + b"[" * deep + b"NaN" + b"]" * deep + b"}",
            lambda: b'{"instances":' * (deep // 10),
            lambda: b'{"inputs": 1' + b"0" * deep + b"}",
            lambda: b'{"inputs": NaN, "instances": [1' + b"0" * deep + b"]}",
            lambda: data[:-1] + b', "instances": [], "instances": 1, "inputs": {}}',
            lambda: data.decode().encode(str(self._rng.choice(["utf-16", "utf-32", "utf-8-sig"]))),
            lambda: json.dumps({"instances": ["\ud800", math.nan]}).encode(),
            lambda: odd,
            lambda: self._rng.bytes(100),
        ]
        return self._post("odd bytes", choices[self._rng.integers(len(choices))]())

    def _odd_shape(self) -> HttpRequest:
        """Gives unequal numbers of rows, too many rows, or lists of any length."""
        signature = self._signature()
        rows = [self._row(signature) for _ in range(self._rng.integers(1, _MAX_ROWS))]
        columns = {name: [row[name] for row in rows] for name in signature.inputs}
        changed = str(self._rng.choice(sorted(columns)))
        factor = int(self._rng.choice([0, 2, 100, self._max_rows, self._max_rows + 1]))
        columns[changed] = columns[changed] * factor
        if self._rng.random() < 0.3:
            columns = {name: values[:1] * (self._max_rows + 1) for name, values in columns.items()}
        if self._rng.random() < 0.3:
            columns[changed] = [["x"] * int(self._rng.integers(0, 20_000)), []]
        return self._post("odd shape", json.dumps({"signature_name": signature.name, "inputs": columns}).encode())

    def _odd_path(self) -> HttpRequest:
        path = str(self._rng.choice(_ODD_PATHS)).replace("NAME", self._name)
        method = str(self._rng.choice(_METHODS if self._rng.random() < 0.5 else ["GET", "POST"]))
        return self._post("odd path", json.dumps(self._body()).encode(), path=path, method=method)

    def _odd_header(self) -> HttpRequest:
        headers = [str(header) for header in self._rng.choice(_HEADERS, self._rng.integers(1, 3))]
        return self._post("odd header", json.dumps(self._body()).encode(), headers=headers, is_whole=False)

    def _compressed(self) -> HttpRequest:
        """Compresses a body, wrongly, or one that is far too large."""
        data = json.dumps(self._body()).encode()
        if self._rng.random() < 0.3:
            data = b'{"inputs": "' + b" " * (50 * self._max_body_bytes) + b'"}'
        how = str(self._rng.choice(["gzip", "deflate"]))
        packed = gzip.compress(data, 1) if how == "gzip" else zlib.compress(data, 1)
        damage = self._rng.random()
        if damage < 0.3:
            packed = packed[: len(packed) // 2]
        elif damage < 0.5:
            packed = self._rng.bytes(50)
        return self._post("compressed", packed, headers=[f"Content-Encoding: {how}"])

    def _chunked(self) -> HttpRequest:
        data = json.dumps(self._body()).encode()
        size = b"%x" % len(data)
        sizes = [size, b"-1", b"ffffffffffffffffff", b"zz", b"", size + b";a=b", b"0" * 5000 + size]
        chosen = sizes[self._rng.integers(len(sizes))]
        end = [b"\r\n0\r\n\r\n", b"\r\n0\r\nX: y\r\n\r\n", b"no line end0\r\n\r\n", b"\r\n-0\r\n\r\n"]
        body = chosen + b"\r\n" + data + end[self._rng.integers(len(end))]
        head = self._head(self._predict_path, "POST", ["Transfer-Encoding: chunked"])
        return HttpRequest(kind="chunked", parts=[head, body], is_whole=False)

    def _question(self) -> HttpRequest:
        """Asks what the explorer asks, with odd values in it."""
        ask = str(self._rng.choice(sorted(_QUESTIONS)))
        content: Any = {"question": copy.deepcopy(_QUESTIONS[ask])}
        for _ in range(self._rng.integers(0, 3)):
            self._mutate(content)
        data = json.dumps(content.get("question")).encode()
        if self._rng.random() < 0.2:
            data = data[:-2] + _ODD_TEXTS[self._rng.integers(len(_ODD_TEXTS))]
        path = f"/explorer/models/{self._name}/versions/1/{ask}"
        return self._post("question", data, path=path)

    def _form(self) -> HttpRequest:
        """Asks for the explorer's report, by a form that is well-formed or not."""
        form = f"token=&model={self._name}&version=1".encode()
        multipart = b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nshop\r\n--x--\r\n'
        file = b'--x\r\nContent-Disposition: form-data; name="model"; filename="a"\r\n\r\nshop\r\n--x--\r\n'
        contents = [
            (_FORM, form),
            (_FORM, form.replace(b"1", b"%d9%a1")),
            (_FORM, b"model=%ff&version=%00"),
            (_FORM, b"\xff\xfe"),
            (f"{_FORM}; charset=none", form),
            (f"{_FORM}; charset=utf-16", form),
            (_FORM, b"a=b&" * 50_000),
            ("multipart/form-data; boundary=x", multipart),
            ("multipart/form-data; boundary=x", file),
            ("multipart/form-data; boundary=x", multipart[:-10]),
            ("multipart/form-data; boundary=x", multipart.replace(b"form-data", b"\xff")),
            ("multipart/form-data; boundary=x", multipart.replace(b'name="model"', b"")),
            (
                "multipart/form-data; boundary=x",
                multipart.replace(b"\r\n\r\nshop", b"\r\nContent-Encoding: x\r\n\r\nshop"),
            ),
            ("multipart/form-data; boundary=x", self._rng.bytes(100)),
            ("multipart/form-data; boundary=y", multipart),
            ("multipart/form-data", multipart),
            ("text/plain", form),
        ]
        kind, data = contents[self._rng.integers(len(contents))]
        return self._post("form", data, path="/explorer/report", headers=[f"Content-Type: {kind}"])

    def _garbage(self) -> HttpRequest:
        starts = [
            b"",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"GET /\r\n\r\n",
            b"\x16\x03\x01",
        ]
        data = starts[self._rng.integers(len(starts))] + self._rng.bytes(self._rng.integers(1, 2000))
        return HttpRequest(kind="garbage", parts=[data], is_whole=False)

    def _leaves(self) -> HttpRequest:
        """Closes the connection somewhere in the request, or before the response."""
        (data,) = self._post("", json.dumps(self._body()).encode()).parts
        return HttpRequest(kind="leaves", parts=[data[: self._rng.integers(1, len(data) + 1)]], leaves=True)

    def _pipelined(self) -> HttpRequest:
        requests = [self._post("", json.dumps(self._body()).encode()).parts[0] for _ in range(8)]
        return HttpRequest(kind="pipelined", parts=[b"".join(requests)])

    def _too_large(self) -> HttpRequest:
        data = b" " * (self._max_body_bytes + 1000)
        if self._rng.random() < 0.5:
            return self._post("too large", data)
        head = self._head(self._predict_path, "POST", ["Transfer-Encoding: chunked"])
        chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
        return HttpRequest(kind="too large", parts=[head, *[chunk] * (len(data) // 0x10000 + 2)])

    def _slow(self) -> HttpRequest:
        """Sends a header or a body a few bytes at a time, or never ends."""
        (data,) = self._post("", json.dumps(self._body()).encode()).parts
        choice = self._rng.integers(3)
        if choice == 0:
            parts = [data[place : place + 20] for place in range(0, len(data) // 2, 20)]
            return HttpRequest(kind="slow", parts=parts, pause_s=0.2, is_whole=False)
        if choice == 1:
            return HttpRequest(kind="slow", parts=[data[:-5]], is_whole=False)
        return HttpRequest(kind="slow", parts=[data[:30]], is_whole=False)

    def _post(
        self,
        kind: str,
        data: bytes,
        *,
        path: str | None = None,
        method: str = "POST",
        headers: list[str] | None = None,
        is_whole: bool = True,
    ) -> HttpRequest:
        lengths = (
            [] if any("Content-Length" in header for header in headers or []) else [f"Content-Length: {len(data)}"]
        )
        head = self._head(self._predict_path if path is None else path, method, [*(headers or []), *lengths])
        return HttpRequest(kind=kind, parts=[head + data], is_whole=is_whole)

    def _head(self, path: str, method: str, headers: list[str]) -> bytes:
        lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *headers, "", ""]
        return "\r\n".join(lines).encode("utf-8" if not path.isascii() else "latin-1")

    @property
    def _predict_path(self) -> str:
        return f"/v1/models/{self._name}:predict"

    def _body(self) -> dict[str, Any]:
        signature = self._signature()
        rows = [self._row(signature) for _ in range(self._rng.integers(1, _MAX_ROWS))]
        if self._rng.random() < 0.5:
            return {"signature_name": signature.name, "instances": rows}
        columns = {name: [row[name] for row in rows] for name in signature.inputs}
        return {"signature_name": signature.name, "inputs": columns}

    def _row(self, signature: SignatureSpec) -> dict[str, Any]:
        width = int(self._rng.integers(0, _MAX_WIDTH))
        row: dict[str, Any] = {}
        for name, spec in signature.inputs.items():
            size = 1 if len(spec.shape) == 1 else spec.shape[1] if spec.shape[1] is not None else width
            values = [_to_json(value) for value in self._values(spec.dtype, size)]
            row[name] = values[0] if len(spec.shape) == 1 else values
        return row

    def _mutate(self, body: Any) -> None:
        """Changes a value at a random place of nested lists and dictionaries."""
        places: list[tuple[Any, Any]] = []
        stack = [body]
        while stack:
            content = stack.pop()
            keys = list(content) if isinstance(content, dict) else range(len(content))
            places += [(content, key) for key in keys]
            stack += [content[key] for key in keys if isinstance(content[key], dict | list)]
        if not places:
            return
        container, key = places[self._rng.integers(len(places))]
        odd = copy.deepcopy(_ODD_VALUES[self._rng.integers(len(_ODD_VALUES))])
        choice = self._rng.random()
        if choice < 0.6:
            container[key] = odd
        elif choice < 0.75:
            del container[key]
        elif isinstance(container, dict):
            container[str(self._rng.choice(["none", "\ud800", "b64", "instances", "", "a" * 500]))] = odd
        else:
            container.append(odd)

    # gRPC

    def _odd_tensors(self) -> GrpcRequest:
        """Changes the tensors of a well-formed request."""
        request = self._predict_request()
        names = sorted(request.inputs)
        for _ in range(self._rng.integers(1, 3)):
            tensor = request.inputs[str(self._rng.choice(names))]
            dims = tensor.tensor_shape.dim
            size = int(self._rng.choice([-1, -(2**63), 0, 1, 2, 100, self._max_rows, 2**31, 2**62, 2**63 - 1]))
            choice = self._rng.integers(9)
            if choice == 0:
                tensor.dtype = int(self._rng.choice([0, 1, 3, 7, 9, 23, 101, 999, -5]))
            elif choice == 1 and dims:
                dims[self._rng.integers(len(dims))].size = size
            elif choice == 2:
                dims.add().size = size
            elif choice == 3:
                del dims[:]
            elif choice == 4:
                tensor.tensor_shape.unknown_rank = True
            elif choice == 5:
                tensor.tensor_content = self._rng.bytes(self._rng.integers(1, 40))
            elif choice == 6:
                tensor.string_val.extend([b"\xff", b"x" * 1000][: self._rng.integers(1, 3)])
            elif choice == 7:
                tensor.float_val.extend([math.nan, math.inf, 1e38])
            else:
                del tensor.string_val[:], tensor.float_val[:], tensor.int64_val[:]
        return GrpcRequest(kind="odd tensors", method=_PREDICT, message=request.SerializeToString())

    def _odd_spec(self) -> GrpcRequest:
        """Names models, versions, signatures, inputs and outputs that there are not."""
        request = self._predict_request()
        spec = request.model_spec
        choice = self._rng.integers(8)
        if choice == 0:
            spec.name = str(self._rng.choice(["", "none", "../..", "a" * 10_000, "\x00"]))
        elif choice == 1:
            spec.version.value = int(self._rng.choice([-(2**63), -1, 0, 7, 2**63 - 1]))
        elif choice == 2:
            spec.version_label = str(self._rng.choice(["", "none", "\x00"]))
        elif choice == 3:
            spec.signature_name = str(self._rng.choice(["none", "__saved_model_init_op", "a" * 10_000]))
        elif choice == 4:
            request.inputs["none"].dtype = 1
        elif choice == 5:
            del request.inputs[sorted(request.inputs)[0]]
        elif choice == 6:
            request.output_filter.append(str(self._rng.choice(["", "none", "é" * 1000])))
        else:
            return self._management()
        return GrpcRequest(kind="odd spec", method=_PREDICT, message=request.SerializeToString())

    def _management(self) -> GrpcRequest:
        """Asks for states and metadata that there are not, or for models that the server was not started with."""
        name = str(self._rng.choice([self._name, "", "none"]))
        version = int(self._rng.choice([1, -1, 7]))
        choice = self._rng.integers(3)
        if choice == 0:
            status = get_model_status_pb2.GetModelStatusRequest()
            status.model_spec.name, status.model_spec.version.value = name, version
            message, method = status.SerializeToString(), "ModelService/GetModelStatus"
        elif choice == 1:
            metadata = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def", "x"][:version])
            metadata.model_spec.name = name
            message, method = metadata.SerializeToString(), "PredictionService/GetModelMetadata"
        else:
            reload = model_management_pb2.ReloadConfigRequest()
            config = reload.config.model_config_list.config.add()
            config.name, config.base_path = name, str(self._rng.choice(["", "/etc", "..", "\x00"]))
            message, method = reload.SerializeToString(), "ModelService/HandleReloadConfigRequest"
        return GrpcRequest(kind="management", method=f"/tensorflow.serving.{method}", message=message)

    def _odd_message(self) -> GrpcRequest:
        """Sends bytes that are no message, or no longer one."""
        data = bytearray(self._predict_request().SerializeToString())
        for _ in range(self._rng.integers(1, 5)):
            data[self._rng.integers(len(data))] = self._rng.integers(256)
        message = bytes(data[: self._rng.integers(1, len(data) + 1)])
        if self._rng.random() < 0.3:
            message = self._rng.bytes(self._rng.integers(0, 500))
        # Not `HandleReloadConfigRequest`: an empty message asks for nothing, and could be granted.
        method = str(self._rng.choice([_PREDICT, *_OTHER_METHODS]))
        return GrpcRequest(kind="odd message", method=method, message=message)

    def _odd_method(self) -> GrpcRequest:
        method = str(self._rng.choice(["/none", "/tensorflow.serving.PredictionService/None", "/a/b/c", "/a.b/c", "/"]))
        return GrpcRequest(kind="odd method", method=method, message=self._rng.bytes(20))

    def _impatient(self) -> GrpcRequest:
        request = self._predict_request()
        timeout_s = float(self._rng.choice([1e-4, 1e-3, 3e-3, 60]))
        after_s = float(self._rng.choice([0, 1e-3, 5e-3])) if timeout_s > 1 else None
        message = request.SerializeToString()
        return GrpcRequest(
            kind="impatient", method=_PREDICT, message=message, timeout_s=timeout_s, cancelled_after_s=after_s
        )

    def _large_message(self) -> GrpcRequest:
        """Sends a message over the limit, or one that is small until its last value stands for all others."""
        request = self._predict_request()
        if self._rng.random() < 0.3:
            request.model_spec.name = "a" * (self._max_body_bytes + 1)
        for tensor in request.inputs.values():
            if tensor.dtype == _STRING:
                tensor.string_val[:] = [b"x" * (self._max_body_bytes // 4)]
            tensor.tensor_shape.dim[0].size = self._max_rows
        return GrpcRequest(kind="large message", method=_PREDICT, message=request.SerializeToString())

    def _predict_request(self) -> Any:
        signature = self._signature()
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = self._name, signature.name
        num_rows, width = int(self._rng.integers(1, _MAX_ROWS)), int(self._rng.integers(0, _MAX_WIDTH))
        for name, spec in signature.inputs.items():
            shape = [num_rows, *(width if size is None else size for size in spec.shape[1:])]
            values = self._values(spec.dtype, math.prod(shape))
            tensor = request.inputs[name]
            for size in shape:
                tensor.tensor_shape.dim.add().size = size
            tensor.dtype = {"float32": 1, "string": _STRING, "int64": 9}[spec.dtype]
            {"float32": tensor.float_val, "string": tensor.string_val, "int64": tensor.int64_val}[spec.dtype].extend(
                values
            )
        return request

    # Both

    def _signature(self) -> SignatureSpec:
        return self._signatures[str(self._rng.choice(sorted(self._signatures)))]

    def _values(self, dtype: str, size: int) -> list[Any]:
        choices: list[Any] = {"string": [*TEXTS, b"u1", b"m1"], "float32": EXTREME, "int64": TIMES}[dtype]
        convert = {"string": bytes, "float32": float, "int64": int}[dtype]
        return [convert(choices[self._rng.integers(len(choices))]) for _ in range(size)]

    def _draw(self, kinds: list[tuple[float, Any]]) -> Any:
        weights = np.array([weight for weight, _ in kinds])
        return kinds[self._rng.choice(len(kinds), p=weights / weights.sum())][1]


_PREDICT = "/tensorflow.serving.PredictionService/Predict"
_OTHER_METHODS = [
    "/tensorflow.serving.PredictionService/Classify",
    "/tensorflow.serving.PredictionService/GetModelMetadata",
    "/tensorflow.serving.ModelService/GetModelStatus",
]
_STRING = 7


def _to_json(value: Any) -> Any:
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(value).decode()}
