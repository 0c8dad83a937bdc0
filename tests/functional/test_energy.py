"""The expert capsules' energy against loops, enumeration and the conditional it implies."""

import itertools
import math
import sys

import numpy as np
import pytest

from capsnp.errors import DomainError, DtypeError, MixedBackendError, OptionError, ShapeError
from capsnp.functional import (
    energy,
    firing_probability,
    forward,
    free_energy,
    joint_log_probability,
    length,
    log_sum_over_states,
    squash,
)

B, I, J, D, P = 3, 4, 5, 2, 3


@pytest.fixture
def model(rng):
    """x (B, I, P), on (B, J), W (I, J, D, P), c (B, I, J)."""
    x = rng.standard_normal((B, I, P))
    on = rng.random((B, J)) < 0.5
    W = rng.standard_normal((I, J, D, P))
    return x, on, W, rng.random((B, I, J))


def squares_by_loops(x, W, c):
    """‖Σ_i c_ij W_ij x_i‖² of each example and output capsule, from (3)."""
    squares = np.zeros((B, J))
    for b, j in itertools.product(range(B), range(J)):
        for d in range(D):
            z = 0.0
            for i in range(I):
                for p in range(P):
                    z += c[b, i, j] * W[i, j, d, p] * x[b, i, p]
            squares[b, j] += z**2
    return squares


def test_energy_by_loops(library, model):
    x, on, W, c = model
    squares = squares_by_loops(x, W, c)
    expected = [-sum(math.log(squares[b, j]) for j in range(J) if on[b, j]) for b in range(B)]
    x, W, c = map(library.from_host, (x, W, c))
    for dtype in ("bool", "int64", "uint8", "float32", "float64"):
        states = library.from_host(on, dtype=dtype)
        got = library.to_host(energy(x, states, W, c))
        np.testing.assert_allclose(got, expected, rtol=1e-12)
        got = library.to_host(joint_log_probability(x, states, W, c))
        np.testing.assert_allclose(got, [-e for e in expected], rtol=1e-12)


def test_free_energy_by_loops(library, model):
    x, _, W, c = model
    expected = [-sum(math.log(1 + s) for s in row) for row in squares_by_loops(x, W, c)]
    got = library.to_host(free_energy(*map(library.from_host, (x, W, c))))
    np.testing.assert_allclose(got, expected, rtol=1e-13)


def test_shared_coefficients_are_those_of_every_example(library, model):
    x, on, W, c = model
    everyone = np.broadcast_to(c[0], (B, I, J))
    x, on, W, shared, each = map(library.from_host, (x, on, W, c[0], everyone))
    for function, arguments in ((energy, (x, on, W)), (free_energy, (x, W))):
        np.testing.assert_allclose(
            library.to_host(function(*arguments, shared)),
            library.to_host(function(*arguments, each)),
            rtol=1e-13,
        )


def test_free_energy_is_minus_the_log_sum_over_all_states(library, model, monkeypatch):
    x, _, W, c = map(library.from_host, model)
    expected = -library.to_host(free_energy(x, W, c))
    got = library.to_host(log_sum_over_states(x, W, c))
    np.testing.assert_allclose(got, expected, rtol=1e-13)
    module = sys.modules["capsnp.functional.energy"]  # the function of this name hides it
    monkeypatch.setattr(module, "_BLOCK_NUMBERS", 5 * B * J)  # blocks of 5 states
    in_blocks = library.to_host(log_sum_over_states(x, W, c))
    np.testing.assert_allclose(in_blocks, got, rtol=1e-14)


def test_firing_probability_is_the_conditional_of_the_joint(library, model):
    """(11) and (12) from (8): each state's share among all states of the same x."""
    x, _, W, c = map(library.from_host, model)
    z = forward(x, W, c)
    conditional = np.zeros((B, J))
    log_sum = library.to_host(log_sum_over_states(x, W, c))
    for state in itertools.product((0, 1), repeat=J):
        on = np.broadcast_to(np.asarray(state), (B, J))
        joint = library.to_host(joint_log_probability(x, library.from_host(on), W, c))
        conditional += np.exp(joint - log_sum)[:, None] * on
    got = library.to_host(firing_probability(z))
    np.testing.assert_allclose(got, conditional, rtol=1e-12)
    squashed = library.to_host(length(squash(z)))
    np.testing.assert_allclose(got, squashed, rtol=1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_firing_probability_over_the_whole_range(library, dtype):
    info = np.finfo(dtype)
    r = [0, float(info.tiny), 1e-15, 0.5, 1, 3, 1e4, 1e30, float(info.max)]
    z = np.asarray([[0, v] for v in r], dtype=dtype)
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        got = library.to_host(firing_probability(library.from_host(z)))
    r = z[:, 1].astype("float64")
    expected = [v * v / (1 + v * v) if v < 1e10 else 1.0 for v in r.tolist()]
    np.testing.assert_allclose(got, expected, rtol=2 * float(info.eps), atol=float(info.tiny))
    assert got.dtype == dtype
    assert np.all((got >= 0) & (got < 1))
    assert got[-1] == np.nextafter(np.asarray(1, dtype=dtype), np.asarray(0, dtype=dtype))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_energies_of_huge_and_tiny_capsules(library, dtype):
    """One capsule per example, ‖z‖ = x; log ‖z‖² where ‖z‖² is no number of this dtype."""
    info = np.finfo(dtype)
    r = np.asarray([info.max, info.max**0.75, 7, 1e-3, info.tiny**0.75, info.tiny], dtype=dtype)
    one = library.from_host([[[[1.0]]]], dtype=dtype)
    x = library.from_host(r[:, None, None])
    c, on = library.from_host([[1.0]], dtype=dtype), library.from_host([[1]] * len(r))
    log_square = [2 * math.log(v) for v in r.tolist()]
    log_one_plus = [
        math.log1p(v * v) if v < 1e9 else 2 * math.log(v) for v in r.astype("float64").tolist()
    ]
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        got = library.to_host(energy(x, on, one, c)), library.to_host(free_energy(x, one, c))
    np.testing.assert_allclose(-got[0], log_square, rtol=4 * float(info.eps))
    np.testing.assert_allclose(
        -got[1], log_one_plus, rtol=8 * float(info.eps), atol=float(info.tiny)
    )


def test_a_zero_capsule_adds_nothing_off_and_is_impossible_on(library):
    x, W, c = library.from_host(np.ones((2, 1, 1))), np.ones((1, 2, 1, 1)), np.ones((1, 2))
    W[0, 1] = 0
    W, c = library.from_host(2 * W), library.from_host(c)
    with np.errstate(all="raise"):
        got = library.to_host(energy(x, library.from_host([[1, 0], [1, 1]]), W, c))
        np.testing.assert_allclose(got, [-math.log(4), math.inf])
        np.testing.assert_allclose(library.to_host(free_energy(x, W, c)), -math.log(5))
        np.testing.assert_allclose(library.to_host(log_sum_over_states(x, W, c)), math.log(5))


def test_any_leading_axes(library, rng, model):
    W = library.from_host(model[2])
    x, c = rng.standard_normal((2, B, I, P)), rng.random((2, B, I, J))
    on = rng.random((2, B, J)) < 0.5
    for function, extra, shared in (
        (energy, [on], False),
        (free_energy, [], True),
        (log_sum_over_states, [], False),
    ):
        whole = [x, *extra, c[0, 0] if shared else c]
        single = [x[1, 2], *(a[1, 2] for a in extra), c[0, 0] if shared else c[1, 2]]
        *first, last = map(library.from_host, whole)
        got = library.to_host(function(*first, W, last))
        *first, last = map(library.from_host, single)
        expected = library.to_host(function(*first, W, last))
        assert (got.shape, expected.shape) == ((2, B), ())
        np.testing.assert_allclose(got[1, 2], expected, rtol=1e-12)


def test_wrong_arguments_are_named(library, model):
    x, on, W, c = map(library.from_host, model)
    with pytest.raises(ShapeError, match=r"^on: expected shape \(3, 5\) to match x \(3, 4, 3\) "):
        energy(x, on[:, 1:], W, c)
    with pytest.raises(ShapeError, match=r"^W: .* with P = 2 to match x \(3, 4, 2\), got"):
        free_energy(x[:, :, 1:], W, c)
    with pytest.raises(ShapeError, match=r"^c: expected .* leading axes \(3,\) to match x"):
        free_energy(x, W, c[1:, ...])
    with pytest.raises(ShapeError, match=r"^c: .* with J = 5 to match W"):
        energy(x, on, W, c[:, :, 1:])
    with pytest.raises(ShapeError, match=r"^x: expected shape \(\.\.\., I, P\), got \(3,\)$"):
        free_energy(x[:, 0, 0], W, c)
    with pytest.raises(DomainError, match=r"^on: expected 0 or 1 everywhere"):
        energy(x, library.from_host(np.full((B, J), 2)), W, c)
    with pytest.raises(DtypeError, match=r"^W: expected float64 as x has, got float32$"):
        free_energy(x, library.from_host(model[2], dtype="float32"), c)
    with pytest.raises(ShapeError, match=r"^z: expected shape \(\.\.\., J, D\), got \(5,\)$"):
        firing_probability(c[0, 0, :])


def test_the_states_of_twenty_capsules_are_still_summed(library):
    x, W = library.from_host(np.ones((1, 1, 1))), library.from_host(np.ones((1, 20, 1, 1)))
    got = log_sum_over_states(x, W, library.from_host(np.ones((1, 20))))
    np.testing.assert_allclose(library.to_host(got), 20 * math.log(2), rtol=1e-13)


def test_too_many_states_are_refused_before_any_work(library):
    x, W = library.from_host(np.ones((1, 1, 1))), library.from_host(np.ones((1, 21, 1, 1)))
    with pytest.raises(OptionError, match=r"^W: expected at most 20 output capsules .* got 21$"):
        log_sum_over_states(x, W, library.from_host(np.ones((1, 21))))


def test_two_libraries_do_not_mix(model):
    strict = pytest.importorskip("array_api_strict")
    x, on, W, c = model
    with pytest.raises(MixedBackendError, match="x numpy, W array_api_strict, c numpy"):
        free_energy(x, strict.asarray(W), c)
    with pytest.raises(MixedBackendError, match="on array_api_strict, like numpy"):
        energy(x, strict.asarray(on), W, c)
