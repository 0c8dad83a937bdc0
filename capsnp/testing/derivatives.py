"""Adjoints and gradients of a user's functions."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np

from capsnp.backend import Backend
from capsnp.errors import InvariantError
from capsnp.functional._checks import expect_option
from capsnp.testing._subject import Subject, label, testing

Method = Literal["differences", "complex-step"]
Points = tuple[int, ...] | st.SearchStrategy[np.ndarray]


def check_adjoint(
    f: Callable,
    f_adjoint: Callable,
    x_shape: tuple[int, ...],
    y_shape: tuple[int, ...] | None = None,
    *,
    backend: str | Backend = "numpy",
    dtype: str = "float64",
    examples: int = 50,
    factor: float = 1.0,
) -> None:
    r"""Check that two linear maps are adjoint to each other.

    .. math:: \langle f(x), y \rangle = \langle x, f^*(y) \rangle \quad \text{for all } x, y

    Parameters
    ----------
    f : callable
        From an array x of shape `x_shape` to an array y; linear, so without a bias.
    f_adjoint : callable
        From such a y to such an x.
    x_shape : tuple of int
    y_shape : tuple of int, optional
        By default the shape of f(0).
    backend : str or Backend
        Whose arrays the functions take, one of `capsnp.backend.BACKENDS`.
    dtype : {"float64", "float32"}
    examples : int
    factor : float
        Multiplies the tolerance.

    Raises
    ------
    InvariantError
        If the inner products differ, or f(0) or f*(0) is not 0.
    OptionError, BackendError
        If an option is unknown or its library missing.

    Notes
    -----
    The inner products may differ by (n + 8) ε ‖A‖ ‖x‖ ‖y‖ with n numbers in x and y together, one
    rounding for each term of a sum. ‖A‖ is the Frobenius norm of the map's matrix, estimated from
    f and f* at eight vectors of random signs s each, for which the mean of ‖As‖² is ‖A‖².

    Examples
    --------
    >>> import numpy as np
    >>> from capsnp.functional import col2im, im2col
    >>> shape = (1, 5, 4, 2)  # N, H, W, C
    >>> check_adjoint(lambda x: im2col(x, 3), lambda y: col2im(y, shape, 3), shape)

    An adjoint that has lost a sign:

    >>> check_adjoint(lambda x: x[1:] - x[:1], lambda y: np.concatenate([y, y]), (2,))
    Traceback (most recent call last):
    capsnp.errors.InvariantError: f_adjoint is not the adjoint of f
      x = [1., 0.]
      y = [1.]
      f(x) = [-1.]
      f_adjoint(y) = [1., 1.]
      ⟨f(x), y⟩ = -1
      ⟨x, f_adjoint(y)⟩ = 1
    """
    with testing(backend, dtype, examples, factor) as subject:
        maps = _Maps(subject, f, f_adjoint, label(f, "f"), label(f_adjoint, "f_adjoint"))
        y_shape = maps.zero_to_zero(x_shape, y_shape)
        size = maps.size(x_shape, y_shape)
        pairs = st.tuples(_small(x_shape), _small(y_shape), st.just(size))
        subject.hold(maps.inner_products, pairs)


def check_gradient(
    f: Callable,
    grad: Callable,
    points: Points = (3,),
    *,
    method: Method = "differences",
    backend: str | Backend = "numpy",
    dtype: str = "float64",
    examples: int = 50,
    factor: float = 1.0,
) -> None:
    r"""Check the gradient of a function of one array to one number.

    Derivatives :math:`\langle \nabla f(x), v \rangle` along drawn directions v are compared with
    those of f.

    Parameters
    ----------
    f : callable
        From an array to a number.
    grad : callable
        From the array to an array of its shape.
    points : tuple of int or strategy of numpy.ndarray
        A shape, for numbers from −2 to 2; or a strategy of points. Keep away from kinks.
    method : {"differences", "complex-step"}
        "differences": central differences, extrapolated. "complex-step": Im f(x + ihv)/h, exact up
        to rounding, for functions that take complex arrays and are analytic.
    backend, dtype, examples, factor
        As in `check_adjoint`.

    Raises
    ------
    InvariantError
        If the gradient differs by more than the differences may be off, or if those are too rough
        to tell.
    OptionError, BackendError
        If an option is unknown or its library missing.

    Notes
    -----
    Central differences D(h), D(h/2), D(h/4) are extrapolated twice (Richardson). Their error is
    taken as the two last changes of the extrapolation plus what noise in f makes of them, 8/h
    times its size. That size is taken as four times the largest third difference of f on a grid so
    fine that a smooth function has none, plus 4ε of the numbers involved.

    Examples
    --------
    >>> import numpy as np
    >>> check_gradient(lambda x: np.sum(x**2), lambda x: 2 * x)
    >>> check_gradient(lambda x: np.sum(x**2), lambda x: x, (2,))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    capsnp.errors.InvariantError: grad is not the gradient of f
      x = [1., 1.]
      v = [1., 0.]
      grad(x) = [1., 1.]
      ⟨grad(x), v⟩ = 1
      by differences = 2 ± ...
    """
    expect_option("method", method, ("differences", "complex-step"))
    with testing(backend, dtype, examples, factor) as subject:
        trial = _Gradient(subject, f, grad, label(f, "f"), label(grad, "grad"), method)
        drawn = points_and_directions(_points(points).map(subject.round))
        subject.hold(trial.along, drawn.map(lambda case: case[:2]))
        trial.decided()


def check_vjp(
    f: Callable,
    vjp: Callable,
    points: Points = (3,),
    *,
    backend: str | Backend = "numpy",
    dtype: str = "float64",
    examples: int = 50,
    factor: float = 1.0,
) -> None:
    r"""Check a backward pass: the gradient with respect to x of :math:`\langle g, f(x)\rangle`.

    Parameters
    ----------
    f : callable
        From an array to an array.
    vjp : callable
        ``vjp(x, g)`` with g of the shape of f(x), to an array of the shape of x.
    points, backend, dtype, examples, factor
        As in `check_gradient`.

    Raises
    ------
    InvariantError
        If the gradient differs by more than the differences may be off, or if those are too rough
        to tell.
    OptionError, BackendError
        If an option is unknown or its library missing.

    Examples
    --------
    >>> from capsnp.functional import softmax, softmax_vjp
    >>> check_vjp(softmax, softmax_vjp, (2, 3))
    """
    with testing(backend, dtype, examples, factor) as subject:
        drawn = points_and_directions(_points(points).map(subject.round))
        judge_vjp(subject, f, vjp, drawn, label(vjp, "vjp"))


def judge_vjp(
    subject: Subject, f: Callable, vjp: Callable, drawn: st.SearchStrategy, name: str
) -> None:
    """`check_vjp` on points, directions and seeds of cotangents that are drawn."""
    trial = _Gradient(subject, f, vjp, label(f, "f"), name)
    subject.hold(trial.along, drawn)
    trial.decided()


def points_and_directions(points: st.SearchStrategy) -> st.SearchStrategy:
    """Points x, directions v of small whole numbers, and seeds of cotangents g."""
    return points.flatmap(lambda x: st.tuples(st.just(x), _small(x.shape), st.integers(0, 2**16)))


@dataclass(frozen=True)
class _Maps:
    subject: Subject
    f: Callable
    f_adjoint: Callable
    f_name: str
    name: str

    def zero_to_zero(
        self, x_shape: tuple[int, ...], y_shape: tuple[int, ...] | None
    ) -> tuple[int, ...]:
        """Also finds the shape of y."""
        y = self.subject.run(self.f, np.zeros(x_shape), name=self.f_name, shape=y_shape)
        x = self.subject.run(self.f_adjoint, np.zeros(y.shape), name=self.name, shape=x_shape)
        for name, value in ((self.f_name, y), (self.name, x)):
            if not np.all(value == 0):
                raise self.subject.broken(
                    f"{name} is not linear: it does not take zero to zero (leave the bias out)",
                    {},
                    {f"{name}(0)": value},
                )
        return y.shape

    def size(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> float:
        """The larger map's Frobenius norm, about."""
        rng = np.random.default_rng(0)
        squares = []
        for f, name, shape in (
            (self.f, self.f_name, x_shape),
            (self.f_adjoint, self.name, y_shape),
        ):
            probes = [rng.choice([-1.0, 1.0], shape) for _ in range(8)]
            images = [self.subject.run(f, probe, name=name) for probe in probes]
            squares.append(np.mean([np.sum(image**2) for image in images]))
        return math.sqrt(max(squares))

    def inner_products(self, x: np.ndarray, y: np.ndarray, size: float) -> None:
        fx = self.subject.run(self.f, x, name=self.f_name, shape=y.shape)
        fy = self.subject.run(self.f_adjoint, y, name=self.name, shape=x.shape)
        left = math.fsum(np.ravel(fx * y))
        right = math.fsum(np.ravel(x * fy))
        terms = x.size + y.size + 8
        tolerance = terms * self.subject.eps * size * np.linalg.norm(x) * np.linalg.norm(y)
        if not abs(left - right) <= tolerance:
            raise self.subject.broken(
                f"{self.name} is not the adjoint of {self.f_name}",
                {"x": x, "y": y},
                {
                    f"{self.f_name}(x)": fx,
                    f"{self.name}(y)": fy,
                    f"⟨{self.f_name}(x), y⟩": left,
                    f"⟨x, {self.name}(y)⟩": right,
                },
            )


@dataclass(frozen=True)
class _Gradient:
    subject: Subject
    f: Callable
    grad: Callable
    f_name: str
    name: str
    method: Method = "differences"
    told: list[bool] = field(default_factory=list)
    """Of each case, whether its differences were exact enough to tell."""

    def along(self, x: np.ndarray, v: np.ndarray, seed: int | None = None) -> None:
        """The derivative along v; with a seed, of ⟨g, f(x)⟩ for a cotangent g."""
        g = None if seed is None else self._cotangent(x, seed)
        gradient = self.subject.run(
            self.grad, *([x] if g is None else [x, g]), name=self.name, shape=x.shape
        )
        claimed = math.fsum(np.ravel(gradient * v))
        size = float(np.sum(np.abs(gradient * v)))
        if self.method == "complex-step":
            found, error = self._complex_step(x, v), 0.0
        else:
            moved = float(np.sum(np.abs(gradient * x)))  # by a relative change of x
            found, error, scale = self._differences(x, v, g, moved)
            self.told.append(error <= 0.1 * max(size, abs(found), scale))
        rounding = 64 * self.subject.eps * max(size, abs(found)) + self.subject.tiny
        tolerance = self.subject.factor * error + rounding
        if not abs(claimed - found) <= tolerance:
            given = {"x": x, "v": v} if g is None else {"x": x, "v": v, "g": g}
            call = f"{self.name}(x)" if g is None else f"{self.name}(x, g)"
            how = "by a complex step" if self.method == "complex-step" else "by differences"
            raise self.subject.broken(
                f"{self.name} is not the gradient of "
                + (self.f_name if g is None else f"⟨g, {self.f_name}(x)⟩"),
                given,
                {
                    call: gradient,
                    f"⟨{call}, v⟩": claimed,
                    how: f"{found:.6g} ± {tolerance:.1g}",
                },
            )

    def decided(self) -> None:
        """Raise if no case could have failed."""
        if self.told and not any(self.told):
            raise InvariantError(
                f"{self.name} cannot be judged: differences of {self.f_name} are rougher than "
                f"{self.f_name} itself"
            )

    def _cotangent(self, x: np.ndarray, seed: int) -> np.ndarray:
        shape = self.subject.run(self.f, x, name=self.f_name).shape
        g = np.random.default_rng(seed).integers(-2, 3, shape).astype(np.float64)
        return np.ones(shape) if seed == 0 else g

    def _complex_step(self, x: np.ndarray, v: np.ndarray) -> float:
        h = 1e-30 if self.subject.dtype == "float64" else 1e-18
        value = self._number(x + 1j * h * v)
        return value.imag / h

    def _differences(
        self, x: np.ndarray, v: np.ndarray, g: np.ndarray | None, moved: float
    ) -> tuple[float, float, float]:
        """The derivative along v, its error, and how large f is beside a step."""
        wide = self.subject.dtype == "float64"
        largest = float(np.max(np.abs(x), initial=0.0))
        scale = 2.0 ** math.floor(math.log2(largest)) if largest > 0 else 1.0
        h = scale * 2.0 ** (-9 if wide else -4)
        values, sizes = {}, []
        for t in (-h, h, -h / 2, h / 2, -h / 4, h / 4):
            values[t], size = self._value(x + t * v, g)
            sizes.append(size)
        D = [(values[t] - values[-t]) / (2 * t) for t in (h, h / 2, h / 4)]
        R = [(4 * D[1] - D[0]) / 3, (4 * D[2] - D[1]) / 3]
        best = (16 * R[1] - R[0]) / 15
        fine = scale * 2.0 ** (-26 if wide else -10)
        grid = [self._value(x + k * fine * v, g)[0] for k in range(8)]
        eps = float(np.finfo(self.subject.dtype).eps)
        noise = 4 * (float(np.max(np.abs(np.diff(grid, 3)))) + eps * (max(sizes) + moved))
        error = abs(best - R[1]) + abs(R[1] - R[0]) + 8 * noise / h
        return best, error, max(sizes) / scale

    def _value(self, x: np.ndarray, g: np.ndarray | None) -> tuple[float, float]:
        """f or ⟨g, f⟩, with the sum of the absolute values."""
        x = self.subject.round(x)
        if g is None:
            value = float(self._number(x).real)
            return value, abs(value)
        terms = g * self.subject.run(self.f, x, name=self.f_name, shape=g.shape)
        return math.fsum(np.ravel(terms)), float(np.sum(np.abs(terms)))

    def _number(self, x: np.ndarray) -> complex:
        """f where it returns a number of Python, or an array of one number."""
        value = self.subject.call(self.f, self.subject.there(x), name=self.f_name, given={"x": x})
        host = np.asarray(value)
        if not isinstance(value, int | float | complex):
            host = self.subject.back(value, name=self.f_name, given={"x": x})
        if host.size != 1:
            raise self.subject.broken(
                f"{self.f_name} returns shape {host.shape}, expected one number", {"x": x}
            )
        if self.method == "complex-step" and not np.iscomplexobj(host):
            raise self.subject.broken(f"{self.f_name} drops the imaginary part", {"x": x})
        return complex(host.reshape(()))


def _points(points: Points) -> st.SearchStrategy[np.ndarray]:
    if isinstance(points, st.SearchStrategy):
        return points
    return hnp.arrays("float64", points, elements=st.floats(-2, 2, width=32))


@st.composite
def _small(draw: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Whole numbers from −2 to 2, not all zero."""
    values = draw(hnp.arrays("float64", shape, elements=st.integers(-2, 2)))
    if values.size and not values.any():
        values.flat[0] = 1.0
    return values
