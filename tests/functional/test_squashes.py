"""The family of squashing functions: invariants, 60-digit arithmetic, and what a table says."""

import math
from decimal import Context, Decimal, localcontext

import numpy as np
import pytest

from capsnp.errors import DomainError, OptionError
from capsnp.functional import length, squash_vjp
from capsnp.functional.squashes import (
    SQUASHES,
    Squash,
    gradient_factors,
    power_squash,
    tempered_squash,
)
from capsnp.testing import check_squash

DTYPES = ["float32", "float64"]
QUIET = {"over": "raise", "divide": "raise", "invalid": "raise", "under": "ignore"}
DIGITS = Context(prec=60, Emax=10**6, Emin=-(10**6))
CUBIC = power_squash(3, temperature=0.3)
OTHERS = [member for name, member in SQUASHES.items() if name != "sabour"] + [CUBIC]


def by_name(value):
    return value.name if isinstance(value, Squash) else None


def power_law(n, p, T):
    return 1 / (1 + (T / n) ** p)


def efficient_law(n):
    return n - n * n / 2 if n < Decimal("1e-30") else 1 - (-min(n, Decimal(2000))).exp()


LAWS = {
    "efficient": (efficient_law, lambda n: (-min(n, Decimal(2000))).exp()),
    "ball": (lambda n: min(n, Decimal(1)), lambda n: Decimal(int(n <= 1))),
}
"""t(n) and t'(n) in decimal digits."""

for _name, _p, _T in (
    ("rational", 1, 1),
    ("power", 1.5, 1),
    ("tempered", 2, math.sqrt(0.5)),
    (CUBIC.name, 3, 0.3),
):
    _p, _T = Decimal(_p), Decimal(_T)
    LAWS[_name] = (
        lambda n, p=_p, T=_T: power_law(n, p, T),
        lambda n, p=_p, T=_T: p * (1 - power_law(n, p, T)) * power_law(n, p, T) / n,
    )


def whole_range(dtype):
    """Vectors (40, 3) whose sizes go from the smallest number to the largest, one of them zero."""
    rng = np.random.default_rng(5)
    info = np.finfo(dtype)
    low, high = np.log10(float(info.smallest_subnormal)), np.log10(float(info.max)) - 0.7
    sizes = np.concatenate([np.linspace(low, high, 20), rng.uniform(-3, 3, 20)])
    z = 10.0 ** sizes[:, None] * rng.standard_normal((40, 3))
    z = np.clip(z, -float(info.max), float(info.max))
    z[7], z[19] = 0, float(info.max)
    return z.astype(dtype)


def readable(library, z):
    """The vectors as the library reads them: JAX flushes subnormal numbers to zero."""
    if library.name != "jax":
        return z
    return np.where(np.abs(z) < np.finfo(z.dtype).tiny, z.dtype.type(0), z)


def expect_near(library, got, expected, sizes, dtype, *, terms=12):
    """Off by a few roundings of the vectors' sizes, and of the smallest numbers."""
    info = np.finfo(dtype)
    smallest = float(info.tiny if library.name == "jax" else 8 * info.smallest_subnormal)
    assert got.dtype == dtype
    for have, want, size in zip(got, expected, sizes, strict=True):
        off = max(abs(Decimal(float(a)) - b) for a, b in zip(have, want, strict=True))
        assert off <= Decimal(terms * float(info.eps)) * size + Decimal(smallest), (have, want)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("member", OTHERS, ids=by_name)
def test_invariants(member, dtype):
    check_squash(
        member.apply,
        member.inverse,
        vjp=member.vjp,
        law=member.law,
        condition=member.condition,
        saturation=member.saturation,
        interval="[0, 1)" if member.saturation == math.inf else "[0, 1]",
        dtype=dtype,
        examples=10,
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("member", OTHERS, ids=by_name)
def test_right_over_the_whole_range(library, rng, member, dtype):
    if library.name == "jax" and (dtype == "float32" or member.name not in ("efficient", "power")):
        pytest.skip("JAX compiles every operation")
    z = readable(library, whole_range(dtype))
    g = rng.standard_normal(z.shape).astype(dtype)
    with np.errstate(**QUIET):
        x = library.to_host(member.apply(library.from_host(z)))
        pulled = library.to_host(member.vjp(library.from_host(z), library.from_host(g)))
    law, slope = LAWS[member.name]
    expected, sizes, gradients, steep = [], [], [], []
    with localcontext(DIGITS):
        for v, w in zip(z, g, strict=True):
            v, w = ([Decimal(float(number)) for number in row] for row in (v, w))
            n = sum((number * number for number in v), Decimal(0)).sqrt()
            if not n:
                flat = Decimal(float(gradient_factors(np.zeros(()), member).across))
                expected.append(v)
                sizes.append(n)
                gradients.append([flat * number for number in w])
                steep.append(Decimal(10))
                continue
            t, across = law(n), law(n) / n
            expected.append([t * number / n for number in v])
            sizes.append(t)
            inner = sum((a * b for a, b in zip(v, w, strict=True)), Decimal(0)) / (n * n)
            gradients.append(
                [across * b + (slope(n) - across) * inner * a for a, b in zip(v, w, strict=True)]
            )
            steep.append(max(across, slope(n)) * sum(map(abs, w)))
        expect_near(library, x, expected, sizes, dtype)
        expect_near(library, pulled, gradients, steep, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("member", [m for m in OTHERS if m.inverse], ids=by_name)
def test_inverse_is_right_from_zero_to_the_unit_sphere(library, rng, member, dtype):
    if library.name == "jax" and (dtype == "float32" or member.name not in ("efficient", "power")):
        pytest.skip("JAX compiles every operation")
    eps = float(np.finfo(dtype).eps)
    x = rng.standard_normal((40, 3))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    x[:20] *= 1 - eps * 10.0 ** np.linspace(0.4, -np.log10(eps) - 0.1, 20)[:, None]
    x[20:] *= np.geomspace(float(np.finfo(dtype).smallest_subnormal), 0.5, 20)[:, None]
    x = readable(library, x.astype(dtype))
    x[30] = 0
    with np.errstate(**QUIET):
        got = library.to_host(member.inverse(library.from_host(x)))
    expected, sizes = [], []
    with localcontext(DIGITS):
        for row in x:
            row = [Decimal(float(number)) for number in row]
            t = sum((number * number for number in row), Decimal(0)).sqrt()
            n = exact_inverse(member.name, t) if t else t
            expected.append([n * number / t if t else t for number in row])
            sizes.append(n * (1 + abs(t.ln()) / 12) if t else n)  # of 1/p a rounding is magnified
        expect_near(library, got, expected, sizes, dtype)


def exact_inverse(name, t):
    if name == "efficient":
        return t + t * t / 2 if t < Decimal("1e-30") else -(1 - t).ln()
    p, T = {"rational": (1, 1), "power": (1.5, 1), "tempered": (2, math.sqrt(0.5))}.get(
        name, (3, 0.3)
    )
    return Decimal(T) * (t / (1 - t)) ** (1 / Decimal(p))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("member", [m for m in OTHERS if m.inverse], ids=by_name)
def test_clipping_shortens_to_the_largest_length_below_one(member, dtype):
    eps = float(np.finfo(dtype).eps)
    x = np.asarray([[0.0, 1 - eps / 2], [3.0, 4.0], [0.0, -(2.0**100)], [0.0, 0.0]], dtype=dtype)
    with np.errstate(**QUIET):
        got = member.inverse(x, clip=True).astype("float64")
    longest = float(length(member.inverse(x[0]).astype("float64")))
    np.testing.assert_allclose(length(got[:3]), longest, rtol=8 * eps)
    np.testing.assert_array_equal(got[3], 0)
    with pytest.raises(DomainError, match=r"^x: expected lengths below 1, got length 5\.0 at"):
        member.inverse(x)


@pytest.mark.parametrize("member", OTHERS, ids=by_name)
def test_any_axis(rng, member):
    z, g = rng.standard_normal((2, 3, 4))
    np.testing.assert_array_equal(member.apply(z.T, axis=0).T, member.apply(z))
    np.testing.assert_array_equal(member.vjp(z.T, g.T, axis=0).T, member.vjp(z, g))
    if member.inverse is not None:
        x = member.apply(z)
        np.testing.assert_array_equal(member.inverse(x.T, axis=0).T, member.inverse(x))


def test_the_ball_keeps_what_is_inside_and_takes_the_nearest_point_outside():
    ball = SQUASHES["ball"]
    z = np.asarray([[0.3, 0.4], [0.6, 0.8], [1.0, 0.0], [3.0, 4.0], [0.0, 0.0]])
    np.testing.assert_array_equal(ball.apply(z)[[0, 2, 4]], z[[0, 2, 4]])
    np.testing.assert_allclose(ball.apply(z)[3], [0.6, 0.8], rtol=1e-15)
    g = np.ones_like(z)
    np.testing.assert_array_equal(ball.vjp(z, g)[[0, 2, 4]], 1.0)  # the boundary counts as inside
    np.testing.assert_allclose(ball.vjp(z, z)[3], 0.0, atol=1e-15)
    np.testing.assert_allclose(ball.vjp(z, np.asarray([[-4.0, 3.0]] * 5))[3], [-0.8, 0.6])
    assert ball.inverse is None


def test_the_family_has_sabours_squash_and_the_tempered_ones(rng):
    z, g = rng.standard_normal((2, 5, 3))
    ours, family = SQUASHES["sabour"], power_squash(2)
    np.testing.assert_allclose(family.apply(z), ours.apply(z), rtol=1e-14)
    np.testing.assert_allclose(family.vjp(z, g), squash_vjp(z, g), rtol=1e-13, atol=1e-15)
    cool = tempered_squash(0.25)
    np.testing.assert_allclose(cool.apply(z), ours.apply(4 * z), rtol=1e-14)
    np.testing.assert_allclose(cool.vjp(z, g), 4 * squash_vjp(4 * z, g), rtol=1e-13, atol=1e-15)


def test_names_and_laws_are_those_of_the_registry():
    assert all(name == member.name for name, member in SQUASHES.items())
    for member in (*SQUASHES.values(), CUBIC, tempered_squash(2.0)):
        assert member.law(0.0) == 0.0
        for n in (1e-3, 0.5, 0.9, 2.0, 30.0):
            z = np.asarray([0.0, n])
            np.testing.assert_allclose(member.apply(z), [0, member.law(n)], rtol=1e-14)
        assert math.isclose(member.law(1e300), 1.0)


def test_gradient_factors_at_both_ends(library):
    short, long = 1e-8, 1e8
    n = library.from_host([0.0, short, long])
    expected = {  # along and across, at 0, at a short and at a long capsule
        "sabour": ([0, 2 * short, 2 / long**3], [0, short, 1 / long]),
        "efficient": ([1, 1, 0], [1, 1, 1 / long]),
        "rational": ([1, 1, 1 / long**2], [1, 1, 1 / long]),
        "power": ([0, 1.5 * short**0.5, 1.5 / long**2.5], [0, short**0.5, 1 / long]),
        "tempered": ([0, 4 * short, 1 / long**3], [0, 2 * short, 1 / long]),
        "ball": ([1, 1, 0], [1, 1, 1 / long]),
    }
    assert list(expected) == list(SQUASHES)
    names = ["power"] if library.name == "jax" else SQUASHES
    for name in names:
        for got, wanted in zip(gradient_factors(n, name), expected[name], strict=True):
            np.testing.assert_allclose(library.to_host(got), wanted, rtol=1e-6, atol=1e-30)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: power_squash(0.5), r"^power: expected a number from 1\.0, got 0\.5$"),
        (lambda: power_squash(2, temperature=0), r"^temperature: expected a number from 0\.00097"),
        (lambda: gradient_factors(np.ones(1), "relu"), r"^squash: expected 'sabour', 'efficient'"),
    ],
)
def test_options_outside_their_range_are_refused(make, message):
    with pytest.raises(OptionError, match=message):
        make()
