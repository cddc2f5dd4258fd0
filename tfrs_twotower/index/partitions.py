"""Cuts a catalogue into blocks of a fixed size whose members lie close together, for searches that open few blocks."""

from __future__ import annotations

import dataclasses
import math
import warnings

import numpy as np
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from tfrs_twotower.index.vectors import NO_ROW

# Candidates to learn each k-means centre from, and passes over them.
_SAMPLED_PER_CENTRE = 50
_ITERATIONS = 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class Blocks:
    """A catalogue in blocks.

    Attributes:
        rows: int32 [num_blocks, block_size], each row of the catalogue once, and `NO_ROW` to fill a block.
        centres: float32 [num_blocks, embedding_dim], the mean of each block.
        spreads: float32 [num_blocks], root of the mean squared distance of a block's members from its centre.
    """

    rows: np.ndarray
    centres: np.ndarray
    spreads: np.ndarray


def cut_into_blocks(vectors: np.ndarray, *, block_size: int = 32, seed: int = 0) -> Blocks:
    """Cuts a catalogue into blocks.

    First k-means on a sample into about 4 sqrt(num_candidates) parts, then each part by its longest axis, again and
    again, into halves that are whole blocks: nearly every block is full.

    Args:
        vectors: float32 [num_candidates, embedding_dim], finite.
        block_size: Candidates per block, >= 1.
        seed: Of the sample and the first centres.
    """
    # K-means squares distances, which must stay finite.
    scale = np.float32(max(float(np.abs(vectors).max()), float(np.finfo(np.float32).tiny)))
    scaled = vectors / scale
    parts = _cluster(scaled, max(1, min(round(4 * math.sqrt(len(vectors))), len(vectors) // block_size)), seed)
    blocks = [block for part in parts for block in _halve(scaled, part, block_size)]
    order = np.concatenate(blocks)
    sizes = np.array([len(block) for block in blocks])
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    rows = np.full((len(blocks), block_size), NO_ROW, np.int32)
    rows[np.repeat(np.arange(len(blocks)), sizes), np.arange(len(order)) - np.repeat(starts, sizes)] = order
    members = scaled[order]
    centres = np.add.reduceat(members, starts) / sizes[:, np.newaxis].astype(np.float32)
    distances = np.square(members - np.repeat(centres, sizes, axis=0)).sum(axis=1)
    spreads = np.sqrt(np.add.reduceat(distances, starts) / sizes.astype(np.float32))
    return Blocks(rows=rows, centres=centres * scale, spreads=spreads * scale)


def _cluster(vectors: np.ndarray, num_parts: int, seed: int) -> list[np.ndarray]:
    """The rows of each part."""
    if num_parts == 1:
        return [np.arange(len(vectors))]
    size = min(len(vectors), _SAMPLED_PER_CENTRE * num_parts)
    sample = vectors[np.random.default_rng(seed).choice(len(vectors), size, replace=False)]
    means = KMeans(num_parts, init="random", n_init=1, max_iter=_ITERATIONS, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer vectors than parts that differ
        part_of_row = means.fit(sample).predict(vectors)
    order = np.argsort(part_of_row, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(part_of_row, minlength=num_parts))[:-1])
    return [part for part in parts if len(part)]


def _halve(vectors: np.ndarray, rows: np.ndarray, block_size: int) -> list[np.ndarray]:
    """Blocks of at most `block_size` rows, all but one full."""
    if len(rows) <= block_size:
        return [rows]
    members = vectors[rows]
    along = members @ _longest_axis(members)
    first = (-(-len(rows) // block_size) // 2) * block_size
    order = rows[np.argpartition(along, first - 1)]
    return _halve(vectors, order[:first], block_size) + _halve(vectors, order[first:], block_size)


def _longest_axis(members: np.ndarray) -> np.ndarray:
    """float32 [embedding_dim], about the first principal axis: some steps of the power method."""
    centred = members - members.mean(axis=0)
    axis = centred[np.argmax(np.square(centred).sum(axis=1))]
    for _ in range(5):
        axis = centred.T @ (centred @ axis)
        length = np.linalg.norm(axis)
        if length == 0:
            break  # all alike: any cut will do
        axis = axis / length
    return axis
