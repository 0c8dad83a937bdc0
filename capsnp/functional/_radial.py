"""Maps z ↦ t(‖z‖) z/‖z‖ that change lengths and keep directions, with derivative and inverse.

What a law t says of a length r is asked for in forms that stay right: t/r where r is short, t
where it is long, and the elasticity r t'/t, the ratio of the derivative's two factors, t' along
the vector and t/r across it.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from capsnp.backend import Array
from capsnp.errors import DomainError
from capsnp.functional._checks import expect_axis, expect_same_shape, first_index, floating
from capsnp.functional._polar import Polar, one_minus_square, polar, range_of, unit


class Radial(NamedTuple):
    """A law t of lengths.

    Lengths r beyond `Range.large` come as that: t and the elasticity have reached their limits
    there, up to rounding.
    """

    turn: float
    """The length up to which `gain` is asked for, above which `long`."""
    gain: Callable[[Any, Polar], Array]
    """t/r, and its limit at 0, from xp and the polar form of r."""
    long: Callable[[Any, Array], Array]
    """t, from xp and r."""
    elasticity: Callable[[Any, Array], Array]
    """r t'/t, and its limit at 0, from xp and r."""
    back: Callable[[Any, Polar, Array], Array] | None
    """r, from xp, the polar form of t and 1 − t; None if t has no inverse."""


def radial_map(law: Radial, z: Array, axis: int) -> Array:
    """t(‖z‖) z/‖z‖, lengths shortened to 1 − 2ε if there is a way back that needs it."""
    xp = floating(z=z)
    axis = expect_axis("axis", axis, "z", z)
    longest = 1.0 if law.back is None else 1.0 - 2.0 * range_of(xp, z.dtype).eps
    divisor, factor = _factor(xp, law, polar(xp, z, axis), longest=longest)
    return z / divisor * factor


def radial_vjp(law: Radial, z: Array, g: Array, axis: int) -> Array:
    """Gradient of ⟨g, t(‖z‖) z/‖z‖⟩: g times t' along z and times t/r across it."""
    xp, axis = expect_pair("z", z, g, axis)
    at = polar(xp, z, axis)
    along, across = split(xp, unit(xp, z, at), g, axis)
    divisor, factor = _factor(xp, law, at, longest=1.0)
    return (across + along * law.elasticity(xp, at.r)) / divisor * factor


def radial_inverse(law: Radial, x: Array, axis: int, *, clip: bool) -> Array:
    """The z whose t(‖z‖) z/‖z‖ is x; lengths from 1 are clipped or an error."""
    assert law.back is not None
    xp = floating(x=x)
    axis = expect_axis("axis", axis, "x", x)
    at = polar(xp, x, axis)
    gap = one_minus_square(xp, x, at, axis)
    eps = range_of(xp, x.dtype).eps
    if clip:
        inside = gap >= eps  # 1 − t² of the largest number t below 1, up to ε²/4
    else:
        inside = gap > 0
        expect_lengths("x", xp, at, inside, axis, "below 1")
    one = xp.ones_like(gap)
    rest = xp.where(inside, xp.where(inside, gap, one) / (1.0 + at.r), 0.5 * eps * one)
    kept = Polar(*(xp.where(inside, part, one) for part in at))  # one stands for the largest t
    return unit(xp, x, at) * law.back(xp, kept, rest)


def _factor(xp: Any, law: Radial, at: Polar, *, longest: float) -> tuple[Array, Array]:
    """Divisor and factor of z in t(‖z‖) z/‖z‖: apart, since 1/r can be subnormal."""
    is_long = at.r > law.turn
    one = xp.ones_like(at.r)
    turn = law.turn * one
    long = xp.minimum(law.long(xp, xp.maximum(at.r, turn)), longest * one)
    divisor = xp.where(is_long, at.scaled, one)
    gain = law.gain(xp, at._replace(r=xp.minimum(at.r, turn)))
    return divisor, xp.where(is_long, long * at.down, gain)


# --- parts that squash and unsquash share -----------------------------------------------------


def lengths_of(xp: Any, at: Polar) -> Array:
    """‖z‖, or infinity where that is no finite number; without a warning."""
    over = at.scaled > range_of(xp, at.scaled.dtype).largest * at.down
    finite = xp.where(over, xp.zeros_like(at.scaled), at.scaled) / (at.up * at.down)
    return xp.where(over, xp.full_like(finite, math.inf), finite)


def split(xp: Any, u: Array, g: Array, axis: int) -> tuple[Array, Array]:
    """The parts of g along and across the unit vectors u."""
    along = u * xp.sum(u * g, axis=axis, keepdims=True)
    return along, g - along


def expect_pair(name: str, z: Array, g: Array, axis: int) -> tuple[Any, int]:
    """The namespace and the axis, counted from zero, of a point and its cotangent."""
    xp = floating(**{name: z}, g=g)
    expect_same_shape("g", g, name, z)
    return xp, expect_axis("axis", axis, name, z)


def expect_lengths(name: str, xp: Any, at: Polar, good: Array, axis: int, wanted: str) -> None:
    """Raise `DomainError` with the first capsule that is not good."""
    if bool(xp.all(good)):
        return
    index = first_index(xp, xp.squeeze(~good, axis=axis))
    found = float(xp.squeeze(lengths_of(xp, at), axis=axis)[index])
    if found > 0.0:  # a length just above 1 may have been rounded down
        found = max(found, 1.0)
    raise DomainError(f"{name}: expected lengths {wanted}, got length {found} at index {index}")
