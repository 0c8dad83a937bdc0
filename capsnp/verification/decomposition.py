r"""What Algorithm 1 follows, beside the gradient of the log-likelihood that it stands for.

Three gradients of the mean log-likelihood of data x in the weights W:

- *routed*: the coefficients c(x, W) come from routing by agreement, in the data and in the model
  alike, and are differentiated with the rest;
- *frozen*: equation (18), each example with the coefficients that routing finds on it, held
  constant, and with the exact expectation over its model;
- *mixing*: Algorithm 1, which replaces that expectation by one deterministic pass.

Everything runs in NumPy on the host, on models small enough to be exact.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from capsnp.errors import OptionError
from capsnp.evaluation import Column, Table
from capsnp.functional import cd_gradient, route
from capsnp.functional._checks import expect_count, expect_option
from capsnp.functional._coupling import expect_layer
from capsnp.functional.routing import Agreement, Normalize
from capsnp.verification.exact import model_term
from capsnp.verification.routed import (
    routed_model,
    routed_score,
    routed_score_gradient,
    sobol_points,
)

Gradient = Literal["routed", "frozen", "mixing"]
GRADIENTS: tuple[Gradient, ...] = get_args(Gradient)
PAIRS: tuple[tuple[Gradient, Gradient], ...] = (
    ("frozen", "routed"),
    ("mixing", "frozen"),
    ("mixing", "routed"),
)
"""What is compared with what."""

_ROUTING = ("iterations", "agreement", "normalize")


@dataclass(frozen=True)
class GradientDecomposition:
    """Gradients of one model on one data set, and the terms that they are differences of.

    Attributes
    ----------
    data_routed, data_frozen : array, shape (I, J, D, P)
        Data terms: with the derivative of the coefficients, and without.
    model_routed : array, shape (R, I, J, D, P)
        Model's expectation through the routing, R independent estimates.
    model_frozen : array, shape (I, J, D, P)
        Model's expectation with the data's coefficients, exact.
    model_mixing : array, shape (I, J, D, P)
        What Algorithm 1 has in its place.
    log_likelihood : array, shape (R,)
        Mean log P(x) through the routing, R independent estimates.

    Notes
    -----
    Densities are relative to the uniform distribution on the input capsules' balls.
    """

    data_routed: np.ndarray
    data_frozen: np.ndarray
    model_routed: np.ndarray
    model_frozen: np.ndarray
    model_mixing: np.ndarray
    log_likelihood: np.ndarray

    def gradient(self, name: Gradient) -> np.ndarray:
        """One of the gradients, (I, J, D, P), data less model.

        Parameters
        ----------
        name : {"routed", "frozen", "mixing"}
        """
        expect_option("name", name, GRADIENTS)
        if name == "routed":
            return self.data_routed - np.mean(self.model_routed, axis=0)
        return self.data_frozen - (self.model_frozen if name == "frozen" else self.model_mixing)

    def cosine(
        self, first: Gradient, second: Gradient, *, capsule: int | None = None
    ) -> tuple[float, float]:
        """Cosine between two gradients, and its standard error.

        Parameters
        ----------
        first, second : {"routed", "frozen", "mixing"}
        capsule : int, optional
            Compare the weights of one output capsule j; by default all.

        Returns
        -------
        cosine, error : float
            The error is that of the routed model's expectation, by leaving out one estimate at a
            time; 0 where it takes no part.
        """
        return self._measure(first, second, capsule, _cosine)

    def norm_ratio(
        self, first: Gradient, second: Gradient, *, capsule: int | None = None
    ) -> tuple[float, float]:
        """Norm of the first gradient over that of the second, and its standard error.

        Parameters
        ----------
        first, second : {"routed", "frozen", "mixing"}
        capsule : int, optional
            As in `cosine`.

        Returns
        -------
        ratio, error : float
        """
        return self._measure(first, second, capsule, _norm_ratio)

    def table(self, *, title: str = "Gradients") -> Table:
        """Cosines and norm ratios with their errors, over all capsules and of each.

        What the terms of all capsules come to, apart from each other, stands below.

        Parameters
        ----------
        title : str

        Returns
        -------
        Table
        """
        columns, rows = [], {}
        for first, second in PAIRS:
            columns += [
                Column(f"cosine {first} {second}", f"cos({first}, {second})", ".3f"),
                Column(f"ratio {first} {second}", f"‖{first}‖/‖{second}‖", ".3f"),
            ]
        n_capsules = self.data_frozen.shape[1]
        for capsule in (None, *range(n_capsules)):
            row: dict[str, float] = {}
            for first, second in PAIRS:
                for name, measure in (("cosine", self.cosine), ("ratio", self.norm_ratio)):
                    value, error = measure(first, second, capsule=capsule)
                    row |= {
                        f"{name} {first} {second}": value,
                        f"{name} error {first} {second}": error,
                    }
            rows["all" if capsule is None else f"capsule {capsule}"] = row
        worst = max(row["cosine error frozen routed"] for row in rows.values())
        note = f"Standard errors of cosines with the routed gradient are up to {worst:.1g}."
        return Table(title, tuple(columns), rows, (note, self._terms()))

    def _terms(self) -> str:
        model_routed = np.mean(self.model_routed, axis=0)
        terms = {
            "data, frozen and routed": (self.data_frozen, self.data_routed),
            "model, frozen and routed": (self.model_frozen, model_routed),
            "model, mixing and frozen": (self.model_mixing, self.model_frozen),
        }
        parts = [
            f"{name} {_cosine(*pair):.3f} and {_norm_ratio(*pair):.3f}"
            for name, pair in terms.items()
        ]
        return f"Cosine and norm ratio of terms: {'; '.join(parts)}."

    def _measure(
        self,
        first: Gradient,
        second: Gradient,
        capsule: int | None,
        measure: Callable[[np.ndarray, np.ndarray], float],
    ) -> tuple[float, float]:
        part = slice(None) if capsule is None else slice(capsule, capsule + 1)

        def value(model_routed: np.ndarray) -> float:
            routed = self.data_routed - np.mean(model_routed, axis=0)
            pair = [routed if g == "routed" else self.gradient(g) for g in (first, second)]
            return measure(pair[0][:, part], pair[1][:, part])

        whole, n = value(self.model_routed), len(self.model_routed)
        if n < 2:
            return whole, 0.0
        left_out = [value(np.delete(self.model_routed, k, axis=0)) for k in range(n)]
        return whole, math.sqrt((n - 1) * float(np.var(left_out)))


def decompose_gradient(
    x: np.ndarray,
    W: np.ndarray,
    *,
    iterations: int = 3,
    agreement: Agreement = "cosine",
    normalize: Normalize = "inputs",
    mixing_steps: int = 1,
    n_nodes: int = 4096,
    n_estimates: int = 8,
    random_state: int = 0,
) -> GradientDecomposition:
    r"""Compare the gradient through the routing, that with frozen coefficients and Algorithm 1's.

    .. math::
        \frac{\partial}{\partial W} \big\langle \log P(x) \big\rangle
        = \Big\langle \frac{\partial f}{\partial W}(x) \Big\rangle_\mathrm{data}
        - E_P\Big[\frac{\partial f}{\partial W}(x)\Big], \qquad
        f(x) = \sum_j \log\big(1 + \|z_j(x, c(x, W))\|^2\big)

    The derivative of f through every iteration of routing is a complex step. Its expectation over
    the model is an average over scrambled Sobol points in the input capsules' balls, weighted by
    exp f, repeated with `n_estimates` scramblings. With c held constant the expectation is exact,
    by moments of the balls.

    Parameters
    ----------
    x : array, shape (B, I, P)
        Data: input capsules no longer than 1.
    W : array, shape (I, J, D, P)
        Few of each: moments of order 2J of I·P numbers are held.
    iterations, agreement, normalize
        Of `capsnp.functional.route`.
    mixing_steps : int
        Of `capsnp.functional.cd_gradient`.
    n_nodes : int
        Points of one estimate, a power of 2.
    n_estimates : int
        Independent estimates, of which the spread gives the errors.
    random_state : int

    Returns
    -------
    GradientDecomposition

    Raises
    ------
    OptionError
        If an option is out of range, or the model too large.
    ShapeError
        If the arrays do not fit each other.

    References
    ----------
    Hauser (2019), arXiv:1907.11643, eq. 18 and Algorithm 1.

    Examples
    --------
    With one iteration c is uniform, there is nothing to differentiate in it, and (18) is exact:

    >>> from capsnp.verification import Balls
    >>> rng = np.random.default_rng(0)
    >>> x, W = Balls(2, 2).uniform(16, rng), rng.normal(size=(2, 1, 2, 2))
    >>> found = decompose_gradient(x, W, iterations=1)
    >>> cosine, error = found.cosine("frozen", "routed")
    >>> abs(cosine - 1) < 0.001
    True
    """
    x, W = np.asarray(x, dtype=float), np.asarray(W, dtype=float)
    expect_layer(x, W)
    expect_count("n_estimates", n_estimates)
    routing: dict[str, Any] = {
        "iterations": iterations,
        "agreement": agreement,
        "normalize": normalize,
    }
    c, z = route(x, W, **routing)
    estimates = [
        routed_model(sobol_points(W, n_nodes, random_state, k + 1), W, **routing)
        for k in range(n_estimates)
    ]
    score = np.mean(routed_score(x, W, **routing))
    data_frozen = _frozen_data(x, c, z)
    return GradientDecomposition(
        data_routed=np.mean(routed_score_gradient(x, W, **routing), axis=0),
        data_frozen=data_frozen,
        model_routed=np.stack([gradient for _, gradient in estimates]),
        model_frozen=np.mean(model_term(W, c), axis=0),
        model_mixing=data_frozen - cd_gradient(x, W, c, steps=mixing_steps),
        log_likelihood=np.asarray([score - log_z for log_z, _ in estimates]),
    )


def decompose_training(
    x: np.ndarray,
    W: np.ndarray,
    *,
    by: Gradient,
    at: Iterable[int] = (0, 10, 100, 1000),
    learning_rate: float = 1.0,
    training_nodes: int = 512,
    random_state: int = 0,
    track: Callable[[Iterable[int], str], Iterable[int]] = lambda steps, _: steps,
    **options: Any,
) -> dict[int, GradientDecomposition]:
    """Train by one of the gradients on all data at a time, and decompose on the way.

    Parameters
    ----------
    x : array, shape (B, I, P)
        Data.
    W : array, shape (I, J, D, P)
        First weights.
    by : {"routed", "frozen", "mixing"}
        The gradient that is followed, W ← W + λ ΔW.
    at : iterable of int
        Steps after which the gradients are decomposed.
    learning_rate : float
        λ, the same throughout.
    training_nodes : int
        Points of the one estimate of the routed model's expectation in training, a power of 2;
        the same in every step, and others than those of the decompositions.
    random_state : int
    track : callable, optional
        From the steps and what is done to the same steps: `capsnp.training.track` shows them.
    **options
        Of `decompose_gradient`.

    Returns
    -------
    dict of int to GradientDecomposition

    Raises
    ------
    OptionError, ShapeError
        As `decompose_gradient`.
    """
    expect_option("by", by, GRADIENTS)
    steps = sorted(set(at))
    if not steps or steps[0] < 0:
        raise OptionError(f"at: expected steps from 0, got {steps}")
    W = np.array(W, dtype=float)
    routing = {name: options[name] for name in _ROUTING if name in options}
    nodes = sobol_points(W, training_nodes, random_state, 0)
    found: dict[int, GradientDecomposition] = {}
    for step in track(range(steps[-1] + 1), f"training by {by}"):
        if step in steps:
            found[step] = decompose_gradient(x, W, random_state=random_state, **options)
        if by == "routed":
            data = np.mean(routed_score_gradient(x, W, **routing), axis=0)
            change = data - routed_model(nodes, W, **routing)[1]
        elif by == "frozen":
            c, z = route(x, W, **routing)
            change = _frozen_data(x, c, z) - np.mean(model_term(W, c), axis=0)
        else:
            c, _ = route(x, W, **routing)
            change = cd_gradient(x, W, c, steps=options.get("mixing_steps", 1))
        W = W + learning_rate * change
    return found


def _frozen_data(x: np.ndarray, c: np.ndarray, z: np.ndarray) -> np.ndarray:
    """First term of (18): the mean of 2 c_ij z_j x_iᵀ / (1 + ‖z_j‖²)."""
    weight = 2.0 * z / (1.0 + np.sum(z * z, axis=-1, keepdims=True))
    return np.einsum("nij,njd,nip->ijdp", c, weight, x, optimize=True) / len(x)


def _cosine(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.sum(first * second) / (np.linalg.norm(first) * np.linalg.norm(second)))


def _norm_ratio(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.linalg.norm(first) / np.linalg.norm(second))
