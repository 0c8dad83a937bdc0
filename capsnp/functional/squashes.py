r"""Squashing functions by name: Sabour's (4) and others, with derivatives and inverses.

All change the length n = ‖z‖ to t(n) and keep the direction. Right over the whole finite range,
as `squash` is. What they do to gradients: :doc:`/derivations/squashes`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from capsnp.backend import Array
from capsnp.functional._checks import expect_option, expect_range, floating
from capsnp.functional._polar import Polar, or_one
from capsnp.functional._radial import Radial, radial_inverse, radial_map, radial_vjp
from capsnp.functional.squash import squash, squash_vjp, unsquash

SHARPEST, LONGEST = 2.0**-10, 2.0**10
"""Temperatures: those for which the largest lengths of float32 are still far away."""


@dataclass(frozen=True)
class Squash:
    r"""A squashing function with all that belongs to it.

    Attributes
    ----------
    name : str
    formula : str
        The squashed length as a function of the length n.
    source : str
        Who uses it.
    apply : callable
        ``apply(z, /, *, axis=-1)``: squashed capsules of the shape of z; zero for zero.
    vjp : callable
        ``vjp(z, g, /, *, axis=-1)``: the gradient with respect to z of ⟨g, apply(z)⟩, finite for
        every finite z.
    inverse : callable or None
        ``inverse(x, /, *, axis=-1, clip=False)``: back from lengths below 1, as `unsquash`; None
        if two capsules are squashed to the same.
    law : callable
        From a length to the squashed length, as floats.
    condition : float
        By how much the law magnifies a relative change of the length at most.
    saturation : float
        From this length on the squashed length is 1; infinite if it is below 1 everywhere.

    Examples
    --------
    >>> import numpy as np
    >>> SQUASHES["rational"].apply(np.asarray([[0.0, 1.0], [0.0, 3.0]]))
    array([[0.  , 0.5 ],
           [0.  , 0.75]])
    """

    name: str
    formula: str
    source: str
    apply: Callable[..., Array]
    vjp: Callable[..., Array]
    inverse: Callable[..., Array] | None
    law: Callable[[float], float]
    condition: float
    saturation: float = math.inf


def power_squash(power: float, *, temperature: float = 1.0) -> Squash:
    r"""The family of Sabour's squash, :math:`t(n) = n^p / (T^p + n^p)`.

    A sigmoid of :math:`p \log (n/T)`: the temperature T is the length that becomes ½, the power p
    is the slope with which the logarithm of the length enters. (4) has p = 2 and T = 1.

    Parameters
    ----------
    power : float
        p, from 1; below 1 the derivative at zero would be infinite.
    temperature : float
        T, from 1/1024 to 1024.

    Returns
    -------
    Squash

    Raises
    ------
    OptionError
        If the power or the temperature is out of range.

    Notes
    -----
    With :math:`t = n^p/(T^p + n^p)` the derivative's factors are t/n across the capsule and
    :math:`p\,(1 - t)\,t/n` along it. The inverse is :math:`n = T (t/(1 - t))^{1/p}`; a rounding of
    1/p is magnified by :math:`|\log t|` there.

    Examples
    --------
    >>> import numpy as np
    >>> cubic = power_squash(3, temperature=2.0)
    >>> cubic.formula
    'n^3/(2^3 + n^3)'
    >>> cubic.apply(np.asarray([0.0, 2.0]))
    array([0. , 0.5])
    """
    expect_range("power", power, 1.0)
    expect_range("temperature", temperature, SHARPEST, LONGEST)
    p, T = float(power), float(temperature)

    def parts(xp: Any, r: Array) -> tuple[Array, Array, Array]:
        """Whether r > T, n/T or T/n, whichever is not above 1, and its p-th power."""
        is_long, q = r > T, r / T
        low = xp.where(is_long, 1.0 / xp.where(is_long, q, xp.ones_like(q)), q)
        return is_long, low, low**p

    first, rest = min(p - 1.0, 1.0), max(p - 2.0, 0.0)  # a root of r needs the digits of `scaled`

    def gain(xp: Any, at: Polar) -> Array:
        _, low, w = parts(xp, at.r)
        return (at.scaled / T) ** first / at.up**first * low**rest / (1.0 + w) / T

    def long(xp: Any, r: Array) -> Array:
        return 1.0 / (1.0 + parts(xp, r)[2])

    def elasticity(xp: Any, r: Array) -> Array:
        is_long, _, w = parts(xp, r)
        return p * xp.where(is_long, w, xp.ones_like(w)) / (1.0 + w)

    def back(xp: Any, at: Polar, gap: Array) -> Array:  # noqa: ARG001
        return T * (at.scaled / gap) ** (1.0 / p) / at.up ** (1.0 / p)

    def law(n: float) -> float:
        if n <= T:
            return (n / T) ** p / (1.0 + (n / T) ** p)
        return 1.0 / (1.0 + (T / n) ** p)

    shown = "1" if T == 1.0 else f"{T:.4g}^{p:g}"
    return _radial_squash(
        f"power {p:g}" + ("" if T == 1.0 else f" at {T:.4g}"),
        f"n^{p:g}/({shown} + n^{p:g})",
        "the family of (4)",
        Radial(T, gain, long, elasticity, back),
        law,
        p,
    )


def tempered_squash(temperature: float) -> Squash:
    r"""Sabour's squash of z/T, :math:`t(n) = n^2 / (T^2 + n^2)`.

    Parameters
    ----------
    temperature : float
        T, the length that becomes ½, from 1/1024 to 1024.

    Returns
    -------
    Squash

    Raises
    ------
    OptionError
        If the temperature is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> tempered_squash(0.5).apply(np.asarray([0.0, 1.5]))
    array([0. , 0.9])
    """
    return power_squash(2.0, temperature=temperature)


class GradientFactors(NamedTuple):
    """By what a squash multiplies gradients, from `gradient_factors`."""

    along: Array
    """Along the capsule: t'(n)."""
    across: Array
    """Across it: t(n)/n, and the limit at n = 0."""


def gradient_factors(n: Array, /, squash: str | Squash = "sabour") -> GradientFactors:
    r"""By what a squash multiplies the gradient of capsules of given lengths.

    .. math:: \frac{\partial x}{\partial z} = t'(n)\, u u^\top + \frac{t(n)}{n} (I - u u^\top)

    Parameters
    ----------
    n : array, shape (...)
        Lengths, not negative.
    squash : str or Squash
        One of `SQUASHES`, or its name.

    Returns
    -------
    GradientFactors
        ``along`` and ``across``, each of the shape of n. Where the derivative at 0 is not 0 a
        capsule of length 0 has no direction, and both are the same number.

    Raises
    ------
    DtypeError, OptionError
        If n is not real floating or the squash unknown.

    Notes
    -----
    Taken from the squash's own ``vjp``. Derivation: :doc:`/derivations/squashes`.

    Examples
    --------
    >>> import numpy as np
    >>> n = np.asarray([0.0, 0.1, 1.0, 10.0])
    >>> gradient_factors(n).along.round(3)
    array([0.   , 0.196, 0.5  , 0.002])
    >>> gradient_factors(n, "efficient").along.round(3)
    array([1.   , 0.905, 0.368, 0.   ])
    """
    if not isinstance(squash, Squash):
        expect_option("squash", squash, SQUASHES)
        squash = SQUASHES[squash]
    xp = floating(n=n)
    zero, one = xp.zeros_like(n), xp.ones_like(n)
    z = xp.stack([n, zero], axis=-1)
    along = squash.vjp(z, xp.stack([one, zero], axis=-1))[..., 0]
    across = squash.vjp(z, xp.stack([zero, one], axis=-1))[..., 1]
    return GradientFactors(along, across)


# --- laws -------------------------------------------------------------------------------------


def _efficient_gain(xp: Any, at: Polar) -> Array:
    return xp.where(at.r > 0.0, -xp.expm1(-at.r) / or_one(xp, at.r), xp.ones_like(at.r))


def _efficient_elasticity(xp: Any, r: Array) -> Array:
    rest = or_one(xp, -xp.expm1(-r))
    return xp.where(r > 0.0, r * xp.exp(-r) / rest, xp.ones_like(r))


def _efficient_back(xp: Any, at: Polar, rest: Array) -> Array:
    short = xp.minimum(at.r, xp.full_like(at.r, 0.5))
    return xp.where(at.r < 0.5, -xp.log1p(-short), -xp.log(rest))


_EFFICIENT = Radial(
    1.0, _efficient_gain, lambda xp, r: -xp.expm1(-r), _efficient_elasticity, _efficient_back
)

_BALL = Radial(
    1.0,
    lambda xp, at: xp.ones_like(at.r),
    lambda xp, r: xp.ones_like(r),
    lambda xp, r: xp.where(r > 1.0, xp.zeros_like(r), xp.ones_like(r)),
    None,
)


def _radial_squash(
    name: str,
    formula: str,
    source: str,
    radial: Radial,
    law: Callable[[float], float],
    condition: float,
    saturation: float = math.inf,
) -> Squash:
    def apply(z: Array, /, *, axis: int = -1) -> Array:
        return radial_map(radial, z, axis)

    def vjp(z: Array, g: Array, /, *, axis: int = -1) -> Array:
        return radial_vjp(radial, z, g, axis)

    def inverse(x: Array, /, *, axis: int = -1, clip: bool = False) -> Array:
        return radial_inverse(radial, x, axis, clip=clip)

    back = None if radial.back is None else inverse
    return Squash(name, formula, source, apply, vjp, back, law, condition, saturation)


def _sabour_law(n: float) -> float:
    return n * n / (1.0 + n * n) if n < 1e9 else 1.0  # as it rounds


_MEMBERS = (
    Squash(
        "sabour",
        "n²/(1 + n²)",
        "Sabour, Frosst and Hinton (2017), eq. 1; Hauser (2019), eq. 4",
        squash,
        squash_vjp,
        unsquash,
        _sabour_law,
        2.0,
    ),
    _radial_squash(
        "efficient",
        "1 − 1/eⁿ",
        "Mazzia, Salvetti and Chiaberge (2021), Efficient-CapsNet",
        _EFFICIENT,
        lambda n: -math.expm1(-n),
        1.0,
    ),
    replace(power_squash(1.0), name="rational", formula="n/(1 + n)", source="p = 1 in the family"),
    replace(power_squash(1.5), name="power", formula="n^1.5/(1 + n^1.5)", source="`power_squash`"),
    replace(
        tempered_squash(math.sqrt(0.5)),
        name="tempered",
        formula="n²/(½ + n²)",
        source="`tempered_squash`; the capsule example of Keras has these numbers",
    ),
    _radial_squash(
        "ball",
        "min(n, 1)",
        "the nearest point of the unit ball",
        _BALL,
        lambda n: min(n, 1.0),
        1.0,
        1.0,
    ),
)

SQUASHES: dict[str, Squash] = {member.name: member for member in _MEMBERS}
"""Squashing functions by name."""
