"""Events with times, which the shared fixtures do not have."""

import dataclasses

import numpy as np
import pyarrow as pa

from tfrs_twotower.data.interactions import Interactions


def with_times(data: Interactions, timestamps: np.ndarray) -> Interactions:
    """Returns the same events at given times, int64 [num_events], in seconds since 1970-01-01 UTC."""
    return dataclasses.replace(data, events=data.events.append_column("timestamp", pa.array(timestamps, pa.int64())))
