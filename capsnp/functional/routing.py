"""Routing by agreement, and the weighted sum (3) with its reverse.

Letters: i of I input capsules x_i of dimension P, j of J output capsules of dimension D, a batch
of B examples, predictions z_{j|i} = W_ij x_i, coefficients c_ij.
"""

from typing import Any, Literal, NamedTuple

from array_api_compat import device, is_numpy_namespace

from capsnp.backend import Array
from capsnp.functional._agreement import Votes
from capsnp.functional._checks import (
    expect_count,
    expect_ndim,
    expect_option,
    expect_shape,
    floating,
)
from capsnp.functional._coupling import (
    HOST_THREADS,
    columns,
    coupling,
    expect_coefficients,
    expect_layer,
    expect_weights,
    join,
    planes,
)
from capsnp.functional._plain_routing import Options, rule_of, weightings
from capsnp.functional._weightings import Block, cut, each, joined, weigh_in_blocks
from capsnp.functional.squashes import SQUASHES, Squash

Agreement = Literal["cosine", "dot", "scaled"]
Normalize = Literal["inputs", "outputs"]
Logits = Literal["example", "batch"]

_PARTS = 16
"""Of the output capsules, for as many threads, when coefficients are equal."""


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


class RoutingRecord:
    """What `route_with_record` went through, for `route_vjp`; nothing to look into.

    Parameters
    ----------
    options : Options
        Of `route`.
    blocks : tuple of Block
        Empty where the way back needs nothing, or routes again.
    """

    def __init__(self, options: Options, blocks: tuple[Block, ...]) -> None:
        self.options = options
        self.blocks = blocks


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
    Derivation: :doc:`/derivations/routing`.

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
    logits: Logits = "example",
    squash: str | Squash = "sabour",
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
    agreement : {"cosine", "dot", "scaled"}
        "cosine": a(u, z) = u·z / (‖u‖ ‖z‖), and 0 if either is the zero vector (the paper).
        "dot": a(u, z) = u·squash(z) (Sabour et al. 2017).
        "scaled": a(u, z) = u·squash(z) / √D.
    normalize : {"inputs", "outputs"}
        The softmax runs over inputs, Σ_i c_ij = 1 (the paper's formula), or over outputs,
        Σ_j c_ij = 1 (the paper's words, and Sabour et al. 2017).
    logits : {"example", "batch"}
        Each example has logits of its own, or all share one table (I, J) to which the mean of
        their agreements is added: a slip of several public programs, with which an example's
        result depends on its neighbours. Predictions are then held whole.
    squash : str or Squash
        In agreements that squash z: a name from `capsnp.functional.squashes.SQUASHES`, or a law.
    block_size : int, optional
        Output capsules that are routed at a time ("inputs"), or examples ("outputs"); the
        predictions of one block are what is held in memory. By default blocks are small. The
        results do not depend on it beyond rounding. Logits of the batch ignore it.

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
    Derivation: :doc:`/derivations/routing`.

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
    options = expect_rule(iterations, agreement, normalize, logits, squash)
    if block_size is not None:
        expect_count("block_size", block_size)
    if iterations == 1 or x.shape[0] == 0:
        return _uniform(xp, x, W, normalize)
    if logits == "batch":
        return _together(xp, x, W, options)
    return _last(xp, weigh_in_blocks(xp, x, W, options, block_size, keep=False))


def route_with_record(
    x: Array,
    W: Array,
    *,
    iterations: int = 3,
    agreement: Agreement = "cosine",
    normalize: Normalize = "inputs",
    logits: Logits = "example",
    squash: str | Squash = "sabour",
) -> tuple[Routing, RoutingRecord]:
    """`route`, and a record with which `route_vjp` need not route again.

    Parameters
    ----------
    x, W, iterations, agreement, normalize, logits, squash
        Of `route`.

    Returns
    -------
    Routing
    RoutingRecord
        Holds the inputs and weights once more, the sums and the coefficients (B, I, J) of every
        weighting.

    Raises
    ------
    OptionError, ShapeError, DtypeError, MixedBackendError
        As `route`.

    Notes
    -----
    Derivation: :doc:`/derivations/routing_gradient`.

    Examples
    --------
    >>> import numpy as np
    >>> from capsnp.functional import route_vjp
    >>> x, W = np.ones((1, 2, 1)), np.ones((2, 3, 4, 1))
    >>> routing, record = route_with_record(x, W)
    >>> gradient = route_vjp(x, W, 2.0 * routing.z, record=record)
    """
    xp = expect_layer(x, W)
    options = expect_rule(iterations, agreement, normalize, logits, squash)
    if iterations == 1 or x.shape[0] == 0:
        return _uniform(xp, x, W, normalize), RoutingRecord(options, ())
    if logits == "batch":
        return _together(xp, x, W, options), RoutingRecord(options, ())
    blocks = weigh_in_blocks(xp, x, W, options, keep=True)
    return _last(xp, blocks), RoutingRecord(options, tuple(blocks))


def forward(x: Array, W: Array, c: Array) -> Array:
    r"""Weighted sum of predictions (3).

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
    Derivation: :doc:`/derivations/routing`.

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
    Derivation: :doc:`/derivations/routing`.

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


def expect_rule(
    iterations: int, agreement: str, normalize: str, logits: str, squash: str | Squash
) -> Options:
    """The options of `route`; raises `OptionError` if they are none."""
    expect_count("iterations", iterations)
    expect_option("agreement", agreement, ("cosine", "dot", "scaled"))
    expect_option("normalize", normalize, ("inputs", "outputs"))
    expect_option("logits", logits, ("example", "batch"))
    if not isinstance(squash, Squash):
        expect_option("squash", squash, SQUASHES)
        squash = SQUASHES[squash]
    return Options(iterations, agreement, normalize, logits, squash)


def _last(xp: Any, blocks: list[Block]) -> Routing:
    """Of the last weighting."""
    c_parts, z_parts = (
        [
            join(xp, [part for trace in block.traces for part in getattr(trace, letter)[-1]])
            for block in blocks
        ]
        for letter in "cz"
    )
    c_JIB, z_JDB = joined(xp, c_parts, axis=2), joined(xp, z_parts, axis=2)
    return Routing(xp.permute_dims(c_JIB, (2, 1, 0)), xp.permute_dims(z_JDB, (2, 0, 1)))


def _together(xp: Any, x: Array, W: Array, options: Options) -> Routing:
    """With logits of the batch."""
    rule = rule_of(xp, options, W.shape[2])
    c, z = weightings(xp, predictions(x, W), options.iterations, rule)[-1]
    return Routing(xp.broadcast_to(c, (x.shape[0], *W.shape[:2])), z)


def _uniform(xp: Any, x: Array, W: Array, normalize: Normalize) -> Routing:
    """The first weighting: all coefficients equal."""
    B = x.shape[0]
    I, J, _, _ = W.shape
    share = 1.0 / (I if normalize == "inputs" else J)
    c = xp.full((B, I, J), share, dtype=x.dtype, device=device(x))
    x_PIB = planes(xp, x)
    many = is_numpy_namespace(xp) and J * I * B >= HOST_THREADS
    parts = cut(J, -(-J // _PARTS) if many else J)
    z = each(
        xp,
        lambda s: Votes(xp, columns(xp, W[:, s, ...]), x_PIB, cosine=False).mean(share),
        parts,
    )
    return Routing(c, xp.permute_dims(join(xp, z), (2, 0, 1)))
