"""Expectation maximisation for a mixture of Gaussians with full covariances.

scikit-learn's `GaussianMixture` computes every density of every point and weighs every point in
every covariance: 320 Gaussians on 60,000 points of 80 numbers take it a minute per step. Here a
density that cannot matter is left out: the squared Mahalanobis distance is a sum over triangular
directions, so its first terms bound the density from above, and a Gaussian whose bound is e^-20
of the best one's density at a point gets no share of it. Covariances then sum over the few
points that have a share.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from scipy.linalg import solve_triangular
from scipy.sparse import csr_array, vstack

from capsnp.blocks import map_blocks, slices

CUT = 20.0
"""Shares below e^-20 are under the rounding of float32."""

ROWS = 2_048
"""Points whose densities are computed at a time."""

LEADING = 28
"""Terms of the distance that make the bound."""


class Mixture(NamedTuple):
    """Weights (K,), means (K, d), lower triangular factors (K, d, d) of the covariances."""

    weights: np.ndarray
    means: np.ndarray
    factors: np.ndarray


class _Whitening(NamedTuple):
    """Means (K, d), upper triangular maps (K, d, d) to unit covariance, log densities at means."""

    means: np.ndarray
    maps: np.ndarray
    peaks: np.ndarray


def fit_mixture(
    t: np.ndarray, labels: np.ndarray, *, steps: Iterable[int], tol: float, regularization: float
) -> tuple[Mixture, float, int]:
    """The mixture, the mean log-likelihood before its last step and the number of steps.

    Parameters
    ----------
    t : numpy.ndarray of float32, shape (N, d)
    labels : numpy.ndarray of int, shape (N,)
        First assignment to Gaussians 0 ... K - 1.
    steps : iterable of int
        1, 2 ... up to the most that are made.
    tol : float
        Stop when a step raises the mean log-likelihood by less.
    regularization : float
        Added to every variance.
    """
    n, k = len(t), int(labels.max()) + 1
    ones = np.ones(n, dtype=np.float32)
    mixture = _maximize(t, csr_array((ones, (np.arange(n), labels)), (n, k)), regularization)
    before, step = -np.inf, 0
    for step in steps:  # noqa: B007
        shares, likelihood = _expect(t, mixture)
        mixture = _maximize(t, shares, regularization)
        if likelihood - before < tol:
            break
        before = likelihood
    return mixture, likelihood, step


def log_densities(t: np.ndarray, mixture: Mixture) -> np.ndarray:
    """log(weight · density) of each point and Gaussian, shape (N, K).

    Minus infinity where it is below e^-20 of the largest at the point.
    """
    whitening = _whitening(mixture)
    blocks = slices(len(t), ROWS)
    return np.concatenate(
        map_blocks(lambda rows: _block_densities(t[rows], whitening), blocks, parallel=True)
    )


def _whitening(mixture: Mixture) -> _Whitening:
    d = mixture.means.shape[1]
    identity = np.eye(d)
    maps = np.stack(
        [
            solve_triangular(factor, identity, lower=True, check_finite=False).T
            for factor in mixture.factors.astype(np.float64)
        ]
    )
    log_volumes = np.sum(np.log(np.diagonal(maps, axis1=1, axis2=2)), axis=1)
    with np.errstate(divide="ignore"):  # an empty Gaussian has weight 0
        peaks = np.log(mixture.weights.astype(np.float64))
    peaks += log_volumes - 0.5 * d * np.log(2 * np.pi)
    return _Whitening(mixture.means, maps.astype(np.float32), peaks.astype(np.float32))


def _block_densities(x: np.ndarray, whitening: _Whitening) -> np.ndarray:
    """`log_densities` of the points x (b, d)."""
    means, maps, peaks = whitening
    head, tail = slice(0, LEADING), slice(LEADING, None)
    bound = np.empty((len(x), len(peaks)), dtype=np.float32)
    for k, peak in enumerate(peaks):
        bound[:, k] = peak - 0.5 * _norms((x[:, head] - means[k, head]) @ maps[k, head, head])
    likely = np.argmax(bound, axis=1)
    best = np.empty(len(x), dtype=np.float32)
    for k in map(int, np.unique(likely)):
        rows = np.flatnonzero(likely == k)
        best[rows] = bound[rows, k] - 0.5 * _norms((x[rows] - means[k]) @ maps[k][:, tail])
    logs = np.full_like(bound, -np.inf)
    matter = bound > best[:, None] - CUT
    for k in map(int, np.flatnonzero(matter.any(axis=0))):
        rows = np.flatnonzero(matter[:, k])
        logs[rows, k] = bound[rows, k] - 0.5 * _norms((x[rows] - means[k]) @ maps[k][:, tail])
    return logs


def _norms(y: np.ndarray) -> np.ndarray:
    return np.einsum("bd,bd->b", y, y)


def _expect(t: np.ndarray, mixture: Mixture) -> tuple[csr_array, float]:
    """Shares (N, K) of each point in each Gaussian, and the mean log-likelihood."""
    whitening = _whitening(mixture)

    def block(rows: slice) -> tuple[csr_array, float]:
        logs = _block_densities(t[rows], whitening)
        total = np.logaddexp.reduce(logs, axis=1, keepdims=True)
        shares = np.exp(logs - total)
        shares[shares < np.float32(np.exp(-CUT))] = 0.0
        return csr_array(shares), float(np.sum(total, dtype=np.float64))

    results = map_blocks(block, slices(len(t), ROWS), parallel=True)
    return vstack([shares for shares, _ in results]), sum(total for _, total in results) / len(t)


def _maximize(t: np.ndarray, shares: csr_array, regularization: float) -> Mixture:
    """The mixture that fits the shares best."""
    by_gaussian = shares.tocsc()
    floor = regularization * np.eye(t.shape[1])

    def gaussian(k: int) -> tuple[float, np.ndarray, np.ndarray]:
        part = slice(by_gaussian.indptr[k], by_gaussian.indptr[k + 1])
        share = by_gaussian.data[part].astype(np.float64)
        x = t[by_gaussian.indices[part]].astype(np.float64)
        count = share.sum()
        if count < 1e-6:  # empty: it stays where no point is, with weight 0
            return 0.0, np.zeros(t.shape[1]), np.eye(t.shape[1])
        mean = share @ x / count
        centred = x - mean
        covariance = (share[:, None] * centred).T @ centred / count + floor
        return count / len(t), mean, np.linalg.cholesky(covariance)

    weights, means, factors = zip(
        *map_blocks(gaussian, range(shares.shape[1]), parallel=True), strict=True
    )
    float32 = np.float32
    return Mixture(np.array(weights, float32), np.array(means, float32), np.array(factors, float32))
