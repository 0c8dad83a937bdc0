"""Routing by agreement, and the weighted sum (3) with its reverse.

Letters: i of I input capsules x_i of dimension P, j of J output capsules of dimension D, a batch
of B examples, predictions z_{j|i} = W_ij x_i, coefficients c_ij.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from capsnp.backend import Array
from capsnp.functional._checks import (
    expect_count,
    expect_ndim,
    expect_option,
    expect_shape,
    floating,
)
from capsnp.functional._coupling import (
    batch_last,
    coupling,
    expect_coefficients,
    expect_layer,
    expect_weights,
    weight_matrix,
)
from capsnp.functional.activations import softmax
from capsnp.functional.squash import length, squash

Agreement = Literal["cosine", "dot"]
Normalize = Literal["inputs", "outputs"]

_BLOCK_NUMBERS = 2**20
"""Predictions held at once unless `block_size` says otherwise: 4 MB in float32."""

_MIN_EXAMPLES = {"inputs": 64, "outputs": 16}
"""Examples per block are not cut below this: shorter rows cost more than a cache miss."""


class Routing(NamedTuple):
    """What `route` finds.

    Attributes
    ----------
    c : array, shape (B, I, J)
        Routing coefficients, not negative, summing to 1 over I or over J.
    z : array, shape (B, J, D)
        Pre-activations (3) with these coefficients.
    """

    c: Array
    z: Array


def predictions(x: Array, W: Array) -> Array:
    r"""Prediction of each output capsule by each input capsule (section 2.2).

    .. math:: z_{j|i} = W_{ij} x_i

    Parameters
    ----------
    x : array, shape (B, I, P)
        Input capsules.
    W : array, shape (I, J, D, P)
        Prediction maps.

    Returns
    -------
    array, shape (B, I, J, D)
        In the dtype of the arguments.

    Raises
    ------
    ShapeError, DtypeError, MixedBackendError
        If the arguments do not fit each other.

    References
    ----------
    Hauser (2019), arXiv:1907.11643, section 2.2.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.asarray([[[1.0, 2.0]]])  # B, I, P = 1, 1, 2
    >>> W = np.asarray([[[[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]]])  # I, J, D, P = 1, 1, 3, 2
    >>> predictions(x, W)
    array([[[[2., 1., 3.]]]])
    """
    xp = expect_layer(x, W)
    B = x.shape[0]
    I, J, D, P = W.shape
    flat_IBO = xp.permute_dims(x, (1, 0, 2)) @ xp.reshape(W, (I, J * D, P)).mT
    return xp.permute_dims(xp.reshape(flat_IBO, (I, B, J, D)), (1, 0, 2, 3))


def route(
    x: Array,
    W: Array,
    *,
    iterations: int = 3,
    agreement: Agreement = "cosine",
    normalize: Normalize = "inputs",
    block_size: int | None = None,
) -> Routing:
    r"""Routing by agreement (section 2.2).

    Logits start at 0 and the coefficients are their softmax. Between two weightings each
    prediction's agreement with the weighted sum is added to its logit:

    .. math::
        c_{ij} = \mathrm{softmax}(b)_{ij}, \qquad
        z_j = \sum_i c_{ij} z_{j|i}, \qquad
        b_{ij} \leftarrow b_{ij} + a(z_{j|i}, z_j)

    Parameters
    ----------
    x : array, shape (B, I, P)
        Input capsules.
    W : array, shape (I, J, D, P)
        Prediction maps.
    iterations : int
        Weightings, from 1. With 1 the coefficients are uniform and no prediction is formed.
    agreement : {"cosine", "dot"}
        "cosine": a(u, z) = u·z / (‖u‖ ‖z‖), and 0 if either is the zero vector (the paper).
        "dot": a(u, z) = u·squash(z) (Sabour et al. 2017).
    normalize : {"inputs", "outputs"}
        The softmax runs over inputs, Σ_i c_ij = 1 (the paper's formula), or over outputs,
        Σ_j c_ij = 1 (the paper's words, and Sabour et al. 2017).
    block_size : int, optional
        Output capsules that are routed at a time ("inputs"), or examples ("outputs"); the
        predictions of one block are what is held in memory. By default blocks are small. The
        results do not depend on it beyond rounding.

    Returns
    -------
    Routing
        ``c`` (B, I, J) and ``z`` (B, J, D), in the dtype of the arguments; ``z`` is weighed by
        this ``c``.

    Raises
    ------
    OptionError
        If `iterations` or `block_size` is below 1, or an option is unknown.
    ShapeError, DtypeError, MixedBackendError
        If the arrays do not fit each other.

    Notes
    -----
    With ``normalize="inputs"`` an output capsule's routing never looks at another's, so
    ``route(x, W[:, j:j+1])`` is that capsule's part of the whole; examples never look at each
    other. No agreement is formed from stored predictions: u·z = x_i·(W_ijᵀ z_j), one matrix
    product per capsule; predictions are formed once, for the lengths in the cosine.

    References
    ----------
    Hauser (2019), arXiv:1907.11643, section 2.2.
    Sabour, Frosst and Hinton (2017), Dynamic routing between capsules, procedure 1.

    Examples
    --------
    Two of three inputs predict the same; their weights grow:

    >>> import numpy as np
    >>> x = np.asarray([[[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]]])
    >>> W = np.broadcast_to(np.eye(2), (3, 1, 2, 2))
    >>> c, z = route(x, W, iterations=2)
    >>> c[0, :, 0].round(3)
    array([0.468, 0.468, 0.063])
    >>> z.round(3)
    array([[[0.873, 0.   ]]])
    """
    xp = expect_layer(x, W)
    expect_count("iterations", iterations)
    expect_option("agreement", agreement, ("cosine", "dot"))
    expect_option("normalize", normalize, ("inputs", "outputs"))
    if block_size is not None:
        expect_count("block_size", block_size)
    if iterations == 1:
        return _uniform(xp, x, W, normalize)
    n_outputs, n_examples = _block_shape(x, W, normalize, block_size)
    x_IPB = batch_last(xp, x)
    W_JIDP = xp.permute_dims(W, (1, 0, 2, 3))
    c_parts, z_parts = [], []
    for rows in _slices(x.shape[0], n_examples):
        parts = [
            _route_block(
                xp, x_IPB[:, :, rows], W_JIDP[outputs, ...], iterations, agreement, normalize
            )
            for outputs in _slices(W.shape[1], n_outputs)
        ]
        c_parts.append(_join(xp, [c for c, _ in parts], axis=0))
        z_parts.append(_join(xp, [z for _, z in parts], axis=0))
    c_JIB, z_JDB = _join(xp, c_parts, axis=2), _join(xp, z_parts, axis=2)
    return Routing(xp.permute_dims(c_JIB, (2, 1, 0)), xp.permute_dims(z_JDB, (2, 0, 1)))


def forward(x: Array, W: Array, c: Array) -> Array:
    r"""Weighted sum of predictions (eq. 3).

    .. math:: z_j = \sum_i c_{ij} W_{ij} x_i

    Parameters
    ----------
    x : array, shape (B, I, P)
        Input capsules.
    W : array, shape (I, J, D, P)
        Prediction maps.
    c : array, shape (B, I, J) or (I, J)
        Coefficients of each example, or of all; they need not sum to 1. Shared ones make this
        one matrix product.

    Returns
    -------
    array, shape (B, J, D)
        In the dtype of the arguments.

    Raises
    ------
    ShapeError, DtypeError, MixedBackendError
        If the arguments do not fit each other.

    References
    ----------
    Hauser (2019), arXiv:1907.11643, eq. 3.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.asarray([[[1.0, 0.0], [0.0, 1.0]]])
    >>> W = np.broadcast_to(np.eye(2), (2, 1, 2, 2))
    >>> forward(x, W, np.asarray([[0.25], [0.75]]))
    array([[[0.25, 0.75]]])
    """
    xp = expect_layer(x, W, c)
    return coupling(xp, W, c).forward(x)


def reverse(x_out: Array, W: Array, c: Array) -> Array:
    r"""The reverse pass of Algorithm 1, adjoint to `forward`.

    .. math:: \tilde z_i = \sum_j c_{ij} W_{ij}^\top x_j

    Parameters
    ----------
    x_out : array, shape (B, J, D)
        Output capsules.
    W : array, shape (I, J, D, P)
        Prediction maps.
    c : array, shape (B, I, J) or (I, J)
        Coefficients of each example, or of all.

    Returns
    -------
    array, shape (B, I, P)
        Before squash, in the dtype of the arguments.

    Raises
    ------
    ShapeError, DtypeError, MixedBackendError
        If the arguments do not fit each other.

    References
    ----------
    Hauser (2019), arXiv:1907.11643, Algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> W = np.broadcast_to(np.eye(2), (2, 1, 2, 2))
    >>> reverse(np.asarray([[[1.0, 2.0]]]), W, np.asarray([[0.25], [0.75]]))
    array([[[0.25, 0.5 ],
            [0.75, 1.5 ]]])
    """
    xp = floating(x_out=x_out, W=W, c=c)
    expect_ndim("x_out", x_out, 3, "(B, J, D)")
    expect_weights(W)
    expect_shape(
        "x_out",
        x_out,
        (None, W.shape[1], W.shape[2]),
        axes="(B, J, D)",
        because=f"to match W {tuple(W.shape)}",
    )
    expect_coefficients(c, W, x_out.shape[0])
    return coupling(xp, W, c).reverse(x_out)


def _uniform(xp: Any, x: Array, W: Array, normalize: Normalize) -> Routing:
    """The first weighting: all coefficients equal, one matrix product."""
    B = x.shape[0]
    I, J, D, P = W.shape
    share = 1.0 / (I if normalize == "inputs" else J)
    c = xp.full((B, I, J), share, dtype=x.dtype, device=x.device)
    z = share * (xp.reshape(x, (B, I * P)) @ weight_matrix(xp, W).mT)
    return Routing(c, xp.reshape(z, (B, J, D)))


def _route_block(
    xp: Any,
    x_IPB: Array,
    W_JIDP: Array,
    iterations: int,
    agreement: Agreement,
    normalize: Normalize,
) -> tuple[Array, Array]:
    """Coefficients (J, I, B) and sums (J, D, B) of some output capsules and examples."""
    I, P, B = x_IPB.shape
    J = W_JIDP.shape[0]
    matrix = _rows(xp, W_JIDP)
    share = 1.0 / (I if normalize == "inputs" else J)
    c = xp.full((J, I, B), share, dtype=x_IPB.dtype, device=x_IPB.device)
    z = share * (matrix @ xp.reshape(x_IPB, (I * P, B)))
    logits = xp.zeros_like(c)
    agree = _cosine(xp, x_IPB, W_JIDP) if agreement == "cosine" else _dot(xp, x_IPB, matrix)
    for _ in range(iterations - 1):
        logits = logits + agree(z)
        c = softmax(logits, axis=1 if normalize == "inputs" else 0)
        z = matrix @ xp.reshape(c[:, :, None, :] * x_IPB, (J, I * P, B))
    return c, z


def _rows(xp: Any, W_JIDP: Array) -> Array:
    """The weights of each output capsule as a matrix: (J, D, I·P)."""
    J, I, D, P = W_JIDP.shape
    return xp.reshape(xp.permute_dims(W_JIDP, (0, 2, 1, 3)), (J, D, I * P))


def _inner(xp: Any, x_IPB: Array, matrix: Array, target: Array) -> Array:
    """Predictions' inner products with a target (J, D, B), as x_i·(W_ijᵀ target_j): (J, I, B)."""
    pulled = xp.reshape(xp.matrix_transpose(matrix) @ target, (-1, *x_IPB.shape))
    return xp.sum(pulled * x_IPB, axis=2)


def _dot(xp: Any, x_IPB: Array, matrix: Array) -> Callable[[Array], Array]:
    """Agreement z (J, D, B) -> z_{j|i}·squash(z_j)."""
    return lambda z: _inner(xp, x_IPB, matrix, squash(z, axis=1))


def _cosine(xp: Any, x_IPB: Array, W_JIDP: Array) -> Callable[[Array], Array]:
    """Agreement z (J, D, B) -> cosine of z_{j|i} and z_j, 0 if either is zero.

    A cosine does not change when x_i or W_ij is multiplied, so each is brought to a size where
    the squares of predictions neither overflow nor underflow.
    """
    x = _sized(xp, x_IPB, axis=1, size=1.0)
    # The largest square is below D·P²·size². A size far above 1 leaves the room below to
    # predictions that are short because their terms cancel.
    size = 2.0 ** (50 if x.dtype == xp.float32 else 480)
    W = _sized(xp, W_JIDP, axis=(2, 3), size=size)
    matrix = _rows(xp, W)
    predicted = W @ x
    lengths = xp.sqrt(xp.vecdot(predicted, predicted, axis=2))
    inverse = xp.where(lengths > 0, 1.0 / _or_one(xp, lengths), xp.zeros_like(lengths))

    def agree(z: Array) -> Array:
        direction = z / _or_one(xp, length(z, axis=1)[:, None, :])
        return xp.clip(_inner(xp, x, matrix, direction) * inverse, min=-1.0, max=1.0)

    return agree


def _sized(xp: Any, array: Array, *, axis: int | tuple[int, ...], size: float) -> Array:
    """The array with its largest number along some axes brought to a size; zeros stay."""
    largest = xp.max(xp.abs(array), axis=axis, keepdims=True)
    return array / _or_one(xp, largest) * size


def _or_one(xp: Any, divisor: Array) -> Array:
    return xp.where(divisor > 0, divisor, xp.ones_like(divisor))


def _block_shape(
    x: Array, W: Array, normalize: Normalize, block_size: int | None
) -> tuple[int, int]:
    """Output capsules and examples per block."""
    B = x.shape[0]
    I, J, D, _ = W.shape
    if normalize == "inputs":
        if block_size is not None:
            return block_size, max(B, 1)
        outputs = max(1, min(J, _BLOCK_NUMBERS // max(B * I * D, 1)))
    else:
        outputs = J
        if block_size is not None:
            return outputs, block_size
    return outputs, max(_MIN_EXAMPLES[normalize], _BLOCK_NUMBERS // (outputs * I * D))


def _slices(n: int, size: int) -> list[slice]:
    """[0, n) in slices of at most `size`; one empty slice if n is 0."""
    return [slice(start, min(start + size, n)) for start in range(0, max(n, 1), size)]


def _join(xp: Any, parts: list[Array], axis: int) -> Array:
    return parts[0] if len(parts) == 1 else xp.concat(parts, axis=axis)
