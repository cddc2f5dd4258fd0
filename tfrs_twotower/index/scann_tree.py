"""What ScaNN's tree stores of a vector: its partition, and a code of where it lies from the partition's centre.

ScaNN's TensorFlow operations encode vectors only while they learn a tree. This module encodes further vectors for a
tree that has been learnt, by the rules of ScaNN's source (`scann/hashes/internal/asymmetric_hashing_impl.cc`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

# Vectors that are encoded at once, which bounds the memory.
_NUM_ENCODED_AT_ONCE = 2048
# ScaNN's number of passes over the blocks of a code.
_MAX_PASSES = 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScannTree:
    """What ScaNN has learnt to encode vectors by.

    Attributes:
        centres: float32 [num_partitions, embedding_dim], the partitions' centres.
        values: float32 [num_blocks, num_values, block_dim], what each code of a block of dimensions stands for. If the
            last block has fewer dimensions, the others are 0.
        threshold: ScaNN's `anisotropic_quantization_threshold`, in 0..1.
    """

    centres: np.ndarray
    values: np.ndarray
    threshold: float

    @classmethod
    def read(cls, state: Mapping[str, np.ndarray]) -> ScannTree:
        """Reads what ScaNN has stored.

        Args:
            state: Name of a variable of a `ScannState` -> its value.
        """
        from scann.partitioning.partitioner_pb2 import SerializedPartitioner
        from scann.proto.centers_pb2 import CentersForAllSubspaces
        from scann.proto.scann_pb2 import ScannConfig

        config = ScannConfig.FromString(state["scann_config"].item())
        root = SerializedPartitioner.FromString(state["serialized_partitioner"].item()).kmeans.kmeans_tree.root
        blocks = CentersForAllSubspaces.FromString(state["ah_codebook"].item()).subspace_centers
        values = [[center.feature_value_float for center in block.center] for block in blocks]
        block_dim = len(values[0][0])
        return cls(
            centres=np.array([center.dimension for center in root.centers], np.float32),
            values=np.array(
                [[[*value, *[0.0] * (block_dim - len(value))] for value in block] for block in values], np.float32
            ),
            threshold=config.hash.asymmetric_hash.noise_shaping_threshold,
        )

    def encode(self, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Encodes vectors.

        Args:
            vectors: float32 [num_vectors, embedding_dim], finite.

        Returns:
            (partitions, codes): int32 [num_vectors], the partition with the nearest centre; uint8 [num_vectors,
            num_blocks].
        """
        starts = range(0, len(vectors), _NUM_ENCODED_AT_ONCE)
        parts = [self._encode(vectors[start : start + _NUM_ENCODED_AT_ONCE]) for start in starts]
        if not parts:
            return np.zeros(0, np.int32), np.zeros((0, len(self.values)), np.uint8)
        partitions, codes = zip(*parts, strict=True)
        return np.concatenate(partitions), np.concatenate(codes)

    def _encode(self, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # The squared distance without the vector's own square, which is the same for all centres.
        distances = np.square(self.centres).sum(axis=1) - 2 * vectors @ self.centres.T
        partitions = np.argmin(distances, axis=1).astype(np.int32)
        residuals = vectors - self.centres[partitions]
        norms = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
        directions = np.divide(vectors, norms, out=np.zeros(vectors.shape), where=norms > 0)
        return partitions, self._quantise(self._in_blocks(residuals), self._in_blocks(directions), self._weights(norms))

    def _weights(self, norms: np.ndarray) -> np.ndarray:
        """Returns what the square of an error along a vector of some length counts, one across it counting 1.

        References:
            Guo et al. 2020, "Accelerating large-scale inference with anisotropic vector quantization", theorem 3.3.
        """
        squares, threshold = norms**2, self.threshold**2
        num_across = self.centres.shape[1] - 1
        is_long = squares > threshold  # to ScaNN, shorter vectors have no direction
        weights = np.divide(num_across * threshold, squares - threshold, out=np.ones(norms.shape), where=is_long)
        return np.maximum(weights, 1)

    def _in_blocks(self, vectors: np.ndarray) -> np.ndarray:
        """Divides the dimensions into blocks: float64 [num_vectors, num_blocks, 1, block_dim]."""
        num_blocks, _, block_dim = self.values.shape
        padded = np.pad(vectors.astype(np.float64), [(0, 0), (0, num_blocks * block_dim - vectors.shape[1])])
        return padded.reshape(len(vectors), num_blocks, 1, block_dim)

    def _quantise(self, residuals: np.ndarray, directions: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Chooses codes whose errors are small, above all along the vectors themselves, by coordinate descent.

        Args:
            residuals: Of each vector from the centre of its partition, in blocks.
            directions: Vectors of length 1, in blocks.
            weights: float64 [num_vectors, 1].
        """
        errors = residuals - self.values
        squares, along = np.square(errors).sum(axis=3), (errors * directions).sum(axis=3)
        rows = np.arange(len(errors))
        codes = squares.argmin(axis=2)
        chosen = codes[:, :, np.newaxis]
        total = np.take_along_axis(along, chosen, axis=2).sum(axis=(1, 2))
        order = np.argsort(-np.take_along_axis(squares, chosen, axis=2)[:, :, 0], axis=1, kind="stable")
        for _ in range(_MAX_PASSES):
            before = codes.copy()
            for block in order.T:
                code, square, part = codes[rows, block], squares[rows, block], along[rows, block]
                totals = (total - part[rows, code])[:, np.newaxis] + part
                change_along = np.square(totals) - np.square(total)[:, np.newaxis]
                change = square - square[rows, code][:, np.newaxis] + (weights - 1) * change_along
                best = np.where(change_along > 0, np.inf, change).argmin(axis=1)
                best = np.where(change[rows, best] < 0, best, code)
                codes[rows, block], total = best, totals[rows, best]
            if np.array_equal(codes, before):
                break
        return codes.astype(np.uint8)
