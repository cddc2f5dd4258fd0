"""Partitions of a catalogue: groups of a fixed size whose members lie close together, also after it has changed."""

from __future__ import annotations

import dataclasses
import math
import warnings

import numpy as np

from tfrs_twotower.data.rows import NO_ROW, places_within

# Sampled candidates per cluster from which k-means learns the clusters, and its passes over the sample.
_NUM_SAMPLED_PER_CLUSTER = 50
_NUM_ITERATIONS = 10
# New vectors whose distances from all centres are computed at once.
_NUM_PLACED_AT_ONCE = 1024
# Clusters per square root of the catalogue's size.
_CLUSTERS_PER_ROOT = 4
# Steps of the power method, which need not converge: any direction close to the longest axis serves.
_NUM_POWER_STEPS = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Partitions:
    """A catalogue in partitions of equal size.

    Attributes:
        rows: int32 [num_partitions, partition_size], each row of the catalogue once, `NO_ROW` in unused slots.
        centres: float32 [num_partitions, embedding_dim], mean of each partition's members.
        spreads: float32 [num_partitions], root mean squared distance of a partition's members from its centre.
    """

    rows: np.ndarray
    centres: np.ndarray
    spreads: np.ndarray


def partition_catalogue(vectors: np.ndarray, *, partition_size: int = 32, seed: int = 0) -> Partitions:
    """Divides a catalogue into partitions.

    K-means on a sample makes about 4 sqrt(num_candidates) clusters. Each cluster is then halved along its longest axis,
    again and again, at multiples of the partition's size, so that nearly every partition is full.

    Args:
        vectors: float32 [num_candidates, embedding_dim], finite.
        partition_size: Candidates per partition, >= 1.
        seed: Seed of the sample and of the initial centres.

    Returns:
        The partitions.

    Example:
        >>> vectors = np.array([[0.0], [10.0], [0.2], [10.2]], np.float32)
        >>> sorted(sorted(rows) for rows in partition_catalogue(vectors, partition_size=2).rows.tolist())
        [[0, 2], [1, 3]]
    """
    scale = _scale_of(vectors)
    scaled = vectors / scale
    num_clusters = min(round(_CLUSTERS_PER_ROOT * math.sqrt(len(vectors))), len(vectors) // partition_size)
    clusters = _cluster(scaled, max(1, num_clusters), seed)
    groups = [group for cluster in clusters for group in _halve(scaled, cluster, partition_size)]
    order = np.concatenate(groups)
    return _describe(scaled[order], order, np.array([len(group) for group in groups]), partition_size, scale)


def update_partitions(partitions: Partitions, vectors: np.ndarray, earlier_rows: np.ndarray) -> Partitions:
    """Divides a changed catalogue into the partitions that it had, as far as they are left.

    A new vector goes to the partition whose centre is nearest. A partition that would have too many members is halved,
    and one without members is dropped.

    Args:
        partitions: The partitions of the earlier catalogue.
        vectors: float32 [num_candidates, embedding_dim], finite.
        earlier_rows: int [num_candidates], the row in the earlier catalogue of each vector that was there, and `NO_ROW`
            for a new one.

    Returns:
        The partitions of the changed catalogue.

    Example:
        >>> vectors = np.array([[0.0], [10.0], [0.2], [10.2]], np.float32)
        >>> partitions = partition_catalogue(vectors, partition_size=2)
        >>> changed = np.array([[0.0], [10.0], [10.2], [0.1]], np.float32)
        >>> updated = update_partitions(partitions, changed, np.array([0, 1, 3, NO_ROW]))
        >>> sorted(sorted(rows) for rows in updated.rows.tolist())
        [[0, 3], [1, 2]]
    """
    num_partitions, size = partitions.rows.shape
    is_new = earlier_rows == NO_ROW
    # The last place is that of unused slots, and a candidate that was removed leaves its slot unused.
    row_of = np.full(partitions.rows.max() + 2, NO_ROW, np.int32)
    row_of[earlier_rows[~is_new]] = np.flatnonzero(~is_new)
    rows = row_of[partitions.rows]
    new_rows, scale = np.flatnonzero(is_new), _scale_of(vectors)
    nearest = _nearest(vectors[new_rows] / scale, partitions.centres / scale)
    is_touched = ((rows == NO_ROW) & (partitions.rows != NO_ROW)).any(axis=1)
    is_touched[nearest] = True
    order = np.argsort(nearest, kind="stable")
    added = np.split(new_rows[order], np.cumsum(np.bincount(nearest, minlength=num_partitions))[:-1])
    groups = []
    for number in np.flatnonzero(is_touched):
        members = np.concatenate([rows[number][rows[number] != NO_ROW], added[number]])
        if len(members) > size:
            halves = _halve(vectors[members] / scale, np.arange(len(members)), size)
            groups += [members[half] for half in halves]
        elif len(members):
            groups.append(members)
    kept = Partitions(
        rows=rows[~is_touched], centres=partitions.centres[~is_touched], spreads=partitions.spreads[~is_touched]
    )
    if not groups:
        return kept
    members = np.concatenate(groups)
    sizes = np.array([len(group) for group in groups])
    changed = _describe(vectors[members] / scale, members, sizes, size, scale)
    return Partitions(
        rows=np.concatenate([kept.rows, changed.rows]),
        centres=np.concatenate([kept.centres, changed.centres]),
        spreads=np.concatenate([kept.spreads, changed.spreads]),
    )


def _scale_of(vectors: np.ndarray) -> np.float32:
    """Returns the greatest number of vectors: distances of vectors divided by it stay finite when they are squared."""
    greatest = max(float(vectors.max()), -float(vectors.min()))
    return np.float32(max(greatest, float(np.finfo(np.float32).tiny)))


def _nearest(vectors: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Returns int [num_vectors], the row of the centre that is nearest to each vector."""
    squares = np.square(centres).sum(axis=1)
    nearest = [
        # The squared distances without the vector's own square, which is the same for all centres.
        np.argmin(squares - 2 * vectors[start : start + _NUM_PLACED_AT_ONCE] @ centres.T, axis=1)
        for start in range(0, len(vectors), _NUM_PLACED_AT_ONCE)
    ]
    return np.concatenate([np.zeros(0, np.int64), *nearest])


def _describe(
    members: np.ndarray, rows: np.ndarray, sizes: np.ndarray, partition_size: int, scale: np.float32
) -> Partitions:
    """Describes the partitions of members that are in order of partitions.

    Args:
        members: float32 [num_members, embedding_dim], divided by `scale`.
        rows: int [num_members], their rows.
        sizes: int [num_partitions], >= 1, the members of each partition.
        partition_size: Slots of a partition.
        scale: What the members were divided by.
    """
    placed = np.full((len(sizes), partition_size), NO_ROW, np.int32)
    placed[np.repeat(np.arange(len(sizes)), sizes), places_within(sizes)] = rows
    starts = np.cumsum(sizes) - sizes
    centres = np.add.reduceat(members, starts) / sizes[:, np.newaxis].astype(np.float32)
    distances = np.square(members - np.repeat(centres, sizes, axis=0)).sum(axis=1)
    spreads = np.sqrt(np.add.reduceat(distances, starts) / sizes.astype(np.float32))
    return Partitions(rows=placed, centres=centres * scale, spreads=spreads * scale)


def _cluster(vectors: np.ndarray, num_clusters: int, seed: int) -> list[np.ndarray]:
    """Returns the rows of each cluster that has members."""
    # Importing scikit-learn takes a second, and only those who partition a catalogue need it.
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    if num_clusters == 1:
        return [np.arange(len(vectors))]
    size = min(len(vectors), _NUM_SAMPLED_PER_CLUSTER * num_clusters)
    sample = vectors[np.random.default_rng(seed).choice(len(vectors), size, replace=False)]
    means = KMeans(num_clusters, init="random", n_init=1, max_iter=_NUM_ITERATIONS, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # it reports fewer distinct vectors than clusters
        cluster_of_row = means.fit(sample).predict(vectors)
    order = np.argsort(cluster_of_row, kind="stable")
    clusters = np.split(order, np.cumsum(np.bincount(cluster_of_row, minlength=num_clusters))[:-1])
    return [cluster for cluster in clusters if len(cluster)]


def _halve(vectors: np.ndarray, rows: np.ndarray, partition_size: int) -> list[np.ndarray]:
    """Splits a cluster's rows into partitions of at most `partition_size` rows, all but one of them full."""
    if len(rows) <= partition_size:
        return [rows]
    members = vectors[rows]
    along = members @ _longest_axis(members)
    first = (-(-len(rows) // partition_size) // 2) * partition_size
    order = rows[np.argpartition(along, first - 1)]
    return _halve(vectors, order[:first], partition_size) + _halve(vectors, order[first:], partition_size)


def _longest_axis(members: np.ndarray) -> np.ndarray:
    """Approximates the first principal axis, float32 [embedding_dim], by the power method."""
    centred = members - members.mean(axis=0)
    axis = centred[np.argmax(np.square(centred).sum(axis=1))]
    for _ in range(_NUM_POWER_STEPS):
        axis = centred.T @ (centred @ axis)
        length = np.linalg.norm(axis)
        if length == 0:
            break  # all members are equal, and any split will do
        axis = axis / length
    return axis
