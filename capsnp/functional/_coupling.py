"""The linear map of (3) for fixed coefficients, with its adjoint and its gradient.

Coefficients that a whole batch shares make the map one matrix, and each product one matrix
product. With coefficients of its own for each example, the map goes through the capsules of the
smaller side in blocks, each dimension of the larger side's capsules in a plane of its own with the
batch on the last axis, where element-wise work is long and contiguous. The predictions (B, I, J, D)
are never held.
"""

import functools
import itertools
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from array_api_compat import is_numpy_namespace

from capsnp.backend import Array
from capsnp.blocks import map_blocks, slices
from capsnp.errors import ShapeError
from capsnp.functional._checks import expect_ndim, expect_shape, floating

_DEVICE_NUMBERS = 2**26
"""Numbers in the largest array of a block on a device: 256 MB in float32."""

_HOST_NUMBERS = 2**17
"""Numbers in a plane of a block on a host: 512 KB in float32."""

_HOST_PLANES = 2**19
"""Numbers in the planes that go through one operation on a host: fewer stay in a nearer cache, but
the threads, which take turns at starting operations, then wait for each other."""

_HOST_EXAMPLES = 2**20
"""Numbers in a plane of all the examples that are routed together on a host: each block of them
reads all weights, and narrower products cost more."""

_COPIES = 4
"""Parts, at least, in which an array is copied on a host's threads."""

HOST_THREADS = 2**16
"""Numbers in an array on a host from which threads are worth their start."""

_MIN_EXAMPLES = 16
"""A block is not cut to fewer examples: narrower matrix products cost more."""


class Coupling(Protocol):
    """The map x -> z_j = Σ_i c_ij W_ij x_i."""

    def forward(self, x: Array) -> Array:
        """Σ_i c_ij W_ij x_i: (B, I, P) to (B, J, D)."""

    def reverse(self, x_out: Array) -> Array:
        """Σ_j c_ij W_ijᵀ x_j: (B, J, D) to (B, I, P)."""

    def gradient(self, *terms: tuple[Array, Array]) -> Array:
        """Σ_b c_ij pull_j x_iᵀ of every term (x, pull), added: (I, J, D, P)."""

    def gram(self) -> Array:
        """The matrix of x -> reverse(forward(x)), (I·P, I·P) or one for each example before it."""


def coupling(xp: Any, W: Array, c: Array) -> Coupling:
    """The map of weights (I, J, D, P) with coefficients (I, J) or (B, I, J)."""
    return SharedCoupling(xp, W, c) if c.ndim == 2 else ExampleCoupling(xp, W, c)


def expect_weights(
    W: Array, *, name: str = "W", axes: str = "(I, J, D, P)", x: Array | None = None
) -> None:
    """Raise `ShapeError` unless W maps capsules, none of its axes empty, and fits inputs x."""
    wanted: tuple[int | None, ...] = (None,) * 4
    because = ""
    if x is not None:
        wanted = (x.shape[1], None, None, x.shape[2])
        because = f"to match x {tuple(x.shape)}"
    expect_shape(name, W, wanted, axes=axes, because=because)
    if 0 in W.shape:
        raise ShapeError(f"{name}: expected shape {axes} with no empty axis, got {tuple(W.shape)}")


def expect_coefficients(
    c: Array, W: Array, batch: int, *, name: str = "c", axes: str = "(I, J)", weights: str = "W"
) -> None:
    """Raise `ShapeError` unless c is (I, J), or (B, I, J) for a batch of this size."""
    batched = f"(B, {axes[1:]}"
    expect_ndim(name, c, (2, 3), f"{axes} or {batched}")
    because = f"to match {weights} {tuple(W.shape)}"
    if c.ndim == 2:
        expect_shape(name, c, tuple(W.shape[:2]), axes=axes, because=because)
    else:
        because = f"{because} and a batch of {batch}"
        expect_shape(name, c, (batch, *W.shape[:2]), axes=batched, because=because)


def expect_layer(x: Array, W: Array, c: Array | None = None) -> Any:
    """The namespace of x (B, I, P), W (I, J, D, P) and c (B, I, J) or (I, J) that fit."""
    xp = floating(x=x, W=W, c=c)
    expect_ndim("x", x, 3, "(B, I, P)")
    expect_weights(W, x=x)
    if c is not None:
        expect_coefficients(c, W, x.shape[0])
    return xp


def expect_decoder(U: Array, e: Array, h: Array, *, name: str = "h") -> None:
    """Raise `ShapeError` unless U (J, I, P, D) with e decodes to what has h's shape (B, I, P)."""
    expect_ndim(name, h, 3, "(B, I, P)")
    expect_weights(U, name="U", axes="(J, I, P, D)")
    expect_shape(
        "U",
        U,
        (None, h.shape[1], h.shape[2], None),
        axes="(J, I, P, D)",
        because=f"to match {name} {tuple(h.shape)}",
    )
    expect_coefficients(e, U, h.shape[0], name="e", axes="(J, I)", weights="U")


def expect_code(name: str, y: Array, U: Array, *, batch: int) -> None:
    """Raise `ShapeError` unless y (B, J, D) is a batch of codes for U."""
    expect_shape(
        name,
        y,
        (batch, U.shape[0], U.shape[3]),
        axes="(B, J, D)",
        because=f"to match U {tuple(U.shape)} and a batch of {batch}",
    )


def weight_matrix(xp: Any, W: Array) -> Array:
    """The weights (I, J, D, P) as one matrix (J·D, I·P)."""
    I, J, D, P = W.shape
    return xp.reshape(xp.permute_dims(W, (1, 2, 0, 3)), (J * D, I * P))


def planes(xp: Any, x: Array) -> Array:
    """Capsules (B, I, P) as contiguous planes (P, I, B), one for each of their dimensions."""
    return in_order(xp, xp.permute_dims(x, (2, 1, 0)))


def columns(xp: Any, W: Array) -> Array:
    """Weights (I, J, D, P) as contiguous (J, P, I, D), for each j the matrices of all planes."""
    I, J, D, P = W.shape
    flat = xp.reshape(xp.permute_dims(W, (1, 3, 0, 2)), (-1,))
    return xp.reshape(flat, (J, P, I, D))


class SharedCoupling:
    """One matrix for the whole batch."""

    def __init__(self, xp: Any, W: Array, c: Array) -> None:
        I, J, _, P = W.shape
        self._xp = xp
        self._shape = W.shape
        self._c_JX = xp.reshape(xp.broadcast_to(c.mT[:, :, None], (J, I, P)), (J, 1, I * P))
        self.matrix = self._scaled(weight_matrix(xp, W))  # (J·D, I·P)

    def forward(self, x: Array) -> Array:
        xp = self._xp
        _, J, D, _ = self._shape
        B, I, P = x.shape
        return xp.reshape(xp.reshape(x, (B, I * P)) @ self.matrix.mT, (B, J, D))

    def reverse(self, x_out: Array) -> Array:
        xp = self._xp
        I, _, _, P = self._shape
        B, J, D = x_out.shape
        return xp.reshape(xp.reshape(x_out, (B, J * D)) @ self.matrix, (B, I, P))

    def gradient(self, *terms: tuple[Array, Array]) -> Array:
        xp = self._xp
        I, J, D, P = self._shape
        B = terms[0][0].shape[0]
        pulls = [xp.reshape(pull, (B, J * D)) for _, pull in terms]
        inputs = [xp.reshape(x, (B, I * P)) for x, _ in terms]
        product = xp.concat(pulls, axis=0).mT @ xp.concat(inputs, axis=0)
        total = xp.reshape(self._scaled(product), (J, D, I, P))
        return xp.permute_dims(total, (2, 0, 1, 3))

    def gram(self) -> Array:
        return self.matrix.mT @ self.matrix

    def _scaled(self, matrix: Array) -> Array:
        """A matrix (J·D, I·P) times the coefficients, in long runs of memory."""
        I, J, D, P = self._shape
        blocks = self._xp.reshape(matrix, (J, D, I * P)) * self._c_JX
        return self._xp.reshape(blocks, matrix.shape)


class ExampleCoupling:
    """Each example with its own coefficients (B, I, J)."""

    def __init__(self, xp: Any, W: Array, c: Array) -> None:
        self._xp = xp
        self._W = W
        self._c = c
        self._flipped = W.shape[1] > W.shape[0]  # the side with fewer capsules is the fan's hub
        if self._flipped:
            self._fan = Fan(xp, _transposed(xp, W), xp.permute_dims(c, (0, 2, 1)))
        else:
            self._fan = Fan(xp, W, c)

    def forward(self, x: Array) -> Array:
        return self._fan.spread(x) if self._flipped else self._fan.gather(x)

    def reverse(self, x_out: Array) -> Array:
        return self._fan.gather(x_out) if self._flipped else self._fan.spread(x_out)

    def gradient(self, *terms: tuple[Array, Array]) -> Array:
        if not self._flipped:
            return self._fan.products(terms)
        flipped = self._fan.products([(pull, x) for x, pull in terms])
        return _transposed(self._xp, flipped)

    def gram(self) -> Array:
        """Σ_j c_ij c_i'j W_ijᵀ W_i'j, one pair of input capsules at a time."""
        xp = self._xp
        I, J, D, P = self._W.shape
        B = self._c.shape[0]
        c_IJB = in_order(xp, xp.permute_dims(self._c, (1, 2, 0)))
        W_JDIP = xp.reshape(xp.permute_dims(self._W, (1, 2, 0, 3)), (J, D, I * P))
        blocks: list[list[Array]] = [[] for _ in range(I)]
        for i in range(I):
            products = W_JDIP[:, :, i * P : (i + 1) * P].mT @ W_JDIP[:, :, i * P :]
            products = xp.reshape(products, (J, P, I - i, P))
            blocks[i] = [blocks[earlier][i].mT for earlier in range(i)]
            for other in range(i, I):
                weights = c_IJB[i, ...] * c_IJB[other, ...]
                block = weights.mT @ xp.reshape(products[:, :, other - i, :], (J, P * P))
                blocks[i].append(xp.reshape(block, (B, P, P)))
        return xp.concat([xp.concat(row, axis=2) for row in blocks], axis=1)


Block = tuple[slice, Array]
"""Of output capsules, with their weights as columns."""


class Fan:
    """Many capsules i on one side, a few j on the other.

    Parameters
    ----------
    xp : module
        Namespace of the arrays.
    W : array, shape (I, J, D, P)
    c : array, shape (B, I, J)

    Notes
    -----
    Letters: planes of the many x (P, I, B), the few z (J, D, B), coefficients (J, I, B), weights
    as columns (J, P, I, D). What is as large as the predictions is formed in blocks of planes.
    """

    def __init__(self, xp: Any, W: Array, c: Array) -> None:
        self._xp = xp
        self._c = in_order(xp, xp.permute_dims(c, (2, 1, 0)))
        I, J, D, P = W.shape
        self._shape = (J, P, I, D)
        plane = I * c.shape[0]
        few = outputs_at_a_time(xp, plane, P)
        self._planes = slices(P, planes_at_a_time(xp, P, min(few, J) * plane))
        blocks = slices(J, few)
        weights = self._map(lambda s: columns(xp, W[:, s, ...]), blocks)
        self._few = list(zip(blocks, weights, strict=True))

    def gather(self, x: Array) -> Array:
        """z_j = Σ_i c_ij W_ij x_i: (B, I, P) to (B, J, D)."""
        xp = self._xp
        x_PIB = planes(xp, x)

        def sums(block: Block) -> Array:
            s, K = block
            return total(
                flat(xp, K[:, p, ...]).mT @ self._weighted(x_PIB, s, p) for p in self._planes
            )

        return xp.permute_dims(join(xp, self._map(sums, self._few)), (2, 0, 1))

    def spread(self, z: Array) -> Array:
        """Σ_j c_ij W_ijᵀ z_j: (B, J, D) to (B, I, P)."""
        xp = self._xp
        z_JDB = self._batch_last(z)[:, None, ...]

        def sums(p: slice) -> Array:
            return total(
                sum_over(
                    xp,
                    operator.imul(K[:, p, ...] @ z_JDB[s, ...], self._c[s, None, ...]),
                    axis=0,
                )
                for s, K in self._few
            )

        return xp.permute_dims(join(xp, self._map(sums, self._planes)), (2, 1, 0))

    def products(self, terms: Sequence[tuple[Array, Array]]) -> Array:
        """Σ_b c_ij z_j x_iᵀ of every term (x, z), added: (I, J, D, P)."""
        xp = self._xp
        pairs = [(planes(xp, x), self._batch_last(z)) for x, z in terms]

        def sums(block: Block) -> Array:
            s, _ = block
            parts = [
                total(self._weighted(x, s, p) @ z[s, ...].mT for x, z in pairs)
                for p in self._planes
            ]
            return parts[0] if len(parts) == 1 else xp.concat(parts, axis=1)

        K = xp.reshape(join(xp, self._map(sums, self._few)), self._shape)
        return xp.permute_dims(K, (2, 0, 3, 1))

    def _weighted(self, x_PIB: Array, s: slice, p: slice) -> Array:
        """c_ij x_i of some j, in some planes, as (j, p·I, B)."""
        return flat(self._xp, self._c[s, None, ...] * x_PIB[p, ...])

    def _batch_last(self, z: Array) -> Array:
        return in_order(self._xp, self._xp.permute_dims(z, (1, 2, 0)))

    def _map(self, function: Callable[[Any], Array], blocks: Iterable[Any]) -> list[Array]:
        return map_blocks(function, blocks, parallel=is_numpy_namespace(self._xp))


def outputs_at_a_time(xp: Any, plane: int, planes: int) -> int:
    """Output capsules in a block, each with so many numbers in each of so many planes."""
    limit, numbers = _HOST_NUMBERS, plane
    if not is_numpy_namespace(xp):
        limit, numbers = _DEVICE_NUMBERS, plane * planes
    return max(1, limit // max(numbers, 1))


def planes_at_a_time(xp: Any, planes: int, plane: int) -> int:
    """Planes in a block, each with so many numbers: what the cache holds, all on a device."""
    if is_numpy_namespace(xp):
        return min(planes, max(1, _HOST_PLANES // max(plane, 1)))
    return planes


def examples_at_a_time(xp: Any, inputs: int, planes: int) -> int:
    """Examples in a block, each with so many inputs in each of so many planes."""
    limit, numbers = _HOST_EXAMPLES, inputs
    if not is_numpy_namespace(xp):
        limit, numbers = _DEVICE_NUMBERS, inputs * planes
    return max(_MIN_EXAMPLES, limit // numbers)


def flat(xp: Any, array: Array) -> Array:
    """Planes one below the other: (J, P, I, n) as (J, P·I, n)."""
    J, P, I, n = array.shape
    return xp.reshape(array, (J, P * I, n))


def total(parts: Iterable[Array]) -> Array:
    """The sum of new arrays of one shape, in the first."""
    return functools.reduce(operator.iadd, parts)


def join(xp: Any, parts: Sequence[Array]) -> Array:
    """Parts one after the other along their first axis, copied on a host's threads."""
    if len(parts) == 1:
        return parts[0]
    if not is_numpy_namespace(xp) or len(parts) * parts[0].size < HOST_THREADS:
        return xp.concat(parts, axis=0)
    stops = list(itertools.accumulate(part.shape[0] for part in parts))
    whole = xp.empty((stops[-1], *parts[0].shape[1:]), dtype=parts[0].dtype)

    def copy(place: tuple[Array, int]) -> None:
        part, stop = place
        whole[stop - part.shape[0] : stop, ...] = part

    map_blocks(copy, zip(parts, stops, strict=True), parallel=True)
    return whole


def sum_over(xp: Any, array: Array, axis: int) -> Array:
    """The sum over an axis, of which a length of one costs nothing."""
    return xp.squeeze(array, axis=axis) if array.shape[axis] == 1 else xp.sum(array, axis=axis)


def _transposed(xp: Any, W: Array) -> Array:
    """The maps of (I, J, D, P) from the other side, (J, I, P, D)."""
    return xp.permute_dims(W, (1, 0, 3, 2))


def in_order(xp: Any, array: Array) -> Array:
    """The array, copied unless it lies in order; on a host's threads."""
    if not is_numpy_namespace(xp):
        return xp.reshape(xp.reshape(array, (-1,)), array.shape)
    if array.flags.c_contiguous or array.size < HOST_THREADS:
        return xp.ascontiguousarray(array)
    whole = xp.empty(array.shape, dtype=array.dtype)

    def copy(s: slice) -> None:
        whole[s, ...] = array[s, ...]

    map_blocks(copy, slices(array.shape[0], max(1, array.shape[0] // _COPIES)), parallel=True)
    return whole
