"""Calls a bundle's signatures in a process that imports nothing but TensorFlow, as any other host would.

Run as a script, by its path: it must not import this library, Keras or TensorFlow Recommenders.
"""

import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any


def main(bundle: str) -> None:
    """Calls a bundle's signatures with the inputs that stand in the standard input, and prints their outputs.

    The input is JSON, a list of `{"signature": name, "inputs": {name: {"dtype": ..., "values": ...}}}`. The output is
    JSON, for each of them `{output name: values}`.

    Args:
        bundle: A version's folder.
    """
    # What TensorFlow or an operation prints must not be taken for a part of the output.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as output:
        os.dup2(2, 1)
        requests = json.loads(sys.stdin.buffer.read())
        json.dump(replies_to(requests, bundle), output)


def replies_to(requests: Any, bundle: str) -> list[dict[str, Any]]:
    """Calls a bundle's signatures.

    Args:
        requests: Requests as `main` reads them.
        bundle: A version's folder.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    scann = importlib.util.find_spec("scann")
    if scann is not None and scann.origin is not None and b"Scann>" in (Path(bundle) / "saved_model.pb").read_bytes():
        tf.load_op_library(str(Path(scann.origin).parent / "scann_ops" / "cc" / "_scann_ops.so"))
    signatures = tf.saved_model.load(bundle).signatures
    replies = []
    for request in requests:
        inputs = {name: tf.constant(x["values"], x["dtype"]) for name, x in request["inputs"].items()}
        outputs = signatures[request["signature"]](**inputs)
        replies.append({name: to_plain(values.numpy().tolist()) for name, values in outputs.items()})
    return replies


def to_plain(values: Any) -> Any:
    r"""Converts nested lists to values that JSON can hold: bytes become text.

    Example:
        >>> to_plain([[b"Am\xc3\xa9lie", b""], [1.5]])
        [['Amélie', ''], [1.5]]
    """
    if isinstance(values, list):
        return [to_plain(value) for value in values]
    return values.decode("utf-8") if isinstance(values, bytes) else values


if __name__ == "__main__":
    # Python puts the script's folder there; its neighbours are not this process's to import.
    del sys.path[0]
    main(*sys.argv[1:])
