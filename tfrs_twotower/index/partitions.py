"""Partitions of a catalogue: groups of a fixed size whose members lie close together."""

from __future__ import annotations

import dataclasses
import math
import warnings

import numpy as np
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from tfrs_twotower.data.rows import NO_ROW, places_within

# Sampled candidates per cluster from which k-means learns the clusters, and its passes over the sample.
_NUM_SAMPLED_PER_CLUSTER = 50
_NUM_ITERATIONS = 10
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
    # K-means squares distances, which must stay finite.
    scale = np.float32(max(float(np.abs(vectors).max()), float(np.finfo(np.float32).tiny)))
    scaled = vectors / scale
    num_clusters = min(round(_CLUSTERS_PER_ROOT * math.sqrt(len(vectors))), len(vectors) // partition_size)
    clusters = _cluster(scaled, max(1, num_clusters), seed)
    partitions = [partition for cluster in clusters for partition in _halve(scaled, cluster, partition_size)]
    order = np.concatenate(partitions)
    sizes = np.array([len(partition) for partition in partitions])
    rows = np.full((len(partitions), partition_size), NO_ROW, np.int32)
    rows[np.repeat(np.arange(len(partitions)), sizes), places_within(sizes)] = order
    starts = np.cumsum(sizes) - sizes
    members = scaled[order]
    centres = np.add.reduceat(members, starts) / sizes[:, np.newaxis].astype(np.float32)
    distances = np.square(members - np.repeat(centres, sizes, axis=0)).sum(axis=1)
    spreads = np.sqrt(np.add.reduceat(distances, starts) / sizes.astype(np.float32))
    return Partitions(rows=rows, centres=centres * scale, spreads=spreads * scale)


def _cluster(vectors: np.ndarray, num_clusters: int, seed: int) -> list[np.ndarray]:
    """Returns the rows of each cluster that has members."""
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
