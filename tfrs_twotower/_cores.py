"""The cores of the machine that this process may use."""

from __future__ import annotations

import os


def num_cores() -> int:
    """Returns the number of cores that this process may use.

    Example:
        >>> num_cores() >= 1
        True
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
