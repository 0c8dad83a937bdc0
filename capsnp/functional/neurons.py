r"""The routing-weighted product of expert neurons, as we read it.

Hauser (2019), arXiv:1907.11639, is known here by its abstract; the model is derived on
:doc:`/derivations/neurons`. Letters: I visible capsules v_i of P neurons with biases b_i, J hidden
capsules h_j of D neurons with biases a_j, weights W_ij (D × P), routing coefficients c_ij. Neurons
may be centred: v and h are then what is left of them after their offsets are subtracted.
"""

from typing import Any, Literal, NamedTuple

from capsnp.backend import Array
from capsnp.errors import ShapeError
from capsnp.functional._checks import (
    expect_count,
    expect_ndim,
    expect_option,
    expect_range,
    expect_same_shape,
    expect_shape,
    floating,
)
from capsnp.functional._coupling import (
    coupling,
    expect_coefficients,
    expect_layer,
    expect_weights,
)
from capsnp.functional.activations import sigmoid, softplus
from capsnp.functional.contrastive import gate_of, gated
from capsnp.functional.units import Bernoulli, Gaussian, Units

Visible = Literal["bernoulli", "gaussian"]
_UNITS: dict[str, Units] = {"bernoulli": Bernoulli(), "gaussian": Gaussian()}


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
    xp = _expect_neurons(v, W, c, a=a, b=b, visible=visible)
    _expect_hidden("h", h, v, W)
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
    xp = _expect_neurons(v, W, c, a=a)
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
    _expect_biases(W, b=b)
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
    xp = _expect_neurons(v, W, c, a=a, b=b, visible=visible)
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
    xp = _expect_neurons(v, W, c, a=a, b=b, visible=visible)
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
    gate, units = gate_of(on, v, J), _UNITS[visible]
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
    xp = _expect_neurons(v, W, c)
    floating(v=v, h=h, v_model=v_model, h_model=h_model)
    _expect_hidden("h", h, v, W)
    expect_same_shape("v_model", v_model, "v", v)
    expect_same_shape("h_model", h_model, "h", h)
    if v.shape[0] == 0:
        raise ShapeError(f"v: expected at least one example, got {tuple(v.shape)}")
    share = 1.0 / v.shape[0]
    of_W = coupling(xp, W, c).gradient((v, share * h), (v_model, -share * h_model))
    return NeuronGradient(of_W, xp.mean(h - h_model, axis=0), xp.mean(v - v_model, axis=0))


def _visible_energy(xp: Any, v: Array, b: Array, visible: Visible) -> Array:
    """−b·v, or half the squared distance from b: (B,)."""
    return xp.sum(_UNITS[visible].energy(v, b), axis=-1)


def _dot(xp: Any, v: Array, b: Array) -> Array:
    """Σ of products over all but the first axis."""
    return xp.sum(v * b, axis=(-2, -1))


def _expect_neurons(
    v: Array,
    W: Array,
    c: Array,
    *,
    a: Array | None = None,
    b: Array | None = None,
    visible: Visible = "bernoulli",
) -> Any:
    """The namespace of neurons, weights, coefficients and biases that fit each other."""
    expect_option("visible", visible, _UNITS)
    floating(v=v, W=W, c=c, a=a, b=b)
    expect_ndim("v", v, 3, "(B, I, P)")
    expect_weights(W)
    I, _, _, P = W.shape
    because = f"to match W {tuple(W.shape)}"
    expect_shape("v", v, (None, I, P), axes="(B, I, P)", because=because)
    _expect_biases(W, a=a, b=b)
    return expect_layer(v, W, c)


def _expect_biases(W: Array, *, a: Array | None = None, b: Array | None = None) -> None:
    I, J, D, P = W.shape
    because = f"to match W {tuple(W.shape)}"
    for name, bias, shape, axes in (("a", a, (J, D), "(J, D)"), ("b", b, (I, P), "(I, P)")):
        if bias is not None:
            expect_shape(name, bias, shape, axes=axes, because=because)


def _expect_hidden(name: str, h: Array, v: Array, W: Array) -> None:
    floating(v=v, **{name: h})
    expect_shape(
        name,
        h,
        (v.shape[0], *W.shape[1:3]),
        axes="(B, J, D)",
        because=f"to match v {tuple(v.shape)} and W {tuple(W.shape)}",
    )
