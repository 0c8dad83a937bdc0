"""The norm as public programs have it: z over the root of its squares' sum, 0/0 at zero.

A slip on purpose, for ``CapsNet(norm="naive")``: a capsule of zeros makes every weight NaN. Use
`capsnp.functional.squash` for anything else.
"""

import numpy as np

from capsnp.backend import Array, namespace


def naive_squash(z: Array) -> Array:
    """n²/(1 + n²) · z/n along the last axis: NaN for zero."""
    squares, n = _norm(z)
    with np.errstate(divide="ignore", invalid="ignore"):
        return squares / (1.0 + squares) * (z / n)


def naive_squash_vjp(z: Array, g: Array) -> Array:
    """Gradient with respect to z of ⟨g, naive_squash(z)⟩: NaN for zero."""
    squares, n = _norm(z)
    xp = namespace(z=z, g=g)
    with np.errstate(divide="ignore", invalid="ignore"):
        along = xp.sum(z * g, axis=-1, keepdims=True) / squares * z
    return (g - along + along * (2.0 / (1.0 + squares))) * (n / (1.0 + squares))


def naive_length(z: Array) -> Array:
    """The root of the sum of squares along the last axis."""
    return _norm(z)[1][..., 0]


def naive_length_vjp(z: Array, g: Array) -> Array:
    """Gradient with respect to z of Σ g n: NaN for zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return z / _norm(z)[1] * g[..., None]


def _norm(z: Array) -> tuple[Array, Array]:
    """Squared and plain, the axis kept."""
    xp = namespace(z=z)
    squares = xp.sum(z * z, axis=-1, keepdims=True)
    return squares, xp.sqrt(squares)
