"""Sends requests of at most a megabyte to a SavedModel, and prints what each made the process's memory grow by.

Run as a script, with the SavedModel's folder and perhaps names of signatures, by default all. It imports nothing but
TensorFlow, as any other host would.
"""

import json
import resource
import sys

import tensorflow as tf

_MAX_BYTES = 1_000_000
_MISSING = {tf.string: "", tf.float32: float("nan"), tf.int64: -(2**63)}


def main(path: str, *names: str) -> None:
    """Prints a JSON object for each request: signature, shape, bytes, growth in MB since the first calls, and error."""
    loaded = tf.saved_model.load(path)
    signatures = {name: loaded.signatures[name] for name in names or loaded.signatures}
    for signature in signatures.values():
        for num_rows in (1, 4):
            signature(**_missing(signature, num_rows))
    before = _peak_mb()
    for name, signature in signatures.items():
        for shape, inputs in _requests(signature, of_every_input=name in ("recommend_filtered", "embed_candidate")):
            error = ""
            try:
                signature(**inputs)
            except tf.errors.OpError as caught:
                error = f"{type(caught).__name__}: {caught}"
            size = _size(inputs)
            print(json.dumps([name, shape, size, _peak_mb() - before, error]), flush=True)


def _requests(signature, *, of_every_input):
    """Yields (shape, inputs) of requests with as many rows as fit, and perhaps of the worst ones for each input."""
    specs = _specs(signature)
    row = (_size(_missing(signature, 1001)) - _size(_missing(signature, 1))) / 1000
    yield "rows", _missing(signature, int(0.99 * _MAX_BYTES / row))
    if "user_id" in specs:
        num_rows = int(0.99 * _MAX_BYTES / (row + 2))
        yield "rows of a known query", {**_missing(signature, num_rows), "user_id": tf.fill([num_rows], "u1")}
        num_rows = min(num_rows, 10_000)
        yield "10,000 rows of a known query", {**_missing(signature, num_rows), "user_id": tf.fill([num_rows], "u1")}
    for name, spec in specs.items() if of_every_input else ():
        if spec.dtype == tf.string and spec.shape.rank == 1:
            num_rows = int(0.49 * _MAX_BYTES / row)
            words = tf.concat([["a " * (_MAX_BYTES // 4)], tf.fill([num_rows - 1], "")], axis=0)
            yield f"words in one {name} of many", {**_missing(signature, num_rows), name: words}
            for text in ("a", "a ", "Ä ", ".", "\0"):
                long = text * ((_MAX_BYTES - 1000) // len(text.encode()))
                yield f"{name} of {text!r}", {**_missing(signature, 1), name: tf.constant([long])}
        elif spec.dtype == tf.string:
            for value in ("", "m1", "Drama"):
                width = int((_MAX_BYTES - 1000) / (2 + len(value)))
                yield f"{name} of {value!r}", {**_missing(signature, 1), name: tf.fill([1, width], value)}
            num_rows = int(0.9 * _MAX_BYTES / (row + 2 * 20))
            yield f"{name}, 20 wide", {**_missing(signature, num_rows), name: tf.fill([num_rows, 20], "")}


def _missing(signature, num_rows):
    return {
        name: tf.fill(
            [num_rows, *(size or 1 for size in spec.shape[1:])], tf.constant(_MISSING[spec.dtype], spec.dtype)
        )
        for name, spec in _specs(signature).items()
    }


def _specs(signature):
    return {spec.name: spec for spec in signature.structured_input_signature[1].values()}


def _size(inputs):
    return sum(tf.make_tensor_proto(values).ByteSize() for values in inputs.values())


def _peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main(*sys.argv[1:])
