"""Weighted sums of predictions and agreement with them, without holding the predictions.

Letters as in `routing`, with the batch on the last axis, where element-wise work is long and
contiguous: x (I, P, B), c (J, I, B), z (J, D, B). The inner product of a prediction with a target
is taken as x_i·(W_ijᵀ target_j), one matrix product per output capsule.
"""

import math
from typing import Any

from capsnp.backend import Array
from capsnp.functional.squash import length, squash


class Votes:
    """Predictions of some output capsules by all inputs, never held.

    Parameters
    ----------
    xp : module
        Namespace of the arrays.
    W : array, shape (I, J, D, P)
    x : array, shape (I, P, B)
    x_sized : array, shape (I, P, B), optional
        `sized` x for agreement by cosine; without it a prediction agrees by its inner product
        with squash(z).

    Notes
    -----
    A cosine does not change when x_i or W_ij is multiplied by a number, so both are brought to a
    size where the squares of predictions neither overflow nor underflow.
    """

    def __init__(self, xp: Any, W: Array, x: Array, x_sized: Array | None = None) -> None:
        self._xp = xp
        self._x = self._x_compared = x
        self._rows = self._rows_compared = _rows(xp, W)
        self._inverse_lengths = None
        self.n_inputs, self.n_outputs = W.shape[:2]
        if x_sized is not None:
            # Squared lengths stay below 16·D·P²·size². A size far above 1 leaves the room below 1
            # to predictions that are short although x_i and W_ij are not.
            size = 2.0 ** (50 if x.dtype == xp.float32 else 480)
            W = sized(xp, W, axis=(2, 3)) * size
            self._x_compared, self._rows_compared = x_sized, _rows(xp, W)
            self._inverse_lengths = _inverse_lengths(xp, W, x_sized)

    def mean(self, share: float) -> Array:
        """Sums (J, D, B) with all coefficients equal."""
        I, P, B = self._x.shape
        return share * (self._rows @ self._xp.reshape(self._x, (I * P, B)))

    def weigh(self, c: Array) -> Array:
        """Sums (J, D, B) with coefficients (J, I, B)."""
        I, P, B = self._x.shape
        return self._rows @ self._xp.reshape(c[:, :, None, :] * self._x, (self.n_outputs, I * P, B))

    def agree(self, z: Array) -> Array:
        """Agreements (J, I, B) with sums (J, D, B)."""
        if self._inverse_lengths is None:
            return self._inner(squash(z, axis=1))
        xp = self._xp
        direction = z / _or_one(xp, length(z, axis=1)[:, None, :])
        return xp.clip(self._inner(direction) * self._inverse_lengths, min=-1.0, max=1.0)

    def _inner(self, target: Array) -> Array:
        xp = self._xp
        pulled = self._rows_compared.mT @ target
        return xp.sum(
            xp.reshape(pulled, (self.n_outputs, *self._x.shape)) * self._x_compared, axis=2
        )


def sized(xp: Any, array: Array, *, axis: int | tuple[int, ...]) -> Array:
    """The array with its largest absolute number along some axes in [1, 2); zeros stay.

    Factors are powers of two, so no number is rounded and sums that cancel still do.
    """
    largest = xp.max(xp.abs(array), axis=axis, keepdims=True)
    limit = 126 if array.dtype == xp.float32 else 1022
    powers = [2.0**-k for k in range(-limit, limit + 1)]
    exponent = xp.clip(xp.floor(xp.log2(_or_one(xp, largest))), min=-limit, max=limit)
    place = xp.reshape(xp.astype(exponent, xp.int32) + limit, (math.prod(largest.shape),))
    table = xp.asarray(powers, dtype=array.dtype, device=array.device)
    return array * xp.reshape(xp.take(table, place, axis=0), largest.shape)


def _rows(xp: Any, W: Array) -> Array:
    """Weights (I, J, D, P) as a matrix per output capsule, (J, D, I·P)."""
    I, J, D, P = W.shape
    return xp.reshape(xp.permute_dims(W, (1, 2, 0, 3)), (J, D, I * P))


def _inverse_lengths(xp: Any, W: Array, x: Array) -> Array:
    """1/‖W_ij x_i‖ as (J, I, B), 0 for a zero prediction."""
    predictions = xp.permute_dims(W, (1, 0, 2, 3)) @ x  # (J, I, D, B)
    lengths = xp.sqrt(xp.vecdot(predictions, predictions, axis=-2))
    return xp.where(lengths > 0, 1.0 / _or_one(xp, lengths), xp.zeros_like(lengths))


def _or_one(xp: Any, divisor: Array) -> Array:
    return xp.where(divisor > 0, divisor, xp.ones_like(divisor))
