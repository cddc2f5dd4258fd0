"""Declarations as plain values and back, by Keras's own serialisation.

A class of a user's own needs nothing but to be importable where it is loaded, or to be registered with
`tf.keras.utils.register_keras_serializable`, as for every custom Keras object.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

_Declared = TypeVar("_Declared", bound="Declaration")


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


def to_config(declared: Declaration) -> dict[str, Any]:
    """Describes a declaration and its class, for JSON.

    Args:
        declared: A feature, a tower configuration, or what was learnt of a feature.

    Returns:
        A dictionary in the form of Keras's serialisation.

    Example:
        >>> from tfrs_twotower.features.numeric import Numeric
        >>> to_config(Numeric(name="price"))["config"]
        {'name': 'price', 'log': False}
    """
    kind = type(declared)
    return {
        "module": kind.__module__,
        "class_name": kind.__name__,
        "registered_name": tf.keras.utils.get_registered_name(kind),
        "config": declared.get_config(),
    }


def from_config(config: Mapping[str, Any]) -> Any:
    """Makes the object that `to_config` described.

    Args:
        config: As returned by `to_config`.

    Raises:
        ValueError: If the class cannot be found, or an argument has an impossible value.
        TypeError: If the class has no such argument.

    Example:
        >>> from tfrs_twotower.features.numeric import Numeric
        >>> from_config(to_config(Numeric(name="price", log=True)))
        Numeric(name='price', log=True)
    """
    kind = tf.keras.utils.get_registered_object(config["registered_name"])
    if kind is not None:
        return kind.from_config(config["config"])
    try:
        return tf.keras.utils.deserialize_keras_object(dict(config))
    except TypeError as error:
        if "Could not locate" not in str(error):
            raise
        raise ValueError(
            f"The class {config['class_name']!r} of {config['module']!r} cannot be found. Import the module that "
            "defines it, or register it there with `tf.keras.utils.register_keras_serializable`, before loading."
        ) from error


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
