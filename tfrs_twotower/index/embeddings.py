"""Checks candidates' embeddings before an index is built from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

#: Maximum length of an embedding. The product of two vectors of this length, and every partial sum, is finite in
#: float32.
MAX_NORM = 1e18
# Rows whose lengths are computed at once in float64, which bounds the memory.
_NUM_CHECKED_AT_ONCE = 8192
# Ids that an error message names.
_NUM_NAMED = 5


def check_embeddings(embeddings: np.ndarray, ids: Sequence[str]) -> np.ndarray:
    """Checks that an index of these embeddings would be correct.

    Args:
        embeddings: float [num_candidates, embedding_dim], both at least 1, finite, no vector longer than `MAX_NORM`.
        ids: The candidates' ids, all different. Errors name candidates by them.

    Returns:
        The embeddings as float32 in C order.

    Raises:
        ValueError: If a rule is broken. The message names the argument or the ids of the first invalid candidates.

    Example:
        >>> check_embeddings(np.array([[0.5, 2.0]]), ["a"])
        array([[0.5, 2. ]], dtype=float32)
    """
    if embeddings.ndim != 2 or embeddings.dtype.kind != "f" or not embeddings.size:
        raise ValueError(
            "`embeddings` must be floats [num_candidates, embedding_dim], with at least one candidate and one "
            f"dimension. Received: {embeddings.dtype} {list(embeddings.shape)}."
        )
    if len(ids) != len(embeddings):
        raise ValueError(
            f"`ids` and `embeddings` must have the same length. Received: {len(ids)} ids, {len(embeddings)} embeddings."
        )
    if len(set(ids)) < len(ids):
        repeated = [name for name, times in Counter(ids).items() if times > 1]
        raise ValueError(f"`ids` must be unique. Received twice: {', '.join(map(repr, repeated[:_NUM_NAMED]))}.")
    with np.errstate(over="ignore"):
        embeddings = np.ascontiguousarray(embeddings, np.float32)
    norms = np.concatenate(
        [
            np.linalg.norm(embeddings[start : start + _NUM_CHECKED_AT_ONCE].astype(np.float64), axis=1)
            for start in range(0, len(embeddings), _NUM_CHECKED_AT_ONCE)
        ]
    )
    for is_invalid, rule, fault in (
        (~np.isfinite(norms), "finite in float32", "with NaN or infinity"),
        (norms > MAX_NORM, f"no longer than {MAX_NORM:g}", "longer"),
    ):
        if is_invalid.any():
            named = ", ".join(repr(ids[row]) for row in np.flatnonzero(is_invalid)[:_NUM_NAMED])
            raise ValueError(
                f"`embeddings` must be {rule}. Received {is_invalid.sum()} {fault}, of candidates {named}."
            )
    return embeddings
