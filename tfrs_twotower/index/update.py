"""Updates an index for a changed catalogue: what was learnt of the earlier one is kept while the recall is enough."""

from __future__ import annotations

import dataclasses
import functools
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tfrs_twotower.data.rows import NO_ROW
from tfrs_twotower.index.approximate import ApproximateIndex
from tfrs_twotower.index.build import BuildIndex, BuiltIndex, build_approximate, build_exact, size_bytes
from tfrs_twotower.index.exact import ExactIndex
from tfrs_twotower.index.measure import trace_search
from tfrs_twotower.index.portable import PortableIndex, update_portable_index
from tfrs_twotower.index.scann import ScannIndex, update_scann_index
from tfrs_twotower.index.stored import StoredIndex
from tfrs_twotower.index.tuning import IndexTarget, confirm_recall
from tfrs_twotower.index.verify import verify_index

_KINDS: Mapping[str, type[ApproximateIndex[Any]]] = {kind.kind: kind for kind in (ScannIndex, PortableIndex)}
_UPDATES: Mapping[type[ApproximateIndex[Any]], Callable[..., ApproximateIndex[Any]]] = {
    ScannIndex: update_scann_index,
    PortableIndex: update_portable_index,
}
# Share of the catalogue that may be added, changed or removed before the partitions are learnt anew: the recall is
# measured after each change, but the time that a search takes is not.
_MAX_SHARE_CHANGED = 0.25


def update_index(
    embeddings: np.ndarray, ids: Sequence[str], queries: np.ndarray, *, stored: StoredIndex, earlier_rows: np.ndarray
) -> BuiltIndex:
    """Updates the index of a changed catalogue.

    The partitions stay, removed candidates leave them, and added ones go to the nearest. Then the recall is measured
    as it was in tuning. If it is below the target, or a quarter of the catalogue has changed since the partitions were
    learnt, the index is built anew with the same target, and a warning says so. So is an index that is exact, which
    has nothing to learn, unless it has become so large that it should be approximate.

    `functools.partial(update_index, stored=..., earlier_rows=...)` is a builder for `build_bundle`.

    Args:
        embeddings: float [num_candidates, embedding_dim], finite, of the changed catalogue.
        ids: The candidates' ids, all different.
        queries: float32 [num_queries, embedding_dim], embeddings of the model's queries, to measure with.
        stored: The index of the earlier catalogue, of a kind of this library.
        earlier_rows: int [num_candidates], the row in the earlier catalogue of each vector that was there, and `NO_ROW`
            for a new one.

    Raises:
        ValueError: If the embeddings or the ids are invalid, or this library has no such kind.
        RuntimeError: If `verify_index` finds the index wrong.
    """
    if stored.requested == ExactIndex.kind:
        return build_exact(ExactIndex, embeddings, ids, queries)
    if stored.requested not in _KINDS:
        raise ValueError(
            f"An index of the kind {stored.requested!r} cannot be updated, only exact, {', '.join(_KINDS)}. "
            "Publish the whole catalogue with `refresh_bundle`, whose `build_index` builds an index of your own kind."
        )
    kind = _KINDS[stored.requested]
    target = IndexTarget() if stored.outcome.target is None else IndexTarget(recall=stored.outcome.target)
    rebuild: BuildIndex = functools.partial(build_approximate, kind, target=target)
    if len(embeddings) <= kind.max_candidates_for_exact or (stored.is_exact and stored.outcome.note is None):
        return rebuild(embeddings, ids, queries)
    if stored.is_exact:  # no approximate index could be built of about as many candidates
        built = build_exact(functools.partial(kind.create_exact), embeddings, ids, queries)
        outcome = dataclasses.replace(built.outcome, note=stored.outcome.note, target=target.recall)
        return BuiltIndex(index=built.index, outcome=outcome, requested=kind.kind)
    updated = _update(kind, embeddings, ids, queries, stored, earlier_rows, target)
    if isinstance(updated, BuiltIndex):
        return updated
    warnings.warn(f"The {kind.kind} index is built anew: {updated}.", stacklevel=2)
    return rebuild(embeddings, ids, queries)


def _update(
    kind: type[ApproximateIndex[Any]],
    embeddings: np.ndarray,
    ids: Sequence[str],
    queries: np.ndarray,
    stored: StoredIndex,
    earlier_rows: np.ndarray,
    target: IndexTarget,
) -> BuiltIndex | str:
    """Returns the updated index, or the reason why it must be built anew."""
    start = time.monotonic()
    is_new = earlier_rows == NO_ROW
    num_kept = len(is_new) - int(is_new.sum())
    num_changed = stored.outcome.num_changed + len(is_new) - num_kept + stored.num_candidates - num_kept
    if num_changed > _MAX_SHARE_CHANGED * len(embeddings):
        return f"{num_changed:,} vectors were put in or taken out since its partitions were learnt"
    try:
        index = _UPDATES[kind](stored, embeddings, ids, earlier_rows)
    except KeyError as error:
        return f"an older version of this library did not store its {error}"
    search = trace_search(index)
    verify_index(index, embeddings, search=search)
    if is_new.any():
        verify_index(index, embeddings, among=np.flatnonzero(is_new), search=search)
    recall = confirm_recall(index, queries, target, search)
    for k, share in recall.items():
        if share < target.recall[k]:
            return f"its recall at {k} would be {share:.4f}, less than {target.recall[k]}"
    outcome = dataclasses.replace(
        stored.outcome,
        parameters=index.parameters(),
        recall=recall,
        build_s=time.monotonic() - start,
        size_bytes=size_bytes(index),
        target=target.recall,
        num_changed=num_changed,
    )
    return BuiltIndex(index=index, outcome=outcome)
