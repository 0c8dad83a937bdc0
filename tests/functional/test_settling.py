"""Settled codes against SciPy's minimiser, the conditions of a minimum, and its potential."""

import math
from itertools import pairwise

import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.integrate
import scipy.optimize
from hypothesis import given

from capsnp.errors import (
    DomainError,
    DtypeError,
    MixedBackendError,
    OptionError,
    ShapeError,
)
from capsnp.functional import settling
from capsnp.functional.settling import (
    code_potential,
    settle,
    settling_gradient,
    settling_objective,
    settling_residual,
)
from capsnp.functional.squash import length, squash, unsquash

B, I, P, J, D = 3, 6, 3, 4, 2


def problem(rng, *, shared, dtype="float64"):
    """Features, decoding maps and coefficients."""
    h, U = rng.normal(size=(B, I, P)), rng.normal(size=(J, I, P, D))
    e = rng.random(size=(J, I) if shared else (B, J, I))
    return h.astype(dtype), U.astype(dtype), e.astype(dtype)


def gate(rng):
    on = (rng.random((B, J)) < 0.5).astype("float64")
    on[0], on[1, :2] = 0.0, 1.0
    return on


def decoding(U, e, b):
    """V of one example, (J·D, I·P)."""
    weight = e if e.ndim == 2 else e[b]
    return (weight[:, :, None, None] * U).transpose(0, 3, 1, 2).reshape(J * D, I * P)


def phi(t):
    return math.asin(math.sqrt(t)) - math.sqrt(t * (1 - t))


def objective_by_loops(h, U, e, y, strength):
    values = []
    for b in range(len(h)):
        error = 0.0
        for i in range(I):
            weight = e if e.ndim == 2 else e[b]
            drawn = sum(weight[j, i] * U[j, i] @ y[b, j] for j in range(J))
            error += 0.5 * np.sum((h[b, i] - drawn) ** 2)
        values.append(error + strength * sum(phi(np.linalg.norm(y[b, j])) for j in range(J)))
    return np.asarray(values)


# --- the minimum --------------------------------------------------------------------------------


@pytest.mark.parametrize("strength", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("shared", [True, False])
def test_settled_codes_are_scipys_minimum(rng, shared, strength):
    h, U, e = problem(rng, shared=shared)
    settled = settle(h, U, e, strength=strength, max_iter=20_000, tol=1e-11)
    for b in range(B):
        V = decoding(U, e, b)

        def objective(z, b=b, V=V):
            """Of unsquashed codes, so that every trial point lies inside the balls."""
            y = squash(z.reshape(J, D))
            missing = h[b].reshape(-1) - V.T @ y.reshape(-1)
            return 0.5 * missing @ missing + strength * sum(phi(np.linalg.norm(v)) for v in y)

        start = 0.1 * np.random.default_rng(1).normal(size=J * D)
        found = scipy.optimize.minimize(
            objective, start, method="BFGS", options={"gtol": 1e-9, "maxiter": 5000}
        )
        np.testing.assert_allclose(settled.y[b], squash(found.x.reshape(J, D)), atol=2e-6)
        assert objective(settled.z[b].reshape(-1)) <= found.fun + 1e-12


@pytest.mark.parametrize("shared", [True, False])
def test_settled_codes_are_stationary(rng, from_host, to_host, shared):
    """z = (Vh − VVᵀy)/λ, y = squash(z), every length below 1."""
    h, U, e = problem(rng, shared=shared)
    settled = settle(*map(from_host, (h, U, e)), strength=2.0, max_iter=200, tol=1e-3)
    y, z, residual = (to_host(a) for a in settled[:3])
    assert np.all(residual <= 1e-3)
    assert 0 < settled.iterations < 200
    np.testing.assert_allclose(y, squash(z), rtol=1e-14)
    assert np.all(length(y) < 1)
    for b in range(B):
        V = decoding(U, e, b)
        pull = V @ (h[b].reshape(-1) - V.T @ y[b].reshape(-1))
        np.testing.assert_allclose(z[b].reshape(-1), pull / 2.0, atol=1e-3)
        np.testing.assert_allclose(
            residual[b], np.linalg.norm(pull - 2.0 * z[b].reshape(-1)), atol=1e-12
        )


@pytest.mark.parametrize("shared", [True, False])
def test_the_minimum_is_one_whatever_the_way(rng, shared):
    h, U, e = problem(rng, shared=shared)
    ends = [settle(h, U, e, max_iter=20_000, tol=1e-11, momentum=m).y for m in (0.0, 0.5, 0.9)]
    for end in ends[1:]:
        np.testing.assert_allclose(end, ends[0], atol=1e-9)


def test_momentum_settles_sooner(rng):
    h, U, e = problem(rng, shared=True)
    steps = [settle(h, 3 * U, e, max_iter=9999, tol=1e-8, momentum=m).iterations for m in (0, 0.9)]
    assert steps[1] < steps[0]


@given(seed=st.integers(0, 1000), scale=st.floats(0.01, 30.0))
def test_plain_mirror_descent_always_descends(seed, scale):
    rng = np.random.default_rng(seed)
    h, U, e = problem(rng, shared=bool(seed % 2))
    values = [
        settling_objective(h, U * scale, e, settle(h, U * scale, e, max_iter=n, momentum=0.0).y)
        for n in (0, 1, 2, 5, 20)
    ]
    for earlier, later in pairwise(values):
        assert np.all(later <= earlier + 1e-12 * np.abs(earlier))


def test_nearby_codes_are_worse(rng):
    h, U, e = problem(rng, shared=False)
    settled = settle(h, U, e, max_iter=5000, tol=1e-11)
    best = settling_objective(h, U, e, settled.y)
    for _ in range(20):
        near = squash(settled.z + 0.1 * rng.normal(size=settled.z.shape))
        assert np.all(settling_objective(h, U, e, near) > best)


def test_explaining_away_without_a_neighbour_is_one_capsules_own_equation(rng):
    """One capsule with orthonormal maps: r = (‖Vh‖ − r²/(1+r²))/λ along Vh."""
    V = np.linalg.qr(rng.normal(size=(P, D)))[0]
    U, e, h = V[None, None], np.ones((1, 1)), rng.normal(size=(1, 1, P))
    settled = settle(h, U, e, strength=0.5, max_iter=2000, tol=1e-12)
    target = V.T @ h[0, 0]
    r = scipy.optimize.brentq(
        lambda r: np.linalg.norm(target) - r * r / (1 + r * r) - 0.5 * r, 0, 100, xtol=1e-14
    )
    np.testing.assert_allclose(
        settled.z[0, 0], r * target / np.linalg.norm(target), rtol=1e-10, atol=1e-12
    )


@pytest.mark.parametrize("shared", [True, False])
def test_capsules_that_are_off_stay_exactly_zero(rng, from_host, to_host, shared):
    h, U, e = problem(rng, shared=shared)
    on = gate(rng)
    options = {"max_iter": 200, "tol": 1e-4}
    settled = settle(*map(from_host, (h, U, e)), on=from_host(on), **options)
    y, z = to_host(settled.y), to_host(settled.z)
    np.testing.assert_array_equal(y[on == 0], 0.0)
    np.testing.assert_array_equal(z[on == 0], 0.0)
    for b in range(B):
        kept = on[b] > 0
        if np.any(kept):
            part = e[kept] if shared else e[b : b + 1, kept]
            alone = settle(h[b : b + 1], U[kept], part, **options)
            np.testing.assert_allclose(y[b, kept], alone.y[0], atol=1e-3)


def test_a_gate_may_be_boolean(rng, from_host, to_host):
    h, U, e = problem(rng, shared=True)
    on = gate(rng)
    ours = settle(*map(from_host, (h, U, e)), on=from_host(on > 0))
    np.testing.assert_allclose(to_host(ours.y), settle(h, U, e, on=on).y, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("shared", [True, False])
def test_single_precision_settles_to_its_rounding(rng, from_host, to_host, shared):
    h, U, e = problem(rng, shared=shared)
    exact = settle(h, U, e, max_iter=60)
    single = [from_host(a, dtype="float32") for a in (h, U, e)]
    settled = settle(*single, max_iter=60)
    assert to_host(settled.y).dtype == to_host(settled.residual).dtype == "float32"
    np.testing.assert_allclose(to_host(settled.y), exact.y, atol=2e-5)
    assert np.all(to_host(settled.residual) < 1e-4 + 2 * exact.residual)


@pytest.mark.parametrize("shared", [True, False])
def test_steps_are_those_of_the_formula(rng, shared):
    """The recursion written out, at the step length that the largest eigenvalue allows."""
    h, U, e = problem(rng, shared=shared)
    settled = settle(h, U, e, strength=0.7, max_iter=5, momentum=0.8)
    assert settled.iterations == 5
    for b in range(B):
        V = decoding(U, e, b)
        target, gram = V @ h[b].reshape(-1), V @ V.T

        def run(largest, target=target, gram=gram):
            step = 1 / (3 * math.sqrt(3) / 8 * largest + 0.7)
            z = v = np.zeros(J * D)
            for _ in range(5):
                y = squash(z.reshape(J, D)).reshape(-1)
                v = 0.8 * v + step * (target - gram @ y - 0.7 * z)
                z = z + v
            return z

        exact = np.linalg.eigvalsh(gram)[-1]
        largest = scipy.optimize.brentq(
            lambda value, b=b, run=run: run(value)[0] - settled.z[b, 0, 0], exact, 1.2 * exact
        )
        np.testing.assert_allclose(settled.z[b].reshape(-1), run(largest), rtol=1e-9)


@given(seed=st.integers(0, 10_000), decay=st.floats(0.3, 1.0))
def test_largest_eigenvalue_is_not_missed(seed, decay):
    rng = np.random.default_rng(seed)
    n = J * D
    axes = np.linalg.qr(rng.normal(size=(n, n)))[0]
    gram = (axes * decay ** np.arange(n)) @ axes.T
    start = settling._fixed_vector(np, np.zeros((1, J, D)), 1)
    found = settling._largest_eigenvalue(
        np, lambda y: (y.reshape(1, n) @ gram).reshape(y.shape), start
    )
    assert 1.0 - 1e-12 <= found.item() <= 1.1 + 1e-12


def test_no_steps_return_the_start(rng):
    h, U, e = problem(rng, shared=True)
    settled = settle(h, U, e, max_iter=0)
    np.testing.assert_array_equal(settled.y, np.zeros((B, J, D)))
    assert settled.iterations == 0
    targets = [np.linalg.norm(decoding(U, e, b) @ h[b].reshape(-1)) for b in range(B)]
    np.testing.assert_allclose(settled.residual, targets)


def test_it_stops_as_soon_as_every_example_has_settled(rng):
    h, U, e = problem(rng, shared=True)
    settled = settle(h, U, e, tol=1e-3, max_iter=500)
    before = settle(h, U, e, max_iter=settled.iterations - 1)
    assert np.all(settled.residual <= 1e-3)
    assert not np.all(before.residual <= 1e-3)
    reached = float(np.max(settled.residual))  # what is not above the tolerance is settled
    assert settle(h, U, e, tol=reached, max_iter=500).iterations == settled.iterations


def test_without_a_tolerance_all_steps_are_made(from_host):
    h, U, e = np.zeros((2, I, P)), np.ones((J, I, P, D)), np.ones((J, I))
    settled = settle(*map(from_host, (h, U, e)), max_iter=7)  # its residual is 0 from the start
    assert settled.iterations == 7


def test_nothing_to_explain_settles_at_zero(from_host, to_host):
    h, U, e = np.zeros((2, I, P)), np.ones((J, I, P, D)), np.ones((J, I))
    for maps in (U, np.zeros_like(U)):
        settled = settle(*map(from_host, (h, maps, e)))
        np.testing.assert_array_equal(to_host(settled.y), 0.0)
        np.testing.assert_array_equal(to_host(settled.residual), 0.0)


@pytest.mark.parametrize("shared", [True, False])
def test_examples_settle_alone_and_capsules_have_no_order(rng, shared):
    h, U, e = problem(rng, shared=shared)
    whole = settle(h, U, e)
    for b in range(B):
        alone = settle(h[b : b + 1], U, e if shared else e[b : b + 1])
        np.testing.assert_allclose(alone.y[0], whole.y[b], rtol=1e-9, atol=1e-12)
    order = rng.permutation(J)
    moved = settle(h, U[order], e[order] if shared else e[:, order], max_iter=2000)
    settled = settle(h, U, e, max_iter=2000)
    np.testing.assert_allclose(moved.y, settled.y[:, order], atol=1e-9)


def test_an_empty_batch_stays_empty(from_host, to_host):
    U = from_host(np.ones((J, I, P, D)))
    for e in (np.ones((J, I)), np.ones((0, J, I))):
        settled = settle(from_host(np.zeros((0, I, P))), U, from_host(e), max_iter=3, tol=0.1)
        assert to_host(settled.y).shape == (0, J, D)


# --- residual, objective, gradient --------------------------------------------------------------


@pytest.mark.parametrize("shared", [True, False])
def test_residual_is_that_of_settle(rng, from_host, to_host, shared):
    h, U, e = problem(rng, shared=shared)
    on = gate(rng)
    settled = settle(h, U, e, strength=2.0, on=on, max_iter=7)
    ours = settling_residual(*map(from_host, (h, U, e, settled.z)), strength=2.0, on=from_host(on))
    np.testing.assert_allclose(to_host(ours), settled.residual, rtol=1e-10)
    loud = settled.z + 5.0 * (1.0 - on)[..., None]
    np.testing.assert_allclose(
        settling_residual(h, U, e, loud, strength=2.0, on=on), settled.residual, rtol=1e-10
    )


@pytest.mark.parametrize("shared", [True, False])
def test_objective_is_the_loops(rng, from_host, to_host, shared):
    h, U, e = problem(rng, shared=shared)
    y = squash(rng.normal(size=(B, J, D)))
    ours = to_host(settling_objective(*map(from_host, (h, U, e, y)), strength=3.0))
    np.testing.assert_allclose(ours, objective_by_loops(h, U, e, y, 3.0), rtol=1e-12)


@pytest.mark.parametrize("shared", [True, False])
def test_gradient_is_minus_that_of_the_squared_error(rng, from_host, to_host, shared):
    h, U, e = problem(rng, shared=shared)
    y = squash(rng.normal(size=(B, J, D)))
    numeric = np.zeros(U.shape)
    terms = "ji,jipd,bjd->bip" if shared else "bji,jipd,bjd->bip"
    for at in np.ndindex(U.shape):
        shifted = U.astype("complex128")
        shifted[at] += 1e-30j
        missing = h - np.einsum(terms, e, shifted, y)
        numeric[at] = np.mean(np.sum(missing * missing, axis=(1, 2))).imag / 1e-30
    ours = to_host(settling_gradient(*map(from_host, (h, U, e, y))))
    np.testing.assert_allclose(ours, -numeric, rtol=1e-10, atol=1e-14)


def test_gradient_at_settled_codes_is_that_of_the_whole_objective(rng):
    """The codes move with U too, but at a minimum that makes no difference."""
    h, U, e = problem(rng, shared=True)

    def settled_objective(maps):
        y = settle(h, maps, e, max_iter=5000, tol=1e-12).y
        return float(np.mean(settling_objective(h, maps, e, y)))

    direction = rng.normal(size=U.shape)
    slope = (
        settled_objective(U + 1e-5 * direction) - settled_objective(U - 1e-5 * direction)
    ) / 2e-5
    gradient = settling_gradient(h, U, e, settle(h, U, e, max_iter=5000, tol=1e-12).y)
    np.testing.assert_allclose(-0.5 * np.sum(gradient * direction), slope, rtol=1e-6)


# --- potentials ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_potential_against_many_digits(from_host, to_host, dtype):
    mpmath = pytest.importorskip("mpmath")
    tiny, step = (-37, 0.37) if dtype == "float32" else (-200, 2.1)
    lengths = np.concatenate(
        [
            10.0 ** np.arange(tiny, 0, step),
            np.linspace(0, 1, 101),
            1 - 10.0 ** -np.arange(0.5, 16, 0.5),
        ]
    ).astype(dtype)
    ours = to_host(code_potential(from_host(np.stack([lengths, 0 * lengths], axis=-1))))
    assert ours.dtype == dtype
    with mpmath.workdps(500):
        exact = []
        for t in map(mpmath.mpf, lengths.tolist()):
            exact.append(float(mpmath.asin(mpmath.sqrt(t)) - mpmath.sqrt(t * (1 - t))))
    atol = 2 * float(np.finfo(dtype).smallest_normal)
    np.testing.assert_allclose(ours, exact, rtol=8 * float(np.finfo(dtype).eps), atol=atol)


def test_potential_is_the_integral_of_unsquash():
    for t in (0.01, 0.3, 0.7, 0.99):
        value, _ = scipy.integrate.quad(lambda s: float(length(unsquash(np.asarray([s])))), 0, t)
        np.testing.assert_allclose(code_potential(np.asarray([t])), value, rtol=1e-9)


def test_potential_beyond_the_ball_is_infinite(from_host, to_host):
    y = from_host(np.asarray([[0.6, 0.8 + 1e-12], [3.0, 4.0], [1.0, 0.0]]))
    np.testing.assert_array_equal(to_host(code_potential(y)), [np.inf, np.inf, math.pi / 2])


@given(z=st.lists(st.floats(-20, 20), min_size=3, max_size=3))
def test_squash_is_the_gradient_of_the_conjugate(z):
    """Φ*(z) = ‖z‖ − arctan‖z‖, by differences; squash is what the mirror map must be."""
    z = np.asarray(z)

    def conjugate(v):
        return np.linalg.norm(v) - math.atan(np.linalg.norm(v))

    numeric = [(conjugate(z + s) - conjugate(z - s)) / 2e-5 for s in 1e-5 * np.eye(3)]
    np.testing.assert_allclose(squash(z), numeric, atol=1e-7)


@given(
    z=st.lists(st.floats(-5, 5), min_size=2, max_size=2),
    y=st.lists(st.floats(-0.7, 0.7), min_size=2, max_size=2),
)
def test_potentials_are_conjugate(z, y):
    """Fenchel and Young: Φ(y) + Φ*(z) ≥ y·z, with equality at y = squash(z) alone."""
    z, y = np.asarray(z), np.asarray(y)
    conjugate = np.linalg.norm(z) - math.atan(np.linalg.norm(z))
    assert code_potential(y) + conjugate >= y @ z - 1e-12
    x = squash(z)
    np.testing.assert_allclose(code_potential(x) + conjugate, x @ z, rtol=1e-12, atol=1e-13)


# --- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"strength": 0.0}, OptionError, "strength: expected a number above 0, got 0.0"),
        ({"strength": math.nan}, OptionError, "strength: expected a number from 0.0, got nan"),
        ({"max_iter": -1}, OptionError, "max_iter: expected a whole number from 0, got -1"),
        ({"tol": -1e-3}, OptionError, "tol: expected a number from 0.0, got -0.001"),
        ({"momentum": 1.0}, OptionError, "momentum: expected a number below 1, got 1.0"),
        (
            {"on": np.full((B, J), 2)},
            DomainError,
            "on: expected 0 or 1 everywhere, got another number at (0, 0)",
        ),
    ],
)
def test_wrong_options_are_refused(options, error, message):
    h, U, e = np.zeros((B, I, P)), np.zeros((J, I, P, D)), np.zeros((J, I))
    with pytest.raises(error) as caught:
        settle(h, U, e, **options)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("function", "name"),
    [(settling_residual, "z"), (settling_objective, "y"), (settling_gradient, "y")],
)
def test_wrong_shapes_are_refused(function, name):
    h, U, e = np.zeros((B, I, P)), np.zeros((J, I, P, D)), np.zeros((J, I))
    with pytest.raises(
        ShapeError, match=rf"^{name}: expected shape \(B, J, D\) with D = 2 to match"
    ):
        function(h, U, e, np.zeros((B, J, D + 1)))
    with pytest.raises(ShapeError, match=r"^U: .* with P = 4 to match h \(3, 6, 4\)"):
        function(np.zeros((B, I, P + 1)), U, e, np.zeros((B, J, D)))
    with pytest.raises(ShapeError, match=r"^e: .* with J = 4 to match U \(4, 6, 3, 2\)"):
        settle(h, U, np.zeros((J + 1, I)))


def test_an_empty_batch_has_no_mean():
    with pytest.raises(ShapeError, match=r"^h: expected at least one example, got \(0, 6, 3\)$"):
        settling_gradient(
            np.zeros((0, I, P)), np.zeros((J, I, P, D)), np.zeros((J, I)), np.zeros((0, J, D))
        )


def test_two_precisions_and_two_libraries_are_refused(library):
    h, U, e = np.zeros((B, I, P)), np.zeros((J, I, P, D)), np.zeros((J, I))
    error = MixedBackendError if "numpy" not in library.name else DtypeError
    with pytest.raises(error):
        settle(h, library.from_host(U, dtype="float32"), e)
    with pytest.raises(error):
        settling_gradient(h, U, e, library.from_host(np.zeros((B, J, D)), dtype="float32"))
    with pytest.raises(DtypeError, match=r"^y: expected float32 or float64, got int64$"):
        code_potential(library.from_host(np.zeros((2, 3), dtype="int64")))


def test_arguments_are_left_as_they_were(rng):
    h, U, e = problem(rng, shared=False)
    before = h.copy(), U.copy(), e.copy()
    settle(h, U, e, on=gate(rng), max_iter=3)
    for array, copy in zip((h, U, e), before, strict=True):
        np.testing.assert_array_equal(array, copy)
