"""What several sections check with: complex steps, sums rounded once, (3) and (4) by hand."""

import cmath
import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

STEP = 1e-30
"""Of complex steps: its square is nothing beside any number here."""


def slopes(function: Callable[[np.ndarray], complex], at: np.ndarray) -> np.ndarray:
    """Gradient of a function of an array, by one complex step for each number."""
    gradient = np.zeros(at.shape)
    for index in np.ndindex(at.shape):
        beside = at.astype(complex)
        beside[index] += 1j * STEP
        gradient[index] = function(beside).imag / STEP
    return gradient


def inner(first: np.ndarray, second: np.ndarray) -> float:
    """Σ of products, rounded once."""
    return math.fsum((first * second).flat)


def norm(vector: Sequence[float] | np.ndarray) -> float:
    """Of one vector, its square rounded once."""
    return math.sqrt(math.fsum(number * number for number in vector))


def all_states(n: int) -> np.ndarray:
    """Every state (2^n, n) of n neurons or capsules, each off or on."""
    return np.array(list(itertools.product((0.0, 1.0), repeat=n)))


class Layer(NamedTuple):
    """Input capsules, weights and coefficients."""

    x: np.ndarray
    """(B, I, P)."""
    W: np.ndarray
    """(I, J, D, P)."""
    c: np.ndarray
    """(I, J) shared, or (B, I, J) of each example."""


def weighted_sums(x: np.ndarray, W: np.ndarray, c: np.ndarray) -> np.ndarray:
    """(3), Σ_i c_ij W_ij x_i in nested loops, (B, J, D), in the arithmetic of the arrays."""
    I, J, D, P = W.shape
    c = np.broadcast_to(c, (len(x), I, J))
    z = np.zeros((len(x), J, D), np.result_type(x, W))
    for n, j, d in np.ndindex(z.shape):
        for i, p in itertools.product(range(I), range(P)):
            z[n, j, d] += c[n, i, j] * W[i, j, d, p] * x[n, i, p]
    return z


def turned(W: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Maps and coefficients of the way back: W_ijᵀ and c_ij with i and j exchanged."""
    return W.transpose(1, 0, 3, 2), np.swapaxes(c, -1, -2)


def squash_formula(z: Sequence[complex] | np.ndarray) -> list[complex]:
    """(4) as printed, for a vector of real or complex numbers."""
    r = cmath.sqrt(sum(number * number for number in z))
    return [r**2 / (1 + r**2) * number / r for number in z]
