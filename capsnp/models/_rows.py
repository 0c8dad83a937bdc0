"""Rows of any library that scikit-learn's dispatch knows, dense or sparse, and results alike."""

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import scipy.sparse
from array_api_compat import device, is_array_api_obj, is_numpy_array
from sklearn import get_config
from sklearn.utils._array_api import check_same_namespace
from sklearn.utils.validation import check_is_fitted, validate_data

from capsnp.backend import Array, Backend, backend_of, get_backend, namespace
from capsnp.blocks import slices
from capsnp.functional.units import Units
from capsnp.models._base import Estimator, expect_finite

ROWS = 1024
"""Rows that go through a model at a time when a whole data set does."""


class RowEstimator(Estimator):
    """Takes rows (N, I) as scikit-learn's estimators do.

    With its array API dispatch on, and no backend chosen, the library of the rows is the model's.
    What it learns from them is `components_`.
    """

    _dtype: str
    _library: tuple[str, Any] | None = None
    """Name and device of the rows' own library, where it is the model's."""

    @property
    @abstractmethod
    def _units(self) -> Units:
        """Of which rows are states."""

    @property
    def _backend(self) -> Backend:
        return super()._backend if self._library is None else _backend_at(*self._library)

    def _library_for(self, X: Any) -> tuple[str, Any] | None:
        """Name and device of the rows' own library where it is to be used, else None."""
        if self.backend is not None or not _foreign(X):
            return None
        return backend_of(X).name, device(X)

    def _array(self, host: Any) -> Array:
        return self._backend.asarray(host, dtype=self._dtype)

    def _checked(self, X: Any, *, reset: bool, name: str = "X") -> Any:
        """Rows as scikit-learn wants them checked: (N, I), real, finite; sparse ones as CSR."""
        xp = namespace(X=X) if _foreign(X) else np
        dtypes = [xp.float64, xp.float32]
        X = validate_data(
            self, X, accept_sparse="csr", dtype=dtypes, reset=reset, ensure_all_finite=False
        )
        if not get_config()["assume_finite"]:
            expect_finite(name, X)
        return X

    def _dense(self, X: Any, rows: Any) -> Array:
        """Some rows of checked data as an array of the model's."""
        if scipy.sparse.issparse(X):
            return self._array(X[rows].toarray())
        if _foreign(X) and not isinstance(rows, slice):
            xp = namespace(X=X)
            return self._array(xp.take(X, xp.asarray(rows, device=device(X)), axis=0))
        return self._array(X[rows, ...])

    def _blocks(self, X: Any, method: str) -> Iterable[Array]:
        """Rows in the model's arrays, a block at a time, of visible states."""
        check_is_fitted(self, "components_")
        if self.backend is None:
            check_same_namespace(X, self, attribute="components_", method=method)
        X = self._checked(X, reset=False)
        units = self._units
        for rows in slices(X.shape[0], ROWS):
            block = self._dense(X, rows)
            units.expect_states("X", block, row=rows.start)
            yield block

    def _joined(self, parts: Iterable[Array], X: Any) -> Any:
        """Results of blocks in one array: of the data's library under dispatch, else of NumPy."""
        parts = list(parts)
        if _foreign(X):
            return self._backend.xp.concat(parts, axis=0)
        return np.concatenate([self._backend.to_host(part) for part in parts])

    def _host_blocks(self, X: Any) -> Iterable[tuple[int, np.ndarray]]:
        """Rows on the host, a block at a time, each with the number of its first."""
        for rows in slices(X.shape[0], ROWS):
            block = X[rows, :]
            if scipy.sparse.issparse(block):
                yield rows.start, block.toarray()
            else:
                yield rows.start, self._backend.to_host(block) if _foreign(X) else block


def _backend_at(name: str, place: Any) -> Backend:
    """A backend by its name, on a device."""
    return replace(get_backend(name), device=place)


def _foreign(X: Any) -> bool:
    """Whether data are to be kept in their own library: scikit-learn's dispatch is on."""
    return get_config()["array_api_dispatch"] and is_array_api_obj(X) and not is_numpy_array(X)
