"""Contrastive divergence of expert neurons: a short chain from the data, and the gradient.

Letters and model are those of `capsnp.functional.neurons`.
"""

from typing import NamedTuple

from capsnp.backend import Array
from capsnp.errors import ShapeError
from capsnp.functional._checks import (
    expect_count,
    expect_range,
    expect_same_shape,
    expect_shape,
    floating,
)
from capsnp.functional._coupling import coupling
from capsnp.functional._neurons import UNITS, Visible, expect_hidden, expect_neurons
from capsnp.functional.activations import sigmoid
from capsnp.functional.contrastive import gate_of, gated


class NeuronMixing(NamedTuple):
    """The two ends of a chain, from `neuron_mix`.

    Attributes
    ----------
    h : array, shape (B, J, D)
        Hidden neurons given the data: means less their offset, 0 in capsules held off.
    v_model : array, shape (B, I, P)
        Visible neurons at the chain's end: means, or samples where there was noise for them.
    h_model : array, shape (B, J, D)
        Hidden neurons given these, as `h`.
    """

    h: Array
    v_model: Array
    h_model: Array


class NeuronGradient(NamedTuple):
    """Gradient of the log-likelihood, data minus model: the direction that is added.

    Attributes
    ----------
    W : array, shape (I, J, D, P)
    a : array, shape (J, D)
    b : array, shape (I, P)
    """

    W: Array
    a: Array
    b: Array


def neuron_mix(
    v: Array,
    W: Array,
    c: Array,
    a: Array,
    b: Array,
    *,
    steps: int = 1,
    visible: Visible = "bernoulli",
    offset: float = 0.0,
    visible_offset: Array | None = None,
    hidden_noise: Array | None = None,
    visible_noise: Array | None = None,
    on: Array | None = None,
    z: Array | None = None,
) -> NeuronMixing:
    r"""A chain from the data with the coefficients that routing found on them.

    .. math::
        \tilde v_i = \mu\Big(b_i + \sum_j c_{ij} W_{ij}^\top h_j\Big), \qquad
        P(\tilde h_j = 1) = \sigma\Big(a_j + \sum_i c_{ij} W_{ij} \tilde v_i\Big)

    with μ the logistic function for Bernoulli neurons, and f ↦ f for Gaussian ones. Without noise
    each layer passes on its mean; with noise for both it is Gibbs sampling, of a model whose c is
    what it was on the data.

    Parameters
    ----------
    v : array, shape (B, I, P)
        The data, less `visible_offset`.
    W : array, shape (I, J, D, P)
    c : array, shape (B, I, J) or (I, J)
    a : array, shape (J, D)
    b : array, shape (I, P)
        All as in `neuron_energy`.
    steps : int, optional
        Times that the chain goes down and up, from 1.
    visible : {"bernoulli", "gaussian"}
    offset : float, optional
        λ: hidden neurons take the values −λ and 1 − λ.
    visible_offset : array, shape (I, P), optional
        What was subtracted from Bernoulli neurons; by default 0.
    hidden_noise : array, shape (steps, B, J, D), optional
        Uniform numbers in [0, 1): a neuron is on where they are below its probability.
    visible_noise : array, shape (steps, B, I, P), optional
        Uniform numbers for Bernoulli neurons, standard normal ones for Gaussian.
    on : array, shape (B, J), optional
        0 holds a capsule's neurons at 0, less their offset. By default all are 1.
    z : array, shape (B, J, D), optional
        Σ_i c_ij W_ij v_i, where routing has it already.

    Returns
    -------
    NeuronMixing

    Raises
    ------
    OptionError
        If `steps` is below 1, `visible` is unknown or `offset` not within 0 to 1.
    DomainError
        If `on` holds another number than 0 and 1.
    ShapeError, DtypeError, MixedBackendError
        If the arrays do not fit together.

    References
    ----------
    A reading of Hauser (2019), arXiv:1907.11639; Hinton (2002).
    Derivation: :doc:`/derivations/neurons`.

    Examples
    --------
    >>> import numpy as np
    >>> v, W, c = np.asarray([[[1.0]]]), np.asarray([[[[4.0]]]]), np.asarray([[0.5]])
    >>> mixing = neuron_mix(v, W, c, np.asarray([[-2.0]]), np.asarray([[0.0]]), visible="gaussian")
    >>> mixing.h, mixing.v_model, mixing.h_model  # 0.5 on, 0.5 · 4 · 0.5 = 1 back, 0.5 on
    (array([[[0.5]]]), array([[[1.]]]), array([[[0.5]]]))
    """
    xp = expect_neurons(v, W, c, a=a, b=b, visible=visible)
    expect_count("steps", steps)
    expect_range("offset", offset, 0, 1)
    B, I, P = v.shape
    _, J, D, _ = W.shape
    floating(
        v=v,
        visible_offset=visible_offset,
        hidden_noise=hidden_noise,
        visible_noise=visible_noise,
        z=z,
    )
    because = f"to match v {tuple(v.shape)} and W {tuple(W.shape)}"
    for name, array, shape, axes in (
        ("visible_offset", visible_offset, (I, P), "(I, P)"),
        ("hidden_noise", hidden_noise, (steps, B, J, D), "(steps, B, J, D)"),
        ("visible_noise", visible_noise, (steps, B, I, P), "(steps, B, I, P)"),
        ("z", z, (B, J, D), "(B, J, D)"),
    ):
        if array is not None:
            expect_shape(name, array, shape, axes=axes, because=because)
    gate, units = gate_of(on, v, J), UNITS[visible]
    layer = coupling(xp, W, c)

    def up(z: Array) -> tuple[Array, Array]:
        """Probabilities of the hidden neurons, and their means less the offset."""
        p = sigmoid(z + a)
        return p, gated(xp, p - offset, gate)

    def down(h: Array, noise: Array | None) -> Array:
        field = layer.reverse(h) + b
        v = units.mean(field) if noise is None else units.draw(field, noise)
        return v if visible_offset is None else v - visible_offset

    p, first = up(layer.forward(v) if z is None else z)
    h = first
    for k in range(steps):
        if hidden_noise is not None:
            h = gated(xp, xp.astype(hidden_noise[k, ...] < p, p.dtype) - offset, gate)
        v_model = down(h, None if visible_noise is None else visible_noise[k, ...])
        p, h = up(layer.forward(v_model))
    return NeuronMixing(first, v_model, h)


def neuron_gradient(v: Array, mixing: NeuronMixing, W: Array, c: Array) -> NeuronGradient:
    r"""Gradient of the log-likelihood for fixed coefficients, its model term taken from a chain.

    .. math::
        \Delta W_{ij} = \big\langle c_{ij}\, h_j v_i^\top \big\rangle_\mathrm{data}
            - \big\langle c_{ij}\, \tilde h_j \tilde v_i^\top \big\rangle_\mathrm{model}, \qquad
        \Delta a_j = \langle h_j \rangle - \langle \tilde h_j \rangle, \qquad
        \Delta b_i = \langle v_i \rangle - \langle \tilde v_i \rangle

    Parameters
    ----------
    v : array, shape (B, I, P)
        The data.
    mixing : NeuronMixing
        From `neuron_mix`, or any chain that has these three ends.
    W : array, shape (I, J, D, P)
    c : array, shape (B, I, J) or (I, J)
        Coefficients of the data, used in both terms.

    Returns
    -------
    NeuronGradient
        ``W`` (I, J, D, P), ``a`` (J, D) and ``b`` (I, P).

    Raises
    ------
    ShapeError, DtypeError, MixedBackendError
        If the arrays do not fit together or the batch is empty.

    References
    ----------
    A reading of Hauser (2019), arXiv:1907.11639; Hinton (2002).
    Derivation: :doc:`/derivations/neurons`.

    Examples
    --------
    >>> import numpy as np
    >>> one, half = np.ones((2, 1, 1)), np.full((2, 1, 1), 0.5)
    >>> W, c = np.ones((1, 1, 1, 1)), np.full((1, 1), 2.0)
    >>> gradient = neuron_gradient(one, NeuronMixing(half, half, half), W, c)
    >>> gradient.W, gradient.a, gradient.b
    (array([[[[0.5]]]]), array([[0.]]), array([[0.5]]))
    """
    h, v_model, h_model = mixing
    xp = expect_neurons(v, W, c)
    floating(v=v, h=h, v_model=v_model, h_model=h_model)
    expect_hidden("h", h, v, W)
    expect_same_shape("v_model", v_model, "v", v)
    expect_same_shape("h_model", h_model, "h", h)
    if v.shape[0] == 0:
        raise ShapeError(f"v: expected at least one example, got {tuple(v.shape)}")
    share = 1.0 / v.shape[0]
    of_W = coupling(xp, W, c).gradient((v, share * h), (v_model, -share * h_model))
    return NeuronGradient(of_W, xp.mean(h - h_model, axis=0), xp.mean(v - v_model, axis=0))
