"""Parameters of a bipartite machine, and what fits them."""

from typing import Any, NamedTuple

from capsnp.backend import Array
from capsnp.errors import OptionError, ShapeError
from capsnp.functional._checks import expect_min_ndim, expect_ndim, expect_shape, floating
from capsnp.functional.units import Bernoulli, Gaussian, Units


class Harmonium(NamedTuple):
    """Parameters of a bipartite machine.

    Attributes
    ----------
    w : array, shape (I, J)
    b : array, shape (I,)
        Visible biases.
    c : array, shape (J,)
        Hidden biases.
    visible, hidden : Units
        Gaussian units hold their variances themselves.

    References
    ----------
    Welling, Rosen-Zvi & Hinton (2005), Exponential family harmoniums.
    """

    w: Array
    b: Array
    c: Array
    visible: Units = Bernoulli()
    hidden: Units = Bernoulli()


def times(xp: Any, s: Array, w: Array) -> Array:
    """Σ_i s_i w_ij: (..., I) and (I, J) to (..., J)."""
    return xp.tensordot(s, w, axes=1)


def expect_machine(machine: Harmonium, *, v: Array | None = None, h: Array | None = None) -> Any:
    """The namespace of a machine and states that fit it."""
    w, b, c = machine[:3]
    xp = floating(w=w, b=b, c=c, v=v, h=h)
    expect_ndim("w", w, 2, "(I, J)")
    because = f"to match w {tuple(w.shape)}"
    for letter, bias, states, size in (("I", b, v, w.shape[0]), ("J", c, h, w.shape[1])):
        bias_name, name = ("b", "v") if letter == "I" else ("c", "h")
        expect_shape(bias_name, bias, (size,), axes=f"({letter},)", because=because)
        if states is None:
            continue
        expect_min_ndim(name, states, 1, f"(..., {letter})")
        if states.shape[-1] != size:
            raise ShapeError(
                f"{name}: expected shape (..., {letter}) with {letter} = {size} {because}, "
                f"got {tuple(states.shape)}"
            )
    return xp


def expect_batch(
    machine: Harmonium,
    v: Array,
    h: Array,
    v_axes: str,
    h_axes: str,
    names: tuple[str, str] = ("v", "h"),
) -> Any:
    """The namespace of a machine and a batch of states."""
    xp = floating(w=machine.w, **dict(zip(names, (v, h), strict=True)))
    because = f"to match w {tuple(machine.w.shape)}"
    expect_ndim("w", machine.w, 2, "(I, J)")
    expect_shape(names[0], v, (None, machine.w.shape[0]), axes=v_axes, because=because)
    if v.shape[0] == 0:
        raise ShapeError(f"{names[0]}: expected at least one example, got {tuple(v.shape)}")
    because = f"to match {names[0]} {tuple(v.shape)} and w {tuple(machine.w.shape)}"
    expect_shape(names[1], h, (v.shape[0], machine.w.shape[1]), axes=h_axes, because=because)
    return xp


def expect_like(machine: Harmonium, base: Harmonium) -> None:
    """Raise unless two machines have the same kinds and sizes."""
    expect_machine(machine)
    floating(machine=machine.w, base=base.w)
    for name in ("visible", "hidden"):
        wanted, got = getattr(machine, name), getattr(base, name)
        if not _alike(wanted, got):
            raise OptionError(f"base.{name}: expected units like {wanted}, got {got}")
    because = "as the machine has"
    for name, axes in (("w", "(I, J)"), ("b", "(I,)"), ("c", "(J,)")):
        shape = tuple(getattr(machine, name).shape)
        expect_shape(f"base.{name}", getattr(base, name), shape, axes=axes, because=because)


def _alike(one: Units, other: Units) -> bool:
    if isinstance(one, Gaussian) and isinstance(other, Gaussian):
        return (one.log_variance is None) == (other.log_variance is None)
    return one == other
