"""Data for one of several workers that train one model together."""

from typing import Any

import numpy as np

from capsnp.errors import OptionError


class Share:
    """A worker's part of every batch: rows of the data, of which it reads its own alone.

    All workers draw the same batches from the same seed. Asked for a batch by an array of row
    numbers, worker r of n reads every n-th of them, from the r-th on; a slice is read whole, as it
    is where all must find the same: the mean and the scale of features. The mean of the workers'
    gradients is then the gradient of the whole batch.

    Parameters
    ----------
    X : array, shape (N, ...)
        Of all rows; a memory map is read as far as is needed.
    worker : int
        From 0.
    n_workers : int
        ``batch_size`` must be a multiple of it.

    Attributes
    ----------
    shape : tuple of int
        That of all rows.

    Raises
    ------
    OptionError
        If there is no such worker; and when a batch cannot be cut into equal parts.

    Examples
    --------
    >>> share = Share(np.arange(10.0), worker=1, n_workers=2)
    >>> share[np.asarray([2, 3, 7, 9])]
    array([3., 9.])
    """

    def __init__(self, X: Any, worker: int, n_workers: int) -> None:
        if not 0 <= worker < n_workers:
            raise OptionError(f"worker: expected 0 to {n_workers - 1} (n_workers), got {worker}")
        self.X, self.worker, self.n_workers = X, worker, n_workers

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.X.shape)

    @property
    def dtype(self) -> Any:
        return self.X.dtype

    def __getitem__(self, rows: Any) -> np.ndarray:
        if isinstance(rows, slice):
            return self.X[rows]
        if len(rows) % self.n_workers:
            raise OptionError(
                f"batch_size: expected a multiple of {self.n_workers} (n_workers), got {len(rows)}"
            )
        return self.X[rows[self.worker :: self.n_workers]]
