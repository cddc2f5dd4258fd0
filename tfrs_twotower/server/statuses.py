"""What the server says about models: the states of their versions, and their signatures."""

from __future__ import annotations

from typing import Any

from google.protobuf import json_format

from tfrs_twotower.server.errors import Code, RequestError
from tfrs_twotower.server.models import Models
from tfrs_twotower.server.protos import get_model_metadata_pb2, get_model_status_pb2
from tfrs_twotower.server.served_versions import ServedVersion

#: The only field of metadata that TensorFlow Serving has.
SIGNATURE_DEF = "signature_def"


def status_of(models: Models, name: str, version: int | None, label: str | None) -> Any:
    """Describes the versions of a model.

    Args:
        models: The models.
        name: Name of the model.
        version: Number of the one version that is described; None for all.
        label: Its label, or None.

    Returns:
        A `GetModelStatusResponse`.

    Raises:
        RequestError: If there is no such model or version.
    """
    model = models.model(name)
    if label is not None:
        version = model.find(None, label).number
    response = get_model_status_pb2.GetModelStatusResponse()
    for known in model.listed:
        if version in (None, known.number):
            entry = response.model_version_status.add(version=known.number, state=known.state.value)
            entry.status.error_code = Code.INTERNAL.number if known.problem else 0
            entry.status.error_message = known.problem
    if version is not None and not response.model_version_status:
        raise RequestError(Code.NOT_FOUND, f"Could not find version {version} of model {name}")
    return response


def metadata_of(name: str, version: ServedVersion) -> Any:
    """Describes a version.

    Args:
        name: Name of the model.
        version: The version.

    Returns:
        A `GetModelMetadataResponse`.
    """
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    response.model_spec.name = name
    response.model_spec.version.value = version.number
    response.metadata[SIGNATURE_DEF].Pack(_signature_defs(version))
    return response


def status_json(response: Any) -> Any:
    """Converts a `GetModelStatusResponse` to plain values, with all its fields.

    Args:
        response: The message.
    """
    return _to_plain(response)


def metadata_json(name: str, version: ServedVersion) -> Any:
    """Describes a version as plain values, as TensorFlow Serving does.

    Args:
        name: Name of the model.
        version: The version.
    """
    return {
        "model_spec": {"name": name, "signature_name": "", "version": str(version.number)},
        "metadata": {SIGNATURE_DEF: _to_plain(_signature_defs(version))},
    }


def _signature_defs(version: ServedVersion) -> Any:
    serialized = b"" if version.worker is None else version.worker.signature_defs
    return get_model_metadata_pb2.SignatureDefMap.FromString(serialized)


def _to_plain(message: Any) -> Any:
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
