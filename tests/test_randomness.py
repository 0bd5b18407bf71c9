"""Randomness as a function: purity, independence of streams, uniformity."""

import numpy as np
import pytest
from scipy import stats

from fewshot.randomness import below, bits, key_of, many_bits, torch_seed

INDEX = np.arange(200_000, dtype=np.uint64)


def test_a_draw_depends_on_key_index_and_slot_only() -> None:
    key = key_of(0, "test")
    all_at_once = bits(key, INDEX[:100], 3)
    one_by_one = [bits(key, INDEX[k : k + 1], 3)[0] for k in range(100)]
    np.testing.assert_array_equal(all_at_once, one_by_one)
    np.testing.assert_array_equal(bits(key, INDEX[:100].reshape(4, 25), 3).ravel(), all_at_once)


def test_many_slots_at_once_are_those_one_by_one() -> None:
    index = INDEX[:60].reshape(3, 20)
    expected = np.stack([bits(9, index, slot) for slot in (4, 5, 6)], axis=-1)
    np.testing.assert_array_equal(many_bits(9, index, 4, 3), expected)


def test_seed_purpose_and_slot_give_streams_of_their_own() -> None:
    streams = [
        bits(key_of(seed, purpose), INDEX, slot) for seed in (0, 1) for purpose in ("train", "test") for slot in (0, 1)
    ]
    assert len(np.unique(np.concatenate(streams))) == 8 * len(INDEX)
    uniform = np.array(streams, dtype=np.float64)
    off_diagonal = np.corrcoef(uniform)[np.triu_indices(8, 1)]
    assert abs(off_diagonal).max() < 5 / np.sqrt(len(INDEX))


def test_every_bit_is_set_half_the_time() -> None:
    drawn = bits(key_of(7, "bits"), INDEX, 0)
    ones = np.array([((drawn >> np.uint64(k)) & np.uint64(1)).sum() for k in range(64)])
    assert stats.chi2.sf(((ones - len(INDEX) / 2) ** 2 / (len(INDEX) / 4)).sum(), 64) > 1e-4


@pytest.mark.parametrize("bound", [1, 2, 3, 20, 1692])
def test_whole_numbers_below_a_bound_are_uniform(bound: int) -> None:
    drawn = below(np.full(len(INDEX), bound), bits(key_of(1, "below"), INDEX, 0))
    counts = np.bincount(drawn, minlength=bound)
    assert len(counts) == bound
    if bound > 1:
        assert stats.chisquare(counts).pvalue > 1e-4


def test_a_torch_seed_is_in_torchs_range() -> None:
    assert all(0 <= torch_seed(seed, "init") < 2**63 for seed in range(1000))
    assert torch_seed(0, "init") != torch_seed(1, "init") != torch_seed(1, "other")
