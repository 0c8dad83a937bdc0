"""The k-hot state: against sorting by loops, on every library."""

import numpy as np
import pytest

from capsnp.errors import OptionError
from capsnp.functional import winners


@pytest.mark.parametrize("k", [0, 1, 3, 5])
def test_the_k_largest_are_on(from_host, to_host, rng, k):
    score = rng.normal(size=(7, 5))
    on = to_host(winners(from_host(score), k))
    for row, mask in zip(score, on, strict=True):
        assert set(np.flatnonzero(mask)) == set(sorted(range(5), key=lambda j: -row[j])[:k])
    assert on.dtype == score.dtype


def test_ties_go_to_the_lower_index(from_host, to_host):
    on = to_host(winners(from_host(np.asarray([[1.0, 2.0, 2.0, 2.0]])), 2))
    np.testing.assert_array_equal(on, [[0, 1, 1, 0]])


def test_each_example_may_have_its_own_number(from_host, to_host, rng):
    score = rng.normal(size=(4, 6))
    k = np.asarray([[0], [1], [4], [6]])
    on = to_host(winners(from_host(score), from_host(k)))
    np.testing.assert_array_equal(np.sum(on, axis=1), k[:, 0])
    for row, mask, n in zip(score, on, k[:, 0], strict=True):
        assert np.all(np.sort(row[mask == 1]) == np.sort(row)[6 - n :])


def test_any_leading_axes(from_host, to_host, rng):
    score = rng.normal(size=(3, 2, 4))
    on = to_host(winners(from_host(score), 3))
    for index in np.ndindex(3, 2):
        np.testing.assert_array_equal(on[index], to_host(winners(from_host(score[index]), 3)))
    assert to_host(winners(from_host(score), 4)).all()


def test_k_out_of_range():
    with pytest.raises(OptionError, match=r"^k: expected 0 to 3, got 4$"):
        winners(np.zeros((2, 3)), 4)
    with pytest.raises(OptionError, match=r"^k: expected 0 to 3, got 4$"):
        winners(np.zeros((5, 6, 3)), 4)
