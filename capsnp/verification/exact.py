r"""Products of expert capsules that are small enough to be exact, with frozen coefficients.

Input capsules live in unit balls, and the base measure is uniform on their product, with total
mass 1. For coefficients c that do not depend on x, Π_j (1 + ‖z_j‖²) is a polynomial of degree 2J
in x, so the partition function needs no more than the moments of the ball.

Everything runs in NumPy on the host and calls nothing of `capsnp.functional`, which is checked
against it.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from itertools import combinations, product
from typing import Literal, NamedTuple

import numpy as np
from scipy.special import roots_gegenbauer

from capsnp.errors import DomainError, OptionError, ShapeError

Method = Literal["moments", "cubature", "states"]

_MOST_NUMBERS = 2**24
_MOST_AT_A_TIME = 2**14


class Balls(NamedTuple):
    """Independent vectors, each uniform in a unit ball.

    Attributes
    ----------
    n_balls : int
        I of them.
    dim : int
        Their dimension P.

    Examples
    --------
    >>> Balls(2, 3).moments(2)[0, 0]  # 1 / (P + 2)
    np.float64(0.2)
    """

    n_balls: int
    dim: int

    def moments(self, order: int) -> np.ndarray:
        r"""Moments of all vectors written one after the other.

        .. math:: E[x_a x_b] = \frac{\delta_{ab}}{P+2}, \qquad
            E[x_a x_b x_c x_d] = \frac{\delta_{ab}\delta_{cd} + \delta_{ac}\delta_{bd}
            + \delta_{ad}\delta_{bc}}{(P+2)(P+4)}

        within one ball, 15 pairings over (P+2)(P+4)(P+6) in the sixth, and so on. Different balls
        are independent: their divisors multiply, each by how many indices lie in it.

        Parameters
        ----------
        order : int
            Even, from 2.

        Returns
        -------
        array, shape (I·P, ..., I·P)
            With `order` axes; read-only.

        Raises
        ------
        OptionError
            If there are more than 2^24 of them.
        """
        return _moments(self, order)

    def cubature(self, degree: int) -> tuple[np.ndarray, np.ndarray]:
        r"""Nodes and weights that average polynomials of at most this degree exactly.

        The last coordinate u of a ball has the density ∝ (1 − u²)^((P−1)/2), integrated by Gauss's
        rule; given u, the others fill a ball of one dimension less and radius √(1 − u²).

        Parameters
        ----------
        degree : int

        Returns
        -------
        nodes : array, shape (N, I, P)
        weights : array, shape (N,)
            They add up to 1.

        Raises
        ------
        OptionError
            If the nodes are more than 2^24 numbers.

        Examples
        --------
        >>> nodes, weights = Balls(1, 2).cubature(2)
        >>> (weights @ nodes[:, 0, 0] ** 2).round(12)  # 1 / (P + 2)
        np.float64(0.25)
        """
        per_axis = degree // 2 + 1
        many = per_axis ** (self.n_balls * self.dim) * self.n_balls * self.dim
        _expect_few("cubature", many, "numbers in its nodes")
        nodes, weights = _ball_rule(self.dim, per_axis)
        places = np.asarray(list(product(range(len(weights)), repeat=self.n_balls)))
        return nodes[places], np.prod(weights[places], axis=1)

    def uniform(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draws (n, I, P) from the uniform distribution."""
        x = rng.standard_normal((n, self.n_balls, self.dim))
        radius = rng.random((n, self.n_balls, 1)) ** (1.0 / self.dim)
        return x * (radius / np.linalg.norm(x, axis=-1, keepdims=True))


def draw(
    log_p: Callable[[np.ndarray], np.ndarray],
    balls: Balls,
    n: int,
    rng: np.random.Generator,
    *,
    log_bound: float,
) -> np.ndarray:
    """Exact independent draws from a density on balls, by rejection.

    Parameters
    ----------
    log_p : callable
        From x (N, I, P) to the logarithm (N,) of the density up to a constant.
    balls : Balls
    n : int
    rng : numpy.random.Generator
    log_bound : float
        No `log_p` is above it.

    Returns
    -------
    array, shape (n, I, P)

    Raises
    ------
    DomainError
        If a `log_p` is above the bound, beyond rounding.
    """
    parts: list[np.ndarray] = []
    missing, batch = n, min(8 * n, _MOST_AT_A_TIME)
    while missing > 0:
        x = balls.uniform(batch, rng)
        log_accept = log_p(x) - log_bound
        if np.max(log_accept) > 1e-9:
            raise DomainError(f"log_p: expected at most {log_bound:g}, got {np.max(log_p(x)):g}")
        parts.append(x[np.log1p(-rng.random(batch)) < log_accept][:missing])
        missing -= len(parts[-1])
    return np.concatenate([np.empty((0, *balls)), *parts])


def partition(W: np.ndarray, c: np.ndarray) -> np.ndarray:
    r"""Partition function Z by moments of the ball.

    .. math:: Z = E_{x \sim \mathrm{uniform}}\Big[\prod_j (1 + \|z_j\|^2)\Big]
        = \sum_{S \subseteq \{1 \ldots J\}} E\Big[\prod_{j \in S} x^\top A_j x\Big], \qquad
        A_j = M_j^\top M_j, \quad M_j = (c_{1j} W_{1j}, \ldots, c_{Ij} W_{Ij})

    Parameters
    ----------
    W : array, shape (I, J, D, P)
        Real, or complex: Z is a polynomial in W, of which a complex step takes the derivative.
    c : array, shape (..., I, J)

    Returns
    -------
    array, shape (...)

    Examples
    --------
    For one expert 1 + Σ_i c_i² ‖W_i‖² / (P + 2):

    >>> partition(np.ones((3, 1, 2, 4)), np.full((3, 1), 0.5))
    np.float64(2.0)
    """
    maps = _maps(W, c)
    forms = np.swapaxes(maps, -1, -2) @ maps
    balls = Balls(W.shape[0], W.shape[3])
    total = np.ones(forms.shape[:-3], dtype=forms.dtype)
    for chosen in _subsets(range(W.shape[1])):
        if chosen:
            moments = balls.moments(2 * len(chosen))
            total = total + _contract(moments, [forms[..., j, :, :] for j in chosen])[..., 0]
    return total[()]


def model_term(W: np.ndarray, c: np.ndarray) -> np.ndarray:
    r"""Model's expectation in (18), ∂ log Z / ∂W, by moments of the ball.

    Expert j cancels the divisor of its own gradient:

    .. math:: \frac{\partial \log Z}{\partial W_{ij}}
        = E_P\Big[\frac{2 c_{ij} z_j x_i^\top}{1 + \|z_j\|^2}\Big]
        = \frac{2 c_{ij}}{Z} \Big(M_j\, E\Big[x x^\top \prod_{k \ne j} (1 + x^\top A_k x)\Big]
          \Big)_i

    Parameters
    ----------
    W : array, shape (I, J, D, P)
    c : array, shape (..., I, J)

    Returns
    -------
    array, shape (..., I, J, D, P)
    """
    I, J, D, P = W.shape
    balls = Balls(I, P)
    maps = _maps(W, c)
    forms = np.swapaxes(maps, -1, -2) @ maps
    lead = maps.shape[:-3]
    terms = []
    for j in range(J):
        second = np.zeros((*lead, (I * P) ** 2))
        for others in _subsets([k for k in range(J) if k != j]):
            moments = balls.moments(2 * len(others) + 2)
            second = second + _contract(moments, [forms[..., k, :, :] for k in others])
        pull = 2.0 * maps[..., j, :, :] @ second.reshape(*lead, I * P, I * P)
        terms.append(np.moveaxis(pull.reshape(*lead, D, I, P), -2, -3))  # (..., I, D, P)
    gradient = np.stack(terms, axis=-3) * np.asarray(c)[..., None, None]
    return gradient / partition(W, c)[..., None, None, None, None]


class ExactCapsules:
    r"""Product of expert capsules (10) with frozen coefficients, everything exact.

    .. math:: P(x) = \frac{1}{Z} \prod_j (1 + \|z_j\|^2), \qquad z_j = \sum_i c_{ij} W_{ij} x_i

    is a density for the uniform distribution on the product of the input capsules' unit balls.

    Parameters
    ----------
    W : array, shape (I, J, D, P)
        Prediction maps.
    c : array, shape (I, J)
        Coefficients, which do not depend on x.

    Raises
    ------
    ShapeError
        If the arrays do not fit each other.

    References
    ----------
    Hauser (2019), arXiv:1907.11643, eqs. 10, 14 and 18.

    Examples
    --------
    >>> model = ExactCapsules(np.ones((3, 1, 2, 4)), np.full((3, 1), 0.5))
    >>> [round(model.log_partition(method), 6) for method in ("moments", "cubature", "states")]
    [0.693147, 0.693147, 0.693147]
    """

    def __init__(self, W: np.ndarray, c: np.ndarray) -> None:
        self.W, self.c = np.asarray(W, dtype=float), np.asarray(c, dtype=float)
        if self.W.ndim != 4 or 0 in self.W.shape:
            raise ShapeError(
                f"W: expected shape (I, J, D, P) with no empty axis, got {self.W.shape}"
            )
        if self.c.shape != self.W.shape[:2]:
            raise ShapeError(
                f"c: expected shape (I, J) to match W {self.W.shape}, got {self.c.shape}"
            )
        self.balls = Balls(self.W.shape[0], self.W.shape[3])

    def log_partition(self, method: Method | None = None) -> float:
        """Logarithm of Z, relative to the balls' volume.

        Parameters
        ----------
        method : {"moments", "cubature", "states"}, optional
            By default the closed form; cubature for many experts on few input numbers, where the
            closed form has too many terms.
            "moments": the closed form of `partition`. "cubature": Π_j (1 + ‖z_j‖²) averaged by a
            rule that is exact for polynomials. "states": Π_j ‖z_j‖^(2 s_j) averaged likewise for
            each of the 2^J hidden states s, and added.

        Returns
        -------
        float

        Raises
        ------
        OptionError
            If the method is unknown or the model too large for it.
        """
        if (method or self._shorter()) == "moments":
            return float(np.log(np.real(partition(self.W, self.c))))
        if method not in ("cubature", "states", None):
            raise OptionError(f"method: expected moments, cubature or states, got {method!r}")
        nodes, weights = self.balls.cubature(2 * self.W.shape[1])
        square = self._squared_lengths(nodes)
        if method != "states":
            return float(np.log(weights @ np.prod(1.0 + square, axis=1)))
        states = np.asarray(list(product((0, 1), repeat=square.shape[1])))
        return float(np.log(sum(weights @ np.prod(square**state, axis=1) for state in states)))

    def _shorter(self) -> Method:
        """Of moments, a term for each way to put their indices in pairs, and cubature."""
        n, J = self.balls.n_balls * self.balls.dim, self.W.shape[1]
        terms = math.prod(range(1, 2 * J, 2)) * n ** (2 * J)
        numbers = n * (J + 1) ** n
        return "cubature" if numbers <= _MOST_NUMBERS < terms else "moments"

    def log_likelihood(self, x: np.ndarray) -> np.ndarray:
        """Logarithm of the density (14), data term less log Z.

        Parameters
        ----------
        x : array, shape (N, I, P)

        Returns
        -------
        array, shape (N,)
            −∞ where an input capsule is longer than 1.
        """
        x = self._inputs(x)
        inside = np.all(np.linalg.norm(x, axis=-1) <= 1.0, axis=-1)
        return np.where(inside, self._log_score(x), -np.inf) - self.log_partition()

    def data_term(self, x: np.ndarray) -> np.ndarray:
        """First term of (18), (I, J, D, P): a mean over x (N, I, P)."""
        x = self._inputs(x)
        z = self._outputs(x)
        weight = 2.0 * z / (1.0 + np.sum(z * z, axis=-1, keepdims=True))
        return self.c[..., None, None] * np.einsum("njd,nip->ijdp", weight, x) / len(x)

    def model_term(self) -> np.ndarray:
        """Second term of (18), (I, J, D, P): the model's expectation, ∂ log Z / ∂W."""
        return model_term(self.W, self.c)

    def gradient(self, x: np.ndarray) -> np.ndarray:
        """Gradient (18) of the mean log-likelihood of x (N, I, P) in W, (I, J, D, P)."""
        return self.data_term(x) - self.model_term()

    def firing_probability(self, x: np.ndarray) -> np.ndarray:
        """Probability (12) of each hidden state being on, (N, J), given x (N, I, P)."""
        square = self._squared_lengths(self._inputs(x))
        return square / (1.0 + square)

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Exact independent draws, by rejection.

        Parameters
        ----------
        n : int
        rng : numpy.random.Generator

        Returns
        -------
        array, shape (n, I, P)
        """
        return draw(self._log_score, self.balls, n, rng, log_bound=self.log_bound)

    @property
    def log_bound(self) -> float:
        """At least log Π_j (1 + ‖z_j‖²) anywhere on the balls: ‖z_j‖ ≤ Σ_i c_ij ‖W_ij‖."""
        return float(np.sum(np.log1p(self._longest() ** 2)))

    def gibbs_step(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        r"""One exact step of block Gibbs sampling: s given x, then x given s.

        .. math:: P(s \mid x) = \prod_j P(s_j \mid x), \qquad
            P(x \mid s) \propto \prod_j \|z_j\|^{2 s_j}

        Parameters
        ----------
        x : array, shape (N, I, P)
        rng : numpy.random.Generator

        Returns
        -------
        array, shape (N, I, P)
        """
        on = rng.random((len(x), self.W.shape[1])) < self.firing_probability(x)
        new = np.empty_like(x)
        for state in np.unique(on, axis=0):
            rows = np.flatnonzero(np.all(on == state, axis=1))
            bound = float(np.sum(np.log(self._longest()[state] ** 2)))
            log_p = partial(self._log_on, state)
            new[rows] = draw(log_p, self.balls, len(rows), rng, log_bound=bound)
        return new

    def _longest(self) -> np.ndarray:
        """Bounds (J,) of ‖z_j‖."""
        return np.sum(np.abs(self.c) * np.linalg.norm(self.W, ord=2, axis=(2, 3)), axis=0)

    def _inputs(self, x: np.ndarray) -> np.ndarray:
        x = np.asarray(x, dtype=float)
        if x.ndim != 3 or x.shape[1:] != self.balls:
            raise ShapeError(
                f"x: expected shape (N, {self.balls.n_balls}, {self.balls.dim}) to match "
                f"W {self.W.shape}, got {x.shape}"
            )
        return x

    def _outputs(self, x: np.ndarray) -> np.ndarray:
        return np.einsum("ij,ijdp,nip->njd", self.c, self.W, x, optimize=True)

    def _squared_lengths(self, x: np.ndarray) -> np.ndarray:
        return np.sum(self._outputs(x) ** 2, axis=-1)

    def _log_on(self, state: np.ndarray, x: np.ndarray) -> np.ndarray:
        return np.sum(np.log(self._squared_lengths(x)[:, state]), axis=-1)

    def _log_score(self, x: np.ndarray) -> np.ndarray:
        return np.sum(np.log1p(self._squared_lengths(x)), axis=-1)


def _maps(W: np.ndarray, c: np.ndarray) -> np.ndarray:
    """M_j = (c_1j W_1j, ..., c_Ij W_Ij) as (..., J, D, I·P)."""
    scaled = np.asarray(c)[..., None, None] * W  # (..., I, J, D, P)
    rows = np.moveaxis(scaled, -4, -2)  # (..., J, D, I, P)
    return rows.reshape(*rows.shape[:-2], -1)


def _contract(moments: np.ndarray, forms: Sequence[np.ndarray]) -> np.ndarray:
    """E[Π_k xᵀA_k x ⊗ rest]: forms (..., n, n) against the first axes, the rest flat (..., R)."""
    n = moments.shape[0]
    left = moments.reshape(-1)
    for form in forms:
        pairs = left.reshape(*left.shape[:-1], n * n, -1)
        left = (form.reshape(*form.shape[:-2], 1, n * n) @ pairs)[..., 0, :]
    return left


def _subsets(items: Sequence[int]) -> Iterator[tuple[int, ...]]:
    for size in range(len(items) + 1):
        yield from combinations(items, size)


@lru_cache(maxsize=32)
def _moments(balls: Balls, order: int) -> np.ndarray:
    n = balls.n_balls * balls.dim
    _expect_few("moments", n**order, "moments")
    pairings = np.zeros((n,) * order)
    for pairing in _pairings(tuple(range(order))):
        term = np.ones((1,) * order)
        for pair in pairing:
            term = term * np.eye(n).reshape([n if axis in pair else 1 for axis in range(order)])
        pairings += term
    divisor = np.cumprod([1.0, *(balls.dim + 2.0 * k for k in range(1, order // 2 + 1))])
    ball = np.arange(n) // balls.dim
    for i in range(balls.n_balls):
        inside = (ball == i).astype(int)
        count = sum(
            inside.reshape([n if axis == k else 1 for axis in range(order)]) for k in range(order)
        )
        pairings /= divisor[count // 2]
    pairings.flags.writeable = False
    return pairings


def _pairings(items: tuple[int, ...]) -> Iterator[tuple[tuple[int, int], ...]]:
    """All ways to put an even number of items in pairs."""
    if not items:
        yield ()
        return
    first, rest = items[0], items[1:]
    for k, partner in enumerate(rest):
        for others in _pairings(rest[:k] + rest[k + 1 :]):
            yield ((first, partner), *others)


def _ball_rule(dim: int, per_axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes (N, P) and weights (N,) on one ball."""
    nodes, weights = np.zeros((1, 0)), np.ones(1)
    for k in range(1, dim + 1):
        u, share = roots_gegenbauer(per_axis, k / 2)
        inner = np.sqrt(1.0 - u * u)[:, None, None] * nodes
        last = np.broadcast_to(u[:, None, None], (per_axis, len(nodes), 1))
        nodes = np.concatenate([inner, last], axis=2).reshape(-1, k)
        weights = np.outer(share / math.fsum(share), weights).reshape(-1)
    return nodes, weights


def _expect_few(name: str, many: int, what: str) -> None:
    if many > _MOST_NUMBERS:
        raise OptionError(
            f"{name}: expected at most 2^24 {what}, got {many}: the model is too large"
        )
