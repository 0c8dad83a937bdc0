"""What every squashing function keeps, and what (4) says beyond that."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import hypothesis.strategies as st
import numpy as np

from capsnp.backend import Backend
from capsnp.errors import OptionError
from capsnp.functional._checks import expect_option, expect_range
from capsnp.testing._subject import Subject, label, lengths, testing
from capsnp.testing.derivatives import judge_vjp, points_and_directions
from capsnp.testing.strategies import capsules

Interval = Literal["[0, 1)", "[0, 1]"]

_ORDINARY = (2.0**-10, 2.0**10)
"""Lengths of which squares are ordinary numbers in every dtype."""


def squashed_length(r: float) -> float:
    r"""Length of the squashed capsule for a capsule of length r (4).

    .. math:: r^2 / (1 + r^2)

    Parameters
    ----------
    r : float
        Not negative.

    Returns
    -------
    float
        In [0, 1].

    Examples
    --------
    >>> squashed_length(3.0)
    0.9
    """
    return r * r / (1.0 + r * r) if r < 1e9 else 1.0  # as it rounds


def check_squash(
    fn: Callable,
    inverse: Callable | None = None,
    *,
    vjp: Callable | None = None,
    law: Callable[[float], float] | None = squashed_length,
    condition: float = 2.0,
    saturation: float = math.inf,
    interval: Interval = "[0, 1)",
    shapes: Sequence[tuple[int, ...]] = ((1, 2), (2, 3), (2, 1)),
    backend: str | Backend = "numpy",
    dtype: str = "float64",
    examples: int = 50,
    factor: float = 1.0,
) -> None:
    r"""Check the invariants of a squashing function.

    In this order: it takes the zero vector to zero; is finite for every finite capsule, of
    subnormal numbers or of the largest; treats each capsule by itself; keeps directions; makes
    lengths in [0, 1); makes longer capsules of longer ones; commutes with rotations; has the
    lengths of its law; has a finite derivative at zero, and the derivative `vjp`; and comes back
    through its inverse.

    Parameters
    ----------
    fn : callable
        From capsules (..., D), with the dimensions last, to squashed ones of the same shape.
    inverse : callable, optional
        From squashed capsules of lengths below 1 back.
    vjp : callable, optional
        ``vjp(z, g)``, the gradient with respect to z of ⟨g, fn(z)⟩; by automatic differentiation,
        for example.
    law : callable or None
        From a length to the squashed length, as floats. By default (4); None for any other
        squashing function.
    condition : float
        The largest relative condition number r f'(r)/f(r) of the law f, from 1. It is 2 for (4);
        tolerances grow in proportion above that and stay below.
    saturation : float
        The length from which on the squashed length is its largest and stays. Only up to there
        longer capsules have to become longer, and the kink is passed over in the derivative.
    interval : {"[0, 1)", "[0, 1]"}
        Where lengths may lie. Rounding takes the textbook formula to 1, where its inverse (6)
        divides by zero.
    shapes : sequence of tuple of int
        Of the capsules to try.
    backend : str or Backend
        Whose arrays the functions take, one of `capsnp.backend.BACKENDS`.
    dtype : {"float64", "float32"}
    examples : int
        Drawn for each invariant.
    factor : float
        Multiplies every tolerance.

    Raises
    ------
    InvariantError
        If an invariant is violated; it says which, and shows a small case.
    OptionError, BackendError
        If an option is unknown or its library missing.

    Notes
    -----
    A length has 3/4·D + 3 roundings of size ε in the textbook formula (a sum of D squares, its
    root, the quotient); D + 8 are allowed, times condition/2 above 2. Two results of it that ought
    to be equal may be twice that apart. The way back magnifies a relative error of the squashed
    length by f(r)/(r f'(r)), which is (1 + r²)/2 for (4): this is measured from fn itself and said
    in the message, and lengths where it leaves no digit are passed over. The inverse is tried up to
    the length 1 − 2 (D + 8) ε, where a length that rounding spoils is still below 1.

    Examples
    --------
    >>> from capsnp.functional import squash, squash_vjp, unsquash
    >>> check_squash(squash, unsquash, vjp=squash_vjp)

    A squash that divides by the length of the zero vector:

    >>> import numpy as np
    >>> def naive(z):
    ...     r = np.sqrt(np.sum(z * z, axis=-1, keepdims=True))
    ...     return r**2 / (1 + r**2) * z / r
    >>> check_squash(naive)
    Traceback (most recent call last):
    capsnp.errors.InvariantError: naive does not take the zero vector to zero
      z = [[0., 0.]]
      naive(z) = [[nan, nan]]
    """
    expect_option("interval", interval, ("[0, 1)", "[0, 1]"))
    expect_range("condition", condition, 1.0)
    if not saturation > 0:
        raise OptionError(f"saturation: expected a number above 0, got {saturation!r}")
    with testing(backend, dtype, examples, factor) as subject:
        trial = _Squashing(subject, fn, label(fn, "fn"), interval, max(condition / 2.0, 1.0))
        many, shape = st.sampled_from(list(shapes)), tuple(shapes[0])
        ordinary = capsules(many, dtype=dtype, lengths=_ORDINARY)
        subject.hold(trial.zero_to_zero, st.tuples(many))
        subject.hold(trial.finite, st.tuples(capsules(many, dtype=dtype)))
        subject.hold(trial.each_by_itself, st.tuples(ordinary))
        subject.hold(trial.direction, st.tuples(capsules(many, dtype=dtype)))
        subject.hold(trial.range, st.tuples(capsules(many, dtype=dtype)))
        times = st.floats(1.0, 2.0**10) | st.just(math.inf)
        subject.hold(trial.never_shorter, st.tuples(capsules(many, dtype=dtype), times))
        rising = (_ORDINARY[0] * min(saturation, 1.0), min(2.0, 0.49 * saturation))
        short = capsules(many, dtype=dtype, lengths=rising, zeros=False)
        subject.hold(trial.longer, st.tuples(short, st.sampled_from([1.5, 2.0])))
        turns = st.tuples(ordinary, st.floats(-math.pi, math.pi), st.integers(0, 10))
        subject.hold(trial.rotation, turns)
        if law is not None:
            subject.hold(trial.law, st.tuples(ordinary, st.just(law)))
        directions = capsules(many, dtype=dtype, lengths=(1.0, 1.0), zeros=False)
        subject.hold(trial.slope_at_zero, st.tuples(directions))
        if vjp is not None:
            backward = _Backward(subject, trial, vjp, label(vjp, "vjp"))
            subject.hold(backward.finite, st.tuples(capsules(many, dtype=dtype)), _zero(shape))
            subject.hold(backward.at_zero, st.tuples(directions, st.integers(0, 2**16)))
            for ends in _smooth(saturation):
                points = capsules(shape, dtype=dtype, lengths=ends, zeros=False)
                judge_vjp(subject, fn, vjp, points_and_directions(points), label(vjp, "vjp"))
        if inverse is not None:
            back = _Inverse(subject, trial, inverse, label(inverse, "inverse"))
            near = 1.0 - (shape[-1] + 8) * 2 * subject.eps
            inside = capsules(shape, dtype=dtype, lengths=(0.0, near))
            subject.hold(back.finite, st.tuples(inside), _zero(shape), _tiny(shape, dtype))
            subject.hold(back.to_squashed, st.tuples(ordinary))
            subject.hold(back.from_squashed, st.tuples(inside))


@dataclass(frozen=True)
class _Squashing:
    """One invariant each, for host arrays z (..., D)."""

    subject: Subject
    fn: Callable
    name: str
    interval: Interval
    magnified: float

    def __call__(self, z: np.ndarray) -> np.ndarray:
        return self.subject.run(self.fn, z, name=self.name, shape=z.shape)

    def broken(self, what: str, z: np.ndarray, x: np.ndarray, **found: Any) -> Exception:
        return self.subject.broken(f"{self.name} {what}", {"z": z}, {f"{self.name}(z)": x, **found})

    def other(self, z: np.ndarray, x: np.ndarray) -> dict[str, np.ndarray]:
        return {"longer z": z, f"{self.name}(longer z)": x}

    def roundings(self, z: np.ndarray) -> float:
        return (z.shape[-1] + 8) * self.magnified * self.subject.eps

    def zero_to_zero(self, shape: tuple[int, ...]) -> None:
        z = np.zeros(shape)
        x = self(z)
        if not np.all(x == 0):
            raise self.broken("does not take the zero vector to zero", z, x)

    def finite(self, z: np.ndarray) -> None:
        x = self(z)
        if not np.all(np.isfinite(x)):
            raise self.broken("is not finite for a finite capsule", z, x)

    def each_by_itself(self, z: np.ndarray) -> None:
        if z.ndim == 1:
            return
        x = self(z)
        for k in range(z.shape[0]):
            alone = self(z[k : k + 1])
            off = lengths(x[k : k + 1] - alone)
            if not np.all(off <= 2 * self.roundings(z) * lengths(alone)):
                raise self.broken(
                    "treats a capsule differently beside others: lengths go over the last axis",
                    z,
                    x,
                    **{f"{self.name}(z[{k}:{k + 1}])": alone},
                )

    def direction(self, z: np.ndarray) -> None:
        x = self(z)
        seen = (lengths(x) >= self.subject.tiny) & (lengths(z) >= self.subject.tiny)
        off = lengths(_units(x) - _units(z))
        if np.any(seen & ~(off <= self.roundings(z))):
            raise self.broken("does not keep the direction of a capsule", z, x)

    def range(self, z: np.ndarray) -> None:
        x = self(z)
        limit = Fraction(1)
        if self.interval == "[0, 1]":
            limit = Fraction(1.0 + self.roundings(z)) ** 2
        for row in x.reshape(-1, x.shape[-1]):
            square = sum(Fraction(float(number)) ** 2 for number in row)
            if square > limit or (square == 1 and self.interval == "[0, 1)"):
                beyond = {f"‖{self.name}(z)‖ − 1": float((square - 1) / 2)}
                raise self.broken(f"makes a length outside {self.interval}", z, x, **beyond)

    def never_shorter(self, z: np.ndarray, times: float) -> None:
        if not np.any(z):
            return
        largest = float(np.finfo(self.subject.dtype).max)
        with np.errstate(over="ignore"):
            times = min(times, largest / np.max(np.abs(z)), float(np.finfo("float64").max))
        longer = self.subject.round(np.clip(z * times, -largest, largest))
        x, other_x = self(z), self(longer)
        allowed = lengths(x) * (1 - 2 * self.roundings(z)) - self.subject.tiny
        if not np.all(lengths(other_x) >= allowed):
            raise self.broken(
                "makes a shorter capsule of a longer one", z, x, **self.other(longer, other_x)
            )

    def longer(self, z: np.ndarray, times: float) -> None:
        longer = self.subject.round(z * times)
        x, other_x = self(z), self(longer)
        if not np.all(lengths(other_x) > lengths(x)):
            raise self.broken(
                "does not make a longer capsule of a longer one",
                z,
                x,
                **self.other(longer, other_x),
            )

    def rotation(self, z: np.ndarray, angle: float, plane: int) -> None:
        # The rotated capsule is rounded by 2ε, which fn at most doubles; fn is run twice.
        rotated = self.subject.round(_rotate(z, angle, plane))
        x, other_x = self(z), self(rotated)
        off = lengths(other_x - _rotate(x, angle, plane))
        if not np.all(off <= 3 * self.roundings(z) * lengths(x)):
            raise self.broken(
                "does not commute with rotations: lengths depend on directions",
                z,
                x,
                **{"rotated z": rotated, f"{self.name}(rotated z)": other_x},
            )

    def law(self, z: np.ndarray, law: Callable[[float], float]) -> None:
        x = self(z)
        wanted = np.reshape([law(float(r)) for r in np.ravel(lengths(z))], z.shape[:-1])
        off = np.abs(lengths(x) - wanted)
        if not np.all(off <= self.roundings(z) * wanted):
            raise self.broken(
                f"makes other lengths than its law, {label(law, 'law')}",
                z,
                x,
                **{
                    f"‖{self.name}(z)‖": lengths(x),
                    "by the law": wanted,
                    "off by": off,
                    "rounding explains": self.roundings(z) * wanted,
                },
            )

    def quotients_at_zero(
        self, u: np.ndarray
    ) -> tuple[tuple[float, float], tuple[np.ndarray, ...]]:
        """fn(hu)/h for two small h."""
        steps = (2.0**-40, 2.0**-400) if self.subject.dtype == "float64" else (2.0**-20, 2.0**-100)
        return steps, tuple(self(self.subject.round(u * h)) / h for h in steps)

    def slope_at_zero(self, u: np.ndarray) -> None:
        steps, quotients = self.quotients_at_zero(u)
        near, nearer = map(lengths, quotients)
        if not np.all(nearer <= 2 * near + self.subject.tiny):
            found = zip(steps, (near, nearer), strict=True)
            raise self.subject.broken(
                f"{self.name} has no finite derivative at zero",
                {"z": u},
                {f"‖{self.name}(hz)‖/h with h = {h:.3g}": q for h, q in found},
            )


@dataclass(frozen=True)
class _Backward:
    subject: Subject
    squash: _Squashing
    vjp: Callable
    name: str

    def finite(self, z: np.ndarray) -> None:
        g = np.ones_like(z)
        gradient = self.subject.run(self.vjp, z, g, name=self.name, shape=z.shape)
        if not np.all(np.isfinite(gradient)):
            where = "at the zero vector" if not np.any(z) else "for a finite capsule"
            raise self.subject.broken(
                f"{self.name}: the gradient is not finite {where}",
                {"z": z, "g": g},
                {f"{self.name}(z, g)": gradient},
            )

    def at_zero(self, v: np.ndarray, seed: int) -> None:
        """⟨vjp(0, g), v⟩ = ⟨g, fn(hv)⟩/h as h goes to 0, for each capsule."""
        g = np.random.default_rng(seed).integers(-2, 3, v.shape).astype(np.float64)
        gradient = self.subject.run(self.vjp, 0 * v, g, name=self.name, shape=v.shape)
        _, quotients = self.squash.quotients_at_zero(v)
        claimed, near, nearer = (
            np.sum(part, axis=-1) for part in (gradient * v, *(g * q for q in quotients))
        )
        size = lengths(g) * np.maximum(lengths(gradient), lengths(quotients[1]))
        allowed = np.abs(near - nearer) + 2 * self.squash.roundings(v) * size + self.subject.tiny
        if not np.all(np.abs(claimed - nearer) <= allowed):
            raise self.subject.broken(
                f"{self.name} at zero is not the derivative of {self.squash.name} there",
                {"v": v, "g": g},
                {
                    f"⟨{self.name}(0, g), v⟩": claimed,
                    f"⟨g, {self.squash.name}(hv)⟩/h": nearer,
                },
            )


@dataclass(frozen=True)
class _Inverse:
    subject: Subject
    squash: _Squashing
    inverse: Callable
    name: str

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return self.subject.run(self.inverse, x, name=self.name, shape=x.shape)

    def finite(self, x: np.ndarray) -> None:
        z = self(x)
        if not np.all(np.isfinite(z)):
            raise self.subject.broken(
                f"{self.name} is not finite for a capsule of a length below 1",
                {"x": x},
                {f"{self.name}(x)": z},
            )

    def to_squashed(self, z: np.ndarray) -> None:
        """inverse(fn(z)) = z, up to what the inverse magnifies."""
        x = self.squash(z)
        h = 2.0**-6
        less, more = (lengths(self.squash(self.subject.round(z * (1 + k)))) for k in (-h, h))
        with np.errstate(all="ignore"):
            condition = math.log((1 + h) / (1 - h)) / np.log(more / less)
        condition = np.where(more > less, np.maximum(condition, 1.0), math.inf)
        told = 2 * self.squash.roundings(z) * condition <= 0.1
        told &= lengths(x) < 1
        condition = np.where(told, condition, 0.0)
        z, x = (np.where(told[..., None], array, 0.0) for array in (z, x))
        again = self(x)
        allowed = 2 * self.squash.roundings(z) * condition * lengths(z)
        if not np.all(lengths(again - z) <= allowed):
            raise self.subject.broken(
                f"{self.name}({self.squash.name}(z)) is not z",
                {"z": z},
                {
                    f"{self.squash.name}(z)": x,
                    f"{self.name}({self.squash.name}(z))": again,
                    "off by": lengths(again - z),
                    "rounding explains": allowed,
                    "relative errors grow on the way back": condition,
                },
            )

    def from_squashed(self, x: np.ndarray) -> None:
        """fn(inverse(x)) = x: fn undoes what the inverse magnifies."""
        z = self(x)
        again = self.squash(z)
        off = lengths(again - x)
        if not np.all(off <= 4 * self.squash.roundings(x) * lengths(x) + self.subject.tiny):
            raise self.subject.broken(
                f"{self.squash.name}({self.name}(x)) is not x",
                {"x": x},
                {f"{self.name}(x)": z, f"{self.squash.name}({self.name}(x))": again},
            )


def _smooth(saturation: float) -> list[tuple[float, float]]:
    """Ranges of lengths on which the law is smooth, so far from its kink that steps stay there."""
    low, high = 2.0**-4, 2.0**4
    if saturation > 2.0 * high:
        return [(low, high)]
    return [(low * saturation, 0.75 * saturation), (1.5 * saturation, high * saturation)]


def _units(z: np.ndarray) -> np.ndarray:
    largest = np.max(np.abs(z), axis=-1, keepdims=True)
    part = z / np.where(largest > 0, largest, 1.0)
    return part / np.maximum(np.sqrt(np.sum(part * part, axis=-1, keepdims=True)), 1.0)


def _rotate(z: np.ndarray, angle: float, plane: int) -> np.ndarray:
    """Rotated in the plane of two neighbouring axes; turned round if there is one axis."""
    D = z.shape[-1]
    if D == 1:
        return -z
    p = plane % (D - 1)
    a, b = z[..., p], z[..., p + 1]
    rotated = z.copy()
    rotated[..., p] = math.cos(angle) * a - math.sin(angle) * b
    rotated[..., p + 1] = math.sin(angle) * a + math.cos(angle) * b
    return rotated


def _zero(shape: tuple[int, ...]) -> tuple[np.ndarray]:
    return (np.zeros(shape),)


def _tiny(shape: tuple[int, ...], dtype: str) -> tuple[np.ndarray]:
    return (np.full(shape, float(np.finfo(dtype).smallest_subnormal)),)
