"""The checks pass on capsnp's own functions, and fail on wrong ones with the reason in words."""

import contextlib
import io
import itertools
import re
import subprocess
import sys
import traceback
from fractions import Fraction
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

import capsnp.functional as F
from capsnp.backend import BACKENDS, get_backend
from capsnp.errors import BackendError, CapsnpError, OptionError
from capsnp.testing import (
    InvariantError,
    capsules,
    check_adjoint,
    check_backend_parity,
    check_gradient,
    check_routing,
    check_squash,
    check_vjp,
    coefficients,
    layers,
    parity,
    squashed_length,
    weights,
)

DTYPES = ["float64", "float32"]
EXAMPLES = {"numpy": 50, "jax": 4}
"""On other libraries 10; a call of JAX takes milliseconds."""


@pytest.fixture(params=BACKENDS)
def backend(request):
    try:
        return get_backend(request.param).name
    except BackendError as error:
        pytest.skip(str(error))


def fails(message, check, *arguments, **options):
    """The lines of the error that a check raises, whose first one has to match."""
    with pytest.raises(InvariantError) as caught:
        check(*arguments, **options)
    first, *lines = str(caught.value).splitlines()
    assert re.search(message, first), first
    return lines


# --- strategies -------------------------------------------------------------------------------


class Drawn(list):
    """What a strategy draws, the same each time."""

    def __init__(self, strategy, n=300):
        @hypothesis.settings(max_examples=n, database=None, derandomize=True)
        @hypothesis.given(strategy)
        def attempt(value):
            self.append(value)

        attempt()

    def have(self, condition):
        return any(map(condition, self))


@pytest.mark.parametrize("dtype", DTYPES)
def test_capsules_reach_every_corner_of_the_finite_range(dtype):
    info = np.finfo(dtype)
    drawn = Drawn(capsules((2, 3), dtype=dtype))
    assert {(z.shape, z.dtype.name) for z in drawn} == {((2, 3), dtype)}
    assert not drawn.have(lambda z: not np.all(np.isfinite(z)))
    assert drawn.have(lambda z: not z[0].any() and z[1].any())
    assert drawn.have(lambda z: 0 < np.max(np.abs(z[0])) < info.tiny)
    assert drawn.have(lambda z: np.max(np.abs(z[0])) == info.smallest_subnormal)
    assert drawn.have(lambda z: np.sum(np.abs(z[0]) == info.max) == 1)
    assert drawn.have(lambda z: np.sum(np.abs(z[0]) > info.max / 2) > 1)
    assert drawn.have(lambda z: np.all(z[0] != 0) and np.ptp(np.log2(np.abs(z[0]))) > 50)


@pytest.mark.parametrize("dtype", DTYPES)
def test_squashed_capsules_are_inside_the_unit_ball_and_come_near_its_surface(dtype):
    drawn = Drawn(capsules((1, 3), dtype=dtype, lengths="squashed"), 1000)
    squares = [sum(Fraction(float(number)) ** 2 for number in x[0]) for x in drawn]
    near = 1 - 8 * Fraction(float(np.finfo(dtype).eps))
    assert max(squares) < 1
    assert max(squares) > near
    several = [square for x, square in zip(drawn, squares, strict=True) if np.sum(x != 0) > 1]
    assert max(several) > near
    assert 0 in squares
    assert any(0 < square < Fraction(float(np.finfo(dtype).tiny)) ** 2 for square in squares)


def test_capsules_of_given_lengths():
    off = 4 * np.finfo("float64").eps
    drawn = Drawn(capsules((2, 3), lengths=(0.5, 2.0)))
    r = np.linalg.norm(np.asarray(drawn), axis=-1)
    assert np.all((r == 0) | ((r > 0.5 - off) & (r < 2 + off)))
    assert np.any(r == 0)
    assert np.ptp(r[r > 0]) > 1
    for options in ({}, {"lengths": (0.5, 2.0)}):
        assert np.all(np.any(Drawn(capsules((2, 3), zeros=False, **options)), axis=-1))
    with pytest.raises(OptionError, match=r"^lengths: expected 0 <= low <= high, got \(2, 1\)$"):
        capsules(lengths=(2, 1))
    with pytest.raises(OptionError, match=r"^lengths: expected 'any' or 'squashed', got 'long'$"):
        capsules(lengths="long")


def test_what_is_no_finite_number_comes_only_when_asked_for():
    drawn = Drawn(capsules((2, 3), allow_nan=True))
    assert np.any(np.isnan(drawn))
    assert not np.any(np.isinf(drawn))
    drawn = Drawn(capsules((2, 3), allow_infinity=True, dtype="float32"))
    assert np.any(np.equal(drawn, -np.inf))
    assert not np.any(np.isnan(drawn))


def test_shapes_and_dtypes_may_be_drawn():
    drawn = Drawn(capsules(dtype=st.sampled_from(DTYPES)))
    kinds = {(z.ndim, z.dtype.name) for z in drawn}
    assert kinds == set(itertools.product((1, 2, 3), DTYPES))
    assert {z.shape for z in Drawn(capsules(st.just((4, 2))))} == {(4, 2)}


def test_weights_are_bounded_and_some_blocks_are_zero():
    drawn = Drawn(weights(largest=2.0))
    assert {W.ndim for W in drawn} == {4}
    assert 1 < max(np.max(np.abs(W)) for W in drawn) <= 2
    assert drawn.have(lambda W: len(W) > 1 and not W[0, 0].any() and W[1, 0].all())
    full = weights((2, 1, 1, 1), zeros=False, dtype="float32")
    assert np.mean([np.any(W == 0) for W in Drawn(full)]) < np.mean(
        [np.any(W == 0) for W in Drawn(weights((2, 1, 1, 1), dtype="float32"))]
    )
    assert {W.dtype.name for W in Drawn(full)} == {"float32"}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("normalize", "axis"), [("inputs", 1), ("outputs", 2)])
def test_coefficients_sum_to_one_along_the_named_axis(normalize, axis, dtype):
    drawn = Drawn(coefficients((2, 3, 4), normalize=normalize, dtype=dtype))
    assert {c.dtype.name for c in drawn} == {dtype}
    c = np.asarray(drawn, dtype="float64")
    assert np.min(c) == 0
    assert np.max(c) == 1
    assert np.all(np.abs(np.sum(c, axis=1 + axis) - 1) <= 4 * np.finfo(dtype).eps)
    assert np.ptp(np.sum(c, axis=4 - axis)) > 0.2
    assert drawn.have(lambda c: np.ptp(c) == 0)
    with pytest.raises(OptionError, match=r"^normalize: expected 'inputs' or 'outputs', got 'i'$"):
        coefficients(normalize="i")


def test_layers_fit():
    drawn = Drawn(layers(dtype="float32"))
    for x, W in drawn:
        assert x.shape[1:] == (len(W), W.shape[3])
        assert x.dtype == W.dtype == "float32"
    assert len({(*x.shape, *W.shape[1:3]) for x, W in drawn}) > 50
    assert drawn.have(lambda layer: np.any(layer[0] < 0) and np.any(layer[1] < 0))
    alike = Drawn(layers((2, 3, 2, 2, 2), signs="alike"))
    assert alike.have(lambda layer: not layer[0][0, 0].any())
    assert all(np.all((x == 0) | (x >= 0.25)) and np.all(W >= 0.25) for x, W in alike)


# --- check_squash -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_squash_passes(backend, dtype):
    options = {"backend": backend, "dtype": dtype, "examples": EXAMPLES.get(backend, 10)}
    check_squash(F.squash, F.unsquash, vjp=F.squash_vjp, **options)


def polar(z):
    """Lengths, with the axis kept, and directions, 0 for 0; right for lengths that overflow."""
    largest = np.max(np.abs(z), axis=-1, keepdims=True)
    direction = z / np.where(largest > 0, largest, 1.0)
    r = F.length(direction)[..., None]
    return F.length(z)[..., None], direction / np.where(r > 0, r, 1.0)


def naive(z):
    r = np.sqrt(np.sum(z * z, axis=-1, keepdims=True))
    return r**2 / (1 + r**2) * z / r


def overflows(z):
    r = np.sqrt(np.sum(z * z, axis=-1, keepdims=True))
    return r**2 / (1 + r**2) * z / np.where(r > 0, r, 1.0)


def over_all_capsules(z):
    return F.squash(z.reshape(-1)).reshape(z.shape)


def negative(z):
    return -F.squash(z)


def by_component(z):
    return F.squash(z[..., None])[..., 0]


def times_three_halves(z):
    return 1.5 * F.squash(z)


def reaches_one(z):
    r, direction = polar(z)
    return np.where(r > 1e9, direction, F.squash(z))


def falls(z):
    r, direction = polar(z)
    return direction * np.minimum(r, 1 / np.maximum(r, 1)) / 2


def lost_beyond_the_largest_length(z):
    r, direction = polar(z)
    return np.where(np.isfinite(r), direction * np.minimum(r, 0.5), 0.0)


def constant(z):
    return polar(z)[1] / 2


def of_the_sum(z):
    return F.squash(z) / (1 + np.sum(np.abs(polar(z)[1]), axis=-1, keepdims=True))


def not_squared(z):
    r, direction = polar(z)
    return np.where(r < 1e9, r / (1 + r), 1.0) * direction


def with_epsilon(z):
    r, direction = polar(z)
    return np.where(r < 1e4, F.squash(np.sqrt(r**2 + 1e-12)) * direction, F.squash(z))


def root(z):
    r, direction = polar(z)
    return np.where(r < 1e9, np.sqrt(r) / (1 + np.sqrt(r)), 1.0) * direction


def in_place(z):
    z *= 0.5
    return F.squash(z)


WRONG_SQUASHES = [
    (naive, "does not take the zero vector to zero", ["z = [[0., 0.]]", "= [[nan, nan]]"]),
    (overflows, "is not finite for a finite capsule", ["e+154, 0.", "= [[nan, nan]]"]),
    (over_all_capsules, "treats a capsule differently beside others", ["z[0:1]"]),
    (negative, "does not keep the direction of a capsule", ["z = [[1., 0.]]", "= [[-0.5, -0. ]]"]),
    (by_component, "does not keep the direction of a capsule", ["z = [[0.5, 1. ]]"]),
    (times_three_halves, r"makes a length outside \[0, 1\)", ["‖ − 1 = 0.2"]),
    (reaches_one, r"makes a length outside \[0, 1\)", ["‖ − 1 = 0", "= [[1., 0.]]"]),
    (falls, "makes a shorter capsule of a longer one", ["z = [[1., 0.]]", "= [[0.5, 0. ]]"]),
    (lost_beyond_the_largest_length, "makes a shorter capsule of a longer one", ["= [[0., 0.]]"]),
    (constant, "does not make a longer capsule of a longer one", ["longer z = [[1.5, 0. ]]"]),
    (of_the_sum, "does not commute with rotations", ["rotated z = [["]),
    (with_epsilon, "makes other lengths than its law, squashed_length", ["by the law = ["]),
    (in_place, "changes its argument in place", ["before = [[1., 0.]]"]),
    (F.length, r"returns shape \(1,\), expected \(1, 2\)", ["argument 1 = [[0., 0.]]"]),
    (lambda z: F.squash(z).astype("float32"), "^fn returns float32 for float64$", []),
    (lambda z: F.squash(z).tolist(), "^fn returns list, expected an array of numpy$", []),
    (lambda z: (F.squash(z), z), "^fn returns tuple, expected an array of numpy$", []),
]


@pytest.mark.parametrize(("fn", "message", "shown"), WRONG_SQUASHES)
def test_wrong_squashes_are_caught(fn, message, shown):
    lines = fails(message, check_squash, fn)
    for text in shown:
        assert any(text in line for line in lines), lines


def test_a_length_in_place_of_its_square_is_caught_by_the_law_and_by_the_inverse():
    wide = {"interval": "[0, 1]"}
    lines = fails(
        "^not_squared makes other lengths than its law", check_squash, not_squared, **wide
    )
    assert lines[2:5] == [
        "  ‖not_squared(z)‖ = [0.33333333]",
        "  by the law = [0.2]",
        "  off by = [0.13333333]",
    ]
    check_squash(not_squared, law=lambda r: r / (1 + r), **wide)
    check_squash(not_squared, law=None, **wide)
    lines = fails(
        r"^unsquash\(not_squared\(z\)\) is not z$",
        check_squash,
        not_squared,
        F.unsquash,
        law=None,
        **wide,
    )
    assert [line.split(" = ")[0].strip() for line in lines[-3:]] == [
        "off by",
        "rounding explains",
        "relative errors grow on the way back",
    ]


def test_an_infinite_slope_at_zero_is_caught():
    lines = fails("no finite derivative at zero", check_squash, root, law=None, interval="[0, 1]")
    assert "with h = 9.09e-13 = [1048575." in lines[1]


def test_other_squashing_functions_pass_with_their_own_law():
    def law(r):
        return -np.expm1(-r)

    def fn(z):
        r, direction = polar(z)
        return np.minimum(law(r), 1 - 2.0**-51) * direction

    check_squash(fn, law=law)
    fails("makes other lengths than its law, tanh", check_squash, fn, law=np.tanh)


def test_the_textbook_formula_passes_where_lengths_may_round_to_one():
    def textbook(z):
        r, direction = polar(z)
        p = np.where(r < 1, r * r / (1 + r * r), 1 / (1 + np.maximum(r, 1) ** -2.0))
        return p * direction

    for dtype in DTYPES:
        check_squash(textbook, F.unsquash, interval="[0, 1]", dtype=dtype)
    fails(r"makes a length outside \[0, 1\)", check_squash, textbook)


@pytest.mark.parametrize(
    ("inverse", "message"),
    [
        (lambda x: x / np.sqrt(polar(x)[0] * (1 - polar(x)[0])), "inverse is not finite"),
        (lambda x: 1.001 * F.unsquash(x), r"inverse\(squash\(z\)\) is not z"),
        (lambda x: (1 + 1e-9) * F.unsquash(x), r"inverse\(squash\(z\)\) is not z"),
        (
            lambda x: np.where(polar(x)[0] < 1e-4, 0.5, 1.0) * F.unsquash(x),
            r"squash\(inverse\(x\)\) is not x|inverse\(squash\(z\)\) is not z",
        ),
    ],
)
def test_wrong_inverses_are_caught(inverse, message):
    fails(message, check_squash, F.squash, inverse)


def test_a_derivative_that_divides_by_the_zero_length_is_caught():
    def vjp(z, g):
        r = np.sqrt(np.sum(z * z, axis=-1, keepdims=True))
        along = z * np.sum(z * g, axis=-1, keepdims=True) / r**2
        return (g - along) * r / (1 + r**2) + along * 2 * r / (1 + r**2) ** 2

    lines = fails(
        "vjp: the gradient is not finite at the zero vector", check_squash, F.squash, vjp=vjp
    )
    assert lines[0] == "  z = [[0., 0.]]"

    def overflowing(z, g):
        return np.where(np.any(z, axis=-1, keepdims=True), vjp(z, g), 0.0)

    fails("the gradient is not finite for a finite", check_squash, F.squash, vjp=overflowing)

    def off(z, g):
        return (1 + 1e-6) * F.squash_vjp(z, g)

    fails(r"^off is not the gradient of ⟨g, squash\(x\)⟩$", check_squash, F.squash, vjp=off)


def test_a_wrong_derivative_at_zero_is_caught():
    def half(z, g):
        return np.where(np.any(z, axis=-1, keepdims=True), F.squash_vjp(z, g), 0.5 * g)

    fails("^half at zero is not the derivative of squash there$", check_squash, F.squash, vjp=half)


def clipped(z):
    r, direction = polar(z)
    return np.where(r <= 1, z, direction)


def clipped_vjp(z, g):
    r, u = polar(z)
    across = g - u * np.sum(u * g, axis=-1, keepdims=True)
    return np.where(r <= 1, g, across / np.maximum(r, 1))


def test_a_squash_that_saturates_is_judged_up_to_there_and_on_both_sides():
    options = {"law": lambda r: min(r, 1.0), "interval": "[0, 1]", "examples": 15}
    check_squash(clipped, vjp=clipped_vjp, saturation=1.0, **options)
    fails("does not make a longer capsule of a longer one", check_squash, clipped, **options)
    for low, high in ((0.0, 1.0), (1.0, np.inf)):  # wrong inside, wrong outside

        def vjp(z, g, low=low, high=high):
            r, _ = polar(z)
            return np.where((r > low) & (r <= high), 0.9, 1.0) * clipped_vjp(z, g)

        fails("^vjp is not the gradient", check_squash, clipped, vjp=vjp, saturation=1.0, **options)


def test_a_steeper_law_is_allowed_more_roundings_and_no_more_than_that():
    def tenth_power(z):
        r, direction = polar(z)
        power = np.minimum(r, 1) ** 10 / (1 + np.minimum(r, 1) ** 10)
        t = np.where(r < 1, power, 1 / (1 + np.maximum(r, 1) ** -10.0))
        return np.minimum(t, 1 - 1e-14) * direction

    def law(r):
        return r**10 / (1 + r**10) if r < 1e9 else 1.0

    fails("does not commute|other lengths than its law", check_squash, tenth_power, law=law)
    check_squash(tenth_power, law=law, condition=10.0, examples=25)


def test_automatic_differentiation_of_the_naive_norm_is_caught():
    torch = pytest.importorskip("torch")

    def fn(z):
        r = torch.linalg.vector_norm(z, dim=-1, keepdim=True)
        return torch.where(r > 0, F.squash(z), 0 * z)

    def vjp(z, g):
        z = z.clone().requires_grad_()
        r = torch.linalg.vector_norm(z, dim=-1, keepdim=True)
        x = torch.where(r > 0, r * r / (1 + r * r) * z / r, torch.zeros_like(z))
        return torch.autograd.grad(x, z, g)[0]

    lines = fails(
        "vjp: the gradient is not finite at the zero vector",
        check_squash,
        fn,
        vjp=vjp,
        backend="torch",
    )
    assert lines[-1] == "  vjp(z, g) = [[nan, nan]]"


@pytest.mark.parametrize("r", [0.0, 1e-200, 0.5, 3.0, 1e8, 1e9, 1e300])
def test_the_law_is_the_equation(r):
    square = Fraction(r) ** 2
    assert squashed_length(r) == pytest.approx(float(square / (1 + square)), rel=1e-15)


# --- check_routing ----------------------------------------------------------------------------


def router(**options):
    return lambda x, W: F.route(x, W, **options)


@pytest.mark.parametrize(("iterations", "dtype"), [(2, "float32"), (3, "float64")])
@pytest.mark.parametrize("normalize", ["inputs", "outputs"])
@pytest.mark.parametrize("agreement", ["cosine", "dot"])
def test_routing_passes(agreement, normalize, iterations, dtype):
    options = {"agreement": agreement, "normalize": normalize}
    fn, first = router(iterations=iterations, **options), router(iterations=1, **options)
    check_routing(fn, first=first, normalize=normalize, dtype=dtype, examples=15)


@pytest.mark.parametrize(("agreement", "normalize"), [("cosine", "inputs"), ("dot", "outputs")])
def test_routing_passes_on_every_library(backend, agreement, normalize):
    fn = router(agreement=agreement, normalize=normalize)
    options = {"backend": backend, "examples": 2 if backend == "jax" else 8}
    check_routing(fn, normalize=normalize, sizes=[(2, 3, 2, 2, 1)], **options)


def softmax(b, axis):
    e = np.exp(b - np.max(b, axis=axis, keepdims=True))
    return e / np.sum(e, axis=axis, keepdims=True)


def student(
    x, W, *, axis=1, start=0.0, shared=False, sign=1.0, skew=0.0, tilt=0.0, squashed=False, steps=3
):
    """Routing by agreement in the student's words, with what may go wrong as options."""
    u = np.einsum("ijdp,bip->bijd", W, x)
    number = np.arange(u.shape[1])[:, None]
    b = np.zeros(u.shape[:3]) + start * number
    for step in range(steps):
        c = softmax(b, axis)
        z = np.einsum("bij,bijd->bjd", c, u)
        if step < steps - 1:
            agreement = sign * np.einsum("bijd,bjd->bij", u, F.squash(z)) * (1 + skew * number)
            agreement = agreement + tilt * number * (agreement - agreement.mean(axis=1)[:, None])
            b = b + (np.sum(agreement, axis=0) if shared else agreement)
    return c, F.squash(z) if squashed else z


WRONG_ROUTINGS = [
    ({"axis": 2}, "inputs", "coefficients sum to 1 over outputs, not over inputs"),
    ({}, "outputs", "coefficients sum to 1 over inputs, not over outputs"),
    ({"axis": 0}, "inputs", "coefficients do not sum to 1 over inputs"),
    ({"squashed": True}, "inputs", r"z is not the sum \(3\) of predictions"),
    ({"start": 0.1}, "inputs", "the coefficients are not uniform where nothing is predicted"),
    ({"shared": True}, "inputs", "example [01] is routed differently beside others"),
    ({"shared": True, "axis": 2}, "outputs", "example [01] is routed differently beside others"),
    ({"skew": 1.0}, "inputs", "inputs that predict the same get different coefficients"),
    ({"skew": 1.0, "axis": 2}, "outputs", "inputs that predict the same get different coeff"),
    ({"tilt": 1.0}, "inputs", "the order of input capsules counts"),
    ({"tilt": 1.0, "axis": 2}, "outputs", "the order of input capsules counts"),
    ({"sign": -1.0}, "inputs", "input 2 disagrees with the others on output 1 and does not get"),
    ({"sign": -1.0, "axis": 2}, "outputs", "input 2 disagrees with the others on output 1"),
    ({"steps": 1}, "inputs", "input 2 disagrees with the others on output 1 and does not get"),
]


def test_the_students_routing_is_right_without_its_mistakes():
    check_routing(student, first=lambda x, W: student(x, W, steps=1))
    check_routing(lambda x, W: student(x, W, axis=2)[0], normalize="outputs")


@pytest.mark.parametrize(("mistake", "normalize", "message"), WRONG_ROUTINGS)
def test_wrong_routings_are_caught(mistake, normalize, message):
    def routing(x, W):
        return student(x, W, **mistake)

    lines = fails(f"^routing: {message}", check_routing, routing, normalize=normalize)
    assert lines[0].startswith("  x = [[[")
    assert any(line.startswith("  W = [[[[") for line in lines)


def unlike(x, W):
    """The second output capsule does not route."""
    c, _ = student(x, W)
    c[:, :, 1:] = 1 / c.shape[1]
    return c


def first_come(x, W):
    """The input that agrees most takes all; ties go to the first, unless nothing is predicted."""
    c, z = student(x, W)
    best = np.argmax(c, axis=1)[:, None] == np.arange(c.shape[1])[:, None]
    return np.where(np.any(z, axis=-1)[:, None], best, 1.0 / c.shape[1])


def negative_shares(x, W):
    c, _ = student(x, W)
    c[:, 0] -= 1
    c[:, 1] += 1
    return c


def zero_over_zero(x, W):
    u = np.einsum("ijdp,bip->bijd", W, x)
    z = np.mean(u, axis=1)
    cosine = np.einsum("bijd,bjd->bij", u, z) / (
        np.linalg.norm(u, axis=-1) * np.linalg.norm(z, axis=-1)[:, None]
    )
    return softmax(cosine, 1)


@pytest.mark.parametrize(
    ("fn", "message"),
    [
        (unlike, "the order of output capsules counts"),
        (first_come, "inputs that predict the same get different coefficients"),
        (negative_shares, "a coefficient is negative"),
        (zero_over_zero, "the result is not finite"),
        (lambda x, W: student(x, W)[0][0], r"returns c of shape \(2, 3\), expected \(1, 2, 3\)"),
        (lambda x, W: student(x, W)[::-1], r"returns c of shape"),
        (lambda x, W: (*student(x, W), x), "returns 3 arrays, expected c, or c and z"),
    ],
)
def test_other_wrong_routings_are_caught(fn, message):
    fails(message, check_routing, fn)


def test_a_first_weighting_that_is_not_uniform_is_caught():
    first = router(iterations=2)
    fails(
        "^first: the coefficients are not uniform in the first", check_routing, F.route, first=first
    )


def test_a_function_that_is_not_always_the_same_is_caught():
    calls = []

    def changes(x, W):
        calls.append(x)
        return student(x, W)[0] * (np.nan if len(calls) == 30 else 1.0)

    fails("the same arguments do not give the same result twice", check_routing, changes)


# --- check_adjoint ----------------------------------------------------------------------------

IMAGES, CODES = (2, 5, 4, 2), (2, 3, 2, 3)
WEIGHT = np.random.default_rng(1).normal(size=(3, 3, 2, 3))
LAYER = np.random.default_rng(2).normal(size=(3, 2, 2, 4)), np.full((3, 2), 0.25)


def linear_maps(xp):
    """Each map of the package with its adjoint, and the shape of what it takes."""
    weight, codes = xp.asarray(WEIGHT), xp.asarray(np.ones(CODES))
    images, layer = xp.asarray(np.ones(IMAGES)), [xp.asarray(array) for array in LAYER]
    return {
        "im2col": (lambda x: F.im2col(x, 3), lambda y: F.col2im(y, IMAGES, 3), IMAGES),
        "im2col, stride and padding": (
            lambda x: F.im2col(x, 3, 2, padding=1),
            lambda y: F.col2im(y, IMAGES, 3, 2, padding=1),
            IMAGES,
        ),
        "conv2d, images": (
            lambda x: F.conv2d(x, weight),
            lambda y: F.conv2d_input_gradient(y, weight, IMAGES[1:3]),
            IMAGES,
        ),
        "conv2d, weight": (
            lambda w: F.conv2d(images, w),
            lambda y: F.conv2d_weight_gradient(y, images, 3),
            WEIGHT.shape,
        ),
        "conv2d and conv2d_transpose": (
            lambda x: F.conv2d(x, weight, stride=2, padding=1),
            lambda y: F.conv2d_transpose(y, weight, stride=2, padding=1, output_padding=(0, 1)),
            IMAGES,
        ),
        "conv2d_transpose, codes": (
            lambda y: F.conv2d_transpose(y, weight),
            lambda x: F.conv2d_transpose_input_gradient(x, weight),
            CODES,
        ),
        "conv2d_transpose, weight": (
            lambda w: F.conv2d_transpose(codes, w),
            lambda x: F.conv2d_transpose_weight_gradient(x, codes, 3),
            WEIGHT.shape,
        ),
        "forward": (
            lambda x: F.forward(x, *layer),
            lambda y: F.reverse(y, *layer),
            (2, 3, 4),
        ),
    }


@pytest.mark.parametrize("name", linear_maps(np))
def test_linear_maps_have_their_adjoints(backend, name):
    with jax_x64(backend):
        f, f_adjoint, shape = linear_maps(get_backend(backend).xp)[name]
        check_adjoint(f, f_adjoint, shape, backend=backend, examples=EXAMPLES.get(backend, 10))


@pytest.mark.parametrize(
    ("f", "f_adjoint", "message"),
    [
        (F.forward, lambda y, W, c: 2 * F.reverse(y, W, c), "is not the adjoint of f$"),
        (F.forward, lambda y, W, c: F.reverse(y, W[::-1], c), "is not the adjoint of f$"),
        (F.forward, lambda y, W, c: (1 + 1e-12) * F.reverse(y, W, c), "is not the adjoint of f$"),
        (F.forward, lambda y, W, c: F.reverse(y, W, c)[:1], r"returns shape \(1, 3, 4\), expected"),
        (
            lambda *a: F.forward(*a) + 1,
            F.reverse,
            "^f is not linear: it does not take zero to zero",
        ),
        (F.forward, lambda *a: F.reverse(*a) - 1, "^f_adjoint is not linear: it does not take"),
        (lambda *a: abs(F.forward(*a)), F.reverse, "is not the adjoint of f$"),
    ],
)
def test_wrong_adjoints_are_caught(f, f_adjoint, message):
    shapes = (2, 3, 4), (2, 2, 2)
    fails(message, check_adjoint, lambda x: f(x, *LAYER), lambda y: f_adjoint(y, *LAYER), *shapes)


def test_an_adjoint_off_by_a_factor_is_shown_at_one_number_each():
    lines = fails("scaled is not", check_adjoint, lambda x: 3 * x, scaled, (2,))
    assert lines == [
        "  x = [1., 0.]",
        "  y = [1., 0.]",
        "  f(x) = [3., 0.]",
        "  scaled(y) = [1.5, 0. ]",
        "  ⟨f(x), y⟩ = 3",
        "  ⟨x, scaled(y)⟩ = 1.5",
    ]


def scaled(y):
    return 1.5 * y


# --- check_gradient, check_vjp ----------------------------------------------------------------

AWAY_FROM_KINKS = st.lists(
    st.floats(0.25, 4).flatmap(lambda size: st.sampled_from([size, -size])), min_size=3, max_size=3
).map(np.asarray)
BACKWARDS = {
    "length": (F.length, F.length_vjp, capsules((2, 3), lengths=(0.5, 4.0), zeros=False)),
    "squash": (F.squash, F.squash_vjp, capsules((2, 3), lengths=(0.01, 8.0))),
    "unsquash": (F.unsquash, F.unsquash_vjp, capsules((2, 3), lengths=(0.1, 0.9), zeros=False)),
    "softmax": (F.softmax, F.softmax_vjp, (2, 3)),
    "relu": (F.relu, lambda x, g: g * F.relu_derivative(x), AWAY_FROM_KINKS),
    "leaky_relu": (F.leaky_relu, lambda x, g: g * F.leaky_relu_derivative(x), AWAY_FROM_KINKS),
    "sigmoid": (F.sigmoid, lambda x, g: g * F.sigmoid_derivative(x), (3,)),
    "log_sigmoid": (F.log_sigmoid, lambda x, g: g * F.log_sigmoid_derivative(x), (3,)),
    "softplus": (F.softplus, lambda x, g: g * F.sigmoid(x), (3,)),
    "logsumexp": (F.logsumexp, lambda x, g: g[..., None] * F.softmax(x), (2, 3)),
    "code_potential": (
        F.code_potential,
        lambda y, g: g[..., None] * F.unsquash(y),
        capsules((2, 3), lengths=(0.1, 0.9)),
    ),
}


@pytest.mark.parametrize("name", BACKWARDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_backward_passes_are_right(backend, dtype, name):
    f, vjp, points = BACKWARDS[name]
    check_vjp(f, vjp, points, backend=backend, dtype=dtype, examples=EXAMPLES.get(backend, 10))


def test_gradients_of_models_are_right():
    x, W, c = (
        np.random.default_rng(3).normal(size=size) for size in ((2, 3, 4), (3, 2, 2, 4), (3, 2))
    )
    check_gradient(
        lambda W: -np.sum(F.free_energy(x, W, c)),
        lambda W: F_data_term(x, W, c),
        W.shape,
    )
    h, y = np.random.default_rng(4).normal(size=(2, 3, 4)), np.full((2, 2, 2), 0.3)
    U = (2, 3, 4, 2)  # J, I, P, D
    check_gradient(
        lambda U: F.settling_objective(h, U, c.T, y).mean(),
        lambda U: -F.settling_gradient(h, U, c.T, y) / 2,
        U,
    )


def F_data_term(x, W, c):
    """(18)'s first term: 2 c_ij w(z_j) x_iᵀ, summed over the batch."""
    w = F.expert_gradient(F.forward(x, W, c))
    return 2 * np.einsum("ij,bjd,bip->ijdp", c, w, x)


def log_expert(z):
    return np.sum(np.log1p(np.sum(z * z, axis=-1)))


def test_a_complex_step_takes_analytic_functions():
    points = capsules((2, 3), lengths=(0.01, 8.0))
    check_gradient(log_expert, lambda z: 2 * F.expert_gradient(z), points, method="complex-step")
    for dtype in DTYPES:
        lines = fails(
            "^grad is not the gradient of log_expert$",
            check_gradient,
            log_expert,
            lambda z: (2 + 1e-4) * F.expert_gradient(z),
            points,
            method="complex-step",
            dtype=dtype,
        )
        assert lines[-1].startswith("  by a complex step = ")
    fails(
        "f drops the imaginary part",
        check_gradient,
        lambda z: log_expert(z.real),
        F.expert_gradient,
        method="complex-step",
    )
    fails(
        "f raises DtypeError: z: expected float32 or float64, got complex128",
        check_gradient,
        lambda z: np.sum(F.squash(z)),
        F.expert_gradient,
        method="complex-step",
    )


@pytest.mark.parametrize(
    "wrong",
    [
        F.expert_gradient,
        lambda z: -2 * F.expert_gradient(z),
        lambda z: 2 * z,
        lambda z: 2 * F.expert_gradient(z)[:, ::-1],
        lambda z: 2 * F.expert_gradient(z) + np.nan,
        lambda z: (2 + 1e-6) * F.expert_gradient(z),
    ],
)
def test_wrong_gradients_are_caught(wrong):
    lines = fails(
        "^(grad|expert_gradient) is not the gradient of", check_gradient, log_expert, wrong, (2, 3)
    )
    assert lines[-1].startswith("  by differences = ")


def test_a_gradient_without_the_factor_two_is_shown_along_one_component():
    lines = fails("grad is not", check_gradient, lambda x: np.sum(x**2), lambda x: x, (2,))
    assert lines[:4] == [
        "  x = [1., 1.]",
        "  v = [1., 0.]",
        "  grad(x) = [1., 1.]",
        "  ⟨grad(x), v⟩ = 1",
    ]


def test_a_backward_pass_of_another_cotangent_is_caught():
    fails("is not the gradient of", check_vjp, F.softmax, lambda x, g: g * F.softmax(x), (2, 3))
    fails("vjp returns shape", check_vjp, F.softmax, lambda _, g: g[0], (2, 3))


def test_differences_that_cannot_tell_say_so():
    def rough(x):
        place = int(1e13 * (1.0 * x[0] + 2.1 * x[1] + 4.3 * x[2]))
        noise = place * 2654435761 % 2**32 / 2**32  # the same on every machine
        return np.sum(x) + 0.1 * noise

    message = "^ones_like cannot be judged: differences of rough are rougher than rough itself$"
    fails(message, check_gradient, rough, np.ones_like, factor=10.0, examples=2)
    fails("f returns shape", check_gradient, lambda x: x, lambda x: x)


# --- check_backend_parity ---------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_functions_are_the_same_everywhere(dtype):
    options = {"dtype": dtype, "examples": 8}
    check_backend_parity(
        F.squash, capsules((2, 3), dtype=dtype, lengths=(2.0**-30, 9.0)), **options
    )
    inside = capsules((2, 3), dtype=dtype, lengths=(2.0**-30, 0.99))  # JAX knows no subnormals
    check_backend_parity(F.unsquash, inside, **options)
    check_backend_parity(F.winners, weights((1, 1, 3, 4), dtype=dtype).map(lambda w: w[0, 0]), 2)


@pytest.mark.parametrize("signs", ["any", "alike"])
def test_routing_is_the_same_everywhere_even_where_predictions_cancel(signs):
    check_backend_parity(F.route, layers((2, 3, 2, 2, 2), signs=signs), examples=3)


def on_numpy(z):
    return np.sqrt(np.sum(np.asarray(z) ** 2, axis=-1))


def halved_elsewhere(z):
    return z if isinstance(z, np.ndarray) else z / 2


def shorter_elsewhere(z):
    return z if isinstance(z, np.ndarray) else z[:1, ...]


def whole_elsewhere(z):
    xp = get_backend("array-api-strict").xp
    return z if isinstance(z, np.ndarray) else xp.astype(z, xp.int64)


def tuple_elsewhere(z):
    return (z, z) if isinstance(z, np.ndarray) else (z,)


def uses_a_method(z):
    return z.mean(axis=-1)


@pytest.mark.parametrize(
    ("fn", "message"),
    [
        (on_numpy, "on_numpy returns numpy.ndarray, expected an array of array-api-strict"),
        (uses_a_method, "uses_a_method raises AttributeError: "),
        (halved_elsewhere, "halved_elsewhere does not return NumPy's numbers"),
        (shorter_elsewhere, r"returns float64 \(1, 3\), with NumPy float64 \(2, 3\)"),
        (whole_elsewhere, r"returns int64 \(2, 3\), with NumPy float64 \(2, 3\)"),
        (tuple_elsewhere, "returns 1 arrays, with NumPy 2"),
    ],
)
def test_what_works_on_numpy_alone_is_caught(fn, message):
    z = capsules((2, 3), lengths=(0.5, 4.0))
    fails(
        f"^array-api-strict: .*{message}",
        check_backend_parity,
        fn,
        z,
        backends=["array-api-strict"],
    )


def test_numpy_called_on_tensors_is_caught():
    pytest.importorskip("torch")

    def fn(z):
        return np.linalg.norm(z, axis=-1)

    z = capsules((2, 3), lengths=(0.5, 4.0))
    fails("^torch: fn returns numpy", check_backend_parity, fn, z, backends=["torch"])


def test_a_small_difference_is_told_from_rounding():
    def fn(z, factor=1 + 1e-12):
        return z if isinstance(z, np.ndarray) else z * factor

    z, strict = capsules((2, 3), lengths=(0.5, 4.0)), {"backends": ["array-api-strict"]}
    fails("does not return NumPy's numbers", check_backend_parity, fn, z, **strict)
    check_backend_parity(fn, z, factor=1000.0, **strict)
    check_backend_parity(lambda z: fn(z, 1 + 1e-15), z, **strict)


def test_parity_of_one_library_with_itself_is_refused(monkeypatch):
    monkeypatch.setattr(parity, "BACKENDS", ("numpy",))
    with pytest.raises(
        BackendError, match=r"no second array library .* pip install array-api-strict"
    ):
        check_backend_parity(F.squash, capsules((2, 3)))


# --- all of them ------------------------------------------------------------------------------


def test_a_failing_check_says_the_same_on_every_run():
    first, second = (fails("naive", check_squash, naive) for _ in range(2))
    assert first == second


def test_errors_are_assertions_without_frames_of_hypothesis():
    with pytest.raises(AssertionError) as caught:
        check_squash(naive)
    assert isinstance(caught.value, CapsnpError)
    frames = traceback.extract_tb(caught.tb)
    assert not [frame for frame in frames if "hypothesis" in Path(frame.filename).parts]
    assert not getattr(caught.value, "__notes__", [])


def test_what_a_function_raises_is_the_cause():
    def fn(_):
        raise ZeroDivisionError("of mine")

    with pytest.raises(InvariantError, match=r"^fn raises ZeroDivisionError: of mine") as caught:
        check_squash(fn)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "float16"}, "dtype: expected 'float64' or 'float32', got 'float16'"),
        ({"examples": 0}, "examples: expected a whole number from 1, got 0"),
        ({"factor": 0.0}, "factor: expected a number above 0, got 0.0"),
        ({"backend": "abacus"}, "backend: expected one of numpy, "),
        ({"condition": 0.5}, "condition: expected a number from 1.0, got 0.5"),
        ({"saturation": 0.0}, "saturation: expected a number above 0, got 0.0"),
        ({"interval": "(0, 1)"}, r"interval: expected '\[0, 1\)' or '\[0, 1\]', got '\(0, 1\)'"),
    ],
)
def test_options_outside_their_list_are_refused(options, message):
    with pytest.raises(OptionError, match=f"^{message}"):
        check_squash(F.squash, **options)


def test_the_factor_and_the_number_of_examples_count():
    def off(z):
        return F.squash(z) * (1 - 1e-13)

    fails("makes other lengths than its law", check_squash, off)
    check_squash(off, factor=100.0)
    calls = []

    def counted(z):
        calls.append(z)
        return F.squash(z)

    check_squash(counted, examples=5)
    few = len(calls)
    check_squash(counted, examples=50)
    assert few < 0.2 * (len(calls) - few)


def test_jax_is_left_as_it_was():
    jax = pytest.importorskip("jax")
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", False)
    try:
        check_squash(F.squash, backend="jax", examples=1)
        assert not jax.config.jax_enable_x64
    finally:
        jax.config.update("jax_enable_x64", before)


def test_without_hypothesis_the_module_says_what_to_install():
    code = "import sys; sys.modules['hypothesis'] = None; import capsnp.testing"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ImportError: capsnp.testing needs Hypothesis: pip install hypothesis")


@contextlib.contextmanager
def jax_x64(backend):
    """Arrays made before a check have its precision."""
    if backend != "jax":
        yield
        return
    import jax

    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", before)


# --- the page ---------------------------------------------------------------------------------


def test_the_page_shows_what_its_code_says():
    """Blocks of Python run one after the other; a block of text is what the one before printed."""
    page = Path(__file__).parents[1] / "docs" / "testing.md"
    blocks = re.findall(r"```(python|text)\n(.*?)```", page.read_text(), flags=re.DOTALL)
    names, printed, shown = {"__name__": "page"}, "", 0
    for kind, block in blocks:
        if kind == "text":
            assert block == printed
            shown += 1
            continue
        with contextlib.redirect_stdout(io.StringIO()) as out:
            try:
                exec(block, names)
            except InvariantError as error:
                print(f"{type(error).__name__}: {error}")
        printed = out.getvalue()
    assert shown > 5
