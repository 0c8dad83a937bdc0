"""One function, every array library."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import hypothesis.strategies as st
import numpy as np

from capsnp.backend import BACKENDS, Backend, get_backend
from capsnp.errors import BackendError, InvariantError
from capsnp.testing._subject import Subject, label, testing

_NUDGE = 16
"""Units in the last place by which arguments are changed to see how much a result may differ."""


def check_backend_parity(
    fn: Callable,
    *arguments: Any,
    backends: Sequence[str | Backend] | None = None,
    dtype: str = "float64",
    examples: int = 25,
    factor: float = 1.0,
) -> None:
    """Check that a function is the same on every array library as on NumPy.

    It has to return arrays of the library whose arrays it is given, of their precision, with
    NumPy's numbers up to rounding; and to leave its arguments as they are.

    Parameters
    ----------
    fn : callable
        Of arrays, to an array or a tuple of arrays.
    *arguments : strategy or numpy.ndarray
        One for each argument of fn. A strategy of tuples, such as `layers`, gives several. Integers
        and booleans are passed as they are. JAX compiles anew for each shape: draw few.
    backends : sequence of str or Backend, optional
        Compared with NumPy; by default the others of `capsnp.backend.BACKENDS` that are installed.
    dtype : {"float64", "float32"}
    examples : int
    factor : float
        Multiplies the tolerance.

    Raises
    ------
    InvariantError
        If the function fails on a library, or returns something else.
    BackendError
        If no other library is installed, or one that is asked for is not.

    Notes
    -----
    Results may differ by 64ε of their largest number, and by what NumPy's result changes when every
    floating argument is brought nearer to zero by up to 16ε: two libraries round in different
    orders, and where numbers cancel that shows. JAX on a CPU reads subnormal
    numbers as zero: draw lengths above those.

    Examples
    --------
    >>> from capsnp.functional import length, squash
    >>> from capsnp.testing import capsules
    >>> moderate = capsules((2, 3), lengths=(0.01, 100.0))
    >>> check_backend_parity(squash, moderate, backends=["array-api-strict"])

    >>> import numpy as np
    >>> def norm(z):
    ...     return np.sqrt(np.sum(np.asarray(z) ** 2, axis=-1))
    >>> check_backend_parity(norm, moderate, backends=["array-api-strict"])
    Traceback (most recent call last):
    capsnp.errors.InvariantError: array-api-strict: norm returns numpy.ndarray, expected an array \
of array-api-strict
      argument 1 = [[1., 0., 0.], [1., 0., 0.]]
    """
    name = label(fn, "fn")
    others = _installed() if backends is None else [get_backend(one) for one in backends]
    if not others:
        raise BackendError(
            "no second array library is installed: pip install array-api-strict (or torch, jax)"
        )
    drawn = st.tuples(*map(_drawn, arguments))
    with testing("numpy", dtype, examples, factor) as reference:
        for backend in others:
            with testing(backend, dtype, examples, factor) as subject:
                trial = _Parity(fn, name, reference, subject)
                try:
                    subject.hold(trial.same, drawn)
                except InvariantError as error:
                    raise InvariantError(f"{backend.name}: {error}") from error.__cause__


@dataclass(frozen=True)
class _Parity:
    fn: Callable
    name: str
    reference: Subject
    subject: Subject

    def same(self, *drawn: Any) -> None:
        arrays = [
            self.reference.round(array) if array.dtype.kind == "f" else array
            for array in _flat(drawn)
        ]
        found = self.subject.run_many(self.fn, *arrays, name=self.name)
        expected = self.reference.run_many(self.fn, *arrays, name=self.name)
        nudged = [
            self.reference.run_many(
                self.fn, *(self._nudge(a, seed) for a in arrays), name=self.name
            )
            for seed in (0, 1)
        ]
        if len(found) != len(expected):
            raise self._broken(f"returns {len(found)} arrays, with NumPy {len(expected)}", arrays)
        for have, want, *changed in zip(found, expected, *nudged, strict=True):
            if (have.shape, have.dtype.kind) != (want.shape, want.dtype.kind):
                kinds = [f"{array.dtype} {array.shape}" for array in (have, want)]
                raise self._broken(f"returns {kinds[0]}, with NumPy {kinds[1]}", arrays)
            same = (have == want) | ((have != have) & (want != want))
            with np.errstate(invalid="ignore"):
                off = np.where(same, 0.0, np.abs(have * 1.0 - want * 1.0))
            if not np.all(off <= self._allowed(want, changed)):
                shown = {f"{self.name}, {self.subject.backend.name}": have, "numpy": want}
                raise self._broken("does not return NumPy's numbers", arrays, **shown)

    def _nudge(self, array: np.ndarray, seed: int) -> np.ndarray:
        """Nearer to zero by up to 16ε."""
        if array.dtype.kind != "f":
            return array
        part = _NUDGE * self.reference.eps * np.random.default_rng(seed).random(array.shape)
        return self.reference.round(array * (1.0 - part))

    def _allowed(self, want: np.ndarray, changed: list[np.ndarray]) -> float:
        if want.dtype.kind not in "fc":
            return 0.0
        finite = [np.where(np.isfinite(array), array, 0.0) for array in (want, *changed)]
        change = max(np.max(np.abs(array - finite[0]), initial=0.0) for array in finite[1:])
        return float(64 * self.subject.eps * np.max(np.abs(finite[0]), initial=0.0) + change)

    def _broken(self, what: str, arrays: list[np.ndarray], **found: Any) -> Exception:
        given = {f"argument {k + 1}": array for k, array in enumerate(arrays)}
        return self.subject.broken(f"{self.name} {what}", given, found)


def _installed() -> list[Backend]:
    found = []
    for name in BACKENDS:
        with contextlib.suppress(BackendError):
            found.append(get_backend(name))
    return [backend for backend in found if backend.name != "numpy"]


def _drawn(argument: Any) -> st.SearchStrategy:
    return argument if isinstance(argument, st.SearchStrategy) else st.just(np.asarray(argument))


def _flat(drawn: Any) -> Iterator[np.ndarray]:
    """Arrays, and those in tuples."""
    for value in drawn:
        if isinstance(value, tuple):
            yield from _flat(value)
        else:
            yield value
