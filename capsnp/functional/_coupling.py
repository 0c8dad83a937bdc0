"""The linear map of (3) for fixed coefficients, with its adjoint and its gradient.

Coefficients that a whole batch shares make the map one matrix, and each product one matrix
product. With coefficients of its own for each example, the map goes through the capsules of the
smaller side one at a time, with the batch on the last axis, where element-wise work is long and
contiguous: the predictions (B, I, J, D) are never held.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from capsnp.backend import Array
from capsnp.errors import ShapeError
from capsnp.functional._checks import expect_ndim, expect_shape, floating


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


def batch_last(xp: Any, x: Array) -> Array:
    """An array (B, M, N) as contiguous (M, N, B)."""
    B, M, N = x.shape
    flat = xp.reshape(xp.permute_dims(x, (1, 2, 0)), (-1,))  # a copy, unless it lies so already
    return xp.reshape(flat, (M, N, B))


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
        products = [
            xp.reshape(pull, (B, J * D)).mT @ xp.reshape(x, (B, I * P)) for x, pull in terms
        ]
        total = xp.reshape(self._scaled(sum(products[1:], products[0])), (J, D, I, P))
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
        I, J = W.shape[:2]
        self._xp = xp
        self._W = W
        self._by_outputs = J <= I
        if self._by_outputs:
            self._c_JIB = batch_last(xp, xp.permute_dims(c, (0, 2, 1)))
            self._c_IJB = xp.permute_dims(self._c_JIB, (1, 0, 2))
        else:
            self._c_IJB = batch_last(xp, c)
            self._c_JIB = xp.permute_dims(self._c_IJB, (1, 0, 2))

    def forward(self, x: Array) -> Array:
        return self._map(x, self._W, self._c_JIB, gather=self._by_outputs)

    def reverse(self, x_out: Array) -> Array:
        back = self._xp.permute_dims(self._W, (1, 0, 3, 2))  # (J, I, P, D)
        return self._map(x_out, back, self._c_IJB, gather=not self._by_outputs)

    def gradient(self, *terms: tuple[Array, Array]) -> Array:
        if self._by_outputs:
            return _products(self._xp, terms, self._c_JIB)
        back = _products(self._xp, [(pull, x) for x, pull in terms], self._c_IJB)
        return self._xp.permute_dims(back, (1, 0, 3, 2))

    def gram(self) -> Array:
        """Σ_j c_ij c_i'j W_ijᵀ W_i'j, one pair of input capsules at a time."""
        xp = self._xp
        I, J, D, P = self._W.shape
        B = self._c_IJB.shape[2]
        W_JDIP = xp.reshape(xp.permute_dims(self._W, (1, 2, 0, 3)), (J, D, I * P))
        blocks: list[list[Array]] = [[] for _ in range(I)]
        for i in range(I):
            products = W_JDIP[:, :, i * P : (i + 1) * P].mT @ W_JDIP[:, :, i * P :]
            products = xp.reshape(products, (J, P, I - i, P))
            blocks[i] = [blocks[earlier][i].mT for earlier in range(i)]
            for other in range(i, I):
                weights = self._c_IJB[i, ...] * self._c_IJB[other, ...]
                block = weights.mT @ xp.reshape(products[:, :, other - i, :], (J, P * P))
                blocks[i].append(xp.reshape(block, (B, P, P)))
        return xp.concat([xp.concat(row, axis=2) for row in blocks], axis=1)

    def _map(self, x: Array, W: Array, c_JIB: Array, *, gather: bool) -> Array:
        z_JDB = (_gather if gather else _spread)(self._xp, batch_last(self._xp, x), W, c_JIB)
        return self._xp.permute_dims(z_JDB, (2, 0, 1))


def _gather(xp: Any, x_IPB: Array, W: Array, c_JIB: Array) -> Array:
    """Σ_i c_ij W_ij x_i, one output capsule at a time."""
    I, J, D, P = W.shape
    z = []
    for j in range(J):
        row = xp.reshape(xp.permute_dims(W[:, j, ...], (1, 0, 2)), (D, I * P))
        z.append(row @ _weighted(xp, x_IPB, c_JIB[j, ...]))
    return xp.stack(z)


def _spread(xp: Any, x_IPB: Array, W: Array, c_JIB: Array) -> Array:
    """Σ_i c_ij W_ij x_i, one input capsule at a time."""
    I, J, D, P = W.shape
    B = x_IPB.shape[2]
    total = xp.zeros((J, D, B), dtype=x_IPB.dtype, device=x_IPB.device)
    for i in range(I):
        predictions = xp.reshape(W[i, ...], (J * D, P)) @ x_IPB[i, ...]
        total = total + c_JIB[:, i, None, :] * xp.reshape(predictions, (J, D, B))
    return total


def _products(xp: Any, terms: Sequence[tuple[Array, Array]], c_JIB: Array) -> Array:
    """Σ_b c_ij pull_j x_iᵀ of every term as (I, J, D, P), one output capsule at a time."""
    lasts = [(batch_last(xp, x), batch_last(xp, pull)) for x, pull in terms]
    I, P, _ = lasts[0][0].shape
    J, D, _ = lasts[0][1].shape
    rows = []
    for j in range(J):
        parts = [pull[j, ...] @ _weighted(xp, x, c_JIB[j, ...]).mT for x, pull in lasts]
        rows.append(sum(parts[1:], parts[0]))
    return xp.permute_dims(xp.reshape(xp.stack(rows), (J, D, I, P)), (2, 0, 1, 3))


def _weighted(xp: Any, x_IPB: Array, c_IB: Array) -> Array:
    """c_i x_i as a matrix (I·P, B)."""
    I, P, B = x_IPB.shape
    return xp.reshape(c_IB[:, None, :] * x_IPB, (I * P, B))
