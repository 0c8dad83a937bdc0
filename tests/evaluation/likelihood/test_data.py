"""Binary data remember where they come from."""

import hashlib

import numpy as np
import pytest

from capsnp.errors import DataError, DomainError, OptionError
from capsnp.evaluation import binarize


@pytest.fixture
def grey(rng):
    return rng.random((2000, 2, 3), dtype=np.float32)


def test_threshold(grey):
    rows, record = binarize(grey)
    assert rows.dtype == np.float32
    for n, i in np.ndindex(50, 6):
        assert rows[n, i] == (1.0 if grey[n].reshape(-1)[i] > 0.5 else 0.0)
    assert (record.rule, record.seed, record.shape) == ("threshold", None, (2000, 6))


def test_half_is_off():
    assert binarize(np.full((1, 1), 0.5)).rows == 0.0


def test_stochastic_has_the_data_as_its_mean(grey):
    """Means over rows of one grey value are within 5 standard errors of it."""
    same = np.broadcast_to(grey[:1], grey.shape)
    rows, record = binarize(same, rule="stochastic", random_state=3)
    p = grey[0].reshape(-1)
    assert set(np.unique(rows)) == {0.0, 1.0}
    assert np.all(np.abs(rows.mean(axis=0) - p) < 5 * np.sqrt(p * (1 - p) / len(rows)))
    assert (record.rule, record.seed) == ("stochastic", 3)


def test_seed_decides(grey):
    one, again, other = (
        binarize(grey, rule="stochastic", random_state=seed).record for seed in (0, 0, 1)
    )
    assert one == again
    assert one.sha256 != other.sha256


def test_hash_is_that_of_shape_dtype_and_bytes(grey):
    rows, record = binarize(grey[:3])
    expected = hashlib.sha256(b"(3, 6) <f4\n" + rows.tobytes()).hexdigest()
    assert record.sha256 == expected
    changed = grey[:3].copy()
    changed[2, 1, 2] = 1.0 - rows[2, 5]
    assert binarize(changed).record.sha256 != expected


def test_hash_of_any_layout(grey):
    rows = binarize(grey).rows
    assert binarize(np.asfortranarray(rows)).record == binarize(rows).record


def test_binary_rows_stay(grey):
    rows = binarize(grey).rows
    again = binarize(rows, rule="none")
    assert np.array_equal(again.rows, rows)
    assert again.record.rule == "none"


def test_whole_numbers_become_float32():
    assert binarize(np.asarray([[0, 1]])).rows.dtype == np.float32


@pytest.mark.parametrize(
    ("X", "options", "error", "message"),
    [
        (np.full((2, 2), 0.5), {"rule": "round"}, OptionError, "rule: expected 'threshold'"),
        (np.full((2, 2), 0.5), {"random_state": -1}, OptionError, "random_state: expected a whole"),
        (np.full((2, 2), 0.5), {"rule": "none"}, DomainError, "0 or 1 everywhere for the rule"),
        (np.full((2, 2), 255.0), {}, DomainError, "numbers from 0 to 1, got 255 at"),
        (np.asarray([[np.nan]]), {}, DomainError, "numbers from 0 to 1, got nan"),
        (np.zeros((0, 4)), {}, DataError, r"no empty axis, got \(0, 4\)"),
        (np.zeros(4), {}, DataError, r"shape \(N, I\)"),
    ],
)
def test_refusals(X, options, error, message):
    with pytest.raises(error, match=message):
        binarize(X, **options)
