"""Where a claim is checked: random problems in one dtype, and one array library to compute with."""

import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from capsnp.backend import Backend
from capsnp.errors import CapsnpError
from capsnp.verification.ledger import Check

SIGMAS = 5.0
"""Standard errors that a Monte-Carlo mean may be off: one in two million is."""


class NotRun(CapsnpError):
    """A claim cannot be checked here; the message says why."""


class Lab:
    """Problems and comparisons for one claim.

    Problems are NumPy arrays of float64 whose values the dtype under test can hold, so that both
    ways to a number start from the same ones. What `run` returns is float64 on the host again.

    Parameters
    ----------
    backend : Backend
        Computes what is under test.
    dtype : {"float64", "float32"}
    seed : int
    name : str
        The claim's: its random numbers depend on no other claim.
    thorough : bool, optional
        Ten times the cases.
    """

    def __init__(
        self, backend: Backend, dtype: str, seed: int, name: str, *, thorough: bool = False
    ) -> None:
        self.backend = backend
        self.dtype = dtype
        self.thorough = thorough
        self.eps = float(np.finfo(dtype).eps)
        self.rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        self.n_cases = 0

    # --- problems --------------------------------------------------------------------------

    def cases(self, n: int) -> Iterator[int]:
        """Numbers of cases, 0 to n - 1, or ten times as many; each is counted."""
        for case in range(n * (10 if self.thorough else 1)):
            self.n_cases += 1
            yield case

    def round(self, values: Any) -> np.ndarray:
        """Values that the dtype can hold, as float64."""
        return np.asarray(values, dtype=self.dtype).astype(np.float64)

    def normal(self, *shape: int, scale: float = 1.0) -> np.ndarray:
        """Gaussian numbers."""
        return self.round(scale * self.rng.standard_normal(shape))

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> np.ndarray:
        """Uniform numbers in [low, high)."""
        return self.round(self.rng.uniform(low, high, shape))

    def in_balls(self, *shape: int, longest: float = 1.0) -> np.ndarray:
        """Vectors (..., D) uniform in the ball of radius `longest`."""
        vectors = self.rng.standard_normal(shape)
        radius = longest * self.rng.random((*shape[:-1], 1)) ** (1.0 / shape[-1])
        vectors *= radius / np.linalg.norm(vectors, axis=-1, keepdims=True)
        return self.round(vectors * (1.0 - 4.0 * self.eps))

    def bits(self, *shape: int) -> np.ndarray:
        """Zeros and ones."""
        return self.rng.integers(0, 2, shape).astype(np.float64)

    def coefficients(self, *shape: int, axis: int) -> np.ndarray:
        """Positive numbers that sum to 1 along an axis, up to rounding."""
        weights = self.rng.gamma(1.0, size=shape) + 0.05
        return self.round(weights / weights.sum(axis=axis, keepdims=True))

    # --- computing -------------------------------------------------------------------------

    def run(self, function: Callable, *arrays: Any, **options: Any) -> Any:
        """A function of capsnp on the backend, in the dtype.

        Parameters
        ----------
        function : callable
        *arrays : numpy.ndarray or anything else
            Arrays of float64 go to the backend, the rest is passed as it is.
        **options
            Likewise.

        Returns
        -------
        numpy.ndarray of float64, float, or a tuple of them
            On the host.
        """
        here = {name: self._there(value) for name, value in options.items()}
        return self._back(function(*map(self._there, arrays), **here))

    def _there(self, value: Any) -> Any:
        if not isinstance(value, np.ndarray):
            return value
        kind = self.dtype if value.dtype == np.float64 else None
        return self.backend.asarray(value, dtype=kind)

    def _back(self, value: Any) -> Any:
        if isinstance(value, tuple):
            parts = [self._back(part) for part in value]
            return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
        if isinstance(value, int | float | bool):
            return value
        host = np.asarray(self.backend.to_host(value))
        return host.astype(np.float64) if host.dtype.kind == "f" else host

    # --- comparisons -----------------------------------------------------------------------

    def near(
        self,
        actual: Any,
        expected: Any,
        *,
        terms: float = 16.0,
        magnitude: Any = None,
        condition: float = 1.0,
    ) -> Check:
        """Both sides agree to rounding.

        Parameters
        ----------
        actual, expected : array_like
            Of one shape, of which no axis is empty.
        terms : float, optional
            Roundings that may add up: about the number of additions and multiplications.
        magnitude : array_like, optional
            Of what is added up, which cancellation leaves less of; by default the largest
            expected number.
        condition : float, optional
            How much the result magnifies a relative change of the arguments.
        """
        actual, expected = np.asarray(actual, float), np.asarray(expected, float)
        if actual.shape != expected.shape:
            raise AssertionError(f"shape {actual.shape} in place of {expected.shape}")
        scale = np.max(np.abs(expected)) if magnitude is None else magnitude
        scale = np.maximum(scale, np.finfo(self.dtype).tiny / self.eps)
        with np.errstate(invalid="ignore"):
            residual = np.max(np.where(actual == expected, 0.0, np.abs(actual - expected) / scale))
        source = f"{terms:g} roundings" + (f" × {condition:.3g}" if condition != 1.0 else "")
        return Check(float(residual), terms * condition * self.eps, source)

    def close(self, actual: Any, expected: Any, *, error: Any, sigmas: float = SIGMAS) -> Check:
        """A Monte-Carlo mean and a number agree within standard errors.

        Parameters
        ----------
        actual, expected : array_like
        error : array_like
            Standard errors of the difference, above 0.
        sigmas : float, optional
        """
        off = np.abs(np.asarray(actual, float) - np.asarray(expected, float))
        residual = np.max(off / np.asarray(error, float))
        return Check(float(residual), sigmas, f"{sigmas:g} standard errors")

    def below(self, residual: float, tolerance: float, source: str) -> Check:
        """A residual is at most a tolerance that is given."""
        return Check(float(residual), float(tolerance), source)

    def true(self, holds: Any, source: str) -> Check:
        """Something is so: residual 0 or 1, tolerance 0."""
        return Check(float(not np.all(holds)), 0.0, source)

    def printed_fails(self, printed: Any, true: Any, *, at_least: float = 1e-3) -> Check:
        """The text as printed gives other numbers than what holds: a counter-example.

        Parameters
        ----------
        printed, true : array_like
            Of one shape.
        at_least : float, optional
            Of the largest true number, how far off the printed text has to be.
        """
        printed, true = np.asarray(printed, float), np.asarray(true, float)
        off = float(np.max(np.abs(printed - true)) / np.max(np.abs(true)))
        return Check(0.0, at_least, "the text as printed is off", printed=off)

    def measured(self, value: float, *, between: tuple[float, float]) -> Check:
        """A measurement lies where it was measured before; its distance is to the middle."""
        low, high = between
        return Check(
            abs(float(value) - (low + high) / 2), (high - low) / 2, f"measured, {value:.4g}"
        )
