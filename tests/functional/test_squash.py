"""Length, squash and unsquash over the whole finite range, against 60-digit arithmetic."""

import math
from decimal import Context, Decimal, localcontext
from fractions import Fraction

import array_api_compat.numpy as anp
import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from capsnp.errors import DomainError, DtypeError, MixedBackendError, OptionError, ShapeError
from capsnp.functional import (
    length,
    length_vjp,
    squash,
    squash_vjp,
    unsquash,
    unsquash_vjp,
)
from capsnp.functional._polar import _is_ordinary, _scaled_polar, polar, range_of

DTYPES = ["float32", "float64"]
QUIET = {"over": "raise", "divide": "raise", "invalid": "raise", "under": "ignore"}
DIGITS = Context(prec=60, Emax=10**6, Emin=-(10**6))

moderate = hnp.arrays("float64", (3, 4), elements=st.floats(-1e3, 1e3, allow_subnormal=False))


def readable(library, z):
    """The vectors as the library reads them: JAX flushes subnormal numbers to zero."""
    if library.name != "jax":
        return z
    return np.where(np.abs(z) < np.finfo(z.dtype).tiny, z.dtype.type(0), z)


def exact_length(row):
    return sum((v * v for v in row), Decimal(0)).sqrt()


def exact_squash(row):
    r = exact_length(row)
    return [r * v / (1 + r * r) for v in row]


def exact_unsquash(row):
    t = exact_length(row)
    return [v / (t * (1 - t)).sqrt() if t else v for v in row]


def exactly(function, rows):
    """The function of rows of numbers, in 60 digits."""
    with localcontext(DIGITS):
        return [function([Decimal(float(v)) for v in row]) for row in rows]


def units_off(library, got, expected):
    """The largest error in units in the last place; in JAX, the smallest normal number is one."""
    info = np.finfo(got.dtype)
    worst = Decimal(0)
    with localcontext(DIGITS):
        for have, want in zip(
            np.ravel(got), np.ravel(np.asarray(expected, dtype=object)), strict=True
        ):
            near = min(max(abs(float(want)), float(info.tiny)), float(info.max) / 2)
            unit = float(np.spacing(got.dtype.type(near)))
            error = abs(Decimal(float(have)) - want)
            if library.name == "jax" and error <= Decimal(float(info.tiny)):
                continue
            worst = max(worst, error / Decimal(unit))
    return float(worst)


def whole_range(dtype):
    """Vectors whose sizes go from the smallest number to the largest: (N, 16) and (N, 2)."""
    rng = np.random.default_rng(4)
    info = np.finfo(dtype)
    low, high = np.log10(float(info.smallest_subnormal)), np.log10(float(info.max)) - 0.7
    direction = rng.standard_normal((40, 16))
    direction[:8, 3:] = 0
    direction /= np.max(np.abs(direction), axis=1, keepdims=True)
    size = 10.0 ** np.linspace(low, high, 40)[:, None]
    apart = 10.0 ** rng.uniform(low, high, (20, 16)) * rng.choice([-1, 1], (20, 16))
    alike = np.ones((12, 16)) * size[::-3][:12]
    near_one = 10.0 ** rng.uniform(-2, 2, (20, 1)) * rng.standard_normal((20, 16))
    yield np.concatenate([direction * size, apart, alike, near_one]).astype(dtype)
    limits = range_of(np, np.dtype(dtype))
    edges = [limits.small, limits.large, limits.negligible, limits.negligible_large, 1.0]
    edges = [up * edge for edge in edges for up in (1 - float(info.eps), 1.0, 1 + float(info.eps))]
    ends = [[info.smallest_subnormal, 0], [info.max, 0], [info.tiny, 1], [1, info.max]]
    yield np.asarray([[edge, 0.7 * edge] for edge in edges] + ends, dtype=dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_length_is_right_over_the_whole_range(library, dtype):
    for z in whole_range(dtype):
        z = readable(library, z)
        with np.errstate(**QUIET):
            got = library.to_host(length(library.from_host(z)))
        assert got.dtype == dtype
        assert units_off(library, got, exactly(exact_length, z)) < 4


@pytest.mark.parametrize("dtype", DTYPES)
def test_squash_is_right_over_the_whole_range(library, dtype):
    for z in whole_range(dtype):
        z = readable(library, z)
        with np.errstate(**QUIET):
            got = library.to_host(squash(library.from_host(z)))
        assert got.dtype == dtype
        assert units_off(library, got, exactly(exact_squash, z)) < 8


@pytest.mark.parametrize("dtype", DTYPES)
def test_unsquash_is_right_over_the_whole_range(library, dtype):
    for z in whole_range(dtype):
        x = squash(z)
        x = readable(library, np.concatenate([x, z[length(z) < 1]]))
        with np.errstate(**QUIET):
            got = library.to_host(unsquash(library.from_host(x)))
        assert got.dtype == dtype
        assert units_off(library, got, exactly(exact_unsquash, x)) < 8


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("D", [1, 2, 8, 100])
def test_unsquash_is_right_next_to_the_unit_sphere(library, rng, dtype, D):
    x = rng.standard_normal((24, D))
    gap = float(np.finfo(dtype).eps) * 10.0 ** np.linspace(0.4, 5, 24)[:, None]
    x = (x / np.sqrt(np.sum(x * x, axis=1, keepdims=True)) * (1 - gap)).astype(dtype)
    got = library.to_host(unsquash(library.from_host(x)))
    assert units_off(library, got, exactly(exact_unsquash, x)) < 8


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("D", [300, 1000])
def test_unsquash_is_right_next_to_the_unit_sphere_in_many_dimensions(library, dtype, D):
    """Numbers of which the trailing half of the digits is as large as can be, and adds up."""
    half, eps = {"float32": 2.0**12, "float64": 2.0**26}[dtype], float(np.finfo(dtype).eps)
    x = np.full(D, (math.floor(half / math.sqrt(D)) + 1 - 2.0**-8) / half, dtype=dtype)
    each = Fraction(float(x[0])) ** 2 - Fraction(float(x[0] - 1 / half)) ** 2
    n_shorter = math.ceil((D * Fraction(float(x[0])) ** 2 - 1) / each)
    x[:n_shorter] -= x.dtype.type(1 / half)
    gap = float(1 - sum(Fraction(float(v)) ** 2 for v in x))
    x[-1] += (gap - 20 * eps) / (2 * x[-1])
    assert 0 < 1 - sum(Fraction(float(v)) ** 2 for v in x) < 40 * eps
    got = library.to_host(unsquash(library.from_host(x[None, :])))
    assert units_off(library, got, exactly(exact_unsquash, [x])) < 8


@pytest.mark.parametrize("dtype", DTYPES)
def test_numpy_sees_no_floating_point_flag_where_the_results_are_normal(dtype):
    info = np.finfo(dtype)
    root = float(info.tiny) ** 0.5 * 8
    with np.errstate(all="raise"):
        length(np.asarray([[1, info.tiny], [info.max / 4, 1], [info.tiny, 0]], dtype=dtype))
        squash(np.asarray([[1, info.tiny * 4], [root, root], [0, 3], [0, 0]], dtype=dtype))
        squash(np.asarray([[info.max, info.max]], dtype=dtype) / 2)
        unsquash(np.asarray([[info.tiny, 0], [0, 0.5], [0.5, info.tiny]], dtype=dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_zero_vector_stays_zero(library, dtype):
    zero = library.from_host(np.zeros((2, 3, 4), dtype=dtype))
    with np.errstate(all="raise"):
        results = [length(zero), squash(zero), unsquash(zero), squash_vjp(zero, zero + 1)]
        results.append(length_vjp(zero, library.from_host(np.ones((2, 3), dtype=dtype))))
    for result in results:
        assert not np.any(library.to_host(result))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_length_beyond_the_largest_number_is_infinite_and_squashes_all_the_same(library, dtype):
    z = library.from_host(np.full((1, 4), np.finfo(dtype).max, dtype=dtype))
    with np.errstate(**QUIET):
        assert library.to_host(length(z))[0] == np.inf
        np.testing.assert_allclose(library.to_host(squash(z)), 0.5, rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_squash_stays_inside_the_unit_ball_however_long_z_is(library, rng, dtype):
    z = rng.standard_normal((2000, 8)) * 10.0 ** rng.uniform(3, 30, (2000, 1))
    z[:500] = z[:500, :1]
    x = squash(library.from_host(z.astype(dtype)))
    assert np.max(library.to_host(length(x))) < 1
    assert np.all(np.isfinite(library.to_host(unsquash(x))))


@pytest.mark.parametrize("dtype", DTYPES)
def test_squash_of_what_would_round_to_one_is_four_units_short_of_it(library, dtype):
    info = np.finfo(dtype)
    z = np.asarray([[info.max], [-1e30]], dtype=dtype)
    got = library.to_host(squash(library.from_host(z)))
    np.testing.assert_array_equal(got, [[1 - 2 * info.eps], [-1 + 2 * info.eps]])


def test_equations_by_nested_loops(library, rng):
    z = rng.standard_normal((2, 3, 4))
    x = np.zeros_like(z)
    r = np.zeros((2, 3))
    for b in range(2):
        for j in range(3):
            r[b, j] = sum(z[b, j, d] ** 2 for d in range(4)) ** 0.5
            for d in range(4):
                x[b, j, d] = r[b, j] ** 2 / (1 + r[b, j] ** 2) * z[b, j, d] / r[b, j]
    to_host, z_here = library.to_host, library.from_host(z)
    np.testing.assert_allclose(to_host(length(z_here)), r, rtol=1e-14)
    np.testing.assert_allclose(to_host(squash(z_here)), x, rtol=1e-14)
    np.testing.assert_allclose(to_host(unsquash(library.from_host(x))), z, rtol=1e-13)


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2, -3])
def test_any_axis(library, rng, axis):
    z = rng.standard_normal((2, 3, 4))
    here, last = library.from_host(z), np.ascontiguousarray(np.moveaxis(z, axis, -1))
    for function in (squash, lambda z, axis: unsquash(squash(z, axis=axis), axis=axis)):
        got = np.moveaxis(library.to_host(function(here, axis=axis)), axis, -1)
        np.testing.assert_allclose(got, function(last, axis=-1), rtol=1e-13)
    np.testing.assert_allclose(library.to_host(length(here, axis=axis)), length(last), rtol=1e-14)
    g = rng.standard_normal(length(last).shape)
    got = np.moveaxis(library.to_host(length_vjp(here, library.from_host(g), axis=axis)), axis, -1)
    np.testing.assert_allclose(got, length_vjp(last, g), rtol=1e-14)


def test_inputs_stay_as_they_are(library, rng):
    x = rng.standard_normal((2, 3, 4)) / 10
    here = library.from_host(x.copy())
    for function in (length, squash, unsquash):
        function(here)
    squash_vjp(here, here)
    np.testing.assert_array_equal(library.to_host(here), x)


def test_ordinary_and_scaled_lengths_agree(rng):
    for dtype in DTYPES:
        limits = range_of(anp, np.dtype(dtype))
        z = rng.standard_normal((50, 8)) * 10.0 ** rng.uniform(-17, 11, (50, 1))
        z = z * (limits.small / 2.0**-40) ** 0.9  # so that some are small
        z[:10, :5] = 0
        z[10] = 0
        z = z.astype(dtype)
        assert _is_ordinary(anp, np.abs(z), limits)
        scaled = _scaled_polar(anp, z, np.abs(z), 1, limits)
        assert np.any(scaled.up > 1)
        np.testing.assert_array_max_ulp(polar(anp, z, 1).r, scaled.r, 1)
        for extreme in (limits.large * 2, limits.negligible / 2):
            assert not _is_ordinary(anp, np.asarray([1.0, extreme], dtype=dtype), limits)


# Errors


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([[0.5, 0], [1, 0]], r"got length 1\.0 at index \(1,\)"),
        ([[0.6, 0.8], [3, 4]], r"got length 1\.0 at index \(0,\)"),
        ([[0.1, 0], [3, 4]], r"got length 5\.0 at index \(1,\)"),
        ([[0.1, 0], [np.nan, 0]], r"got length nan at index \(1,\)"),
        ([1.25, 0], r"got length 1\.25 at index \(\)"),
    ],
)
def test_unsquash_names_the_first_capsule_that_is_too_long(library, x, message):
    with pytest.raises(DomainError, match=rf"^x: expected lengths below 1, {message}$"):
        unsquash(library.from_host(x, dtype="float64"))
    assert issubclass(DomainError, ValueError)


def test_unsquash_names_capsules_along_other_axes(library):
    x = np.zeros((2, 3, 4))
    x[1, :, 2] = 2.0
    with pytest.raises(DomainError, match=r"at index \(1, 2\)$"):
        unsquash(library.from_host(x), axis=1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_unsquash_decides_by_the_true_length(library, rng, dtype):
    x = rng.standard_normal((2_000, 3))
    x = (x / np.sqrt(np.sum(x * x, axis=1, keepdims=True))).astype(dtype)
    inside = np.asarray([sum(Fraction(float(v)) ** 2 for v in row) < 1 for row in x])
    assert 400 < np.sum(inside) < 1_600
    unsquash(library.from_host(x[inside]))
    rounded_down = x[~inside & (length(x) < 1)]
    assert len(rounded_down) >= 2
    for row in np.concatenate([rounded_down[:2], x[~inside][:2]]):
        with pytest.raises(DomainError, match=r"got length 1\.0"):
            unsquash(library.from_host(row))


@pytest.mark.parametrize("dtype", DTYPES)
def test_clipping_never_makes_a_shorter_capsule_longer_than_a_longer_one(library, rng, dtype):
    x = rng.standard_normal((500, 3))
    x = (x / np.sqrt(np.sum(x * x, axis=1, keepdims=True))).astype(dtype)
    eps = float(np.finfo(dtype).eps)
    got = library.to_host(unsquash(library.from_host(x), clip=True))
    assert np.max(length(got)) <= (2 / eps - 1) ** 0.5 * (1 + 4 * eps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_clipping_shortens_to_the_largest_length_below_one(library, dtype):
    eps = float(np.finfo(dtype).eps)
    long = float(np.finfo(dtype).max) ** 0.9
    x = np.asarray([[0.3, 0.4], [0.6, 0.8], [3, 4], [0, -long], [1, 1e-20]], dtype=dtype)
    with np.errstate(**QUIET):
        got = library.to_host(unsquash(library.from_host(x), clip=True)).astype("float64")
    longest = ((1 - eps / 2) / (eps / 2)) ** 0.5
    expected = [[0.6, 0.8], [0.6, 0.8], [0.6, 0.8], [0, -1], [1, 1e-20]]
    expected = np.asarray(expected) * np.asarray([1, longest, longest, longest, longest])[:, None]
    np.testing.assert_allclose(got, expected, rtol=8 * eps)


def test_wrong_arguments_are_named(library, xp):
    z = library.from_host(np.zeros((2, 3)))
    integers = library.from_host([[1, 2]], dtype="int64")
    for function in (length, squash, unsquash):
        with pytest.raises(DtypeError, match=r"^[zx]: expected float32 or float64, got int64$"):
            function(integers)
        with pytest.raises(OptionError, match=r"^axis: expected an axis of [zx] \(2, 3\)"):
            function(z, axis=2)
        with pytest.raises(ShapeError, match=r"^[zx]: expected at least one axis"):
            function(xp.asarray(1.0))
        with pytest.raises(ShapeError, match=r"^[zx]: expected at least one number along axis 1"):
            function(library.from_host(np.zeros((3, 0))))
    for function in (squash_vjp, unsquash_vjp):
        with pytest.raises(ShapeError, match=r"^g: expected shape \(2, 3\) as [zx] has"):
            function(z, z[0, ...])
    with pytest.raises(ShapeError, match=r"^g: expected shape \(2,\) of the lengths, got \(2, 3\)"):
        length_vjp(z, z)
    with pytest.raises(DtypeError, match=r"^g: expected float64 as z has, got float32$"):
        squash_vjp(z, library.from_host(np.zeros((2, 3)), dtype="float32"))


def test_two_libraries_do_not_mix():
    torch = pytest.importorskip("torch")
    with pytest.raises(MixedBackendError):
        squash_vjp(np.zeros(2), torch.zeros(2, dtype=torch.float64))


@pytest.mark.parametrize("bad", [[0.0, 0.0], [1.0, 0.0]])
def test_unsquash_has_no_derivative_at_zero_or_at_one(library, bad):
    x = library.from_host([[0.1, 0.2], bad])
    with pytest.raises(DomainError) as caught:
        unsquash_vjp(x, x)
    assert str(caught.value) == (
        f"x: expected lengths above 0 and below 1, got length {bad[0]} at index (1,)"
    )


# Derivatives


def complex_step(function, z, g):
    """Gradient of ⟨g, function(z)⟩ for an analytic function of one vector."""
    gradient = np.zeros_like(z)
    for d in range(len(z)):
        step = z.astype(complex)
        step[d] += 1e-30j
        gradient[d] = np.sum(g * function(step)).imag / 1e-30
    return gradient


def plain_length(z):
    return np.sqrt(np.sum(z * z))


@pytest.mark.parametrize(
    ("vjp", "plain"),
    [
        (squash_vjp, lambda z: z * plain_length(z) / (1 + np.sum(z * z))),
        (unsquash_vjp, lambda x: x / np.sqrt(plain_length(x) * (1 - plain_length(x)))),
    ],
)
def test_derivatives_by_complex_step(library, rng, vjp, plain):
    z, g = rng.standard_normal((2, 6, 4))
    z *= (np.asarray([0.01, 0.1, 0.3, 0.5, 0.9, 0.99]) / np.linalg.norm(z, axis=1))[:, None]
    expected = np.stack([complex_step(plain, *pair) for pair in zip(z, g, strict=True)])
    got = library.to_host(vjp(library.from_host(z), library.from_host(g)))
    np.testing.assert_allclose(got, expected, rtol=1e-12)
    turned = vjp(library.from_host(z.T), library.from_host(g.T), axis=0)
    np.testing.assert_allclose(library.to_host(turned).T, expected, rtol=1e-12)


def test_derivative_of_length_by_complex_step(library, rng):
    z, g = rng.standard_normal((6, 4)), rng.standard_normal(6)
    expected = np.stack([complex_step(plain_length, *pair) for pair in zip(z, g, strict=True)])
    got = length_vjp(library.from_host(z), library.from_host(g))
    np.testing.assert_allclose(library.to_host(got), expected, rtol=1e-14)


def squash_factors(r):
    return r / (1 + r * r), 2 * r / (1 + r * r) ** 2


def unsquash_factors(t):
    return 1 / (t * (1 - t)).sqrt(), 1 / (2 * t.sqrt() * (1 - t) * (1 - t).sqrt())


def exact_vjp(factors, row):
    """Of a row that holds z and then g; with the size that errors are measured by."""
    z, g = row[: len(row) // 2], row[len(row) // 2 :]
    r = exact_length(z)
    if not r:
        return [r] * len(z), r
    across, along = factors(r)
    inner = sum((v * w for v, w in zip(z, g, strict=True)), Decimal(0)) / (r * r)
    result = [across * (w - v * inner) + along * v * inner for v, w in zip(z, g, strict=True)]
    return result, max(across, along) * exact_length(g)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("vjp", "factors"), [(squash_vjp, squash_factors), (unsquash_vjp, unsquash_factors)]
)
def test_derivatives_are_right_over_the_whole_range(library, rng, dtype, vjp, factors):
    info = np.finfo(dtype)
    for z in whole_range(dtype):
        if vjp is unsquash_vjp:
            z = np.concatenate([squash(z), z[length(z) < 1]])
        z = readable(library, z)
        z = z if vjp is squash_vjp else z[length(z) > 0]
        g = rng.standard_normal(z.shape).astype(dtype)
        with np.errstate(**QUIET):
            got = library.to_host(vjp(library.from_host(z), library.from_host(g)))
        smallest = info.tiny if library.name == "jax" else 8 * info.smallest_subnormal
        exact = exactly(lambda row: exact_vjp(factors, row), np.concatenate([z, g], axis=1))
        for have, (want, size) in zip(got, exact, strict=True):
            allowed = 8 * float(info.eps) * float(size) + float(smallest)
            error = max(abs(Decimal(float(a)) - b) for a, b in zip(have, want, strict=True))
            assert float(error) <= allowed


# Invariants


@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data())
def test_squashed_lengths_are_below_one_and_directions_are_kept(library, dtype, data):
    width = {"float32": 32, "float64": 64}[dtype]
    number = st.floats(
        width=width, allow_nan=False, allow_infinity=False, allow_subnormal=library.name != "jax"
    )
    z = data.draw(hnp.arrays(dtype, (2, 3), elements=number))
    with np.errstate(**QUIET):
        x = squash(library.from_host(z))
        t, x = library.to_host(length(x)), library.to_host(x)
    assert np.all((t >= 0) & (t < 1))
    assert np.all((np.sign(x) == np.sign(z)) | (x == 0))
    assert np.all(np.abs(x) <= np.abs(z))


@given(z=moderate, longer=st.floats(1, 100))
def test_squash_is_monotone_in_length(library, z, longer):
    short = library.to_host(length(squash(library.from_host(z))))
    long = library.to_host(length(squash(library.from_host(longer * z))))
    assert np.all(long >= short * (1 - 1e-14))


@given(z=moderate, seed=st.integers(0, 2**16))
def test_squash_and_unsquash_turn_with_their_argument(library, z, seed):
    rotation = np.linalg.qr(np.random.default_rng(seed).standard_normal((4, 4)))[0]
    x = squash(z)
    for function, argument in ((squash, z), (unsquash, x * 0.9)):
        got = library.to_host(function(library.from_host(argument @ rotation)))
        turned = library.to_host(function(library.from_host(argument))) @ rotation
        size = np.sqrt(np.sum(turned**2, axis=1, keepdims=True))
        assert np.all(np.abs(got - turned) <= 1e-13 * size + 1e-150)


@given(z=moderate)
def test_unsquash_undoes_squash_as_far_as_its_condition_allows(library, z):
    again = library.to_host(unsquash(squash(library.from_host(z))))
    r = np.sqrt(np.sum(z * z, axis=1, keepdims=True))
    condition = (1 + r**2) / 2  # of log‖unsquash(x)‖ against log‖x‖
    far = np.abs(z) > 1e-140  # else x is subnormal
    assert np.all(np.abs(again - z)[far] <= (2e-15 * (1 + condition) * r + 0 * z)[far])


def test_jax_can_compile_all_that_reads_no_values(rng):
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    z = jax.numpy.asarray(rng.standard_normal((3, 4)))
    for function in (length, squash, lambda z: unsquash(squash(z), clip=True)):
        np.testing.assert_allclose(jax.jit(function)(z), function(np.asarray(z)), rtol=1e-14)
