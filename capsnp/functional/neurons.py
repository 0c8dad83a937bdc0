r"""The routing-weighted product of expert neurons, as we read it.

Hauser (2019), arXiv:1907.11639, is known here by its abstract; the model is derived on
:doc:`/derivations/neurons`. Letters: I visible capsules v_i of P neurons with biases b_i, J hidden
capsules h_j of D neurons with biases a_j, weights W_ij (D × P), routing coefficients c_ij. Neurons
may be centred: v and h are then what is left of them after their offsets are subtracted.
"""

from typing import Any

from capsnp.backend import Array
from capsnp.errors import ShapeError
from capsnp.functional._checks import (
    expect_ndim,
    expect_option,
    expect_range,
    expect_shape,
    floating,
)
from capsnp.functional._coupling import coupling, expect_coefficients, expect_weights
from capsnp.functional._machine import Harmonium
from capsnp.functional._neurons import (
    UNITS,
    Visible,
    expect_biases,
    expect_hidden,
    expect_neurons,
)
from capsnp.functional.activations import sigmoid, softplus
from capsnp.functional.units import Bernoulli


def neuron_energy(
    v: Array, h: Array, W: Array, c: Array, a: Array, b: Array, *, visible: Visible = "bernoulli"
) -> Array:
    r"""Energy of visible and hidden neurons, their couplings weighted by routing.

    .. math::
        -E(v, h) = \sum_{ij} c_{ij}\, h_j^\top W_{ij} v_i + \sum_j a_j^\top h_j
            + \begin{cases} \sum_i b_i^\top v_i & \text{Bernoulli} \\
              -\tfrac12 \sum_i \|v_i - b_i\|^2 & \text{Gaussian} \end{cases}

    Parameters
    ----------
    v : array, shape (B, I, P)
        Visible neurons.
    h : array, shape (B, J, D)
        Hidden neurons.
    W : array, shape (I, J, D, P)
        Weights.
    c : array, shape (B, I, J) or (I, J)
        Routing coefficients of each example, or of all; held constant.
    a : array, shape (J, D)
        Hidden biases.
    b : array, shape (I, P)
        Visible biases.
    visible : {"bernoulli", "gaussian"}
        Visible neurons are 0 or 1, or real with a variance of 1 given h.

    Returns
    -------
    array, shape (B,)
        In the dtype of the arguments.

    Raises
    ------
    OptionError
        If `visible` is unknown.
    ShapeError, DtypeError, MixedBackendError
        If the arrays do not fit together.

    References
    ----------
    A reading of Hauser (2019), arXiv:1907.11639.
    Derivation: :doc:`/derivations/neurons`.

    Examples
    --------
    >>> import numpy as np
    >>> v, h = np.asarray([[[1.0, 0.0]]]), np.asarray([[[1.0]]])
    >>> W, c = np.asarray([[[[2.0, 5.0]]]]), np.asarray([[0.5]])
    >>> neuron_energy(v, h, W, c, np.asarray([[-1.0]]), np.asarray([[0.5, 0.5]]))
    array([-0.5])
    """
    xp = expect_neurons(v, W, c, a=a, b=b, visible=visible)
    expect_hidden("h", h, v, W)
    coupled = _dot(xp, coupling(xp, W, c).forward(v) + a, h)
    return _visible_energy(xp, v, b, visible) - coupled


def neuron_hidden_probability(v: Array, W: Array, c: Array, a: Array) -> Array:
    r"""Probability that each hidden neuron is on.

    .. math:: P(h_{jd} = 1 \mid v) = \sigma\Big(a_{jd} + \sum_i c_{ij} (W_{ij} v_i)_d\Big)

    Parameters
    ----------
    v : array, shape (B, I, P)
    W : array, shape (I, J, D, P)
    c : array, shape (B, I, J) or (I, J)
    a : array, shape (J, D)
        All as in `neuron_energy`.

    Returns
    -------
    array, shape (B, J, D)

    Raises
    ------
    ShapeError, DtypeError, MixedBackendError
        If the arrays do not fit together.

    References
    ----------
    A reading of Hauser (2019), arXiv:1907.11639.
    Derivation: :doc:`/derivations/neurons`.

    Examples
    --------
    >>> import numpy as np
    >>> v, W, c = np.asarray([[[1.0]]]), np.asarray([[[[4.0]]]]), np.asarray([[0.5]])
    >>> neuron_hidden_probability(v, W, c, np.asarray([[-2.0]]))
    array([[[0.5]]])
    """
    xp = expect_neurons(v, W, c, a=a)
    return sigmoid(coupling(xp, W, c).forward(v) + a)


def neuron_visible_field(h: Array, W: Array, c: Array, b: Array) -> Array:
    r"""What the hidden neurons say of each visible one.

    .. math:: f_i = b_i + \sum_j c_{ij} W_{ij}^\top h_j

    Given h, a Bernoulli neuron is on with probability :math:`\sigma(f)`, a Gaussian one has mean f
    and variance 1.

    Parameters
    ----------
    h : array, shape (B, J, D)
    W : array, shape (I, J, D, P)
    c : array, shape (B, I, J) or (I, J)
    b : array, shape (I, P)
        All as in `neuron_energy`.

    Returns
    -------
    array, shape (B, I, P)

    Raises
    ------
    ShapeError, DtypeError, MixedBackendError
        If the arrays do not fit together.

    References
    ----------
    A reading of Hauser (2019), arXiv:1907.11639.
    Derivation: :doc:`/derivations/neurons`.

    Examples
    --------
    >>> import numpy as np
    >>> h, W, c = np.asarray([[[1.0]]]), np.asarray([[[[4.0, 2.0]]]]), np.asarray([[0.5]])
    >>> neuron_visible_field(h, W, c, np.asarray([[-2.0, 0.0]]))
    array([[[0., 1.]]])
    """
    xp = floating(h=h, W=W, c=c, b=b)
    expect_ndim("h", h, 3, "(B, J, D)")
    expect_weights(W)
    wanted = (None, *W.shape[1:3])
    expect_shape("h", h, wanted, axes="(B, J, D)", because=f"to match W {tuple(W.shape)}")
    expect_coefficients(c, W, h.shape[0])
    expect_biases(W, b=b)
    return coupling(xp, W, c).reverse(h) + b


def neuron_free_energy(
    v: Array,
    W: Array,
    c: Array,
    a: Array,
    b: Array,
    *,
    visible: Visible = "bernoulli",
    offset: float = 0.0,
) -> Array:
    r"""Free energy of visible neurons: −log p(v) − log Z, hidden neurons summed out.

    .. math::
        F(v) = E_0(v) - \sum_{jd} \Big[\log\big(1 + e^{f_{jd}}\big) - \lambda f_{jd}\Big],
        \qquad f_j = a_j + \sum_i c_{ij} W_{ij} v_i

    with :math:`E_0(v) = -\sum_i b_i^\top v_i` or :math:`\tfrac12 \sum_i \|v_i - b_i\|^2`. The sum
    is the logarithm of a product of J·D experts.

    Parameters
    ----------
    v : array, shape (B, I, P)
    W : array, shape (I, J, D, P)
    c : array, shape (B, I, J) or (I, J)
    a : array, shape (J, D)
    b : array, shape (I, P)
    visible : {"bernoulli", "gaussian"}
        All as in `neuron_energy`.
    offset : float, optional
        λ: hidden neurons take the values −λ and 1 − λ.

    Returns
    -------
    array, shape (B,)

    Raises
    ------
    OptionError
        If `visible` is unknown, or `offset` not within 0 to 1.
    ShapeError, DtypeError, MixedBackendError
        If the arrays do not fit together.

    References
    ----------
    A reading of Hauser (2019), arXiv:1907.11639.
    Derivation: :doc:`/derivations/neurons`.

    Examples
    --------
    >>> import numpy as np
    >>> v, W, c = np.asarray([[[1.0]]]), np.asarray([[[[4.0]]]]), np.asarray([[0.5]])
    >>> a, b = np.asarray([[-2.0]]), np.asarray([[0.5]])
    >>> neuron_free_energy(v, W, c, a, b).round(4)  # -0.5 - log 2
    array([-1.1931])
    """
    xp = expect_neurons(v, W, c, a=a, b=b, visible=visible)
    expect_range("offset", offset, 0, 1)
    experts = capsule_evidence(coupling(xp, W, c).forward(v) + a, offset=offset)
    return _visible_energy(xp, v, b, visible) - xp.sum(experts, axis=-1)


def capsule_evidence(field: Array, /, *, offset: float = 0.0) -> Array:
    r"""What each hidden capsule adds to log p(v): the logarithm of the product of its experts.

    .. math:: \ell_j = \sum_d \Big[\log\big(1 + e^{f_{jd}}\big) - \lambda f_{jd}\Big]
        = \log \sum_{h_j} e^{f_j^\top h_j}

    Parameters
    ----------
    field : array, shape (..., J, D)
        f: what each hidden neuron is on by, σ(f).
    offset : float, optional
        λ, as in `neuron_free_energy`; with ½ the evidence is least, D log 2, at f = 0.

    Returns
    -------
    array, shape (..., J)

    Raises
    ------
    OptionError
        If `offset` is not within 0 to 1.
    ShapeError, DtypeError
        If `field` has no axis or is not real floating.

    References
    ----------
    Derivation: :doc:`/derivations/neurons`.

    Examples
    --------
    >>> import numpy as np
    >>> capsule_evidence(np.asarray([[0.0, 0.0], [2.0, -2.0]]), offset=0.5).round(3)
    array([1.386, 2.254])
    """
    xp = floating(field=field)
    if field.ndim < 1:
        raise ShapeError("field: expected shape (..., J, D), got ()")
    expect_range("offset", offset, 0, 1)
    return xp.sum(softplus(field) - offset * field, axis=-1)


def neuron_machine(
    W: Array,
    c: Array,
    a: Array,
    b: Array,
    *,
    visible: Visible = "bernoulli",
    offset: float = 0.0,
    visible_offset: Array | None = None,
) -> Harmonium:
    r"""The bipartite machine that neurons with the same coefficients for all examples are.

    .. math:: w_{(ip)(jd)} = c_{ij} W_{ijdp}, \qquad b - w\,λ, \qquad a - w^\top μ

    Its states are v and h themselves, laid out as I·P and J·D numbers, where those of centred
    neurons are less μ and λ. By it neurons have what a `Harmonium` has: log Z listed or annealed,
    likelihoods, chains, parallel tempering.

    Parameters
    ----------
    W : array, shape (I, J, D, P)
    c : array, shape (I, J)
        Frozen: the same for all examples.
    a : array, shape (J, D)
    b : array, shape (I, P)
    visible : {"bernoulli", "gaussian"}
        All as in `neuron_energy`.
    offset : float, optional
        λ, as in `neuron_free_energy`.
    visible_offset : array, shape (I, P), optional
        μ, as in `neuron_mix`; by default 0.

    Returns
    -------
    Harmonium
        Its energies are those of `neuron_energy` at v − μ and h − λ, and a constant if there are
        offsets.

    Raises
    ------
    OptionError
        If `visible` is unknown, or `offset` not within 0 to 1.
    ShapeError, DtypeError, MixedBackendError
        If the arrays do not fit together, or each example has coefficients of its own.

    References
    ----------
    A reading of Hauser (2019), arXiv:1907.11639.
    Derivation: :doc:`/derivations/neurons`.

    Examples
    --------
    >>> import numpy as np
    >>> W, c = np.asarray([[[[4.0, 2.0]]]]), np.asarray([[0.5]])
    >>> machine = neuron_machine(W, c, np.asarray([[-2.0]]), np.asarray([[0.0, 1.0]]), offset=0.5)
    >>> machine.w, machine.b, machine.c
    (array([[2.],
           [1.]]), array([-1. ,  0.5]), array([-2.]))
    """
    expect_option("visible", visible, UNITS)
    expect_range("offset", offset, 0, 1)
    xp = floating(W=W, c=c, a=a, b=b, visible_offset=visible_offset)
    expect_weights(W)
    I, J, D, P = W.shape
    because = f"to match W {tuple(W.shape)}"
    expect_shape("c", c, (I, J), axes="(I, J)", because=because)
    expect_biases(W, a=a, b=b)
    weighted = xp.permute_dims(c[:, :, None, None] * W, (0, 3, 1, 2))  # (I, P, J, D)
    w, a, b = xp.reshape(weighted, (I * P, J * D)), xp.reshape(a, (-1,)), xp.reshape(b, (-1,))
    if offset:
        b = b - offset * xp.sum(w, axis=1)
    if visible_offset is not None:
        expect_shape("visible_offset", visible_offset, (I, P), axes="(I, P)", because=because)
        mu = xp.reshape(visible_offset, (-1,))
        a = a - xp.sum(mu[:, None] * w, axis=0)
        b = b + mu if visible == "gaussian" else b
    return Harmonium(w, b, a, UNITS[visible], Bernoulli())


def _visible_energy(xp: Any, v: Array, b: Array, visible: Visible) -> Array:
    """−b·v, or half the squared distance from b: (B,)."""
    return xp.sum(UNITS[visible].energy(v, b), axis=-1)


def _dot(xp: Any, v: Array, b: Array) -> Array:
    """Σ of products over all but the first axis."""
    return xp.sum(v * b, axis=(-2, -1))
