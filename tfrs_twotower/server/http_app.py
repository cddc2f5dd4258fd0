"""TensorFlow Serving's REST API, health and metrics over HTTP."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import NamedTuple

import orjson
from aiohttp import web

from tfrs_twotower.server import metrics
from tfrs_twotower.server.errors import Code, RequestError, invalid
from tfrs_twotower.server.models import Models, find_signature, predict
from tfrs_twotower.server.noted import Noted
from tfrs_twotower.server.rest_values import read_body, read_inputs, write_error, write_outputs
from tfrs_twotower.server.served_versions import ServedVersion
from tfrs_twotower.server.statuses import metadata_json, status_json, status_of
from tfrs_twotower.server.timeouts import timeout
from tfrs_twotower.server.tokens import is_authorized

_MODEL = r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_PREDICTION = re.compile(rf"{_MODEL}:(?P<verb>classify|regress|predict)", re.IGNORECASE)
_METADATA = re.compile(rf"{_MODEL}/metadata", re.IGNORECASE)
_STATUS = re.compile(_MODEL, re.IGNORECASE)
_MAX_VERSION_DIGITS = 19
# For log and metrics alone, since nobody is there to read a response: gRPC's code, and the status that nginx logs.
_CANCELLED = "CANCELLED"
_CLIENT_CLOSED_STATUS = 499

_HEALTH = "/healthz"
_READINESS = "/readyz"
# What asks whether the server lives has no secrets.
_OPEN_PATHS = (_HEALTH, _READINESS)


_Handler = Callable[..., Awaitable[web.StreamResponse]]


class _Spec(NamedTuple):
    """What a path names."""

    name: str
    version: int | None
    label: str | None


#: What a handler notes about its request.
NOTED = web.RequestKey("noted", Noted)


def build_app(
    models: Models,
    *,
    log: Callable[..., None],
    pages: Iterable[web.AbstractRouteDef] = (),
    open_paths: Collection[str] = (),
) -> web.Application:
    """Builds the application.

    Args:
        models: The models that it serves.
        log: Called with an event and its details.
        pages: Further routes, such as a page at "/".
        open_paths: Those of their paths that ask for no token.
    """
    handlers = _Handlers(models)
    gate = _Gate(models, log, frozenset([*_OPEN_PATHS, *open_paths]))
    app = web.Application(middlewares=[gate.pass_through], client_max_size=models.config.limits.max_body_bytes)
    app.add_routes(pages)
    app.router.add_get(_HEALTH, handlers.health)
    app.router.add_get(_READINESS, handlers.readiness)
    app.router.add_get(metrics.PATH, handlers.metrics)
    app.router.add_get("/v1/{path:.*}", handlers.get)
    app.router.add_post("/v1/{path:.*}", handlers.post)
    return app


class _Handlers:
    """What each path answers."""

    def __init__(self, models: Models) -> None:
        self._models = models

    async def health(self, request: web.Request) -> web.Response:
        return _json({"status": "alive"})

    async def readiness(self, request: web.Request) -> web.Response:
        if self._models.is_ready:
            return _json({"status": "ready"})
        waiting = [name for name, model in self._models.by_name.items() if not model.available]
        return _json({"status": "not ready", "models": waiting}, Code.UNAVAILABLE.http_status)

    async def metrics(self, request: web.Request) -> web.Response:
        queues = {
            (name, str(version.number)): 0 if version.batcher is None else version.batcher.num_waiting
            for name, model in self._models.by_name.items()
            for version in model.available
        }
        self._models.metrics.show_versions(queues)
        text, content_type = self._models.metrics.text()
        return web.Response(body=text, headers={"Content-Type": content_type})

    async def get(self, request: web.Request) -> web.Response:
        if match := _METADATA.fullmatch(request.path):
            spec = _spec_of(match)
            version = self._find(request, spec)
            return _json(metadata_json(spec.name, version))
        if match := _STATUS.fullmatch(request.path):
            spec = _spec_of(match)
            return _json(status_json(status_of(self._models, *spec)))
        raise _malformed(request)

    async def post(self, request: web.Request) -> web.Response:
        match = _PREDICTION.fullmatch(request.path)
        if match is None:
            raise _malformed(request)
        if match["verb"].lower() != "predict":
            raise RequestError(
                Code.UNIMPLEMENTED, f"Bundles have no signature for {match['verb'].lower()}. Use :predict."
            )
        data = await request.read()
        noted = request[NOTED]
        # From here to `predict` nothing waits: the version cannot be retired before it has the request.
        version = self._find(request, _spec_of(match))
        body = read_body(data)
        signature = find_signature(version, body.signature)
        noted.signature = signature.name
        num_rows, inputs = read_inputs(body, signature, self._models.config.limits)
        noted.num_rows = num_rows
        outputs = await predict(version, signature, num_rows, inputs)
        return web.Response(body=write_outputs(outputs, is_rows=body.is_rows), content_type="application/json")

    def _find(self, request: web.Request, spec: _Spec) -> ServedVersion:
        noted = request[NOTED]
        model = self._models.model(spec.name)
        noted.model = spec.name
        version = model.find(spec.version, spec.label)
        noted.version = version.number
        return version


class _Gate:
    """What every request passes: the token, the time limit, errors, log and metrics."""

    def __init__(self, models: Models, log: Callable[..., None], open_paths: Collection[str]) -> None:
        self._models, self._log, self._open_paths = models, log, open_paths

    @property
    def pass_through(self) -> _Handler:
        """The middleware."""

        @web.middleware
        async def middleware(request: web.Request, handler: _Handler) -> web.StreamResponse:
            return await self._answer(request, handler)

        return middleware

    async def _answer(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        start = time.perf_counter()
        noted = request[NOTED] = Noted()
        timeout_s = self._models.config.limits.timeout_s
        code = "OK"
        response: web.StreamResponse
        try:
            if request.path not in self._open_paths:
                self._authorize(request)
                self._require_going_on()
            async with timeout(timeout_s):
                response = await handler(request)
        except RequestError as error:
            code, response = error.code.name, _error(error)
        except asyncio.TimeoutError:
            late = RequestError(Code.DEADLINE_EXCEEDED, f"The request was not answered within {timeout_s:g} s.")
            code, response = late.code.name, _error(late)
            response.force_close()  # what is left of the request's body must not be waited for
        except web.HTTPRequestEntityTooLarge:
            limit = self._models.config.limits.max_body_bytes
            too_large = RequestError(Code.TOO_LARGE, f"The body must have at most {limit} bytes.")
            code, response = too_large.code.name, _error(too_large)
            response.force_close()
        except web.RequestPayloadError:  # it is compressed or divided into chunks, and not as its header says
            unreadable = invalid("The body cannot be read: it is not encoded as the header says, or ends too early.")
            code, response = unreadable.code.name, _error(unreadable)
            response.force_close()
        except web.HTTPException as error:  # aiohttp's own: no such path, no such method
            code = Code.NOT_FOUND.name if error.status == Code.NOT_FOUND.http_status else Code.INVALID_ARGUMENT.name
            response = _error_response(error.status, f"Malformed request: {request.method} {request.path[:200]}")
        except ConnectionError:  # the client has left before its request was complete
            code, response = _CANCELLED, web.Response(status=_CLIENT_CLOSED_STATUS)
        except Exception as error:
            self._log("defect", kind=type(error).__name__, problem=str(error))
            code, response = Code.INTERNAL.name, _error(RequestError(Code.INTERNAL, "The server made a mistake."))
        self._note(request, noted, code, response.status, time.perf_counter() - start)
        return response

    def _authorize(self, request: web.Request) -> None:
        if not is_authorized(request.headers.get("Authorization"), self._models.config.token):
            raise RequestError(Code.UNAUTHENTICATED, "The request needs the header `Authorization: Bearer <token>`.")

    def _require_going_on(self) -> None:
        if self._models.is_stopping:
            raise RequestError(Code.UNAVAILABLE, "The server is stopping.")

    def _note(self, request: web.Request, noted: Noted, code: str, status: int, latency_s: float) -> None:
        self._models.metrics.count_request("rest", noted.model, noted.signature, code, latency_s)
        self._log(
            "request",
            api="rest",
            method=request.method,
            path=request.path,
            status=status,
            latency_ms=round(latency_s * 1e3, 2),
            **noted.to_dict(),
        )


def _spec_of(match: re.Match[str]) -> _Spec:
    digits = match["version"]
    if digits is not None and (len(digits) > _MAX_VERSION_DIGITS or not digits.isascii()):
        raise invalid(f"Failed to convert version: {digits[:40]!a} to numeric.")
    return _Spec(match["name"], None if digits is None else int(digits), match["label"])


def _malformed(request: web.Request) -> RequestError:
    return invalid(f"Malformed request: {request.method} {request.path[:200]}")


def _json(content: object, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(content), status=status, content_type="application/json")


def _error(error: RequestError) -> web.Response:
    response = _error_response(error.code.http_status, error.message)
    if error.code is Code.UNAUTHENTICATED:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _error_response(status: int, message: str) -> web.Response:
    return web.Response(body=write_error(message), status=status, content_type="application/json")
