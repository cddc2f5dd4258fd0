"""Compares bundles on disk, loaded by a process with nothing but TensorFlow, with those in memory."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_twotower.bundle import fresh_process
from tfrs_twotower.bundle.build import Bundle
from tfrs_twotower.bundle.requests import Request
from tfrs_twotower.bundle.signatures import Signatures

# The same operations on the same values: only the threading of a matrix product may differ between processes.
_TOLERANCE = 1e-5

#: Output name -> nested lists of plain values.
Reply = Mapping[str, Any]


def check_in_fresh_process(written: Mapping[Path, Bundle]) -> None:
    """Checks that bundles on disk predict in a new process what those in memory predict.

    Args:
        written: Bundle on disk -> bundle in memory, with the requests for both. One process loads them one after the
            other, since TensorFlow takes seconds to start.

    Raises:
        RuntimeError: If one does not load, or a prediction differs.
    """
    with ThreadPoolExecutor(max_workers=1) as pool:
        asked = pool.submit(ask_in_fresh_process, {path: bundle.requests for path, bundle in written.items()})
        with _as_traced():
            expected = [_call(bundle.signatures, bundle.requests) for bundle in written.values()]
    for bundle, outputs, replies in zip(written.values(), expected, asked.result(), strict=True):
        difference = _compare(bundle.requests, outputs, replies)
        if difference is not None:
            signature, output = difference
            raise RuntimeError(
                f"The exported bundle's `{signature}` gives other {output} than the model in memory. Not published."
            )


def find_difference(
    signatures: Signatures, requests: Sequence[Request], replies: Sequence[Reply]
) -> tuple[str, str] | None:
    """Looks for a reply that differs from what signatures give here.

    Args:
        signatures: Name -> concrete function.
        requests: Requests that the replies are for.
        replies: From `ask_in_fresh_process`.

    Returns:
        (signature, output) of the first that differs by more than rounding, or None.
    """
    return _compare(requests, _call(signatures, requests), replies)


def _call(signatures: Signatures, requests: Sequence[Request]) -> list[dict[str, np.ndarray]]:
    return [
        {name: output.numpy() for name, output in signatures[request.signature](**request.inputs).items()}
        for request in requests
    ]


@contextlib.contextmanager
def _as_traced() -> Iterator[None]:
    """Leaves out TensorFlow's optimisation of graphs, which takes longer than the few calls of a check."""
    option = "disable_meta_optimizer"
    before = tf.config.optimizer.get_experimental_options().get(option, False)
    tf.config.optimizer.set_experimental_options({option: True})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({option: before})


def _compare(
    requests: Sequence[Request], expected: Sequence[Mapping[str, np.ndarray]], replies: Sequence[Reply]
) -> tuple[str, str] | None:
    """Returns (signature, output) of the first reply that differs by more than rounding, or None."""
    for request, outputs, reply in zip(requests, expected, replies, strict=True):
        for name, values in outputs.items():
            if values.dtype == object:
                same = fresh_process.to_plain(values.tolist()) == reply[name]
            else:
                same = np.allclose(values, np.asarray(reply[name], values.dtype), rtol=_TOLERANCE, atol=_TOLERANCE)
            if not same:
                return request.signature, name
    return None


def ask_in_fresh_process(
    requests: Mapping[Path, Sequence[Request]], *, python: str = sys.executable
) -> list[list[Reply]]:
    """Asks the signatures of bundles in a new Python process that imports TensorFlow alone.

    Args:
        requests: A version's folder -> requests to make.
        python: The interpreter, whose TensorFlow may be another one.

    Returns:
        The replies of each bundle, in the order of its requests.

    Raises:
        RuntimeError: If the process fails.
    """
    # Through pipes, because files would stay behind if this process were killed.
    result = subprocess.run(
        [python, fresh_process.__file__],
        input=json.dumps([(str(path), [_describe(request) for request in made]) for path, made in requests.items()]),
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if result.returncode:
        reason = (result.stderr.strip() or f"exit code {result.returncode}").splitlines()[-1]
        raise RuntimeError(f"The exported bundle does not load and predict in a fresh process: {reason}")
    replies: list[list[Reply]] = json.loads(result.stdout)
    return replies


def _describe(request: Request) -> dict[str, Any]:
    """Returns what `fresh_process.main` reads."""
    inputs = {
        name: {"dtype": values.dtype.name, "values": fresh_process.to_plain(values.numpy().tolist())}
        for name, values in request.inputs.items()
    }
    return {"signature": request.signature, "inputs": inputs}
