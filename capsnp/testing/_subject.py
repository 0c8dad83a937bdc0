"""A user's functions under test: run on host arrays, tried on examples, judged in words."""

import contextlib
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import hypothesis
import hypothesis.errors
import numpy as np

from capsnp.backend import Backend, backend_of, get_backend
from capsnp.errors import CapsnpError, InvariantError, OptionError
from capsnp.functional._checks import expect_count, expect_option

_PHASES = (hypothesis.Phase.explicit, hypothesis.Phase.generate, hypothesis.Phase.shrink)


@dataclass(frozen=True)
class Subject:
    """Where functions under test run, how often, and how exact they have to be.

    Arrays are host arrays of float64 whose values the dtype can hold.
    """

    backend: Backend
    dtype: str
    examples: int
    factor: float

    @property
    def eps(self) -> float:
        """Distance from 1 to the next number, times the tolerance factor."""
        return self.factor * float(np.finfo(self.dtype).eps)

    @property
    def tiny(self) -> float:
        """The smallest number from which on relative errors of rounding mean something."""
        info = np.finfo(self.dtype)
        return float(info.tiny / info.eps)

    def round(self, values: Any) -> np.ndarray:
        """Values that the dtype can hold, as float64."""
        return np.asarray(values, dtype=self.dtype).astype(np.float64)

    # --- running --------------------------------------------------------------------------

    def run(
        self, fn: Callable, *arrays: np.ndarray, name: str, shape: tuple[int, ...] | None = None
    ) -> np.ndarray:
        """The array that a function returns, on the host.

        Parameters
        ----------
        fn : callable
        *arrays : numpy.ndarray
            Floating ones go in the dtype, others as they are.
        name : str
            What messages call the function.
        shape : tuple of int, optional
            That it has to return.
        """
        given = _numbered(arrays)
        host = self.back(self._apply(fn, arrays, name), name=name, given=given)
        if shape is not None and host.shape != shape:
            raise self.broken(f"{name} returns shape {host.shape}, expected {shape}", given)
        return host

    def run_many(self, fn: Callable, *arrays: np.ndarray, name: str) -> tuple[np.ndarray, ...]:
        """The arrays that a function returns, or the only one, on the host."""
        value = self._apply(fn, arrays, name)
        parts = value if isinstance(value, tuple) else (value,)
        return tuple(self.back(part, name=name, given=_numbered(arrays)) for part in parts)

    def _apply(self, fn: Callable, arrays: tuple[np.ndarray, ...], name: str) -> Any:
        here = [self.there(array) for array in arrays]
        value = self.call(fn, *here, name=name, given=_numbered(arrays))
        for array, after in zip(arrays, here, strict=True):
            if not np.array_equal(self.backend.to_host(after), array, equal_nan=True):
                raise self.broken(f"{name} changes its argument in place", {"before": array})
        return value

    def call(self, fn: Callable, *here: Any, name: str, given: Mapping[str, Any]) -> Any:
        """What a function returns, as it is; what it raises becomes an `InvariantError`."""
        try:
            with np.errstate(all="ignore"):  # the numbers decide, not the flags on the way
                return fn(*here)
        except Exception as error:
            raise self.broken(f"{name} raises {type(error).__name__}: {error}", given) from error

    def there(self, array: np.ndarray) -> Any:
        """A copy of a host array for the function to use."""
        kinds = {"f": self.dtype, "c": "complex64" if self.dtype == "float32" else "complex128"}
        return self.backend.asarray(np.array(array), dtype=kinds.get(array.dtype.kind))

    def back(self, value: Any, *, name: str, given: Mapping[str, Any]) -> np.ndarray:
        """An array of this library and of the arguments' precision, on the host."""
        if not _belongs(value, self.backend):
            kind = f"{type(value).__module__}.{type(value).__name__}".removeprefix("builtins.")
            expected = f"expected an array of {self.backend.name}"
            raise self.broken(f"{name} returns {kind}, {expected}", given)
        host = np.asarray(self.backend.to_host(value))
        if host.dtype.kind not in "fc":
            return host
        if host.dtype.kind == "f" and host.dtype != self.dtype:
            raise self.broken(f"{name} returns {host.dtype} for {self.dtype}", given)
        return host.astype(np.float64 if host.dtype.kind == "f" else np.complex128)

    # --- judging --------------------------------------------------------------------------

    def hold(self, invariant: Callable, strategy: Any, *first: Any) -> None:
        """Try an invariant on given cases, then on drawn ones, and raise for the smallest.

        Parameters
        ----------
        invariant : callable
            Takes what the strategy draws as its arguments, arrays as float64; raises
            `InvariantError`.
        strategy : strategy of tuple
        *first : tuple
            Tried before.
        """

        @hypothesis.settings(
            max_examples=self.examples,
            phases=_PHASES,
            derandomize=True,
            database=None,
            deadline=None,
            report_multiple_bugs=False,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(strategy)
        def attempt(case: tuple) -> None:
            invariant(*map(_double, case))

        for case in reversed(first):
            attempt = hypothesis.example(case)(attempt)
        try:
            attempt()
        except InvariantError as error:  # without the frames and the notes of Hypothesis
            raise InvariantError(str(error)) from error.__cause__
        except hypothesis.errors.Flaky:
            raise InvariantError(
                "the same arguments do not give the same result twice: is it random?"
            ) from None

    def broken(
        self, what: str, given: Mapping[str, Any], found: Mapping[str, Any] | None = None
    ) -> InvariantError:
        """An error that says in words what is violated, and shows a case line by line.

        What was given is shown so that it can be given again, what was found to eight digits.
        """
        shown = {name: self._text(value, floatmode="unique") for name, value in given.items()}
        shown |= {name: self._text(value) for name, value in (found or {}).items()}
        lines = [
            textwrap.fill(
                f"{name} = {text}",
                width=96,
                initial_indent="  ",
                subsequent_indent="      ",
                break_long_words=False,
                break_on_hyphens=False,
            )
            for name, text in shown.items()
        ]
        return InvariantError("\n".join([what, *lines]))

    def _text(self, value: Any, **options: Any) -> str:
        if isinstance(value, str):
            return value
        if isinstance(value, np.ndarray) and value.ndim:
            if value.dtype.kind == "f":
                value = value.astype(self.dtype)
            return " ".join(
                np.array2string(value, separator=", ", threshold=200, **options).split()
            )
        return f"{float(value):.6g}" if np.isrealobj(value) else f"{complex(value):.6g}"


@contextlib.contextmanager
def testing(backend: str | Backend, dtype: str, examples: int, factor: float) -> Iterator[Subject]:
    """A `Subject` with checked options; JAX holds float64 for as long as it is asked for."""
    expect_option("dtype", dtype, ("float64", "float32"))
    expect_count("examples", examples)
    if not factor > 0:
        raise OptionError(f"factor: expected a number above 0, got {factor!r}")
    library = get_backend(backend)
    with library.holding(dtype):
        yield Subject(library, dtype, examples, factor)


def label(fn: Callable, role: str) -> str:
    """What messages call a function: its own name, if it has one."""
    name = getattr(fn, "__name__", role)
    return role if name == "<lambda>" else name


def lengths(z: np.ndarray) -> np.ndarray:
    """Euclidean lengths along the last axis, without overflow or underflow on the way."""
    largest = np.max(np.abs(z), axis=-1, keepdims=True)
    part = z / np.where(largest > 0, largest, 1.0)
    with np.errstate(over="ignore"):
        return largest[..., 0] * np.sqrt(np.sum(part * part, axis=-1))


def _numbered(arrays: tuple[np.ndarray, ...]) -> dict[str, np.ndarray]:
    return {f"argument {k}": array for k, array in enumerate(arrays, start=1)}


def _double(drawn: Any) -> Any:
    """Arrays as float64, in tuples too."""
    if isinstance(drawn, tuple):
        return tuple(map(_double, drawn))
    if isinstance(drawn, np.ndarray) and drawn.dtype == np.float32:
        return drawn.astype(np.float64)
    return drawn


def _belongs(value: Any, backend: Backend) -> bool:
    try:
        return backend_of(value).name == backend.name
    except CapsnpError:
        return False
