"""The way back through routing, without holding the predictions' gradient.

Letters as in `_agreement`. The gradient with respect to a prediction is a sum of few terms, each a
coefficient of the pair (i, j) times a vector of j: (j, I, B) and (j, D, B). It is formed for a
block of inputs at a time, (i, J, D, B), and goes into two matrix products.
"""

import itertools
from typing import Any, NamedTuple

from array_api_compat import device, is_numpy_namespace

from capsnp.backend import Array
from capsnp.functional._agreement import compared_size, size_factor
from capsnp.functional._coupling import HOST_THREADS, in_order, join, planes, total
from capsnp.functional._plain_routing import Gradient
from capsnp.functional._polar import or_one, sum_of_products
from capsnp.functional._weightings import Trace, cut, each, joined

_HOST_NUMBERS = 2**18
"""Numbers of the predictions' gradient that are formed at a time on a host."""

_DEVICE_NUMBERS = 2**26
"""The same on a device."""

_PARTS = 16
"""Of the inputs, for as many threads."""


class Terms(NamedTuple):
    """Terms of the predictions' gradient.

    Attributes
    ----------
    c : list of lists of array
        Coefficients (j, I, B) of each term, in parts.
    vectors : list of array
        (J, D, B).
    """

    c: list[list[Array]]
    vectors: list[Array]

    def add(self, xp: Any, c: list[Array], vectors: list[Array]) -> None:
        """One term more, in parts."""
        self.c.append(c)
        self.vectors.append(joined(xp, vectors, axis=0))


class Back(NamedTuple):
    """Terms of weighed predictions, and of those that are compared."""

    weighed: Terms
    compared: Terms


def terms_of(xp: Any, trace: Trace, dz: list[Array], normalize: str, gradient: Gradient) -> Back:
    """Terms, in parts, of one trace for the cotangent dz of its last sums, in parts (j, D, B)."""
    votes, back = trace.votes, Back(Terms([], []), Terms([], []))
    dlogits: list[Any] = [0.0] * len(votes)
    for c, z in zip(trace.c[::-1], trace.z[-2::-1], strict=True):
        back.weighed.add(xp, c, dz)
        if gradient == "frozen":
            return back
        dc = each(xp, lambda part, dz: part.inner(dz), votes, dz)
        dlogits = _add_softmax_gradient(xp, dlogits, c, dc, normalize)
        back.compared.add(xp, dlogits, each(xp, lambda part, z: part.target(z), votes, z))
        if gradient == "last":
            return back
        dz = each(xp, lambda part, db, z: part.pull(db, z), votes, dlogits, z)
    n = votes[0].n_inputs if normalize == "inputs" else sum(part.n_outputs for part in votes)
    back.weighed.add(xp, [_equal(xp, part, 1.0 / n) for part in c], dz)
    return back


def merged(xp: Any, backs: list[Back]) -> Back:
    """Terms of all output capsules from those of some."""

    def whole(terms: tuple[Terms, ...]) -> Terms:
        c = [list(itertools.chain(*same)) for same in zip(*(some.c for some in terms), strict=True)]
        vectors = zip(*(some.vectors for some in terms), strict=True)
        return Terms(c, [joined(xp, same, axis=0) for same in vectors])

    return Back(*(whole(terms) for terms in zip(*backs, strict=True)))


def _equal(xp: Any, like: Array, number: float) -> Array:
    """An array of one number, which is held once where the library can."""
    one = xp.full((1, 1, 1), number, dtype=like.dtype, device=device(like))
    return xp.broadcast_to(one, like.shape)


def _add_softmax_gradient(
    xp: Any, dlogits: list[Any], c: list[Array], dc: list[Array], normalize: str
) -> list[Array]:
    if normalize == "inputs":
        means = each(xp, lambda c, dc: sum_of_products(xp, c, dc, 1)[:, None, :], c, dc)
    else:
        parts = each(xp, lambda c, dc: sum_of_products(xp, c, dc, 0)[None, ...], c, dc)
        means = [total(parts)] * len(c)
    return each(xp, lambda db, c, dc, mean: db + c * (dc - mean), dlogits, c, dc, means)


class Products:
    """Gradients with respect to x and W from terms.

    Parameters
    ----------
    xp : module
        Namespace of the arrays.
    x : array, shape (B, I, P)
    W : array, shape (I, J, D, P)
    cosine : bool
        What is compared are directions of predictions; else they are the predictions.
    scaled : bool
        Directions are found from sized capsules, as `Votes` finds them.
    """

    def __init__(self, xp: Any, x: Array, W: Array, *, cosine: bool, scaled: bool) -> None:
        self._xp, self._cosine = xp, cosine
        self._x = planes(xp, x)
        self._W = W
        self._scaled = cosine and scaled
        if self._scaled:
            self._x_factor = xp.permute_dims(size_factor(xp, self._x, axis=0), (1, 0, 2))
            self._W_factor = xp.reshape(size_factor(xp, W, axis=(2, 3)), (*W.shape[:2], 1, 1))

    def of(self, back: Back) -> tuple[Array, Array]:
        """(B, I, P) and (I, J, D, P)."""
        xp = self._xp
        I, J, D, _ = self._W.shape
        plane = J * D * self._x.shape[2]
        on_host = is_numpy_namespace(xp)
        size = max(1, (_HOST_NUMBERS if on_host else _DEVICE_NUMBERS) // plane)
        many = on_host and I * plane >= HOST_THREADS
        parts = cut(I, -(-I // _PARTS) if many else I)
        dx, dW = zip(*each(xp, lambda s: self._of_inputs(back, s, size), parts), strict=True)
        dW_IOP = join(xp, dW)
        return xp.permute_dims(join(xp, dx), (2, 0, 1)), xp.reshape(dW_IOP, self._W.shape)

    def _of_inputs(self, back: Back, s: slice, size: int) -> tuple[Array, Array]:
        """(i, P, B) and (i, J·D, P) of some inputs, a few at a time."""
        xp = self._xp
        workspace = None
        if is_numpy_namespace(xp):  # a new array of this size costs as much as what goes into it
            J, D, B = back.weighed.vectors[0].shape
            workspace = xp.empty((min(size, s.stop - s.start), J, D, B), dtype=self._W.dtype)
        found = []
        for part in cut(s.stop - s.start, size):
            at = slice(s.start + part.start, s.start + part.stop)
            found.append(self._of_block(back, at, workspace))
        dx, dW = (joined(xp, parts, axis=0) for parts in zip(*found, strict=True))
        return dx, dW

    def _of_block(self, back: Back, s: slice, workspace: Array | None) -> tuple[Array, Array]:
        xp = self._xp
        _, J, D, P = self._W.shape
        x = xp.permute_dims(self._x[:, s, :], (1, 0, 2))
        W = xp.reshape(self._W[s, ...], (-1, J * D, P))
        if not self._cosine:
            both = Terms(*(a + b for a, b in zip(back.weighed, back.compared, strict=True)))
            return _products(xp, x, W, _mixed(xp, both, s, workspace))
        du = _mixed(xp, back.weighed, s, workspace)
        if not back.compared.c:
            return _products(xp, x, W, du)
        if not self._scaled:
            return _products(xp, x, W, du + _turned(xp, x, W, _mixed(xp, back.compared, s)))
        dx, dW = _products(xp, x, W, du)
        x_factor, W_factor = self._x_factor[s, ...], self._W_factor[s, ...]
        W_factor = xp.reshape(xp.broadcast_to(W_factor, (x.shape[0], J, D, 1)), (-1, J * D, 1))
        x, W = x * x_factor, W * W_factor
        pull = _mixed(xp, back.compared, s)
        dx_turned, dW_turned = _products(
            xp, x, W, _turned(xp, x, W, pull, size=compared_size(xp, x))
        )
        return dx + dx_turned * x_factor, dW + dW_turned * W_factor


def _mixed(xp: Any, terms: Terms, s: slice, workspace: Array | None = None) -> Array:
    """Sum (i, J, D, B) of some inputs' terms."""
    c = [xp.concat([part[:, s, :] for part in parts], axis=0) for parts in terms.c]
    if is_numpy_namespace(xp):  # in one pass, where a sum of products takes two for each term
        out = None if workspace is None else workspace[: s.stop - s.start, ...]
        return xp.einsum("kjib,kjdb->ijdb", xp.stack(c), xp.stack(terms.vectors), out=out)
    return total(
        xp.permute_dims(weights, (1, 0, 2))[:, :, None, :] * vectors[None, ...]
        for weights, vectors in zip(c, terms.vectors, strict=True)
    )


def _turned(xp: Any, x: Array, W: Array, pull: Array, *, size: float = 1.0) -> Array:
    """Gradient with respect to predictions W x for a pull (i, J, D, B) on their directions.

    Their squares are taken of predictions multiplied by `size`.
    """
    u = xp.reshape((size * W) @ x, pull.shape)
    square = sum_of_products(xp, u, u, 2)[:, :, None, :]
    inverse = xp.where(square > 0, 1.0 / xp.sqrt(or_one(xp, square)), xp.zeros_like(square))
    direction = u * inverse
    along = sum_of_products(xp, direction, pull, 2)[:, :, None, :]
    return (pull - direction * along) * (size * inverse)


def _products(xp: Any, x: Array, W: Array, du: Array) -> tuple[Array, Array]:
    """Gradients of x (i, P, B) and W (i, J·D, P) from that of predictions (i, J, D, B)."""
    flat = xp.reshape(du, (W.shape[0], W.shape[1], x.shape[2]))
    return W.mT @ flat, flat @ in_order(xp, x.mT)
