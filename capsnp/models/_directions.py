"""Codes of single capsules: Gaussian ones on the whole sphere, on half of it, or as in training."""

from typing import Literal

import numpy as np

from capsnp.errors import OptionError
from capsnp.functional import length, squash
from capsnp.functional._checks import expect_count, expect_option

Side = Literal["full", "half", "visited"]

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
    expect_option("domain", side, ("full", "half", "visited"))
    z = rng.standard_normal((on.size, mean.shape[1])).astype(mean.dtype)
    if side == "half":
        along = np.sum(z * mean[on], axis=1, keepdims=True)
        z = np.where(along < 0, -z, z)
    if side == "visited":
        z = visited[on, rng.integers(visited.shape[1], size=on.size)] * length(z)[:, None]
    codes = np.zeros((on.size, *mean.shape), dtype=mean.dtype)
    codes[np.arange(on.size), on] = squash(z)
    return codes


def unit(x: np.ndarray) -> np.ndarray:
    """Vectors of length 1 in the direction of x, 0 where x is 0."""
    r = length(x)[..., None]
    return x / np.where(r > 0, r, 1.0)
