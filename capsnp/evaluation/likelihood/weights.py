"""Averages of weights whose logarithms are known, and how far to trust them."""

import math
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, log_expit, logsumexp
from scipy.stats import bootstrap

from capsnp.errors import DataError, ShapeError


class Bennett(NamedTuple):
    """Estimate from both directions.

    Attributes
    ----------
    value : float
        Sum of the steps.
    stderr : float
        Over the chains, which are independent; the steps of one chain are not. Infinite where the
        two directions do not overlap.
    steps : numpy.ndarray, shape (K,)
        log Z_k − log Z_{k−1}.
    """

    value: float
    stderr: float
    steps: np.ndarray


def log_mean_exp(log_weights: np.ndarray, axis: int = -1) -> np.ndarray:
    """Logarithm of the mean of weights.

    Examples
    --------
    >>> log_mean_exp(np.asarray([1000.0, 1000.0]))
    np.float64(1000.0)
    """
    log_weights = np.asarray(log_weights)
    return logsumexp(log_weights, axis=axis) - math.log(log_weights.shape[axis])


def effective_sample_size(log_weights: np.ndarray) -> float:
    r"""How many equal weights are as good as these.

    .. math:: \mathrm{ESS} = \frac{(\sum_n w_n)^2}{\sum_n w_n^2}

    Parameters
    ----------
    log_weights : array, shape (N,)

    Returns
    -------
    float
        From 1 to N.

    Raises
    ------
    ShapeError, DataError
        If there is no weight, or one is not finite.

    References
    ----------
    Kong, Liu & Wong (1994), *Sequential imputations and Bayesian missing data problems*.

    Examples
    --------
    >>> effective_sample_size(np.log([1.0, 1.0, 2.0]))
    2.66...
    """
    log_weights = _weights("log_weights", log_weights, 1)
    return float(np.exp(2.0 * logsumexp(log_weights) - logsumexp(2.0 * log_weights)))


def log_mean_error(log_weights: np.ndarray, *, random_state: int = 0) -> float:
    """Standard error of `log_mean_exp` of independent weights (N,), by 1,000 bootstrap samples.

    Examples
    --------
    >>> log_mean_error(np.zeros(10))
    0.0
    """
    log_weights = _weights("log_weights", log_weights, 1)
    if len(log_weights) == 1:
        return math.nan
    if np.ptp(log_weights) == 0.0:
        return 0.0
    found = bootstrap(
        (log_weights,),
        log_mean_exp,
        n_resamples=1000,
        batch=100,
        vectorized=True,
        method="percentile",
        rng=np.random.default_rng(random_state),
    )
    return float(found.standard_error)


def bennett(forward: np.ndarray, reverse: np.ndarray) -> Bennett:
    r"""Logarithm of a ratio of partition functions by Bennett's acceptance ratio.

    With :math:`w = \log f_B - \log f_A`, n_A of them at samples of A and n_B at samples of B, the
    estimate r of :math:`\log Z_B / Z_A` solves

    .. math:: \sum_{x \sim A} \sigma\Big(w(x) - r - \log\frac{n_A}{n_B}\Big)
        = \sum_{x \sim B} \sigma\Big(r - w(x) + \log\frac{n_A}{n_B}\Big)

    which no estimate of finite variance from the same samples improves on.

    Parameters
    ----------
    forward : array, shape (K, n_A) or (n_A,)
        w at samples of the model before each of K steps; column n is one chain.
    reverse : array, shape (K, n_B) or (n_B,)
        w at samples of the model after the step.

    Returns
    -------
    Bennett

    Raises
    ------
    ShapeError, DataError
        If the steps do not match, there is no sample, or a number is not finite.

    References
    ----------
    Bennett (1976), *Efficient estimation of free energy differences from Monte Carlo data*;
    Shirts, Bair, Hooker & Pande (2003), *Equilibrium free energies from nonequilibrium
    measurements using maximum-likelihood methods*.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> w = rng.normal(size=(2, 1000))  # shifted by ± ½ variance, they fit log Z_B / Z_A = 3
    >>> abs(bennett(w[0] + 2.5, w[1] + 3.5).value - 3) < 0.1
    True
    """
    forward, reverse = (
        _weights(name, np.atleast_2d(given), 2)
        for name, given in (("forward", forward), ("reverse", reverse))
    )
    if len(forward) != len(reverse):
        raise ShapeError(
            f"reverse: expected {len(forward)} steps as forward {forward.shape} has, "
            f"got {reverse.shape}"
        )
    shift = math.log(forward.shape[1] / reverse.shape[1])
    steps = np.asarray([_root(up, down, shift) for up, down in zip(forward, reverse, strict=True)])
    up = expit(forward - steps[:, None] - shift)
    down = expit(steps[:, None] + shift - reverse)
    slope = np.sum(up * (1.0 - up), axis=1) + np.sum(down * (1.0 - down), axis=1)
    overlap = bool(np.all(slope > 0.0))
    variance = sum(_spread(side, slope) for side in (up, down)) if overlap else math.inf
    return Bennett(math.fsum(steps), math.sqrt(variance), steps)


def _root(up: np.ndarray, down: np.ndarray, shift: float) -> float:
    def imbalance(r: float) -> float:
        # of logarithms: where nothing overlaps, both sums vanish
        return logsumexp(log_expit(up - r - shift)) - logsumexp(log_expit(r + shift - down))

    low = min(up.min(), down.min()) - shift
    high = max(up.max(), down.max()) - shift
    margin = 1.0 + math.log(len(up) + len(down))  # signs differ at the ends
    return brentq(imbalance, low - margin, high + margin, xtol=1e-12)


def _spread(side: np.ndarray, slope: np.ndarray) -> float:
    """Variance that the chains of one direction give the sum of the roots, to first order."""
    n = side.shape[1]
    if n == 1:
        return math.nan
    pull = np.sum((side - side.mean(axis=1, keepdims=True)) / slope[:, None], axis=0)
    return float(np.sum(pull * pull)) * n / (n - 1)


def _weights(name: str, given: np.ndarray, ndim: int) -> np.ndarray:
    given = np.asarray(given, dtype=np.float64)
    if given.ndim != ndim or given.size == 0:
        axes = "(N,)" if ndim == 1 else "(K, N)"
        raise ShapeError(f"{name}: expected shape {axes} with no empty axis, got {given.shape}")
    if not np.all(np.isfinite(given)):
        raise DataError(f"{name}: expected finite numbers, got NaN or infinity")
    return given
