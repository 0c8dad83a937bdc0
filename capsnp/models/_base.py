"""What the estimators share: the backend, checks of data, views of features."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import scipy.sparse
from sklearn.base import clone

from capsnp.backend import Array, Backend, get_backend, namespace
from capsnp.blocks import slices
from capsnp.errors import DomainError, DtypeError, NotFittedError, OptionError, ShapeError
from capsnp.functional import length
from capsnp.functional._checks import expect_count, first_index
from capsnp.models._saving import Saveable

BLOCK = 256
"""Rows that go through a model at a time when a whole data set does."""


class Rows(Protocol):
    """Host data by rows: an array, a memory map or a view that computes what is asked for."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    def __getitem__(self, rows: Any) -> np.ndarray: ...


class Estimator(Saveable):
    """Parameters by scikit-learn's manners, arrays by a `Backend`."""

    backend: str | Backend | None
    dtype: str
    random_state: int

    @property
    def _backend(self) -> Backend:
        return get_backend(self.backend)

    def _array(self, host: Any) -> Array:
        return self._backend.asarray(host, dtype=self.dtype)

    def _part(self, name: str) -> Any:
        """A part that is not fitted, with the model's dtype and backend where it has them."""
        part = clone(self._given(name))
        shared = {"dtype": self.dtype, "backend": self.backend}
        known = part.get_params(deep=False)
        return part.set_params(**{key: value for key, value in shared.items() if key in known})

    def _expect_fitted(self, attribute: str) -> None:
        if not hasattr(self, attribute):
            raise NotFittedError(f"{type(self).__name__} has no {attribute} yet: call fit first")

    def _expect_options(self) -> None:
        if self.dtype not in ("float32", "float64"):
            raise OptionError(f"dtype: expected 'float32' or 'float64', got {self.dtype!r}")
        expect_count("random_state", self.random_state, minimum=0)


def expect_rows(name: str, data: Rows, shape: Sequence[int | None], axes: str) -> None:
    """Raise unless host data are real floating and fit a shape in which None is free."""
    if not hasattr(data, "shape"):
        raise DtypeError(f"{name}: expected an array, got {type(data).__name__}")
    got = tuple(data.shape)
    if len(got) != len(shape) or any(
        want is not None and want != have for want, have in zip(shape, got, strict=True)
    ):
        wanted = ", ".join("any" if n is None else str(n) for n in shape)
        raise ShapeError(f"{name}: expected shape {axes} = ({wanted}), got {got}")
    if got[0] == 0:
        raise ShapeError(f"{name}: expected at least one row, got shape {got}")
    dtype = getattr(data, "dtype", None)
    if dtype is not None and np.dtype(str(dtype).rsplit(".", 1)[-1]).kind != "f":
        raise DtypeError(f"{name}: expected a floating dtype, got {dtype}")


def expect_finite(name: str, X: Any) -> None:
    """Raise `DomainError` where rows (N, I), dense or CSR, hold NaN or infinity."""
    sparse = scipy.sparse.issparse(X)
    values = X.data if sparse else X
    xp = namespace(X=values)
    with np.errstate(over="ignore", invalid="ignore"):
        if bool(xp.isfinite(xp.sum(values))):
            return
    bad = ~xp.isfinite(values)
    if not bool(xp.any(bad)):  # only their sum is not
        return
    place = first_index(xp, bad)
    value = float(values[place])
    if sparse:
        entries = X.tocoo()
        place = int(entries.row[place[0]]), int(entries.col[place[0]])
    shown = "NaN" if np.isnan(value) else "infinity"
    raise DomainError(f"{name}: expected finite numbers, got {shown} at {place}")


class Standardized:
    """Rows of features, centred and scaled as they are asked for."""

    def __init__(self, features: Rows, mean: np.ndarray, scale: float):
        self.features, self.mean, self.scale = features, mean, scale

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.features.shape)

    def __getitem__(self, rows: Any) -> np.ndarray:
        return (self.features[rows] - self.mean) / self.scale


def mean_length(rows: Rows) -> float:
    """Mean Euclidean length of rows (N, I, P), each taken as one vector; read in blocks."""
    n = rows.shape[0]
    blocks = (rows[part] for part in slices(n, BLOCK))
    return sum(float(np.sum(length(b.reshape(len(b), -1)))) for b in blocks) / n
