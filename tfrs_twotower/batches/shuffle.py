"""A full shuffle that needs no memory: the event at any place of any epoch is computed, not stored.

A Feistel network over the next power of four, with keys from (seed, epoch), enciphers the place. A value beyond the
last event is enciphered again until it falls inside (cycle walking), so that the result stays a permutation.

References:
    Luby & Rackoff 1988, "How to construct pseudorandom permutations from pseudorandom functions".
    Black & Rogaway 2002, "Ciphers with arbitrary finite domains", section 3.
"""

from __future__ import annotations

import functools

import numpy as np

# Four rounds make a permutation that is indistinguishable from a random one (Luby & Rackoff).
_ROUNDS = 4
# Smaller domains have too few keys to reach most of their permutations.
_MIN_BITS = 8


def shuffled_positions(places: np.ndarray, num_events: int, *, seed: int, epoch: int) -> np.ndarray:
    """Returns the events that an epoch visits at given places, determined by (seed, epoch) alone on every machine.

    Args:
        places: int [n], 0 <= place < num_events.
        num_events: Number of events, 1 <= num_events <= 2 ** 62.
        seed: Any integer >= 0.
        epoch: Number of the epoch, from 0.

    Returns:
        int64 [n]; all places together give every event exactly once.

    Example:
        >>> sorted(shuffled_positions(np.arange(5), 5, seed=1, epoch=0).tolist())
        [0, 1, 2, 3, 4]
    """
    half_bits = max(_MIN_BITS, (num_events - 1).bit_length()) + 1 >> 1
    keys = _round_keys(seed, epoch)
    values = _encipher(places, keys, half_bits)
    outside = np.flatnonzero(values >= num_events)
    while outside.size:
        again = _encipher(values[outside], keys, half_bits)
        values[outside] = again
        outside = outside[again >= num_events]
    return values


@functools.lru_cache(maxsize=8)
def _round_keys(seed: int, epoch: int) -> tuple[np.uint32, ...]:
    return tuple(np.random.SeedSequence([seed, epoch]).generate_state(_ROUNDS, np.uint32))


def _encipher(values: np.ndarray, keys: tuple[np.uint32, ...], half_bits: int) -> np.ndarray:
    """Permutes int64 values below 2 ** (2 * half_bits), half_bits <= 32."""
    mask = np.uint32(2**half_bits - 1)
    left, right = (values >> half_bits).astype(np.uint32), values.astype(np.uint32) & mask
    for key in keys:
        mixed = _mix(right ^ key)
        mixed &= mask
        mixed ^= left
        left, right = right, mixed
    return left.astype(np.int64) << half_bits | right


def _mix(values: np.ndarray) -> np.ndarray:
    """Spreads every bit of a uint32 over all bits, in place: the finaliser of MurmurHash3 (Appleby 2011)."""
    values ^= values >> np.uint32(16)
    values *= np.uint32(0x85EBCA6B)
    values ^= values >> np.uint32(13)
    values *= np.uint32(0xC2B2AE35)
    values ^= values >> np.uint32(16)
    return values
