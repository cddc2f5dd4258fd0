"""Calls the signatures of bundles in a process that imports nothing but TensorFlow, as any other host would.

Run as a script, by its path: it must not import this library, Keras or TensorFlow Recommenders.
"""

import gc
import importlib
import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    """Calls the signatures of bundles as the standard input says, one bundle after the other, and prints their outputs.

    Each line of the input is JSON, `[folder, requests]`, where `requests` is a list of `{"signature": name,
    "inputs": {name: {"dtype": ..., "values": ...}}}`. For each, a line is printed, the JSON list of the replies
    `{output name: values}`.
    """
    # TensorFlow imports Keras wherever it is installed. A bundle must not need it, and it takes a second.
    sys.modules["keras"] = sys.modules["tf_keras"] = None  # type: ignore[assignment]
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # What TensorFlow or an operation prints must not be taken for a part of the output.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as output:
        os.dup2(2, 1)
        importlib.import_module("tensorflow")  # before there is anything to do
        for line in sys.stdin.buffer:
            bundle, requests = json.loads(line)
            print(json.dumps(replies_to(requests, bundle)), file=output, flush=True)
            gc.collect()  # so that no bundle finds the tables of another


def replies_to(requests: Any, bundle: str) -> list[dict[str, Any]]:
    """Calls a bundle's signatures.

    Args:
        requests: Requests as `main` reads them.
        bundle: A version's folder.
    """
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
    main()
