"""Randomness as a function: the same (seed, purpose, index) gives the same numbers in any process, in any order.

A counter-based generator (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") built on the output
function of SplitMix64 (Steele et al. 2014): nothing is stored between draws, so a resumed run, a second worker and
a compared model all see the same episodes, and a million draws are one vectorised expression.
"""

import hashlib

import numpy as np
from jaxtyping import Int64, UInt64

_WEYL = np.uint64(0x9E3779B97F4A7C15)


def key_of(seed: int, purpose: str) -> int:
    """A 64-bit key for one purpose under one seed, for example `key_of(0, "train episodes")`."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{purpose}".encode()).digest()[:8], "little")


def bits(key: int, index: UInt64[np.ndarray, "*shape"], slot: int) -> UInt64[np.ndarray, "*shape"]:
    """64 random bits for each index; `slot` numbers the draws that belong to one index."""
    with np.errstate(over="ignore"):
        stream = _mix(np.uint64(key) + (index + np.uint64(1)) * _WEYL)
        return _mix(stream + np.uint64(slot + 1) * _WEYL)


def many_bits(
    key: int, index: UInt64[np.ndarray, "*shape"], slot: int, number: int
) -> UInt64[np.ndarray, "*shape {number}"]:
    """What `bits` gives for the slots slot, ..., slot + number - 1, side by side, in one expression."""
    slots = np.arange(slot + 1, slot + number + 1, dtype=np.uint64)
    with np.errstate(over="ignore"):
        stream = _mix(np.uint64(key) + (index + np.uint64(1)) * _WEYL)
        return _mix(stream[..., None] + slots * _WEYL)


def below(bound: Int64[np.ndarray, "*shape"], random: UInt64[np.ndarray, "*shape"]) -> Int64[np.ndarray, "*shape"]:
    """A whole number in [0, bound) from each word of random bits, for bounds up to 2**32.

    Multiply and shift (Lemire 2019) on the upper 32 bits; the bias is at most bound / 2**32.
    """
    return np.asarray(((random >> np.uint64(32)) * bound.astype(np.uint64)) >> np.uint64(32)).astype(np.int64)


def torch_seed(seed: int, purpose: str) -> int:
    """A seed for a `torch.Generator`, derived from (seed, purpose)."""
    return key_of(seed, purpose) & (2**63 - 1)


def _mix(z: UInt64[np.ndarray, "*shape"]) -> UInt64[np.ndarray, "*shape"]:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ (z >> np.uint64(31)))
