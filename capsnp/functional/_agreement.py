"""Weighted sums of predictions and agreement with them, without holding the predictions.

Letters as in `routing`, with the batch on the last axis and a plane for each dimension of the
inputs, where element-wise work is long and contiguous: x (P, I, B), weights as columns
(J, P, I, D), c (J, I, B), z (J, D, B). The inner product of a prediction with a target is taken as
x_i·(W_ijᵀ target_j), one matrix product per output capsule and plane.
"""

import math
import operator
from typing import Any

from array_api_compat import device, is_numpy_namespace

from capsnp.backend import Array
from capsnp.blocks import slices
from capsnp.functional._coupling import flat, planes_at_a_time, sum_over, total
from capsnp.functional._polar import polar, sum_of_products, unit
from capsnp.functional.squashes import SQUASHES, Squash

SABOUR = SQUASHES["sabour"]

_PREDICTIONS = 2**19
"""Numbers of the predictions that are held at a time for their lengths on a host."""


class Votes:
    """Predictions of some output capsules by all inputs, never held.

    Parameters
    ----------
    xp : module
        Namespace of the arrays.
    K : array, shape (J, P, I, D)
        The weights as columns.
    x : array, shape (P, I, B)
    cosine : bool
        Agreement by cosine; without it a prediction agrees by its inner product with squash(z).
    squash : Squash
        By which law z is squashed.
    scale : float
        Inner products with squash(z) are multiplied by it.

    Notes
    -----
    A cosine does not change when x_i or W_ij is multiplied by a number. Where squares of
    predictions could overflow or underflow, both are brought to a size where they do not.
    """

    def __init__(
        self,
        xp: Any,
        K: Array,
        x: Array,
        *,
        cosine: bool,
        squash: Squash = SABOUR,
        scale: float = 1.0,
    ) -> None:
        self._xp = xp
        self._squash = squash
        self._scale = scale
        self._K = self._K_compared = K
        self._x = self._x_compared = x
        self._inverse_lengths = None
        self.n_outputs, P, self.n_inputs, _ = K.shape
        plane = self.n_outputs * self.n_inputs * x.shape[2]
        self._planes = slices(P, planes_at_a_time(xp, P, plane))
        if cosine:
            self._inverse_lengths = self._find_lengths()

    def mean(self, share: float) -> Array:
        """Sums (J, D, B) with all coefficients equal."""
        xp = self._xp
        P, I, B = self._x.shape
        return share * (flat(xp, self._K).mT @ xp.reshape(self._x, (P * I, B)))

    @property
    def scaled(self) -> bool:
        """Whether what is compared has been brought to another size."""
        return self._x_compared is not self._x

    def weigh(self, c: Array) -> Array:
        """Sums (J, D, B) with coefficients (J, I, B)."""
        return self._weigh(self._K, self._x, c)

    def inner(self, target: Array) -> Array:
        """Inner products (J, I, B) of predictions with targets (J, D, B)."""
        return self._inner(self._K, self._x, target)

    def target(self, z: Array) -> Array:
        """What predictions, or their directions, are multiplied by for their agreement with z."""
        if self._inverse_lengths is None:
            return self._scale * self._squash.apply(z, axis=1)
        return unit(self._xp, z, polar(self._xp, z, axis=1))

    def agree(self, z: Array) -> Array:
        """Agreements (J, I, B) with sums (J, D, B)."""
        found = self._inner(self._K_compared, self._x_compared, self.target(z))
        if self._inverse_lengths is None:
            return found
        return self._xp.clip(found * self._inverse_lengths, min=-1.0, max=1.0)

    def pull(self, weights: Array, z: Array) -> Array:
        """Gradient (J, D, B) with respect to z of the sum of weights (J, I, B) times `agree`."""
        xp = self._xp
        if self._inverse_lengths is None:
            return self._squash.vjp(z, self._scale * self.weigh(weights), axis=1)
        size = compared_size(xp, z) if self.scaled else 1.0
        weights = weights * (self._inverse_lengths * size)  # in the range of weights
        pulled = self._weigh(self._K_compared, self._x_compared, weights) / size
        at = polar(xp, z, axis=1)
        direction = unit(xp, z, at)
        across = pulled - direction * xp.sum(direction * pulled, axis=1, keepdims=True)
        return xp.where(at.scaled > 0, unit(xp, across, at), xp.zeros_like(z))

    def _weigh(self, K: Array, x: Array, c: Array) -> Array:
        xp = self._xp
        return total(
            flat(xp, K[:, p, ...]).mT @ flat(xp, c[:, None, ...] * x[p, ...]) for p in self._planes
        )

    def _inner(self, K: Array, x: Array, target: Array) -> Array:
        xp, target = self._xp, target[:, None, ...]
        return total(
            sum_over(xp, operator.imul(K[:, p, ...] @ target, x[p, ...]), axis=1)
            for p in self._planes
        )

    def _find_lengths(self) -> Array:
        """1/‖W_ij x_i‖ as (J, I, B), 0 for a zero prediction, of what is compared."""
        xp, K, x = self._xp, self._K, self._x
        if is_numpy_namespace(xp):  # reading the squares is free on a host alone
            squares = _squares(xp, K, x)
            if xp.min(squares) > 2.0**-96 and xp.max(squares) < 2.0**96:
                return 1.0 / xp.sqrt(squares)
        self._K_compared = sized(xp, K, axis=(1, 3)) * compared_size(xp, x)
        self._x_compared = sized(xp, x, axis=0)
        lengths = xp.sqrt(_squares(xp, self._K_compared, self._x_compared))
        return xp.where(lengths > 0, 1.0 / _or_one(xp, lengths), xp.zeros_like(lengths))


def compared_size(xp: Any, x: Array) -> float:
    """What sized weights are multiplied by.

    Squared lengths stay below 16·D·P²·size². A size far above 1 leaves the room below 1 to
    predictions that are short although x_i and W_ij are not.
    """
    return 2.0 ** (50 if x.dtype == xp.float32 else 480)


def sized(xp: Any, array: Array, *, axis: int | tuple[int, ...]) -> Array:
    """The array with its largest absolute number along some axes in [1, 2); zeros stay.

    Factors are powers of two, so no number is rounded and sums that cancel still do.
    """
    return array * size_factor(xp, array, axis=axis)


def size_factor(xp: Any, array: Array, *, axis: int | tuple[int, ...]) -> Array:
    """What brings the largest absolute number along some axes, of length one then, to [1, 2)."""
    largest = xp.max(xp.abs(array), axis=axis, keepdims=True)
    limit = 126 if array.dtype == xp.float32 else 1022
    powers = [2.0**-k for k in range(-limit, limit + 1)]
    exponent = xp.clip(xp.floor(xp.log2(_or_one(xp, largest))), min=-limit, max=limit)
    place = xp.reshape(xp.astype(exponent, xp.int32) + limit, (math.prod(largest.shape),))
    table = xp.asarray(powers, dtype=array.dtype, device=device(array))
    return xp.reshape(xp.take(table, place, axis=0), largest.shape)


def _squares(xp: Any, K: Array, x: Array) -> Array:
    """Squared lengths (J, I, B) of predictions, of some inputs at a time."""
    J, _, I, D = K.shape
    B = x.shape[2]
    W = xp.permute_dims(K, (0, 2, 3, 1))  # (J, I, D, P)
    x_IPB = xp.permute_dims(x, (1, 0, 2))
    inputs = I if not is_numpy_namespace(xp) else max(1, _PREDICTIONS // max(J * D * B, 1))
    found = []
    for s in slices(I, inputs):
        predictions = W[:, s, ...] @ x_IPB[s, ...]
        found.append(sum_of_products(xp, predictions, predictions, 2))
    return found[0] if len(found) == 1 else xp.concat(found, axis=1)


def _or_one(xp: Any, divisor: Array) -> Array:
    return xp.where(divisor > 0, divisor, xp.ones_like(divisor))
