"""The door: exact, or a bracket, or a refusal; and what comes with the number."""

import itertools
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from capsnp.errors import (
    DomainError,
    DtypeError,
    IncomparableError,
    NotFittedError,
    OptionError,
    ShapeError,
    WideBracketError,
)
from capsnp.evaluation import binarize
from capsnp.evaluation.likelihood import (
    annealed_log_partition,
    compare,
    exact_log_partition,
    log_likelihood,
    log_partition,
    scoring,
)
from capsnp.functional.harmonium import Harmonium, independent
from capsnp.functional.units import Bernoulli, Gaussian
from capsnp.verification import ExactCapsules

STATES = np.asarray(list(itertools.product((0.0, 1.0), repeat=5)))


@pytest.fixture
def machine(rng):
    return Harmonium(rng.standard_normal((5, 3)), rng.standard_normal(5), rng.standard_normal(3))


def log_probabilities(machine):
    """Of all STATES, by a table."""
    score = STATES @ machine.b + np.sum(np.log1p(np.exp(STATES @ machine.w + machine.c)), axis=1)
    return score - np.log(np.sum(np.exp(score)))


def test_exact_likelihood(library, machine):
    rows = STATES[[3, 17, 17, 30]]
    here = Harmonium(*map(library.from_host, machine[:3]))
    found = log_likelihood(here, library.from_host(rows))
    expected = log_probabilities(machine)[[3, 17, 17, 30]]
    np.testing.assert_allclose(found.rows, expected, atol=1e-12)
    assert found.value == pytest.approx(expected.mean(), abs=1e-12)
    assert found.lower == found.upper == found.value
    assert not found.wide
    assert found.data == log_likelihood(here, rows).data


def test_probabilities_of_all_states_add_up(machine):
    found = log_likelihood(machine, STATES)
    assert np.sum(np.exp(found.rows)) == pytest.approx(1.0, abs=1e-12)


def test_bracket_of_a_machine_that_is_not_listed(machine):
    expected = log_probabilities(machine).mean()
    found = log_likelihood(machine, STATES, n_most=4, temperatures=300, burn_in=50)
    assert found.partition.method == "annealing"
    assert found.lower <= found.upper
    assert abs(found.value - expected) < 4 * found.stderr
    assert found.lower - 0.05 < expected < found.upper + 0.05
    assert found.upper - found.lower == pytest.approx(
        abs(found.partition.upper - found.partition.lower)
    )


def test_a_wide_bracket_is_refused_with_both_ends(rng):
    machine = Harmonium(3.0 * rng.standard_normal((30, 40)), np.zeros(30), np.zeros(40))
    rows = (rng.random((20, 30)) < 0.5).astype(float)
    options = {"temperatures": 3, "n_chains": 5, "burn_in": 2, "n_most": 8}
    wide = log_likelihood(machine, rows, allow_wide=True, **options)
    assert wide.wide
    with pytest.raises(WideBracketError) as error:
        log_likelihood(machine, rows, **options)
    for part in (f"{wide.lower:.2f} to {wide.upper:.2f}", "temperatures (now 3)", "(now 5)"):
        assert part in str(error.value)
    options |= {"tolerance": 1e6, "allow_wide": True}
    assert not log_likelihood(machine, rows, **options).wide


def test_a_narrow_bracket_may_be_wrong_where_chains_start_at_ends_of_others(rng):
    """One pattern of 30 bits outweighs all other states by e^7, and no chain up finds it: both ends
    are near each other and 7 nats off. From the pattern they are apart and hold the truth."""
    pattern = rng.integers(0, 2, 30).astype(float)
    w = 8.0 * (2.0 * pattern - 1.0)[:, None]
    machine = Harmonium(w, np.zeros(30), np.asarray([28.0 - 8.0 * pattern.sum()]))
    rows = np.tile(pattern, (50, 1))
    expected = log_likelihood(machine, rows).value
    options = {"temperatures": 100, "n_chains": 50}
    blind = log_likelihood(machine, rows, start="chains", n_most=1, allow_wide=True, **options)
    assert not blind.wide
    assert blind.lower - expected > 6.0
    assert min(blind.partition.lower_ess, blind.partition.upper_ess) > 20
    evenly = independent(machine)
    partition = annealed_log_partition(machine, start=rows, base=evenly, **options)
    seeing = log_likelihood(machine, rows, partition=partition, allow_wide=True)
    assert seeing.wide
    assert seeing.lower < expected < seeing.upper
    with pytest.raises(WideBracketError, match=r"began where chains up ended.*: start at data"):
        log_likelihood(machine, rows, start="chains", n_most=1, **options)


def test_an_end_of_one_chain_is_refused_however_wide_it_may_be(machine):
    few = replace(exact_log_partition(machine), method="annealing", n_chains=20, lower_ess=1.4)
    with pytest.raises(WideBracketError, match=r"an end rests on 1\.4 effective chains of 20"):
        log_likelihood(machine, STATES, partition=few, tolerance=100.0)
    found = log_likelihood(machine, STATES, partition=few, allow_wide=True)
    assert not found.wide
    assert found.problems == few.problems


def test_log_z_found_before_is_taken(machine, monkeypatch):
    known = exact_log_partition(machine)
    monkeypatch.setattr(scoring, "log_partition", None)
    assert log_likelihood(machine, STATES, partition=known).partition is known


def test_chains_down_start_where_they_are_told(machine, monkeypatch):
    seen = []
    original = scoring.annealed_log_partition

    def spy(model, *, start, **options):
        seen.append(start)
        return original(model, start=start, **options)

    monkeypatch.setattr(scoring, "annealed_log_partition", spy)
    options = {"n_most": 4, "temperatures": 30, "n_chains": 10, "allow_wide": True}
    log_likelihood(machine, STATES, **options)
    log_likelihood(machine, STATES, start="chains", **options)
    np.testing.assert_array_equal(seen[0], STATES)
    assert seen[1] is None


def test_a_fitted_estimator_has_a_machine(machine):
    fitted = SimpleNamespace(machine_=machine)
    assert log_likelihood(fitted, STATES).value == log_likelihood(machine, STATES).value


def test_float32_scores_in_float64(machine):
    single = machine._replace(**{k: getattr(machine, k).astype(np.float32) for k in "wbc"})
    double = single._replace(**{k: getattr(single, k).astype(np.float64) for k in "wbc"})
    found = log_likelihood(single, STATES.astype(np.float32))
    np.testing.assert_allclose(found.rows, log_likelihood(double, STATES).rows, atol=1e-12)


def test_densities_and_probabilities_do_not_compare(machine):
    gaussian = machine._replace(visible=Gaussian())
    counted, dense = log_likelihood(machine, STATES), log_likelihood(gaussian, STATES)
    assert dense.measure == "volume"
    with pytest.raises(IncomparableError, match="another measure: counting and volume"):
        compare(counted, dense)


def test_gaussian_rows_integrate_to_one(rng):
    """One visible unit: its density over a fine grid adds up to 1."""
    machine = Harmonium(
        rng.standard_normal((1, 3)),
        np.asarray([0.3]),
        rng.standard_normal(3),
        Gaussian(np.zeros(1)),
    )
    grid = np.linspace(-15, 15, 20_001)[:, None]
    total = np.exp(log_likelihood(machine, grid).rows).sum() * (grid[1, 0] - grid[0, 0])
    assert total == pytest.approx(1.0, abs=1e-9)


def test_capsules(rng):
    model = ExactCapsules(rng.standard_normal((2, 2, 2, 2)), np.full((2, 2), 0.5))
    x = model.sample(10, rng)
    found = log_likelihood(model, x)
    np.testing.assert_allclose(found.rows, model.log_likelihood(x), atol=1e-12)
    assert found.measure == "uniform on balls"


def test_binarized_rows_bring_their_record(machine, rng):
    data = binarize(rng.random((8, 5)), rule="stochastic", random_state=7)
    found = log_likelihood(machine, data)
    assert found.data is data.record
    assert (found.data.rule, found.data.seed) == ("stochastic", 7)


def test_two_models_on_the_same_rows(machine, rng):
    other = machine._replace(b=machine.b + 0.5)
    data = binarize(rng.random((8, 5)))
    a, b = log_likelihood(machine, data), log_likelihood(other, data)
    assert compare(a, b).value == pytest.approx(a.value - b.value)
    with pytest.raises(IncomparableError, match="another binarisation: threshold and none"):
        compare(a, log_likelihood(other, data.rows))


@pytest.mark.parametrize(
    ("model", "X", "options", "error", "message"),
    [
        (None, np.full((2, 5), 0.5), {}, DomainError, r"binarize\(X\) makes them binary"),
        (None, np.full((2, 5), 255.0), {}, DomainError, "X: expected numbers from 0 to 1 for"),
        (None, np.full((2, 5), np.nan), {}, DomainError, "got nan"),
        (None, np.zeros((2, 4)), {}, ShapeError, r"X: expected shape \(N, I\) = \(any, 5\)"),
        (None, np.zeros((0, 5)), {}, ShapeError, "at least one row"),
        (None, np.zeros((2, 5), int), {}, DtypeError, "X: expected a floating dtype"),
        (None, [[0.0] * 5], {}, DtypeError, "X: expected an array, got list"),
        (None, STATES, {"tolerance": -1}, OptionError, "tolerance: expected a number from 0"),
        (None, STATES, {"start": "noise"}, OptionError, "start: expected 'data' or 'chains'"),
        ("rbm", STATES, {}, DtypeError, "model: expected a Harmonium, ExactCapsules or a fitted"),
        (SimpleNamespace(fit=None), STATES, {}, NotFittedError, "no machine_ yet: call fit"),
    ],
)
def test_refusals(machine, model, X, options, error, message):
    with pytest.raises(error, match=message):
        log_likelihood(machine if model is None else model, X, **options)


def test_which_way(machine):
    assert log_partition(machine).method == "exact"
    assert log_partition(machine, n_most=7, temperatures=20, n_chains=5).method == "annealing"
    real = machine._replace(visible=Gaussian(), hidden=Gaussian(), w=0.1 * machine.w)
    assert log_partition(real, temperatures=20, n_chains=5).method == "annealing"
    assert log_partition(machine._replace(visible=Gaussian(), hidden=Bernoulli())).method == "exact"
