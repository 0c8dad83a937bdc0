"""Codes that are drawn: of single capsules, on the whole sphere, on half of it, or as in training,
and joint ones of all."""

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
from scipy.linalg import solve_triangular

from capsnp.errors import OptionError
from capsnp.functional import length, squash, unsquash
from capsnp.functional._checks import expect_count, expect_option
from capsnp.models.mixture import MixtureModel

Side = Literal["full", "half", "visited"]
Domain = Literal["full", "half", "visited", "codes"]

VISITED = 512
"""Directions kept per capsule of those that it took in training."""


def visited_directions(codes: np.ndarray, priority: np.ndarray, seed: int) -> np.ndarray:
    """Directions of each capsule's codes where it won (of any codes if it never did).

    Parameters
    ----------
    codes : numpy.ndarray, shape (N, J, D)
    priority : numpy.ndarray, shape (N, J)
    seed : int

    Returns
    -------
    numpy.ndarray, shape (J, VISITED, D)
    """
    rng = np.random.default_rng([seed, 4])
    won = np.argmax(priority, axis=1)
    kept = []
    for j in range(codes.shape[1]):
        rows = np.flatnonzero(won == j)
        rows = rng.choice(rows if rows.size else len(codes), VISITED)
        kept.append(unit(codes[rows, j]))
    return np.stack(kept)


def drawn_codes(
    n: int,
    domain: Domain,
    capsule: int | None,
    seed: int,
    *,
    mixture: MixtureModel,
    metric: Callable[[], np.ndarray],
    code: Callable[[np.ndarray], np.ndarray],
    visited: np.ndarray,
    mean: np.ndarray,
) -> np.ndarray:
    """Codes (n, J, D): joint ones of the mixture ("codes"), or each with one capsule on.

    Parameters
    ----------
    n : int
    domain : {"full", "half", "visited", "codes"}
    capsule : int or None
        Which is on; by default all in turns. None with the domain "codes".
    seed : int
    mixture : MixtureModel
        Of tL, where t stands for joint codes.
    metric : callable
        Gives the lower triangular L, (J·D, J·D); asked for joint codes only.
    code : callable
        From t to codes, (n, J, D): `squash` where t are codes before it, `shrunk` where they are
        `stretched` ones.
    visited, mean : numpy.ndarray, shapes (J, K, D) and (J, D)
        Directions in training, and their means.

    Raises
    ------
    OptionError
        If an option lies outside its range.
    """
    expect_option("domain", domain, get_args(Domain))
    expect_count("n", n)
    if domain == "codes" and capsule is not None:
        raise OptionError("capsule: expected none with the domain 'codes', where all are on")
    on = which_on(n, capsule, len(mean))
    expect_count("random_state", seed, minimum=0)
    rng = np.random.default_rng(seed)
    if domain != "codes":
        return single_codes(rng, on, domain, visited, mean)
    L = metric()
    points = mixture.sample(n, rng).astype(L.dtype)
    t = solve_triangular(L, points.T, lower=True, trans="T").T
    return code(np.reshape(t, (n, *mean.shape)))


def which_on(n: int, capsule: int | None, n_capsules: int) -> np.ndarray:
    """The capsule that is on in each of n codes: the one given, or all in turns.

    Raises
    ------
    OptionError
        If there is no such capsule.
    """
    if capsule is None:
        return np.arange(n) % n_capsules
    expect_count("capsule", capsule, minimum=0)
    if capsule >= n_capsules:
        raise OptionError(f"capsule: expected 0 to {n_capsules - 1}, got {capsule}")
    return np.full(n, capsule)


def single_codes(
    rng: np.random.Generator, on: np.ndarray, side: Side, visited: np.ndarray, mean: np.ndarray
) -> np.ndarray:
    """Codes (n, J, D) in the dtype of `mean`, each with one capsule on: a squashed Gaussian.

    Parameters
    ----------
    rng : numpy.random.Generator
    on : numpy.ndarray of int, shape (n,)
    side : {"full", "half", "visited"}
    visited, mean : numpy.ndarray, shapes (J, K, D) and (J, D)
        Directions in training, and their means.
    """
    z = rng.standard_normal((on.size, mean.shape[1])).astype(mean.dtype)
    if side == "half":
        along = np.sum(z * mean[on], axis=1, keepdims=True)
        z = np.where(along < 0, -z, z)
    if side == "visited":
        z = visited[on, rng.integers(visited.shape[1], size=on.size)] * length(z)[:, None]
    codes = np.zeros((on.size, *mean.shape), dtype=mean.dtype)
    codes[np.arange(on.size), on] = squash(z)
    return codes


def stretched(y: np.ndarray) -> np.ndarray:
    """Codes (N, J, D) of lengths r at r/√(1 − r): alike near 0, with room without end near 1."""
    return unsquash(y, clip=True) * np.sqrt(length(y))[..., None]


def shrunk(t: np.ndarray) -> np.ndarray:
    """The inverse of `stretched`, for any t."""
    r = length(t)[..., None]
    y = 2.0 * t / (r + np.hypot(r, 2.0))
    return squash(unsquash(y, clip=True))  # a length that rounds to 1 is cut


def unit(x: np.ndarray) -> np.ndarray:
    """Vectors of length 1 in the direction of x, 0 where x is 0."""
    r = length(x)[..., None]
    return x / np.where(r > 0, r, 1.0)
