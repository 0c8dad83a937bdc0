"""Whether a classifier's probabilities are the shares they say."""

import numpy as np

from capsnp.errors import ShapeError
from capsnp.functional._checks import expect_count


def brier_score(p: np.ndarray, y: np.ndarray) -> float:
    r"""Mean squared distance between probabilities and what is so.

    .. math:: \frac{1}{N} \sum_n \sum_j (p_{nj} - [y_n = j])^2

    Parameters
    ----------
    p : numpy.ndarray, shape (N, J)
        Probabilities of the classes.
    y : numpy.ndarray of int, shape (N,)
        The class of each example by its number.

    Returns
    -------
    float
        From 0 to 2.

    Raises
    ------
    ShapeError
        If the arguments do not fit each other.

    References
    ----------
    Brier (1950), Verification of forecasts expressed in terms of probability.

    Examples
    --------
    >>> brier_score(np.asarray([[1.0, 0.0], [0.5, 0.5]]), np.asarray([0, 1]))
    0.25
    """
    _expect(p, y)
    return float(np.mean(np.sum((p - np.eye(p.shape[1])[y]) ** 2, axis=1)))


def calibration_error(p: np.ndarray, y: np.ndarray, *, bins: int = 10) -> float:
    r"""How far the probability of the best class is from the share that is right (ECE).

    .. math:: \sum_b \frac{n_b}{N} \Big| \mathrm{right}_b - \bar p_b \Big|

    over bins of equal width of the largest probability, with n_b examples, their share that is
    right and their mean probability.

    Parameters
    ----------
    p : numpy.ndarray, shape (N, J)
    y : numpy.ndarray of int, shape (N,)
    bins : int

    Returns
    -------
    float
        From 0 to 1.

    Raises
    ------
    ShapeError, OptionError
        If the arguments do not fit each other, or `bins` is below 1.

    References
    ----------
    Naeini, Cooper and Hauskrecht (2015), Obtaining well calibrated probabilities using Bayesian
    binning.

    Examples
    --------
    >>> p = np.asarray([[0.75, 0.25]] * 4)
    >>> calibration_error(p, np.asarray([0, 0, 0, 1])), calibration_error(p, np.asarray([0] * 4))
    (0.0, 0.25)
    """
    _expect(p, y)
    expect_count("bins", bins)
    best = np.max(p, axis=1)
    right = np.argmax(p, axis=1) == y
    place = np.minimum((best * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(place, weights=right - best, minlength=bins)
    return float(np.sum(np.abs(gaps)) / y.size)


def _expect(p: np.ndarray, y: np.ndarray) -> None:
    if p.ndim != 2 or y.shape != p.shape[:1] or y.size == 0:
        raise ShapeError(f"p: expected shape (N, J) with N labels, got {p.shape} and {y.shape}")
