"""Routing by agreement, and the weighted sum (3) with its reverse.

Letters: i of I input capsules x_i of dimension P, j of J output capsules of dimension D, a batch
of B examples, predictions z_{j|i} = W_ij x_i, coefficients c_ij.
"""

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple

from array_api_compat import device, is_numpy_namespace

from capsnp.backend import Array
from capsnp.blocks import map_blocks
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
    examples_at_a_time,
    expect_coefficients,
    expect_layer,
    expect_weights,
    join,
    outputs_at_a_time,
    planes,
    planes_at_a_time,
)
from capsnp.functional._plain_routing import Rule, inner_scale, rule_of, weightings
from capsnp.functional.activations import softmax

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
    expect_rule(iterations, agreement, normalize, logits)
    if block_size is not None:
        expect_count("block_size", block_size)
    if iterations == 1 or x.shape[0] == 0:
        return _uniform(xp, x, W, normalize)
    if logits == "batch":
        return _together(
            xp, x, W, iterations, rule_of(xp, agreement, normalize, logits, W.shape[2])
        )
    scale = inner_scale(agreement, W.shape[2])
    groups, examples = _blocks(xp, x, W, normalize, block_size)
    c_parts, z_parts = [], []
    for rows in examples:
        x_PIB = planes(xp, x[rows, ...])

        def routed(group: list[slice], x_PIB: Array = x_PIB) -> tuple[Array, Array]:
            def votes(s: slice) -> Votes:
                K = columns(xp, W[:, s, ...])
                return Votes(xp, K, x_PIB, cosine=agreement == "cosine", scale=scale)

            return _route_together(xp, _each(xp, votes, group), iterations, normalize)

        c_some, z_some = zip(*_each(xp, routed, groups), strict=True)
        c_parts.append(join(xp, c_some))
        z_parts.append(join(xp, z_some))
    c_JIB, z_JDB = _join(xp, c_parts, axis=2), _join(xp, z_parts, axis=2)
    return Routing(xp.permute_dims(c_JIB, (2, 1, 0)), xp.permute_dims(z_JDB, (2, 0, 1)))


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


def expect_rule(iterations: int, agreement: str, normalize: str, logits: str) -> None:
    """Raise `OptionError` unless these are options of `route`."""
    expect_count("iterations", iterations)
    expect_option("agreement", agreement, ("cosine", "dot", "scaled"))
    expect_option("normalize", normalize, ("inputs", "outputs"))
    expect_option("logits", logits, ("example", "batch"))


def _together(xp: Any, x: Array, W: Array, iterations: int, rule: Rule) -> Routing:
    """With logits of the batch."""
    c, z = weightings(xp, predictions(x, W), iterations, rule)[-1]
    return Routing(xp.broadcast_to(c, (x.shape[0], *W.shape[:2])), z)


def _uniform(xp: Any, x: Array, W: Array, normalize: Normalize) -> Routing:
    """The first weighting: all coefficients equal."""
    B = x.shape[0]
    I, J, _, _ = W.shape
    share = 1.0 / (I if normalize == "inputs" else J)
    c = xp.full((B, I, J), share, dtype=x.dtype, device=device(x))
    x_PIB = planes(xp, x)
    many = is_numpy_namespace(xp) and J * I * B >= HOST_THREADS
    parts = _slices(J, -(-J // _PARTS) if many else J)
    z = _each(
        xp,
        lambda s: Votes(xp, columns(xp, W[:, s, ...]), x_PIB, cosine=False).mean(share),
        parts,
    )
    return Routing(c, xp.permute_dims(join(xp, z), (2, 0, 1)))


def _route_together(
    xp: Any, votes: list[Votes], iterations: int, normalize: Normalize
) -> tuple[Array, Array]:
    """Coefficients (J, I, B) and sums (J, D, B) of output capsules that are routed together."""
    n_inputs, n_outputs = votes[0].n_inputs, sum(part.n_outputs for part in votes)
    share = 1.0 / (n_inputs if normalize == "inputs" else n_outputs)
    z = _each(xp, lambda part: part.mean(share), votes)
    logits: list[Array] = [0.0] * len(votes)
    for _ in range(iterations - 1):
        logits = _each(xp, lambda b, part, z: b + part.agree(z), logits, votes, z)
        if normalize == "inputs":
            c = _each(xp, lambda b: softmax(b, axis=1), logits)
        else:
            c = _softmax_over_outputs(xp, logits)
        z = _each(xp, lambda part, c: part.weigh(c), votes, c)
    return join(xp, c), join(xp, z)


def _softmax_over_outputs(xp: Any, logits: list[Array]) -> list[Array]:
    """Coefficients (j, I, B) from logits in parts (j, I, B) of all J, some inputs at a time."""
    J = sum(b.shape[0] for b in logits)
    _, I, B = logits[0].shape
    inputs = _slices(I, planes_at_a_time(xp, I, J * B))

    def softmax_of(s: slice) -> Array:
        return softmax(_join(xp, [b[:, s, :] for b in logits], axis=0), axis=0)

    found = _each(xp, softmax_of, inputs)
    starts = itertools.accumulate((b.shape[0] for b in logits), initial=0)
    outputs = itertools.starmap(slice, itertools.pairwise(starts))
    return _each(xp, lambda s: _join(xp, [c[s, ...] for c in found], axis=1), outputs)


def _blocks(
    xp: Any, x: Array, W: Array, normalize: Normalize, block_size: int | None
) -> tuple[list[list[slice]], list[slice]]:
    """Output capsules that are routed together, each group in parts, and blocks of examples."""
    B = x.shape[0]
    I, J, D, P = W.shape
    rows = min(B, examples_at_a_time(xp, I, max(D, P)))
    part = outputs_at_a_time(xp, rows * I, max(D, P))
    if normalize == "inputs":
        return [[s] for s in _slices(J, block_size or part)], _slices(B, B if block_size else rows)
    return [_slices(J, part)], _slices(B, block_size or rows)


def _each(xp: Any, function: Callable[..., Any], *arguments: Iterable[Any]) -> list[Any]:
    """The function of each, on a host's threads."""
    blocks = zip(*arguments, strict=True)
    return map_blocks(lambda block: function(*block), blocks, parallel=is_numpy_namespace(xp))


def _slices(n: int, size: int) -> list[slice]:
    """[0, n) in slices of at most `size`; one empty slice if n is 0."""
    return [slice(start, min(start + size, n)) for start in range(0, max(n, 1), size)]


def _join(xp: Any, parts: Sequence[Array], axis: int) -> Array:
    return parts[0] if len(parts) == 1 else xp.concat(parts, axis=axis)
