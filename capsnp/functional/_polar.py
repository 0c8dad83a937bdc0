"""Lengths of vectors whose squares leave the range of floating point, or do not.

A vector is multiplied by a power of two before it is squared, which is exact: up when its largest
component is small, down when it is large, by one in between. Components too small to change
the sum are left out, so no square underflows.
"""

from typing import Any, NamedTuple

from array_api_compat import is_numpy_namespace

from capsnp.backend import Array


class Polar(NamedTuple):
    """Length ‖z‖ = scaled / (up · down) of each vector; the axis is kept with length one."""

    scaled: Array
    """‖z‖ · up · down: it and its square are far from both ends of the range. 0 for 0."""
    up: Array
    """A power of two, above 1 for small vectors; one for all where every vector is ordinary."""
    down: Array
    """A power of two, below 1 for large vectors; one for all where every vector is ordinary."""
    r: Array
    """‖z‖, or `large` where a component exceeds that: its square does not overflow."""


class Range(NamedTuple):
    """Where a dtype's vectors are scaled. Exponents are even: square roots stay powers of two."""

    small: float
    large: float
    up: float
    down: float
    negligible: float
    """Components left out of vectors that are not scaled ..."""
    negligible_large: float
    """... and of those scaled down."""
    largest: float
    eps: float


_RANGES = {
    32: (2.0**-40, 2.0**50, 2.0**90, 2.0**-70, 2.0**-62, 2.0**10),
    64: (2.0**-400, 2.0**400, 2.0**600, 2.0**-600, 2.0**-480, 2.0**340),
}


def range_of(xp: Any, dtype: Any) -> Range:
    """The limits for float32 or float64."""
    info = xp.finfo(dtype)
    return Range(*_RANGES[info.bits], largest=float(info.max), eps=float(info.eps))


def polar(xp: Any, z: Array, axis: int) -> Polar:
    """Lengths of vectors along an axis.

    Parameters
    ----------
    xp : module
        Namespace of z.
    z : array
        float32 or float64.
    axis : int
        Kept with length one.

    Returns
    -------
    Polar

    Notes
    -----
    Libraries that flush subnormal numbers to zero (JAX does) read them as zero here.
    """
    limits = range_of(xp, z.dtype)
    size = xp.abs(z)
    if is_numpy_namespace(xp) and _is_ordinary(xp, size, limits):
        return _ordinary_polar(xp, z, axis)
    return _scaled_polar(xp, z, size, axis, limits)


def _is_ordinary(xp: Any, size: Array, limits: Range) -> bool:
    """Whether every component is 0 or has a square of ordinary size."""
    if bool(xp.any(size > limits.large)):
        return False
    return not bool(xp.any((size > 0.0) & (size < limits.negligible)))


def _ordinary_polar(xp: Any, z: Array, axis: int) -> Polar:
    """`polar` without scaling: NumPy takes its time over a maximum along a short axis.

    The choice reads the array, which is free on a host alone, so other libraries always scale.
    """
    r = xp.expand_dims(xp.sqrt(sum_of_products(xp, z, z, axis)), axis=axis)
    one = xp.ones((1,) * z.ndim, dtype=z.dtype)
    return Polar(r, one, one, r)


def _scaled_polar(xp: Any, z: Array, size: Array, axis: int, limits: Range) -> Polar:
    """`polar` for any finite z."""
    largest = xp.max(size, axis=axis, keepdims=True)
    is_large = largest > limits.large
    is_small = largest < limits.small
    one = xp.ones_like(largest)
    up = xp.where(is_small, limits.up * one, one)
    down = xp.where(is_large, limits.down * one, one)
    cut = xp.where(is_small, 0.0 * one, limits.negligible * one)
    cut = xp.where(is_large, limits.negligible_large * one, cut)
    part = xp.where(size < cut, xp.zeros_like(z), z) * (up * down)
    scaled = xp.sqrt(xp.sum(part * part, axis=axis, keepdims=True))
    r = xp.where(is_large, limits.large * one, scaled / up)
    return Polar(scaled, up, down, r)


def sum_of_products(xp: Any, u: Array, v: Array, axis: int) -> Array:
    """Inner products along an axis; NumPy takes them in one pass, without BLAS's threads."""
    if not is_numpy_namespace(xp):
        return xp.sum(u * v, axis=axis)
    axes = list(range(u.ndim))
    return xp.einsum(u, axes, v, axes, axes[:axis] + axes[axis + 1 :])


def unit(xp: Any, z: Array, at: Polar) -> Array:
    """z / ‖z‖, and 0 for 0."""
    return z * at.up / or_one(xp, at.scaled) * at.down


def firing(at: Polar) -> Array:
    """r²/(1 + r²), the squashed length (4) and the firing probability (12); may round to 1."""
    square = at.r * at.r
    return square / (1.0 + square)


def one_minus_square(xp: Any, x: Array, at: Polar, axis: int) -> Array:
    """1 − ‖x‖² with a relative error of a few ε, also where ‖x‖ is next to 1.

    Each x is cut into a leading half h and the rest l, so that h² and 2hl need no rounding. The
    sum of h² needs none either; nor do those of 2hl and l² once their bits below a fixed place
    are summed apart, where rounding no longer matters.

    Parameters
    ----------
    xp : module
        Namespace of x.
    x : array
        float32 or float64.
    at : Polar
        Lengths of x.
    axis : int
        Kept with length one.

    Returns
    -------
    array
        Not positive where ‖x‖ ≥ 1, and −1 where ‖x‖ ≥ 2 or is not a number.
    """
    half, place = (2.0**12, 2.0**30) if xp.finfo(x.dtype).bits == 32 else (2.0**26, 2.0**73)
    near = at.r < 2.0
    keep = near & (xp.abs(x) > 2.0**-5 / half**2)  # else x² is nothing beside 1, and may underflow
    x = xp.where(keep, x, xp.zeros_like(x))
    lead = xp.trunc(x * half) / half
    rest = x - lead
    cross, square = 2.0 * lead * rest, rest * rest
    cross_lead, square_lead = (xp.trunc(part * place) / place for part in (cross, square))
    gap = 1.0 - xp.sum(lead * lead, axis=axis, keepdims=True)
    gap = gap - xp.sum(cross_lead + square_lead, axis=axis, keepdims=True)
    below = (cross - cross_lead) + (square - square_lead)
    gap = gap - xp.sum(below, axis=axis, keepdims=True)
    return xp.where(near, gap, -xp.ones_like(gap))


def or_one(xp: Any, divisor: Array) -> Array:
    """The divisor, with 1 instead of 0."""
    return xp.where(divisor == 0, xp.ones_like(divisor), divisor)
