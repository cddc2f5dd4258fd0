"""Compares bundles on disk, loaded by a process with nothing but TensorFlow, with those in memory."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import numpy as np
import tensorflow as tf

from tfrs_twotower.bundle import fresh_process
from tfrs_twotower.bundle.build import Bundle
from tfrs_twotower.bundle.requests import Request
from tfrs_twotower.bundle.signatures import Signatures

# The same operations on the same values: only the threading of a matrix product may differ between processes.
_TOLERANCE = 1e-5
# Lines of what a process has printed last; an error's reason is the last one.
_NUM_LINES_KEPT = 20

#: Output name -> nested lists of plain values.
Reply = Mapping[str, Any]


class FreshCheck:
    """Checks that bundles on disk predict in a new process what those in memory predict.

    The process starts at once, since TensorFlow takes seconds to start: make this before the bundles are built. It
    loads a bundle as soon as that is written, while others are still being written, and one after the other.

    Example:
        >>> with FreshCheck() as check:
        ...     check.finish()  # nothing was written
    """

    def __init__(self) -> None:
        self._process = FreshProcess()
        self._pool = ThreadPoolExecutor(max_workers=1)
        self._begun: list[tuple[Bundle, Future[list[Reply]]]] = []

    def __enter__(self) -> FreshCheck:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.close()
        self._pool.shutdown(cancel_futures=True)

    def begin(self, path: Path, bundle: Bundle) -> None:
        """Has the new process load a bundle and answer the bundle's requests.

        Args:
            path: The bundle on disk, which stays there until `finish` returns.
            bundle: The bundle in memory.
        """
        self._begun.append((bundle, self._pool.submit(self._process.ask, path, bundle.requests)))

    def finish(self) -> None:
        """Compares what the new process predicts with what is predicted here.

        Raises:
            RuntimeError: If a bundle does not load, or a prediction differs.
        """
        with _as_traced():
            expected = [_call(bundle.signatures, bundle.requests) for bundle, _ in self._begun]
        for (bundle, asked), outputs in zip(self._begun, expected, strict=True):
            difference = _compare(bundle.requests, outputs, asked.result())
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


class FreshProcess:
    """A new Python process that imports TensorFlow alone, as soon as it starts, and calls signatures of bundles.

    Args:
        python: The interpreter, whose TensorFlow may be another one.
    """

    def __init__(self, python: str = sys.executable) -> None:
        # Through pipes, because files would stay behind if this process were killed.
        self._process = subprocess.Popen(
            [python, fresh_process.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
        )
        self._last_words: deque[str] = deque(maxlen=_NUM_LINES_KEPT)
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def __enter__(self) -> FreshProcess:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def ask(self, path: Path, requests: Sequence[Request]) -> list[Reply]:
        """Calls the signatures of a bundle.

        Args:
            path: A version's folder.
            requests: Requests to make.

        Returns:
            The reply to each request.

        Raises:
            RuntimeError: If the process fails.
        """
        asked = json.dumps([str(path), [_describe(request) for request in requests]])
        answer = ""
        # A process that has ended takes no more; why it did is found out below.
        with contextlib.suppress(OSError):
            self._input.write(asked + "\n")
            self._input.flush()
            answer = self._output.readline()
        if not answer:
            status = self._process.wait()
            self._listener.join()
            reason = self._last_words[-1] if self._last_words else f"exit code {status}"
            raise RuntimeError(f"The exported bundle does not load and predict in a fresh process: {reason}")
        replies: list[Reply] = json.loads(answer)
        return replies

    def close(self) -> None:
        """Ends the process, whatever it is doing."""
        self._process.kill()
        self._process.wait()
        self._listener.join()
        for pipe in (self._input, self._output):
            with contextlib.suppress(OSError):  # what was not taken cannot be written any more
                pipe.close()

    @property
    def _input(self) -> IO[str]:
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def _output(self) -> IO[str]:
        assert self._process.stdout is not None
        return self._process.stdout

    def _listen(self) -> None:
        """Keeps the last lines that the process prints, so that it never waits for somebody to read them."""
        assert self._process.stderr is not None
        with self._process.stderr as lines:
            self._last_words.extend(line.strip() for line in lines if line.strip())


def ask_in_fresh_process(
    requests: Mapping[Path, Sequence[Request]], *, python: str = sys.executable
) -> list[list[Reply]]:
    """Asks the signatures of bundles in a `FreshProcess`.

    Args:
        requests: A version's folder -> requests to make.
        python: The interpreter.

    Returns:
        The replies of each bundle, in the order of its requests.

    Raises:
        RuntimeError: If the process fails.
    """
    with FreshProcess(python) as process:
        return [process.ask(path, made) for path, made in requests.items()]


def _describe(request: Request) -> dict[str, Any]:
    """Returns what `fresh_process.main` reads."""
    inputs = {
        name: {"dtype": values.dtype.name, "values": fresh_process.to_plain(values.numpy().tolist())}
        for name, values in request.inputs.items()
    }
    return {"signature": request.signature, "inputs": inputs}
