"""First calls of signatures: one thread makes them, and others wait for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

Signature = Callable[..., Mapping[str, Any]]


class FirstCalls:
    """Calls signatures; the first call of each is made by one thread alone.

    TensorFlow optimises a function's graph when it is first called, and again for every thread that calls it before
    that is done. 64 threads that share two cores would wait for 64 optimisations, where one is enough.
    """

    def __init__(self) -> None:
        self._locks: dict[str, threading.Lock] = {}
        self._called: set[str] = set()

    def call(self, name: str, signature: Signature, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Calls a signature, after its first call if another thread is making that now.

        Args:
            name: The signature's name.
            signature: Function from named tensors to named tensors. If its first call fails, the next is the first.
            inputs: Input name -> tensor.
        """
        if name not in self._called:
            with self._locks.setdefault(name, threading.Lock()):
                if name not in self._called:
                    outputs = signature(**inputs)
                    self._called.add(name)
                    return outputs
        return signature(**inputs)
