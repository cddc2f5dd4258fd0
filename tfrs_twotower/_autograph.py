"""Python that TensorFlow traces as it is written, where nothing of it is a user's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import tensorflow as tf

_Function = TypeVar("_Function", bound=Callable[..., Any])

#: Packages in which no Python `if` or loop of a function in the graph depends on a tensor.
_WRITTEN_FOR_GRAPHS = frozenset(
    {"tfrs_twotower", "tensorflow", "tensorflow_recommenders", "tf_keras", "scann", "builtins"}
)


def as_written(function: _Function, *, unless: bool = False) -> _Function:
    """Marks a function that TensorFlow can trace as it is written.

    TensorFlow's AutoGraph otherwise rewrites the function and everything that it calls, so that a Python `if` or loop
    may depend on a tensor. That takes up to tenths of a second for each of them in every process.

    Args:
        function: A function that calls nothing of a user's own. No `if` or loop in it, or in what it calls, depends on
            a tensor.
        unless: Whether it does call something of a user's own; it then stays as it is.

    Returns:
        The same function for TensorFlow.
    """
    if unless:
        return function
    marked: _Function = tf.autograph.experimental.do_not_convert(function)
    return marked


def is_written_for_graphs(part: object) -> bool:
    """Tells whether nothing in an object is a user's own.

    Args:
        part: A function, or an object of any class; of a module, such as a Keras layer, what it contains counts, too.

    Returns:
        Whether this library, or one that it builds on, defines the functions and the classes.

    Example:
        >>> is_written_for_graphs(tf.keras.Sequential([tf.keras.layers.Dense(1)]))
        True
    """
    contained = part.submodules if isinstance(part, tf.Module) else ()
    modules = (getattr(one, "__module__", "builtins") for one in (part, *contained))
    return all(module.partition(".")[0] in _WRITTEN_FOR_GRAPHS for module in modules)
