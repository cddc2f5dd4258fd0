"""A full shuffle that needs no memory: the event at any place of any epoch is computed, not stored.

A place is enciphered by a Feistel network with keys from (seed, epoch). Its two halves are digits of bases whose
product is little more than the number of events, so few values lie beyond the last event; those are enciphered again
until they fall inside (cycle walking), so that the result stays a permutation.

References:
    Luby & Rackoff 1988, "How to construct pseudorandom permutations from pseudorandom functions".
    Black & Rogaway 2002, "Ciphers with arbitrary finite domains", sections 3 and 4.
"""

from __future__ import annotations

import functools
import math

import numpy as np

# Four rounds make a permutation that is indistinguishable from a random one (Luby & Rackoff).
_ROUNDS = 4
# Smaller domains have too few keys to reach most of their permutations.
_MIN_DOMAIN = 256


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
    domain = max(num_events, _MIN_DOMAIN)
    low_base = math.isqrt(domain - 1) + 1
    bases = low_base, -(-domain // low_base)
    keys = _round_keys(seed, epoch)
    values = _encipher(places, keys, bases)
    outside = np.flatnonzero(values >= num_events)
    while outside.size:
        again = _encipher(values[outside], keys, bases)
        values[outside] = again
        outside = outside[again >= num_events]
    return values


@functools.lru_cache(maxsize=8)
def _round_keys(seed: int, epoch: int) -> tuple[np.uint32, ...]:
    return tuple(np.random.SeedSequence([seed, epoch]).generate_state(_ROUNDS, np.uint32))


def _encipher(values: np.ndarray, keys: tuple[np.uint32, ...], bases: tuple[int, int]) -> np.ndarray:
    """Permutes int64 values below the product of two bases, each at most 2 ** 31."""
    low_base = bases[0]
    high = values // low_base
    low = (values - high * low_base).astype(np.uint64)
    high = high.astype(np.uint64)
    for number, key in enumerate(keys):
        base = np.uint64(bases[number % 2])
        # A number of 32 bits times the base, without its lowest 32 bits, is a number below the base.
        shift = _mix(high.astype(np.uint32) ^ key).astype(np.uint64) * base >> np.uint64(32)
        shift += low
        shift -= base * (shift >= base)
        low, high = high, shift
    # After an even number of rounds each digit is again of its own base.
    return (high * np.uint64(low_base) + low).astype(np.int64)


def _mix(values: np.ndarray) -> np.ndarray:
    """Spreads every bit of a uint32 over all bits, in place: the finaliser of MurmurHash3 (Appleby 2011)."""
    values ^= values >> np.uint32(16)
    values *= np.uint32(0x85EBCA6B)
    values ^= values >> np.uint32(13)
    values *= np.uint32(0xC2B2AE35)
    values ^= values >> np.uint32(16)
    return values
