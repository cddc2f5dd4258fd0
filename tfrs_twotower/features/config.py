"""Declarations, and Keras objects within a model, as plain values and back, in the form of Keras's serialisation.

A class of a user's own needs nothing but to be importable where it is loaded, or to be registered with
`tf.keras.utils.register_keras_serializable`, as for every custom Keras object. Keras's own functions do not always
import the module that a class is defined in: not for layers, and never in Keras's older file format, a folder.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

import numpy as np
import tensorflow as tf

_Declared = TypeVar("_Declared", bound="Declaration")

_KEYS = ("module", "class_name", "registered_name", "config")


class Configured(Protocol):
    """An object that describes its constructor's arguments, such as a declaration or a Keras layer."""

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments as plain values, for JSON."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Declaration:
    """A frozen dataclass that Keras can save: its fields are its configuration.

    Subclasses check their fields in `__post_init__` and turn lists, which JSON has instead of tuples, into tuples.
    """

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments as plain values, for JSON."""
        return {field.name: _to_plain(getattr(self, field.name)) for field in dataclasses.fields(self)}

    @classmethod
    def from_config(cls: type[_Declared], config: Mapping[str, Any]) -> _Declared:
        """Makes the object that `get_config` described.

        Args:
            config: The constructor's arguments as plain values.

        Raises:
            TypeError: If there is no such argument.
            ValueError: If an argument has an impossible value.
        """
        return cls(**{name: _from_plain(value) for name, value in config.items()})


def to_config(described: Configured) -> dict[str, Any]:
    """Describes an object and its class, for JSON.

    Args:
        described: A feature, a tower configuration, what was learnt of a feature, or a Keras object such as a task.

    Returns:
        A dictionary in the form of Keras's serialisation.

    Example:
        >>> from tfrs_twotower.features.numeric import Numeric
        >>> to_config(Numeric(name="price"))["config"]
        {'name': 'price', 'log': False}
    """
    kind = type(described)
    return {
        "module": kind.__module__,
        "class_name": kind.__name__,
        "registered_name": tf.keras.utils.get_registered_name(kind),
        "config": described.get_config(),
    }


def from_config(config: Mapping[str, Any]) -> Any:
    """Makes the object that `to_config` described.

    Args:
        config: As returned by `to_config`.

    Raises:
        ValueError: If a key is missing, the class cannot be found, or an argument has an impossible value.
        TypeError: If the class has no such argument.

    Example:
        >>> from tfrs_twotower.features.numeric import Numeric
        >>> from_config(to_config(Numeric(name="price", log=True)))
        Numeric(name='price', log=True)
    """
    missing = [key for key in _KEYS if key not in config]
    if missing:
        raise ValueError(f"`config` must be as `to_config` returns it. Received one without {', '.join(missing)}.")
    return find_class(config).from_config(config["config"])


def describe(declared: Declaration) -> dict[str, Any]:
    """Describes a declaration to people and tools: its kind, and its settings as plain values.

    Args:
        declared: A feature, a tower configuration, or what was learnt of a feature.

    Example:
        >>> from tfrs_twotower.features.numeric import Numeric
        >>> describe(Numeric(name="price"))
        {'kind': 'Numeric', 'name': 'price', 'log': False}
    """
    settings = {field.name: getattr(declared, field.name) for field in dataclasses.fields(declared)}
    return {
        "kind": type(declared).__name__,
        **{
            name: describe(value) if isinstance(value, Declaration) else _to_plain(value)
            for name, value in settings.items()
        },
    }


def find_class(config: Mapping[str, Any]) -> Any:
    """Returns the class that a configuration names: a registered one, or else one that its module has.

    Args:
        config: As returned by `to_config`.

    Raises:
        ValueError: If the class cannot be found.
    """
    kind = tf.keras.utils.get_registered_object(config["registered_name"])
    if kind is not None:
        return kind
    try:
        kind = getattr(importlib.import_module(str(config["module"])), str(config["class_name"]))
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"The class {config['class_name']!r} of {config['module']!r} cannot be found. Import the module that "
            "defines it, or register it there with `tf.keras.utils.register_keras_serializable`, before loading."
        ) from error
    if not hasattr(kind, "from_config"):
        raise ValueError(f"{config['class_name']!r} of {config['module']!r} is not a class that `to_config` describes.")
    return kind


def _to_plain(value: Any) -> Any:
    if isinstance(value, Declaration):
        return to_config(value)
    if isinstance(value, tuple | list):
        return [_to_plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def _from_plain(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_from_plain(item) for item in value)
    return from_config(value) if isinstance(value, Mapping) and "registered_name" in value else value
