"""Losses by loops over scalars, and their gradients by complex steps."""

import math
from itertools import product

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from capsnp.errors import OptionError, ShapeError
from capsnp.functional import (
    cross_entropy,
    cross_entropy_gradient,
    margin_loss,
    margin_loss_gradient,
    spread_loss,
    spread_loss_gradient,
)

TARGETS = np.asarray([[1, 0, 0, 0], [0, 1, 0, 1], [0, 0, 0, 0], [1, 1, 1, 1]], dtype="float64")
LENGTHS = np.asarray(
    [[0.95, 0.05, 0.3, 0.8], [0.2, 0.7, 0.6, 0.4], [0.0, 0.1, 0.5, 1.0], [0.5, 0.5, 0.5, 0.5]]
)
STEP = 1e-30


def positive(number):
    return number if number.real > 0 else 0.0


def margin_by_hand(lengths, targets, m_plus=0.9, m_minus=0.1, down_weight=0.5, exponent=2):
    total = 0.0
    for l, t in zip(lengths, targets, strict=True):
        gap = positive(m_plus - l) if t else positive(l - m_minus)
        total = total + (1.0 if t else down_weight) * gap**exponent
    return total


def spread_by_hand(lengths, targets, margin=0.9):
    total = 0.0
    for k, j in product(range(len(lengths)), repeat=2):
        if targets[k] and not targets[j]:
            total = total + positive(margin - (lengths[k] - lengths[j])) ** 2
    return total


def cross_entropy_by_hand(logits, targets):
    total = np.sum(np.exp(logits))
    return -np.sum(targets * np.log(np.exp(logits) / total))


CASES = [
    (margin_loss, margin_loss_gradient, margin_by_hand, {}),
    (margin_loss, margin_loss_gradient, margin_by_hand, {"exponent": 1}),
    (
        margin_loss,
        margin_loss_gradient,
        margin_by_hand,
        {"m_plus": 0.77, "m_minus": 0.21, "down_weight": 2.0, "exponent": 3},
    ),
    (spread_loss, spread_loss_gradient, spread_by_hand, {}),
    (spread_loss, spread_loss_gradient, spread_by_hand, {"margin": 0.25}),
    (cross_entropy, cross_entropy_gradient, cross_entropy_by_hand, {}),
]


def slopes(function, lengths, targets, options):
    found = np.zeros(lengths.shape)
    for j in range(len(lengths)):
        beside = lengths.astype(complex)
        beside[j] += 1j * STEP
        found[j] = complex(function(beside, targets, **options)).imag / STEP
    return found


@pytest.mark.parametrize(("loss", "gradient", "by_hand", "options"), CASES)
def test_losses_are_the_loops_and_gradients_their_slopes(
    from_host, to_host, loss, gradient, by_hand, options
):
    lengths, targets = from_host(LENGTHS), from_host(TARGETS)
    expected = [by_hand(l, t, **options) for l, t in zip(LENGTHS, TARGETS, strict=True)]
    np.testing.assert_allclose(to_host(loss(lengths, targets, **options)), expected, atol=1e-14)
    expected = [slopes(by_hand, l, t, options) for l, t in zip(LENGTHS, TARGETS, strict=True)]
    found = to_host(gradient(lengths, targets, **options))
    np.testing.assert_allclose(found, expected, atol=1e-14)


@given(hnp.arrays("float64", (3, 4), elements=st.floats(0, 1)))
def test_losses_are_not_negative_and_gradients_push_the_right_way(lengths):
    for loss, gradient, _, options in CASES:
        targets = TARGETS[:3]
        assert np.all(loss(lengths, targets, **options) >= 0)
        slope = gradient(lengths, targets, **options)
        if loss is cross_entropy:
            np.testing.assert_allclose(slope.sum(axis=1), 0.0, atol=1e-14)
        else:
            assert np.all(slope[targets == 1] <= 0)
            assert np.all(slope[targets == 0] >= 0)


def test_losses_vanish_where_classes_stand_out():
    lengths, targets = np.asarray([[0.97, 0.04, 0.0]]), np.asarray([[1.0, 0.0, 0.0]])
    assert margin_loss(lengths, targets) == 0
    assert spread_loss(lengths, targets) == 0
    assert not np.any(margin_loss_gradient(lengths, targets, exponent=1))


def test_cross_entropy_of_large_logits_is_finite():
    logits, targets = np.asarray([[1e4, -1e4]], "float32"), np.asarray([[0.0, 1.0]], "float32")
    assert cross_entropy(logits, targets) == 2e4
    np.testing.assert_array_equal(cross_entropy_gradient(logits, targets), [[1.0, -1.0]])


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        (margin_loss, {"down_weight": -1}, "down_weight: expected a number from 0.0, got -1"),
        (margin_loss, {"m_plus": math.nan}, "m_plus: expected a number from 0.0, got nan"),
        (margin_loss_gradient, {"exponent": 0.5}, "exponent: expected a number from 1.0, got 0.5"),
        (spread_loss, {"margin": "wide"}, "margin: expected a number from 0.0, got 'wide'"),
    ],
)
def test_options_outside_their_range_are_refused(function, options, message):
    with pytest.raises(OptionError) as caught:
        function(LENGTHS, TARGETS, **options)
    assert str(caught.value) == message


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ShapeError) as caught:
        margin_loss(LENGTHS, TARGETS[:, :3])
    assert str(caught.value) == "targets: expected shape (4, 4) as lengths has, got (4, 3)"
    with pytest.raises(ShapeError, match=r"^logits: expected shape \(B, J\), got \(4,\)$"):
        cross_entropy(LENGTHS[0], TARGETS[0])
    with pytest.raises(ShapeError, match=r"^logits: expected at least one number along axis 1"):
        cross_entropy(LENGTHS[:, :0], TARGETS[:, :0])
