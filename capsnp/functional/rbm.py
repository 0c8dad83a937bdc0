r"""The restricted Boltzmann machine that the capsules generalise: (1), its conditionals, (2).

Letters: i of I visible neurons v_i with biases b_i, j of J hidden neurons h_j with biases c_j,
weights w_ij. The paper prints the conditionals with the index of v and the sign of the biases
wrong; here they are as (1) implies.
"""

from typing import Any, NamedTuple

from capsnp.backend import Array
from capsnp.errors import ShapeError
from capsnp.functional._checks import expect_min_ndim, expect_ndim, expect_shape, floating
from capsnp.functional.activations import sigmoid, softplus


class RBMStatistics(NamedTuple):
    """Averages over a batch: −∂E/∂w, −∂E/∂b and −∂E/∂c.

    Attributes
    ----------
    w : array, shape (I, J)
        ⟨v_i h_j⟩.
    b : array, shape (I,)
        ⟨v_i⟩.
    c : array, shape (J,)
        ⟨h_j⟩.
    """

    w: Array
    b: Array
    c: Array


class RBMGradient(NamedTuple):
    """Gradient (2) of the log-likelihood, data minus model: the direction that is added.

    Attributes
    ----------
    w : array, shape (I, J)
    b : array, shape (I,)
    c : array, shape (J,)
    data, model : RBMStatistics
        What the gradient is the difference of.
    """

    w: Array
    b: Array
    c: Array
    data: RBMStatistics
    model: RBMStatistics


def rbm_energy(v: Array, h: Array, w: Array, b: Array, c: Array) -> Array:
    r"""Energy of visible and hidden neurons (1).

    .. math:: E(v, h) = -\sum_{ij} w_{ij} v_i h_j - \sum_i b_i v_i - \sum_j c_j h_j

    Parameters
    ----------
    v : array, shape (..., I)
        Visible neurons.
    h : array, shape (..., J)
        Hidden neurons, with the leading axes of v.
    w : array, shape (I, J)
        Weights.
    b : array, shape (I,)
        Visible biases.
    c : array, shape (J,)
        Hidden biases.

    Returns
    -------
    array, shape (...)
        In the dtype of the arguments.

    Raises
    ------
    ShapeError, DtypeError, MixedBackendError
        If the arrays do not fit together.

    References
    ----------
    Hauser (2019), arXiv:1907.11643, eq. 1.
    Derivation: :doc:`/derivations/rbm`.

    Examples
    --------
    >>> import numpy as np
    >>> v, h, w = np.asarray([1.0, 0.0]), np.asarray([1.0]), np.asarray([[2.0], [5.0]])
    >>> rbm_energy(v, h, w, np.asarray([0.5, 0.5]), np.asarray([-1.0]))
    np.float64(-1.5)
    """
    xp = floating(v=v, h=h, w=w, b=b, c=c)
    _expect_layer("v", v, "I", w, b=b, c=c)
    _expect_layer("h", h, "J", w)
    if tuple(v.shape[:-1]) != tuple(h.shape[:-1]):
        raise ShapeError(
            f"h: expected leading axes {tuple(v.shape[:-1])} as v {tuple(v.shape)} has, "
            f"got {tuple(h.shape)}"
        )
    coupling = _dot(xp, _times(xp, v, w), h)
    return -(coupling + _dot(xp, v, b) + _dot(xp, h, c))


def rbm_hidden_probability(v: Array, w: Array, c: Array) -> Array:
    r"""Probability that each hidden neuron is on (section 2.1, corrected).

    .. math:: P(h_j = 1 \mid v) = \sigma\Big(\sum_i w_{ij} v_i + c_j\Big)

    Parameters
    ----------
    v : array, shape (..., I)
        Visible neurons.
    w : array, shape (I, J)
        Weights.
    c : array, shape (J,)
        Hidden biases.

    Returns
    -------
    array, shape (..., J)

    Raises
    ------
    ShapeError, DtypeError, MixedBackendError
        If the arrays do not fit together.

    Notes
    -----
    The paper prints :math:`1/(1 + \exp(-\sum_i w_{ij} v_j + c_j))`: v_j for v_i, and the bias
    outside the minus.

    Derivation: :doc:`/derivations/rbm`.

    Examples
    --------
    >>> import numpy as np
    >>> rbm_hidden_probability(np.asarray([1.0]), np.asarray([[2.0]]), np.asarray([-2.0]))
    array([0.5])
    """
    xp = floating(v=v, w=w, c=c)
    _expect_layer("v", v, "I", w, c=c)
    return sigmoid(_times(xp, v, w) + c)


def rbm_visible_probability(h: Array, w: Array, b: Array) -> Array:
    r"""Probability that each visible neuron is on (section 2.1, corrected).

    .. math:: P(v_i = 1 \mid h) = \sigma\Big(\sum_j w_{ij} h_j + b_i\Big)

    Parameters
    ----------
    h : array, shape (..., J)
        Hidden neurons.
    w : array, shape (I, J)
        Weights.
    b : array, shape (I,)
        Visible biases.

    Returns
    -------
    array, shape (..., I)

    Raises
    ------
    ShapeError, DtypeError, MixedBackendError
        If the arrays do not fit together.

    Notes
    -----
    Derivation: :doc:`/derivations/rbm`.

    Examples
    --------
    >>> import numpy as np
    >>> rbm_visible_probability(np.asarray([1.0]), np.asarray([[2.0]]), np.asarray([-2.0]))
    array([0.5])
    """
    xp = floating(h=h, w=w, b=b)
    _expect_layer("h", h, "J", w, b=b)
    return sigmoid(_times(xp, h, xp.matrix_transpose(w)) + b)


def rbm_free_energy(v: Array, w: Array, b: Array, c: Array) -> Array:
    r"""Free energy of visible neurons: −log p(v) − log Z, hidden neurons summed out.

    .. math:: F(v) = -\sum_i b_i v_i - \sum_j \log\big(1 + e^{\sum_i w_{ij} v_i + c_j}\big)

    Parameters
    ----------
    v : array, shape (..., I)
        Visible neurons.
    w : array, shape (I, J)
        Weights.
    b : array, shape (I,)
        Visible biases.
    c : array, shape (J,)
        Hidden biases.

    Returns
    -------
    array, shape (...)

    Raises
    ------
    ShapeError, DtypeError, MixedBackendError
        If the arrays do not fit together.

    Notes
    -----
    Derivation: :doc:`/derivations/rbm`.

    Examples
    --------
    >>> import numpy as np
    >>> v, w = np.asarray([1.0]), np.asarray([[2.0]])
    >>> rbm_free_energy(v, w, np.asarray([0.5]), np.asarray([-2.0])).round(4)  # -0.5 - log 2
    np.float64(-1.1931)
    """
    xp = floating(v=v, w=w, b=b, c=c)
    _expect_layer("v", v, "I", w, b=b, c=c)
    return -(_dot(xp, v, b) + xp.sum(softplus(_times(xp, v, w) + c), axis=-1))


def rbm_cd_gradient(v_data: Array, h_data: Array, v_model: Array, h_model: Array) -> RBMGradient:
    r"""Gradient (2) of the log-likelihood, its model term taken from a chain.

    .. math:: \Delta w_{ij} = \langle v_i h_j\rangle_\mathrm{data}
                            - \langle v_i h_j\rangle_\mathrm{model}

    and the same with :math:`v_i` for b and :math:`h_j` for c. After one Gibbs step from the data
    it is contrastive divergence; the exact gradient is the limit of a long chain.

    Parameters
    ----------
    v_data : array, shape (B, I)
        Visible neurons of the data.
    h_data : array, shape (B, J)
        Hidden neurons given these: probabilities, or samples of them.
    v_model : array, shape (N, I)
        Visible neurons at the chains' ends.
    h_model : array, shape (N, J)
        Hidden neurons given these.

    Returns
    -------
    RBMGradient
        ``w`` (I, J), ``b`` (I,), ``c`` (J,), and the statistics ``data`` and ``model``.

    Raises
    ------
    ShapeError, DtypeError, MixedBackendError
        If the arrays do not fit together or a batch is empty.

    References
    ----------
    Hauser (2019), arXiv:1907.11643, eq. 2; Hinton (2002).
    Derivation: :doc:`/derivations/rbm`.

    Examples
    --------
    >>> import numpy as np
    >>> one, half = np.ones((2, 1)), np.full((2, 1), 0.5)
    >>> gradient = rbm_cd_gradient(one, half, half, half)
    >>> gradient.w, gradient.b, gradient.c
    (array([[0.25]]), array([0.5]), array([0.]))
    """
    xp = floating(v_data=v_data, h_data=h_data, v_model=v_model, h_model=h_model)
    expect_ndim("v_data", v_data, 2, "(B, I)")
    of_data = f"to match v_data {tuple(v_data.shape)}"
    expect_shape("v_model", v_model, (None, v_data.shape[1]), axes="(N, I)", because=of_data)
    for name, v in (("v_data", v_data), ("v_model", v_model)):
        if v.shape[0] == 0:
            raise ShapeError(f"{name}: expected at least one example, got {tuple(v.shape)}")
    expect_shape("h_data", h_data, (v_data.shape[0], None), axes="(B, J)", because=of_data)
    expect_shape(
        "h_model",
        h_model,
        (v_model.shape[0], h_data.shape[1]),
        axes="(N, J)",
        because=f"to match v_model {tuple(v_model.shape)} and h_data {tuple(h_data.shape)}",
    )
    data, model = _statistics(xp, v_data, h_data), _statistics(xp, v_model, h_model)
    return RBMGradient(data.w - model.w, data.b - model.b, data.c - model.c, data, model)


def _statistics(xp: Any, v: Array, h: Array) -> RBMStatistics:
    products = xp.matrix_transpose(v) @ h / float(v.shape[0])
    return RBMStatistics(products, xp.mean(v, axis=0), xp.mean(h, axis=0))


def _times(xp: Any, v: Array, w: Array) -> Array:
    """Σ_i v_i w_ij: (..., I) and (I, J) to (..., J)."""
    return xp.tensordot(v, w, axes=1)


def _dot(xp: Any, v: Array, b: Array) -> Array:
    return xp.sum(v * b, axis=-1)


def _expect_layer(
    name: str, neurons: Array, letter: str, w: Array, b: Array | None = None, c: Array | None = None
) -> None:
    """Raise `ShapeError` unless neurons and biases fit the weights (I, J)."""
    expect_ndim("w", w, 2, "(I, J)")
    because = f"to match w {tuple(w.shape)}"
    size = {"I": w.shape[0], "J": w.shape[1]}
    expect_min_ndim(name, neurons, 1, f"(..., {letter})")
    if neurons.shape[-1] != size[letter]:
        raise ShapeError(
            f"{name}: expected shape (..., {letter}) with {letter} = {size[letter]} {because}, "
            f"got {tuple(neurons.shape)}"
        )
    for bias_name, bias, axis in (("b", b, "I"), ("c", c, "J")):
        if bias is not None:
            expect_shape(bias_name, bias, (size[axis],), axes=f"({axis},)", because=because)
