"""Gaussians of variance 1 that are cut off below 0: s ≥ 0 with p(s) ∝ e^{xs − s²/2} in a field x.

`capsnp.functional.units.Relu` says which formula holds where.
"""

from capsnp.backend import Array, namespace
from capsnp.functional._special import LOG_2PI, log_ndtr, ndtri

_FAR = 4.0
"""Fields below −4 are far."""

_FRACTIONS = 24
"""Of the continued fraction: from 4 on the rest is below the rounding of float64."""

_NEWTON_STEPS = 4
"""From a start that is right for far fields and within a quarter at 0."""

_TINY = 1e-30
"""Beside a divisor that may be 0 where the dividend is."""


def log_partition(x: Array) -> Array:
    """log ∫ e^{xs − s²/2} ds of each unit, in the shape of x."""
    xp = namespace(x=x)
    near, far = xp.clip(x, min=-_FAR), xp.clip(-x, min=_FAR)
    direct = 0.5 * near * near + 0.5 * LOG_2PI + log_ndtr(near)
    return xp.where(x < -_FAR, -xp.log(far + _far_moments(far)[0]), direct)


def mean(x: Array) -> Array:
    """⟨s⟩, the derivative of `log_partition`."""
    xp = namespace(x=x)
    near = xp.clip(x, min=-_FAR)
    direct = near + xp.exp(-0.5 * near * near - 0.5 * LOG_2PI - log_ndtr(near))
    return xp.where(x < -_FAR, _far_moments(xp.clip(-x, min=_FAR))[0], direct)


def variance(x: Array) -> Array:
    """⟨s²⟩ − ⟨s⟩², the derivative of `mean`."""
    xp = namespace(x=x)
    middle, near = mean(x), xp.clip(x, min=-_FAR)
    direct = xp.clip(1.0 + middle * (near - middle), min=0.0)
    return xp.where(x < -_FAR, _far_moments(xp.clip(-x, min=_FAR))[1], direct)


def draw(x: Array, noise: Array) -> Array:
    """s from noise uniform in [0, 1)."""
    xp = namespace(x=x, noise=noise)
    tail = 1.0 - noise  # the probability of a larger state, in (0, 1]
    return xp.where(x < 0, _draw_below(x, tail), _draw_above(x, tail))


def _far_moments(a: Array) -> tuple[Array, Array]:
    """⟨s⟩ and its derivative by the field, the variance, in fields −a, a ≥ 4."""
    root = namespace(a=a).sqrt(a * a + 4.0 * (_FRACTIONS + 1))
    fraction, slope = 0.5 * (a + root), 0.5 * (1.0 + a / root)  # as if it stayed
    for k in range(_FRACTIONS, 1, -1):
        fraction, slope = a + k / fraction, 1.0 - k * slope / fraction**2
    return 1.0 / fraction, slope / fraction**2


def _draw_below(x: Array, tail: Array) -> Array:
    """Newton's method for the s with log P(state > s) = log tail, in fields below 0.

    The logarithm of the tail, x s − s²/2 + A(x − s) − A(x) with A the log partition, is concave
    in s: after one step the iteration falls towards the root and does not pass it.
    """
    xp = namespace(x=x)
    x, log_tail = xp.clip(x, max=0.0), xp.log(tail)
    s = -2.0 * log_tail / (xp.sqrt(x * x - 2.0 * log_tail) - x + _TINY)
    at_zero = log_partition(x)
    for _ in range(_NEWTON_STEPS):
        left = x - s
        log_beyond = s * (x - 0.5 * s) + log_partition(left) - at_zero
        s = xp.clip(s + (log_beyond - log_tail) / (mean(left) - left), min=0.0)
    return s


def _draw_above(x: Array, tail: Array) -> Array:
    """s with P(state > s) = Φ(x − s)/Φ(x) = tail, in fields from 0."""
    xp = namespace(x=x)
    x = xp.clip(x, min=0.0)
    below_one = 1.0 - 0.5 * float(xp.finfo(x.dtype).eps)
    share = xp.clip(tail * xp.exp(log_ndtr(x)), max=below_one)
    return xp.clip(x - ndtri(share), min=0.0)
