"""The log-likelihood with coefficients c(x, W) of routing by agreement, and its gradient in W.

Derivatives go through every weighting, by complex steps; expectations over the model are averages
over points in the input capsules' balls.
"""

from typing import Any

import numpy as np
from scipy.special import ndtri
from scipy.stats import qmc

from capsnp.errors import OptionError
from capsnp.functional.routing import Agreement, Normalize

_STEP = 1e-30


def routed_score(
    x: np.ndarray,
    W: np.ndarray,
    *,
    iterations: int = 3,
    agreement: Agreement = "cosine",
    normalize: Normalize = "inputs",
) -> np.ndarray:
    r"""Unnormalised log-likelihood with the coefficients of routing, f(x) = Σ_j log(1 + ‖z_j‖²).

    Parameters
    ----------
    x : array, shape (N, I, P)
    W : array, shape (I, J, D, P)
        Complex weights for a complex step: nothing is conjugated.
    iterations, agreement, normalize
        Of `capsnp.functional.route`.

    Returns
    -------
    array, shape (N,)
    """
    return _score_of(_predictions(x, W), iterations, agreement, normalize)


def routed_score_gradient(
    x: np.ndarray,
    W: np.ndarray,
    *,
    iterations: int = 3,
    agreement: Agreement = "cosine",
    normalize: Normalize = "inputs",
) -> np.ndarray:
    r"""Gradient of `routed_score` in W, with the derivative of every weighting.

    The predictions u_ij = W_ij x_i are all that depends on W, so

    .. math:: \frac{\partial f}{\partial W_{ij}} = \frac{\partial f}{\partial u_{ij}} x_i^\top,
        \qquad \frac{\partial f}{\partial u_{ijd}} = \mathrm{Im}\, f(u + i h e_{ijd}) / h

    Parameters
    ----------
    x : array, shape (N, I, P)
    W : array, shape (I, J, D, P)
    iterations, agreement, normalize
        Of `capsnp.functional.route`.

    Returns
    -------
    array, shape (N, I, J, D, P)
    """
    u = _predictions(x, W)
    pull, shifted = np.empty_like(u), u.astype(complex)
    for place in np.ndindex(u.shape[1:]):
        here = (slice(None), *place)
        shifted[here] += 1j * _STEP
        pull[here] = _score_of(shifted, iterations, agreement, normalize).imag / _STEP
        shifted[here] = u[here]
    return pull[..., None] * x[:, :, None, None, :]


def routed_model(nodes: np.ndarray, W: np.ndarray, **routing: Any) -> tuple[float, np.ndarray]:
    """Partition function and expectation over the model, by points weighted by exp f.

    Parameters
    ----------
    nodes : array, shape (N, I, P)
        Uniform in the balls.
    W : array, shape (I, J, D, P)
    **routing
        Of `routed_score`.

    Returns
    -------
    float
        log Z, relative to the uniform distribution.
    array, shape (I, J, D, P)
        E_P[∂f/∂W].
    """
    score = routed_score(nodes, W, **routing)
    top = np.max(score)
    weight = np.exp(score - top)
    gradient = np.tensordot(weight, routed_score_gradient(nodes, W, **routing), axes=1)
    return float(top + np.log(np.mean(weight))), gradient / np.sum(weight)


def sobol_points(W: np.ndarray, n: int, random_state: int, estimate: int) -> np.ndarray:
    """Scrambled Sobol points, uniform in the balls of W's inputs.

    Parameters
    ----------
    W : array, shape (I, J, D, P)
    n : int
        A power of 2.
    random_state, estimate : int
        Each pair of them scrambles anew.

    Returns
    -------
    array, shape (n, I, P)
    """
    if n < 1 or n & (n - 1):
        raise OptionError(f"n_nodes: expected a power of 2, got {n}")
    I, P = W.shape[0], W.shape[3]
    rng = np.random.default_rng([random_state, estimate])
    cube = qmc.Sobol(I * (P + 1), seed=rng).random(n).reshape(n, I, P + 1)
    direction = ndtri(np.clip(cube[..., :P], 1e-12, 1.0 - 1e-12))
    radius = cube[..., P:] ** (1.0 / P)
    return direction * (radius / np.linalg.norm(direction, axis=-1, keepdims=True))


def _predictions(x: np.ndarray, W: np.ndarray) -> np.ndarray:
    return np.einsum("ijdp,nip->nijd", W, x, optimize=True)


def _score_of(
    u: np.ndarray, iterations: int, agreement: Agreement, normalize: Normalize
) -> np.ndarray:
    """f from predictions u (N, I, J, D), analytic in them."""
    axis = 1 if normalize == "inputs" else 2
    logits = np.zeros(u.shape[:3])
    for weighting in range(iterations):
        e = np.exp(logits - np.max(logits.real, axis=axis, keepdims=True))
        c = e / np.sum(e, axis=axis, keepdims=True)
        z = np.sum(c[..., None] * u, axis=1)  # (N, J, D)
        if weighting < iterations - 1:
            logits = logits + _agreement(u, z, agreement)
    return np.sum(np.log(1.0 + np.sum(z * z, axis=-1)), axis=-1)


def _agreement(u: np.ndarray, z: np.ndarray, agreement: Agreement) -> np.ndarray:
    """Of predictions u (N, I, J, D) with sums z (N, J, D)."""
    inner = np.sum(u * z[:, None], axis=-1)
    square = np.sum(z * z, axis=-1)[:, None]
    if agreement != "cosine":
        scale = np.sqrt(u.shape[-1]) if agreement == "scaled" else 1.0
        return inner * np.sqrt(square) / (1.0 + square) / scale
    lengths = np.sqrt(np.sum(u * u, axis=-1) * square)
    return np.where(lengths == 0, 0.0, inner / np.where(lengths == 0, 1.0, lengths))
