"""Does a kernel leave a distribution unchanged?

States are drawn exactly from the distribution, sent once through the kernel, and compared with the
distribution itself. A Markov kernel that samples a model has to pass; Algorithm 1's mixing, which
is deterministic, does not.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import pdist, squareform

from capsnp.errors import OptionError, ShapeError
from capsnp.verification.exact import Balls, draw

Kernel = Callable[[np.ndarray, np.random.Generator], np.ndarray]

_ROUNDINGS = 16
_EXCHANGES_AT_A_TIME = 200


class Stationarity(NamedTuple):
    """How far a kernel moves a distribution.

    Attributes
    ----------
    distance : float
        Between the distribution before and after the kernel: total variation, or the maximum
        mean discrepancy.
    floor : float
        What a kernel that leaves it unchanged stays below with the given level; of a matrix,
        rounding.
    typical : float
        What such a kernel's distance is in the mean.
    p_value : float
        How often such a kernel's distance is as large, or larger; of a matrix, 0 or 1.
    measure : {"total variation", "maximum mean discrepancy"}
    n_samples : int
        0 for a matrix.
    """

    distance: float
    floor: float
    typical: float
    p_value: float
    measure: str
    n_samples: int

    @property
    def stationary(self) -> bool:
        """Whether the distance is within the floor."""
        return bool(self.distance <= self.floor)


def check_stationarity(
    kernel: np.ndarray | Kernel,
    log_p: Callable[[np.ndarray], np.ndarray],
    space: np.ndarray | Balls,
    *,
    log_bound: float | None = None,
    n_samples: int | None = None,
    level: float = 1e-3,
    random_state: int = 0,
) -> Stationarity:
    r"""Measure how far one step of a kernel moves a distribution.

    Of a matrix T over all states, the total variation :math:`\tfrac12 \sum_s |(pT)_s - p_s|`,
    exactly. Of a sampler over states that can be listed, the total variation between p and the
    histogram of samples after the kernel; its floor comes from exact samples of p. On balls, the
    maximum mean discrepancy between samples after the kernel and other exact samples,

    .. math:: \mathrm{MMD}^2 = \Big\|\tfrac1n \sum_k \varphi(x_k) - \tfrac1n \sum_k \varphi(y_k)
        \Big\|^2, \qquad \langle\varphi(x), \varphi(y)\rangle = e^{-\|x - y\|^2 / 2m^2}

    with m² the median squared distance; its floor comes from exchanging samples between
    the two sides.

    Parameters
    ----------
    kernel : array, shape (S, S), or callable
        Probabilities T_st of going from state s to state t; or from states (n, ...) and a
        `numpy.random.Generator` to the next states, of the same shape.
    log_p : callable
        From states (n, ...) to the logarithm (n,) of their probability, or density relative to
        the uniform one, up to a constant.
    space : array, shape (S, ...), or Balls
        All states, or where the density lives.
    log_bound : float, optional
        On balls, no `log_p` is above it: exact samples are drawn by rejection.
    n_samples : int, optional
        By default 20,000 for listed states and 1,000 on balls.
    level : float
        How often a stationary kernel may come out above the floor.
    random_state : int

    Returns
    -------
    Stationarity

    Raises
    ------
    ShapeError
        If a matrix does not fit the states, or a sampler changes the shape.
    OptionError
        If a sampler leaves the states, an argument is missing or out of range.

    References
    ----------
    Gretton et al. (2012), A kernel two-sample test.

    Examples
    --------
    A coin that is turned over keeps a fair distribution, and no other:

    >>> turn, sides = np.asarray([[0.0, 1.0], [1.0, 0.0]]), np.asarray([[0.0], [1.0]])
    >>> check_stationarity(turn, lambda s: 0.0 * s[:, 0], sides).stationary
    True
    >>> check_stationarity(turn, lambda s: 1.0 * s[:, 0], sides).distance.round(3)
    np.float64(0.462)
    """
    if not 0 < level < 1:
        raise OptionError(f"level: expected a number between 0 and 1, got {level}")
    if n_samples is not None and n_samples < 2:
        raise OptionError(f"n_samples: expected at least 2, got {n_samples}")
    rng = np.random.default_rng(random_state)
    if isinstance(space, Balls):
        if not callable(kernel) or log_bound is None:
            raise OptionError("kernel: expected a sampler, with log_bound, on balls")
        return _on_balls(kernel, log_p, space, log_bound, n_samples or 1000, level, rng)
    states = np.asarray(space)
    log_weight = log_p(states)
    p = np.exp(log_weight - np.max(log_weight))
    p /= p.sum()
    if callable(kernel):
        return _on_states(kernel, p, states, n_samples or 20_000, level, rng)
    matrix = np.asarray(kernel)
    if matrix.shape != (len(p), len(p)):
        raise ShapeError(f"kernel: expected shape {(len(p),) * 2}, got {matrix.shape}")
    distance = 0.5 * np.sum(np.abs(p @ matrix - p))
    floor = 0.5 * _ROUNDINGS * len(p) * float(np.finfo(float).eps)
    is_above = distance > floor
    return Stationarity(distance, floor, 0.0, float(not is_above), "total variation", 0)


def _on_states(
    kernel: Kernel,
    p: np.ndarray,
    states: np.ndarray,
    n: int,
    level: float,
    rng: np.random.Generator,
) -> Stationarity:
    after = _step(kernel, states[rng.choice(len(p), size=n, p=p)], rng)
    place = {tuple(state): s for s, state in enumerate(states.reshape(len(p), -1).tolist())}
    try:
        found = [place[tuple(state)] for state in after.reshape(n, -1).tolist()]
    except KeyError:
        raise OptionError("kernel: expected only states of the space, got another") from None
    share = np.bincount(found, minlength=len(p)) / n
    exact = rng.multinomial(n, p, size=_repeats(level)) / n
    null = 0.5 * np.sum(np.abs(exact - p), axis=1)
    return _judged(0.5 * np.sum(np.abs(share - p)), null, level, "total variation", n)


def _on_balls(
    kernel: Kernel,
    log_p: Callable[[np.ndarray], np.ndarray],
    balls: Balls,
    log_bound: float,
    n: int,
    level: float,
    rng: np.random.Generator,
) -> Stationarity:
    samples = draw(log_p, balls, 2 * n, rng, log_bound=log_bound)
    gram = _gram(_step(kernel, samples[:n], rng), samples[n:])
    sides = _sides(n, n)
    null: list[np.ndarray] = []
    for _ in range(math.ceil(_repeats(level) / _EXCHANGES_AT_A_TIME)):
        exchanged = rng.permuted(np.tile(sides[:, None], _EXCHANGES_AT_A_TIME), axis=0)
        null.append(_discrepancy(gram, exchanged))
    distance = _discrepancy(gram, sides[:, None])[0]
    return _judged(distance, np.concatenate(null), level, "maximum mean discrepancy", n)


def _step(kernel: Kernel, states: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    after = np.asarray(kernel(states, rng))
    if after.shape != states.shape:
        raise ShapeError(f"kernel: expected states of shape {states.shape}, got {after.shape}")
    return after


def _repeats(level: float) -> int:
    """Samples of the null distribution: two of them lie above the floor."""
    return math.ceil(2 / level)


def _judged(distance: float, null: np.ndarray, level: float, measure: str, n: int) -> Stationarity:
    floor = float(np.quantile(null, 1 - level))
    p_value = (1 + np.sum(null >= distance)) / (1 + len(null))
    return Stationarity(float(distance), floor, float(np.mean(null)), float(p_value), measure, n)


def _gram(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Kernel of all pairs of both samples, (n + m, n + m)."""
    between = pdist(np.concatenate([x, y]).reshape(len(x) + len(y), -1), "sqeuclidean")
    return np.exp(-squareform(between) / (2.0 * np.median(between)))


def _sides(n: int, m: int) -> np.ndarray:
    """1/n for each sample of the first side, −1/m for each of the second."""
    return np.concatenate([np.full(n, 1.0 / n), np.full(m, -1.0 / m)])


def _discrepancy(gram: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """√(sᵀ K s) of each column s, of what rounding leaves of it."""
    return np.sqrt(np.maximum(np.sum(sides * (gram @ sides), axis=0), 0.0))
