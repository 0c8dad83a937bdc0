"""The most probable k-hot hidden state: which capsules stay on.

Beyond the paper: hidden states are restricted to those with k capsules on, and a bias per capsule
is added to energy (7). The most probable such state has the k largest scores.
"""

from capsnp.backend import Array, namespace
from capsnp.errors import OptionError


def winners(score: Array, k: int | Array, /) -> Array:
    """Mask of the k capsules with the largest score.

    Parameters
    ----------
    score : array, shape (..., J)
        Larger is likelier to be on; ties go to the lower index.
    k : int or integer array, shape (..., 1)
        How many stay on, from 0 to J; an array says it per example.

    Returns
    -------
    array, shape (..., J)
        0 or 1, in the score's dtype.

    Raises
    ------
    OptionError
        If an integer k is not within 0 to J.

    Examples
    --------
    >>> import numpy as np
    >>> winners(np.asarray([[0.1, 3.0, 2.0]]), 2)
    array([[0., 1., 1.]])
    """
    xp = namespace(score=score)
    if isinstance(k, int) and not 0 <= k <= score.shape[-1]:
        raise OptionError(f"k: expected 0 to {score.shape[-1]}, got {k}")
    order = xp.argsort(score, axis=-1, descending=True, stable=True)
    rank = xp.argsort(order, axis=-1)
    return xp.astype(rank < k, score.dtype)
