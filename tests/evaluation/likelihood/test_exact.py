"""log Z by listing states, against sums and integrals over both layers."""

import itertools
import math

import numpy as np
import pytest
from scipy.integrate import quad

from capsnp.errors import OptionError, ShapeError
from capsnp.evaluation.likelihood import exact, exact_log_partition
from capsnp.functional.harmonium import Harmonium
from capsnp.functional.units import Bernoulli, Categorical, Gaussian, Relu
from capsnp.verification import ExactCapsules


def bits(n):
    return itertools.product((0.0, 1.0), repeat=n)


def minus_energy(v, h, w, b, c):
    total = 0.0
    for i, v_i in enumerate(v):
        total += b[i] * v_i
        for j, h_j in enumerate(h):
            total += w[i, j] * v_i * h_j
    for j, h_j in enumerate(h):
        total += c[j] * h_j
    return total


def parameters(rng, n_visible, n_hidden, scale=1.0):
    shapes = (n_visible, n_hidden), (n_visible,), (n_hidden,)
    return [scale * rng.standard_normal(shape) for shape in shapes]


@pytest.mark.parametrize(("n_visible", "n_hidden"), [(3, 4), (5, 2), (1, 1)])
def test_bernoulli_by_loops_over_both_layers(library, rng, n_visible, n_hidden):
    arrays = parameters(rng, n_visible, n_hidden)
    states = itertools.product(bits(n_visible), bits(n_hidden))
    expected = math.log(math.fsum(math.exp(minus_energy(*state, *arrays)) for state in states))
    found = exact_log_partition(Harmonium(*map(library.from_host, arrays)))
    assert found.value == pytest.approx(expected, abs=1e-12)
    assert found.lower == found.upper == found.value
    assert (found.stderr, found.method) == (0.0, "exact")


def test_float32_is_summed_in_float64(library, rng):
    arrays = [each.astype(np.float32) for each in parameters(rng, 4, 3)]
    exactly = exact_log_partition(Harmonium(*(each.astype(np.float64) for each in arrays)))
    found = exact_log_partition(Harmonium(*map(library.from_host, arrays)))
    assert found.value == pytest.approx(exactly.value, abs=1e-12)


def test_categorical_by_loops(library, rng):
    """Two groups of three, and three of two hidden."""
    w, b, c = parameters(rng, 6, 6)
    visible = [np.concatenate(groups) for groups in itertools.product(np.eye(3), repeat=2)]
    hidden = [np.concatenate(groups) for groups in itertools.product(np.eye(2), repeat=3)]
    total = math.fsum(math.exp(minus_energy(v, h, w, b, c)) for v in visible for h in hidden)
    arrays = map(library.from_host, (w, b, c))
    found = exact_log_partition(Harmonium(*arrays, Categorical(3), Categorical(2)))
    assert found.value == pytest.approx(math.log(total), abs=1e-12)


def test_gaussian_visible_by_quadrature(library, rng):
    """Given h, the visible units are independent: one integral for each."""
    (w, b, c), variance = parameters(rng, 2, 3), np.asarray([0.5, 2.0])
    total = 0.0
    for h in bits(3):
        product = math.exp(np.dot(c, h))
        for i in range(2):
            field = np.dot(w[i], h) / variance[i]
            product *= quad(
                lambda v, i=i, field=field: math.exp(
                    -((v - b[i]) ** 2) / (2 * variance[i]) + v * field
                ),
                -30,
                30,
                points=[b[i]],
                epsabs=1e-13,
            )[0]
        total += product
    visible = Gaussian(library.from_host(np.log(variance)))
    found = exact_log_partition(Harmonium(*map(library.from_host, (w, b, c)), visible))
    assert found.value == pytest.approx(math.log(total), abs=1e-9)


def test_rectified_hidden_by_quadrature(rng):
    w, b, c = parameters(rng, 3, 2)
    total = 0.0
    for v in bits(3):
        product = math.exp(np.dot(b, v))
        for j in range(2):
            field = c[j] + np.dot(w[:, j], v)
            product *= quad(lambda s, x=field: math.exp(x * s - s * s / 2), 0, 30)[0]
        total += product
    found = exact_log_partition(Harmonium(w, b, c, Bernoulli(), Relu()))
    assert found.value == pytest.approx(math.log(total), abs=1e-9)


def test_either_layer_may_be_the_smaller(rng):
    w, b, c = parameters(rng, 40, 3)
    tall, wide = exact_log_partition(Harmonium(w, b, c)), exact_log_partition(Harmonium(w.T, c, b))
    assert tall.value == pytest.approx(wide.value, abs=1e-12)


@pytest.mark.parametrize(("n_visible", "n_hidden", "scale"), [(50, 13, 1.0), (300, 11, 5.0)])
def test_products_and_free_energies_agree(rng, monkeypatch, n_visible, n_hidden, scale):
    """Over several blocks and groups of factors, the last group not whole."""
    monkeypatch.setattr(exact, "_BLOCK_NUMBERS", 2**12)
    machine = Harmonium(*parameters(rng, n_visible, n_hidden, scale))
    fast = exact_log_partition(machine).value
    monkeypatch.setattr(exact, "_by_products", lambda _: None)
    assert fast == pytest.approx(exact_log_partition(machine).value, rel=1e-13)


def test_fields_beyond_the_exponential():
    """e^1000 is no number of float64; the largest state is all there is."""
    machine = Harmonium(np.full((4, 3), 1000.0), np.zeros(4), np.zeros(3))
    with np.errstate(over="raise", invalid="raise"):
        assert exact_log_partition(machine).value == pytest.approx(12_000.0)


def test_blocks_of_many_states(rng, monkeypatch):
    machine = Harmonium(*parameters(rng, 7, 9), Bernoulli(), Relu())
    whole = exact_log_partition(machine).value
    monkeypatch.setattr(exact, "_BLOCK_NUMBERS", 9)
    assert exact_log_partition(machine).value == pytest.approx(whole, abs=1e-12)


def test_capsules_know_theirs(rng):
    model = ExactCapsules(rng.standard_normal((2, 2, 2, 2)), np.full((2, 2), 0.5))
    found = exact_log_partition(model)
    assert found.value == pytest.approx(model.log_partition("cubature"), abs=1e-12)


def test_too_many_states_are_refused_before_any_work(monkeypatch):
    monkeypatch.setattr(exact, "_log_sum", None)
    machine = Harmonium(np.zeros((80, 60)), np.zeros(80), np.zeros(60))
    with pytest.raises(OptionError, match=r"the 2\^60 states of 60 hidden bernoulli units, got 33"):
        exact_log_partition(machine)
    with pytest.raises(OptionError, match=r"the 2\^4 states of 4 visible"):
        exact_log_partition(Harmonium(np.zeros((4, 5)), np.zeros(4), np.zeros(5)), n_most=15)


def test_no_states_to_list():
    machine = Harmonium(np.zeros((2, 2)), np.zeros(2), np.zeros(2), Gaussian(), Relu())
    with pytest.raises(OptionError, match="got gaussian and relu units: use annealed"):
        exact_log_partition(machine)


def test_parameters_that_do_not_fit():
    with pytest.raises(ShapeError, match="c: expected"):
        exact_log_partition(Harmonium(np.zeros((2, 2)), np.zeros(2), np.zeros(3)))
