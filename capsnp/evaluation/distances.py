"""How far two sets of feature vectors are apart, and how much of each lies in the other.

Host-side statistics in float64. Rows are images, columns are features.
"""

from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import cdist

from capsnp.blocks import slices
from capsnp.errors import DataError, OptionError, ShapeError
from capsnp.models._base import Rows

BLOCK = 512
"""Rows of a distance matrix that are held at a time."""


class KernelDistance(NamedTuple):
    """Mean over the subsets, and the standard error of that mean."""

    mean: float
    error: float


class Neighbourhoods(NamedTuple):
    """Shares from neighbourhoods; `density` alone may exceed 1."""

    precision: float
    recall: float
    density: float
    coverage: float


class Copies(NamedTuple):
    """Nearness to training images, beside that of new real images.

    `ratio` is the median distance to the nearest training image over that of new images; `share`
    is how many are nearer than all but 1 % of the new images are.
    """

    ratio: float
    share: float


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    r"""Fréchet distance of the Gaussians that fit two sets of features.

    .. math:: d^2 = \|\mu_a - \mu_b\|^2 + \mathrm{tr}(\Sigma_a + \Sigma_b)
              - 2\,\mathrm{tr}\,(\Sigma_a^{1/2} \Sigma_b \Sigma_a^{1/2})^{1/2}

    The last trace is the sum of the singular values of :math:`R_a R_b^T`, where R are the
    triangular factors of the centred features divided by √(n − 1), so
    :math:`\Sigma = R^T R`. No covariance is formed and no root of a near-singular matrix taken:
    two equal sets are 0 apart up to the rounding of their variance.

    Parameters
    ----------
    a, b : array, shape (n, F)
        More rows than features; finite.

    Returns
    -------
    float
        In squared units of the features, at least 0. Biased upwards by the finite number of rows.

    Raises
    ------
    ShapeError
        If the sets have no two axes or differ in F.
    DataError
        If there are too few rows, or numbers that are not finite.

    References
    ----------
    Heusel et al. (2017), arXiv:1706.08500, eq. 6.

    Examples
    --------
    >>> a = np.random.default_rng(0).standard_normal((100, 2))
    >>> round(frechet_distance(a, a + [3.0, 4.0]), 6)
    25.0
    """
    a, b = _features(a, b)
    for name, rows in (("a", a), ("b", b)):
        if len(rows) <= rows.shape[1]:
            raise DataError(
                f"{name}: expected more than {rows.shape[1]} rows for {rows.shape[1]} features, "
                f"got {len(rows)}"
            )
    mean_a, factor_a = _gaussian(a)
    mean_b, factor_b = _gaussian(b)
    overlap = np.linalg.svd(factor_a @ factor_b.T, compute_uv=False).sum()
    shift = np.sum(np.square(mean_a - mean_b))
    spread = np.sum(np.square(factor_a)) + np.sum(np.square(factor_b)) - 2.0 * overlap
    return float(shift + max(spread, 0.0))


def _gaussian(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (F,) and R (F, F) with covariance RᵀR."""
    mean = rows.mean(axis=0)
    factor = np.linalg.qr(rows - mean, mode="r") / np.sqrt(len(rows) - 1)
    return mean, factor


def kernel_distance(
    a: np.ndarray,
    b: np.ndarray,
    *,
    n_subsets: int = 20,
    subset_size: int = 500,
    random_state: int = 0,
) -> KernelDistance:
    r"""Kernel distance: squared maximum mean discrepancy with a cubic kernel, without bias.

    .. math:: k(x, y) = (x \cdot y / F + 1)^3, \qquad
              d = \langle k(x, x') \rangle_{x \ne x'} + \langle k(y, y') \rangle_{y \ne y'}
              - 2 \langle k(x, y) \rangle

    Parameters
    ----------
    a, b : array, shape (n, F)
        At least two rows; finite.
    n_subsets, subset_size : int
        The distance is averaged over pairs of random subsets of this size, or of all rows of a
        smaller set.
    random_state : int
        Seed of the subsets.

    Returns
    -------
    KernelDistance
        The mean may be below 0 when the sets are alike.

    Raises
    ------
    ShapeError, DataError
        As `frechet_distance`.
    OptionError
        If `n_subsets` is below 1 or `subset_size` below 2.

    References
    ----------
    Bińkowski et al. (2018), arXiv:1801.01401.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> a, b = rng.standard_normal((2, 500, 4))
    >>> kernel_distance(a, b).mean < 0.1 < kernel_distance(a, b + 1.0).mean
    True
    """
    a, b = _features(a, b)
    if n_subsets < 1 or subset_size < 2:
        raise OptionError(
            "n_subsets, subset_size: expected at least 1 and at least 2, "
            f"got {n_subsets} and {subset_size}"
        )
    rng = np.random.default_rng(random_state)
    found = []
    for _ in range(n_subsets):
        x, y = (
            rows[rng.choice(len(rows), min(subset_size, len(rows)), replace=False)]
            for rows in (a, b)
        )
        found.append(
            _off_diagonal_mean(_cubic(x, x))
            + _off_diagonal_mean(_cubic(y, y))
            - 2.0 * np.mean(_cubic(x, y))
        )
    error = np.std(found, ddof=1) / np.sqrt(n_subsets) if n_subsets > 1 else np.nan
    return KernelDistance(float(np.mean(found)), float(error))


def _cubic(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (x @ y.T / x.shape[1] + 1.0) ** 3


def _off_diagonal_mean(kernel: np.ndarray) -> float:
    n = len(kernel)
    return (kernel.sum() - np.trace(kernel)) / (n * (n - 1))


def neighbourhoods(real: np.ndarray, made: np.ndarray, *, k: int = 5) -> Neighbourhoods:
    r"""Precision, recall, density and coverage of made images among real ones.

    With :math:`r_i` the distance of real image i to its k-th nearest real neighbour and
    :math:`B_i` the open ball of that radius around it:

    * precision: share of made images in any :math:`B_i`;
    * recall: share of real images in any of the balls around made images, built alike;
    * density: mean number of :math:`B_i` that hold a made image, divided by k;
    * coverage: share of :math:`B_i` that hold any made image.

    Parameters
    ----------
    real, made : array, shape (n, F)
        More than k rows each; finite.
    k : int, default 5

    Returns
    -------
    Neighbourhoods

    Raises
    ------
    ShapeError, DataError
        As `frechet_distance`, with k + 1 rows enough.
    OptionError
        If k is below 1.

    References
    ----------
    Kynkäänniemi et al. (2019), arXiv:1904.06991 (precision, recall); Naeem et al. (2020),
    arXiv:2002.09797 (density, coverage).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> real = rng.standard_normal((500, 2))
    >>> scores = neighbourhoods(real, 0.01 * rng.standard_normal((500, 2)))
    >>> scores.precision, scores.coverage < 0.1  # good, and all alike
    (1.0, True)
    """
    real, made = _features(real, made)
    if k < 1:
        raise OptionError(f"k: expected at least 1, got {k}")
    for name, rows in (("real", real), ("made", made)):
        if len(rows) <= k:
            raise DataError(f"{name}: expected more than k = {k} rows, got {len(rows)}")
    radius_real, radius_made = _radii(real, k), _radii(made, k)
    holds = np.zeros(len(made))  # how many real balls hold each made image
    covered = np.zeros(len(real), dtype=bool)
    recalled = np.zeros(len(real), dtype=bool)
    for block in slices(len(made), BLOCK):
        apart = cdist(made[block], real)
        inside = apart < radius_real
        holds[block] = inside.sum(axis=1)
        covered |= inside.any(axis=0)
        recalled |= (apart < radius_made[block, None]).any(axis=0)
    return Neighbourhoods(
        precision=float(np.mean(holds > 0)),
        recall=float(np.mean(recalled)),
        density=float(np.mean(holds) / k),
        coverage=float(np.mean(covered)),
    )


def _radii(rows: np.ndarray, k: int) -> np.ndarray:
    """Distance of each row to its k-th nearest other row, shape (n,)."""
    # the row itself is the nearest, at place 0
    return np.concatenate(
        [np.partition(cdist(rows[b], rows), k, axis=1)[:, k] for b in slices(len(rows), BLOCK)]
    )


def nearest_distances(rows: Rows, training: Rows) -> np.ndarray:
    """Distance of each image (or row of features) to the nearest training image, in float32.

    Parameters
    ----------
    rows : array, shape (n, ...)
    training : array, shape (N, ...)
        May be memory-mapped; read in blocks.

    Returns
    -------
    numpy.ndarray of float32, shape (n,)
        Right to some 1e-3 of the rows' length, enough to tell copies.
    """
    rows = _float32_rows(rows[:])
    nearest = np.full(len(rows), np.inf, dtype=np.float32)
    own = np.sum(rows * rows, axis=1)
    for block in slices(training.shape[0], 4 * BLOCK):
        other = _float32_rows(training[block])
        # ‖x − y‖² = ‖x‖² + ‖y‖² − 2 x·y makes it one matrix product
        squared = np.sum(other * other, axis=1) - 2.0 * (rows @ other.T)
        nearest = np.minimum(nearest, own + squared.min(axis=1))
    return np.sqrt(np.maximum(nearest, 0.0))


def _float32_rows(images: np.ndarray) -> np.ndarray:
    """(n, ...) to (n, F)."""
    return np.reshape(images, (len(images), -1)).astype(np.float32)


def copies(made: np.ndarray, new: np.ndarray) -> Copies:
    """Whether made images are nearer to training images than new real images are.

    Parameters
    ----------
    made, new : array, shape (n,)
        `nearest_distances` of made images and of real images that were not trained on.

    Returns
    -------
    Copies

    Examples
    --------
    >>> copies(np.asarray([0.0, 4.5, 4.5, 5.0]), np.asarray([4.0, 5.0, 6.0]))
    Copies(ratio=0.9, share=0.25)
    """
    ratio = np.median(made) / max(float(np.median(new)), np.finfo(np.float32).tiny)
    return Copies(float(ratio), float(np.mean(made < np.quantile(new, 0.01))))


def _features(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both sets in float64, after a look at them."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ShapeError(f"features: expected shapes (n, F) and (m, F), got {a.shape}, {b.shape}")
    for rows in (a, b):
        if len(rows) < 2:
            raise DataError(f"features: expected at least 2 rows, got {len(rows)}")
        if not np.all(np.isfinite(rows)):
            raise DataError("features: expected finite numbers, got NaN or infinity")
    return a, b
