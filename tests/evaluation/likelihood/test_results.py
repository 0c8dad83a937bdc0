"""Brackets, and likelihoods that are compared only where it makes sense."""

from dataclasses import replace

import numpy as np
import pytest

from capsnp.errors import IncomparableError
from capsnp.evaluation import binarize
from capsnp.evaluation.likelihood import Likelihood, LogPartition, compare

LOG_Z = LogPartition(
    10.2, 10.0, 10.5, 0.1, "annealing", n_chains=50,
    lower_stderr=0.2, upper_stderr=0.3, lower_ess=42.0, upper_ess=12.5,
)  # fmt: skip


def likelihood(rows, data, **changes):
    value = float(np.mean(rows))
    ends = value - 0.3, value + 0.2
    made = Likelihood(value, *ends, 0.1, LOG_Z, data, "counting", False, np.asarray(rows))
    return replace(made, **changes)


@pytest.fixture
def data(rng):
    return binarize(rng.random((3, 4))).record


def test_width_counts_errors_and_either_order():
    assert LOG_Z.width == pytest.approx(0.5 + 0.5)
    assert replace(LOG_Z, lower=10.5, upper=10.0).width == pytest.approx(1.0)
    assert LogPartition(1.0, 1.0, 1.0, 0.0, "exact").width == 0.0


def test_problems():
    """Of ends that may lie on one side together; an exact number has none."""
    assert LOG_Z.problems == ()
    assert replace(LOG_Z, upper_ess=5.0).problems == ()
    for end in ("lower_ess", "upper_ess"):
        assert replace(LOG_Z, **{end: 4.9}).problems == (
            "an end rests on 4.9 effective chains of 50",
        )
    (problem,) = replace(LOG_Z, start="chains").problems
    assert "began where chains up ended" in problem
    assert LogPartition(1.0, 1.0, 1.0, 0.0, "exact", start="chains").problems == ()


def test_difference_by_hand(data):
    found = compare(likelihood([-1.0, -2.0, -3.0], data), likelihood([-2.0, -4.0, -3.0], data))
    assert found.value == pytest.approx(1.0)
    assert (found.lower, found.upper) == pytest.approx((0.5, 1.5))
    assert found.stderr == pytest.approx(1.0 / np.sqrt(3))  # of 1, 2, 0


def test_other_data_are_refused(data, rng):
    other = binarize(rng.random((3, 4))).record
    with pytest.raises(IncomparableError, match="another data's SHA-256"):
        compare(likelihood([0.0] * 3, data), likelihood([0.0] * 3, other))


@pytest.mark.parametrize(
    ("seed", "message"),
    [(None, "another binarisation: threshold and stochastic with seed 0"), (1, "with seed 1")],
)
def test_another_rule_or_seed_is_refused(rng, seed, message):
    grey = rng.random((3, 4))
    a = binarize(grey) if seed is None else binarize(grey, rule="stochastic", random_state=seed)
    b = binarize(grey, rule="stochastic", random_state=0)
    with pytest.raises(IncomparableError, match=message):
        compare(likelihood([0.0] * 3, a.record), likelihood([0.0] * 3, b.record))


def test_rule_counts_even_for_equal_rows(rng):
    rows = binarize(rng.random((3, 4))).rows
    a, b = binarize(rows).record, binarize(rows, rule="none").record
    assert a.sha256 == b.sha256
    with pytest.raises(IncomparableError, match="threshold and none"):
        compare(likelihood([0.0] * 3, a), likelihood([0.0] * 3, b))


@pytest.mark.parametrize("change", [{"measure": "volume"}, {"units": "bits per row"}])
def test_another_measure_or_unit_is_refused(data, change):
    a = likelihood([0.0] * 3, data)
    with pytest.raises(IncomparableError, match=next(iter(change))):
        compare(a, replace(a, **change))


def test_in_words(data):
    a = likelihood([-1.0, -2.0, -3.0], data)
    assert str(a) == "-2.00 nats per row, from -2.30 to -1.80 (ends of 12.5 and 42.0 chains)"
    assert str(replace(a, wide=True)).endswith("42.0 chains); wide")
    few = replace(a, partition=replace(LOG_Z, lower_ess=1.2))
    assert str(few).endswith("; an end rests on 1.2 effective chains of 50")
    exact = replace(LOG_Z, method="exact")
    assert str(replace(a, partition=exact)) == "-2.00 nats per row, exact"
