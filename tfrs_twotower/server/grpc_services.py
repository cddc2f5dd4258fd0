"""TensorFlow Serving's gRPC services, and reflection, which describes them to tools."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc_reflection.v1alpha import reflection

from tfrs_twotower.server.errors import Code, RequestError, invalid
from tfrs_twotower.server.grpc_values import read_inputs, write_outputs
from tfrs_twotower.server.models import Models, find_signature, predict
from tfrs_twotower.server.models_config import models_of_message
from tfrs_twotower.server.noted import Noted
from tfrs_twotower.server.protos import model_management_pb2, predict_pb2
from tfrs_twotower.server.services import MODEL_SERVICE, PREDICTION_SERVICE, Method, Service, register
from tfrs_twotower.server.statuses import SIGNATURE_DEF, metadata_of, status_of
from tfrs_twotower.server.timeouts import timeout
from tfrs_twotower.server.tokens import is_authorized

_SERVICES = (PREDICTION_SERVICE, MODEL_SERVICE)
# What a connection costs is small, but not nothing.
_MAX_STREAMS = 1000


def build_server(models: Models, *, log: Callable[..., None]) -> grpc.aio.Server:
    """Builds the gRPC server.

    Args:
        models: The models that it serves.
        log: Called with an event and its details.
    """
    limits = models.config.limits
    server = grpc.aio.server(
        interceptors=[_TokenInterceptor(models.config.token)],
        options=[
            ("grpc.max_receive_message_length", limits.max_body_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_concurrent_streams", _MAX_STREAMS),
            ("grpc.so_reuseport", 0),
            ("grpc.max_allowed_incoming_connections", limits.max_connections),
            ("grpc.server_handshake_timeout_ms", round(limits.idle_timeout_s * 1e3)),
        ],
        # Those that wait for versions, and as many that are read or written.
        maximum_concurrent_rpcs=2 * limits.max_queued * len(models.config.models),
    )
    methods = _Methods(models)
    handlers = {
        "Predict": methods.predict,
        "GetModelMetadata": methods.get_model_metadata,
        "GetModelStatus": methods.get_model_status,
        "HandleReloadConfigRequest": methods.reload_config,
    }
    for service in _SERVICES:
        register(service)
        server.add_generic_rpc_handlers((_handlers(service, handlers, models, log),))
    reflection.enable_server_reflection(
        (*(service.full_name for service in _SERVICES), reflection.SERVICE_NAME), server
    )
    return server


_Method = Callable[[Any, Noted], Coroutine[Any, Any, Any]]


class _Methods:
    """What each method answers."""

    def __init__(self, models: Models) -> None:
        self._models = models

    async def predict(self, request: Any, noted: Noted) -> Any:
        spec = request.model_spec
        version = self._find(spec, noted)
        signature = find_signature(version, spec.signature_name)
        noted.signature = signature.name
        unknown = [name for name in request.output_filter if name not in signature.outputs]
        if unknown:
            raise invalid(f"output tensor alias not found in signature: {unknown[0][:60]!a}")
        num_rows, inputs = read_inputs(request.inputs, signature, self._models.config.limits)
        noted.num_rows = num_rows
        outputs = await predict(version, signature, num_rows, inputs)
        response = predict_pb2.PredictResponse()
        response.model_spec.name = spec.name
        response.model_spec.version.value = version.number
        response.model_spec.signature_name = signature.name
        wanted = request.output_filter or outputs
        write_outputs({name: outputs[name] for name in wanted}, response.outputs)
        return response

    async def get_model_metadata(self, request: Any, noted: Noted) -> Any:
        fields = list(request.metadata_field)
        if fields != [SIGNATURE_DEF]:
            raise invalid(
                f"`metadata_field` must be {SIGNATURE_DEF}. Received: {[field[:60] for field in fields[:5]]}."
            )
        return metadata_of(request.model_spec.name, self._find(request.model_spec, noted))

    async def get_model_status(self, request: Any, noted: Noted) -> Any:
        name, version, label = _read_spec(request.model_spec)
        response = status_of(self._models, name, version, label)
        noted.model = name
        return response

    async def reload_config(self, request: Any, noted: Noted) -> Any:
        try:
            models = models_of_message(request.config)
        except (ValueError, TypeError) as error:
            raise invalid(str(error)) from error
        self._models.configure(models)
        await self._models.wait_for_update()
        response = model_management_pb2.ReloadConfigResponse()
        response.status.error_code = 0
        return response

    def _find(self, spec: Any, noted: Noted) -> Any:
        name, number, label = _read_spec(spec)
        model = self._models.model(name)
        noted.model = name
        version = model.find(number, label)
        noted.version = version.number
        return version


def _read_spec(spec: Any) -> tuple[str, int | None, str | None]:
    if not spec.name:
        raise invalid("Missing ModelSpec name in request.")
    choice = spec.WhichOneof("version_choice")
    return (
        spec.name,
        spec.version.value if choice == "version" else None,
        spec.version_label if choice == "version_label" else None,
    )


def _handlers(
    service: Service, methods: Mapping[str, _Method], models: Models, log: Callable[..., None]
) -> grpc.GenericRpcHandler:
    def handler(declared: Method) -> Callable[..., Awaitable[Any]]:
        path, method = f"/{service.full_name}/{declared.name}", methods.get(declared.name)

        # Of bytes that are no message, gRPC would say that the server made a mistake.
        async def answer(data: bytes, context: grpc.aio.ServicerContext) -> Any:
            return await _answer(path, method, declared.request, data, context, models, log)

        return answer

    return grpc.method_handlers_generic_handler(
        service.full_name,
        {
            method.name: grpc.unary_unary_rpc_method_handler(
                handler(method),
                response_serializer=method.response.SerializeToString,
            )
            for method in service.methods
        },
    )


async def _answer(
    path: str,
    method: _Method | None,
    request_class: Any,
    data: bytes,
    context: grpc.aio.ServicerContext,
    models: Models,
    log: Callable[..., None],
) -> Any:
    """Answers a request; errors, log and metrics are the same for all methods."""
    start, noted = time.perf_counter(), Noted()
    limit_s, left_s = models.config.limits.timeout_s, context.time_remaining()
    error: RequestError | None = None
    response = None
    try:
        if method is None:
            raise RequestError(Code.UNIMPLEMENTED, "Bundles have no signature for this method. Use Predict.")
        async with timeout(limit_s if left_s is None else min(limit_s, left_s)):
            response = await method(_parse(request_class, data), noted)
    except RequestError as raised:
        error = raised
    except asyncio.TimeoutError:
        error = RequestError(Code.DEADLINE_EXCEEDED, "The request was not answered in time.")
    except Exception as raised:
        log("defect", kind=type(raised).__name__, problem=str(raised))
        error = RequestError(Code.INTERNAL, "The server made a mistake.")
    latency_s = time.perf_counter() - start
    code = "OK" if error is None else error.code.name
    models.metrics.count_request("grpc", noted.model, noted.signature, code, latency_s)
    log(
        "request",
        api="grpc",
        path=path,
        code=code,
        latency_ms=round(latency_s * 1e3, 2),
        **noted.to_dict(),
    )
    if error is not None:
        await context.abort(grpc.StatusCode[error.code.grpc_name], error.message)
    return response


def _parse(request_class: Any, data: bytes) -> Any:
    try:
        return request_class.FromString(data)
    except DecodeError as error:
        raise invalid(f"The message is not a {request_class.DESCRIPTOR.full_name}: {error}") from error


class _TokenInterceptor(grpc.aio.ServerInterceptor):
    """Refuses calls without the token."""

    def __init__(self, token: str | None) -> None:
        self._token = token

        async def refuse(request: Any, context: grpc.aio.ServicerContext) -> None:
            await context.abort(
                grpc.StatusCode.UNAUTHENTICATED, "The request needs the metadata `authorization: Bearer <token>`."
            )

        self._refuse = grpc.unary_unary_rpc_method_handler(refuse)
        self._refuse_stream = grpc.stream_stream_rpc_method_handler(_refuse_stream)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        """Passes a call on, or refuses it."""
        given = dict(handler_call_details.invocation_metadata or ()).get("authorization")
        header = given.decode("utf-8", errors="replace") if isinstance(given, bytes) else given
        if is_authorized(header, self._token):
            return await continuation(handler_call_details)
        is_stream = "reflection" in handler_call_details.method
        return self._refuse_stream if is_stream else self._refuse


async def _refuse_stream(requests: Any, context: grpc.aio.ServicerContext) -> Any:
    await context.abort(
        grpc.StatusCode.UNAUTHENTICATED, "The request needs the metadata `authorization: Bearer <token>`."
    )
    yield None
