"""Who is compared: capsnp and the ways that people would write the same by other means.

A side prepares work on host arrays (converts, moves, lays out) and gives back a function without
arguments that does the work alone.
"""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from capsnp.backend import Backend
from capsnp.bench.machine import finish
from capsnp.functional import cd_gradient, decoder_gradient, route
from capsnp.functional.routing import Normalize
from capsnp.models import ExpertCapsules
from capsnp.models.expert_capsules import PAPER

Work = Callable[[], Any]
"""Does the work and returns an array or several."""

ITERATIONS = 3
"""Weightings of the routing in a step."""


class Side(Protocol):
    """One way to compute the layer's work.

    Attributes
    ----------
    name : str
    form : str
        Which of several ways to write it was the fastest, where there are several.
    """

    name: str
    form: str

    def cd_step(self, x: np.ndarray, W: np.ndarray) -> Work:
        """ΔW (I, J, D, P) of inputs (B, I, P): routing by cosine, then (18)."""

    def training_step(self, h: np.ndarray, W: np.ndarray) -> Work:
        """ΔW as a training takes it: from features (B, I, P) before squash, W held as it likes."""

    def routing(
        self, x: np.ndarray, W: np.ndarray, *, iterations: int, normalize: Normalize
    ) -> Work:
        """Coefficients (B, I, J) and sums (B, J, D)."""

    def decoder_step(self, y: np.ndarray, h: np.ndarray, U: np.ndarray, e: np.ndarray) -> Work:
        """ΔU (J, I, P, D) of codes (B, J, D) and features (B, I, P)."""

    def finish(self, result: Any) -> None:
        """Wait until a result is there."""

    def to_host(self, result: Any) -> np.ndarray:
        """An array of a result."""


class Ours:
    """capsnp on a backend."""

    name = "capsnp"
    form = ""

    def __init__(self, backend: Backend, dtype: str) -> None:
        self.backend = backend
        self.dtype = dtype

    def cd_step(self, x: np.ndarray, W: np.ndarray) -> Work:
        x, W = self._array(x), self._array(W)
        return lambda: cd_gradient(x, W, *route(x, W, iterations=ITERATIONS))

    def training_step(self, h: np.ndarray, W: np.ndarray) -> Work:
        options: dict[str, Any] = PAPER | {"routing_iterations": ITERATIONS}
        model = ExpertCapsules(
            W.shape[1],
            W.shape[2],
            **options,
            batch_size=h.shape[0],
            dtype=self.dtype,
            backend=self.backend,
        )
        training = model.training(h)
        model.restore(model.state() | {"W": W})
        return lambda: training.gradient()["W"]

    def routing(
        self, x: np.ndarray, W: np.ndarray, *, iterations: int, normalize: Normalize
    ) -> Work:
        x, W = self._array(x), self._array(W)
        return lambda: tuple(route(x, W, iterations=iterations, normalize=normalize))

    def decoder_step(self, y: np.ndarray, h: np.ndarray, U: np.ndarray, e: np.ndarray) -> Work:
        y, h, U, e = map(self._array, (y, h, U, e))
        return lambda: decoder_gradient(y, h, U, e)

    def finish(self, result: Any) -> None:
        finish(self.backend, result)

    def to_host(self, result: Any) -> np.ndarray:
        return self.backend.to_host(result)

    def _array(self, host: np.ndarray) -> Any:
        return self.backend.asarray(host, dtype=self.dtype)


def squashed(z: np.ndarray) -> np.ndarray:
    """Squash by its formula, for data and for the reference in NumPy."""
    square = np.sum(z * z, axis=-1, keepdims=True)
    return z * (np.sqrt(square) / (1.0 + square))
