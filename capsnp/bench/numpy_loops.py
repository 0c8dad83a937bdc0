"""The layer's work as plain NumPy does it: a loop over the output capsules.

Letters: inputs x (I, B, P), weights of one output capsule W_j (I, D, P), predictions u (I, B, D).
"""

from typing import Any

import numpy as np

from capsnp.bench.sides import ITERATIONS, Work, squashed
from capsnp.functional.routing import Normalize


class NumpyLoops:
    """NumPy alone."""

    name = "numpy"
    form = "a loop over output capsules"

    def cd_step(self, x: np.ndarray, W: np.ndarray) -> Work:
        return lambda: cd_step(x, W)

    def training_step(self, h: np.ndarray, W: np.ndarray) -> Work:
        return lambda: cd_step(squashed(h), W)

    def routing(
        self, x: np.ndarray, W: np.ndarray, *, iterations: int, normalize: Normalize
    ) -> Work:
        return lambda: route(x, W, iterations=iterations, normalize=normalize)

    def decoder_step(self, y: np.ndarray, h: np.ndarray, U: np.ndarray, e: np.ndarray) -> Work:
        return lambda: decoder_step(y, h, U, e)

    def finish(self, result: Any) -> None:
        pass

    def to_host(self, result: Any) -> np.ndarray:
        return result


def route(
    x: np.ndarray, W: np.ndarray, *, iterations: int, normalize: Normalize
) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients (B, I, J) and sums (B, J, D)."""
    x_IBP = np.ascontiguousarray(x.transpose(1, 0, 2))
    J = W.shape[1]
    if normalize == "inputs":  # one output capsule never looks at another
        parts = [_route_some(x_IBP, W, [j], iterations, axis=1) for j in range(J)]
        c_JIB = np.concatenate([c for c, _ in parts])
        z_JBD = np.concatenate([z for _, z in parts])
    else:
        c_JIB, z_JBD = _route_some(x_IBP, W, list(range(J)), iterations, axis=0)
    return c_JIB.transpose(2, 1, 0), z_JBD.transpose(1, 0, 2)


def _route_some(
    x_IBP: np.ndarray, W: np.ndarray, outputs: list[int], iterations: int, *, axis: int
) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients (j, I, B) and sums (j, B, D) of some output capsules."""
    I, B, _ = x_IBP.shape
    u = [x_IBP @ W[:, j].mT for j in outputs]
    lengths = [np.sqrt(np.einsum("ibd,ibd->ib", u_j, u_j)) for u_j in u]
    logits = np.zeros((len(outputs), I, B), dtype=x_IBP.dtype)
    for k in range(iterations):
        c = np.exp(logits - logits.max(axis=axis, keepdims=True))
        c /= c.sum(axis=axis, keepdims=True)
        z = np.stack([np.einsum("ib,ibd->bd", c_j, u_j) for c_j, u_j in zip(c, u, strict=True)])
        if k == iterations - 1:
            return c, z
        for b, u_j, r, z_j in zip(logits, u, lengths, z, strict=True):
            product = np.einsum("ibd,bd->ib", u_j, z_j)
            b += product / np.maximum(r * np.linalg.norm(z_j, axis=-1), 1e-12)
    raise AssertionError


def cd_step(x: np.ndarray, W: np.ndarray) -> np.ndarray:
    """ΔW (I, J, D, P)."""
    B, I, P = x.shape
    J, D = W.shape[1:3]
    c, z = route(x, W, iterations=ITERATIONS, normalize="inputs")
    c_JIB = np.ascontiguousarray(c.transpose(2, 1, 0))
    x_out = squashed(z)
    x_IPB = np.ascontiguousarray(x.transpose(1, 2, 0))
    rebuilt = np.zeros((I, P, B), dtype=x.dtype)
    for j in range(J):
        rebuilt += (W[:, j].mT @ x_out[:, j].T) * c_JIB[j][:, None]
    model_IPB = squashed(rebuilt.transpose(0, 2, 1)).transpose(0, 2, 1).copy()
    gradient = np.empty_like(W)
    for j in range(J):
        c_j = c_JIB[j][:, None]
        data, model = c_j * x_IPB, c_j * model_IPB
        K = W[:, j].transpose(0, 2, 1).reshape(I * P, D)
        z_model = model.reshape(I * P, B).T @ K
        found = data.reshape(I * P, B) @ _weight(z[:, j])
        found -= model.reshape(I * P, B) @ _weight(z_model)
        gradient[:, j] = found.reshape(I, P, D).transpose(0, 2, 1)
    return gradient * (2.0 / B)


def decoder_step(y: np.ndarray, h: np.ndarray, U: np.ndarray, e: np.ndarray) -> np.ndarray:
    """ΔU (J, I, P, D)."""
    J, I, P, D = U.shape
    B = len(y)
    z_model = np.zeros_like(h)
    for j in range(J):
        u = (y[:, j] @ U[j].reshape(I * P, D).T).reshape(B, I, P)
        z_model += e[..., j, :, None] * u
    data, model = _weight(h), _weight(z_model)
    gradient = np.empty_like(U)
    for j in range(J):
        e_j = e[..., j, :, None]
        pull = (e_j * z_model).reshape(B, I * P) @ U[j].reshape(I * P, D)
        found = (e_j * data).reshape(B, I * P).T @ y[:, j]
        found -= (e_j * model).reshape(B, I * P).T @ squashed(pull)
        gradient[j] = found.reshape(I, P, D)
    return gradient * (2.0 / B)


def _weight(z: np.ndarray) -> np.ndarray:
    return z / (1.0 + np.sum(z * z, axis=-1, keepdims=True))
