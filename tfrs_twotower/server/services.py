"""The two gRPC services of TensorFlow Serving: their methods and messages.

The modules for services in the package tensorflow-serving-api were generated for protobuf 3, and cannot be imported
with protobuf 4 and later. Those for messages can.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool

from tfrs_twotower.server.protos import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
)

_PACKAGE = "tensorflow.serving"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Method:
    """A method of a service, from one message to one message.

    Attributes:
        name: Its name.
        request: Class of the request.
        response: Class of the response.
    """

    name: str
    request: Any
    response: Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Service:
    """A service.

    Attributes:
        name: Its name without the package.
        file: Name of the file that declares it.
        methods: Its methods.
    """

    name: str
    file: str
    methods: tuple[Method, ...]

    @property
    def full_name(self) -> str:
        """The name with the package, as it stands in paths."""
        return f"{_PACKAGE}.{self.name}"


PREDICTION_SERVICE = Service(
    name="PredictionService",
    file="tensorflow_serving/apis/prediction_service.proto",
    methods=(
        Method(
            name="Classify",
            request=classification_pb2.ClassificationRequest,
            response=classification_pb2.ClassificationResponse,
        ),
        Method(name="Regress", request=regression_pb2.RegressionRequest, response=regression_pb2.RegressionResponse),
        Method(name="Predict", request=predict_pb2.PredictRequest, response=predict_pb2.PredictResponse),
        Method(
            name="MultiInference",
            request=inference_pb2.MultiInferenceRequest,
            response=inference_pb2.MultiInferenceResponse,
        ),
        Method(
            name="GetModelMetadata",
            request=get_model_metadata_pb2.GetModelMetadataRequest,
            response=get_model_metadata_pb2.GetModelMetadataResponse,
        ),
    ),
)
MODEL_SERVICE = Service(
    name="ModelService",
    file="tensorflow_serving/apis/model_service.proto",
    methods=(
        Method(
            name="GetModelStatus",
            request=get_model_status_pb2.GetModelStatusRequest,
            response=get_model_status_pb2.GetModelStatusResponse,
        ),
        Method(
            name="HandleReloadConfigRequest",
            request=model_management_pb2.ReloadConfigRequest,
            response=model_management_pb2.ReloadConfigResponse,
        ),
    ),
)


def register(service: Service) -> None:
    """Makes a service known to protobuf, so that reflection can describe it.

    Args:
        service: The service; once it is known, nothing happens.
    """
    pool = descriptor_pool.Default()
    try:
        pool.FindServiceByName(service.full_name)
        return
    except KeyError:
        pass
    messages = [message.DESCRIPTOR for method in service.methods for message in (method.request, method.response)]
    described = descriptor_pb2.FileDescriptorProto(
        name=service.file,
        package=_PACKAGE,
        syntax="proto3",
        dependency=sorted({message.file.name for message in messages}),
        options=descriptor_pb2.FileOptions(cc_enable_arenas=True),
    )
    declared = described.service.add(name=service.name)
    for method in service.methods:
        declared.method.add(
            name=method.name,
            input_type=f".{method.request.DESCRIPTOR.full_name}",
            output_type=f".{method.response.DESCRIPTOR.full_name}",
        )
    pool.Add(described)
