r"""Deep belief networks: directed layers with weights down and weights up, below a machine.

.. math:: p(v, h^1, \dots, h^n) = p(v \mid h^1) \cdots p(h^{n-1} \mid h^n)\; p(h^n), \qquad
          q(h^1, \dots, h^n \mid v) = q(h^1 \mid v) \cdots q(h^n \mid h^{n-1})

where p(h^n) is that of a `Harmonium`, the top machine, with its hidden units summed out.

============================  =================================================================
`DirectedLayer`               weights down and up between two layers, and the kinds of units
`untied`                      a machine's weights, once for each direction
`log_down`                    log p(v | h); `log_up`: log q(h | v)
`log_weight`                  log p(v, h¹, …) − log q(h¹, … | v) + log Z: its mean is the bound
`wake_gradient`               of log p(v | h), by the weights down
`sleep_gradient`              of log q(h | v), by the weights up
============================  =================================================================
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from capsnp.backend import Array
from capsnp.errors import OptionError, ShapeError
from capsnp.functional._checks import expect_ndim, expect_shape, floating
from capsnp.functional.harmonium import Harmonium, free_energy, hidden_field, visible_field
from capsnp.functional.units import Bernoulli, Units


class DirectedLayer(NamedTuple):
    """Parameters between two layers, below and above.

    Attributes
    ----------
    w : array, shape (I, J)
        Down, generative.
    b : array, shape (I,)
        Biases below.
    r : array, shape (I, J)
        Up, for recognition.
    c : array, shape (J,)
        Biases above, for recognition.
    visible, hidden : Units
        Below and above.
    """

    w: Array
    b: Array
    r: Array
    c: Array
    visible: Units = Bernoulli()
    hidden: Units = Bernoulli()


class DirectedGradient(NamedTuple):
    """Derivatives by the weights of one direction and by the biases of its end.

    Attributes
    ----------
    weights : array, shape (I, J)
    biases : array, shape (I,) or (J,)
    """

    weights: Array
    biases: Array


def untied(machine: Harmonium) -> DirectedLayer:
    """A machine's weights for both directions: where fine-tuning starts.

    Examples
    --------
    >>> import numpy as np
    >>> layer = untied(Harmonium(np.ones((2, 1)), np.zeros(2), np.ones(1)))
    >>> layer.w is layer.r
    True
    """
    w, b, c, visible, hidden = machine
    return DirectedLayer(w, b, w, c, visible, hidden)


def down_field(layer: DirectedLayer, h: Array) -> Array:
    """What units below feel: b + w φ(h), (..., I) of states above (..., J).

    Examples
    --------
    >>> import numpy as np
    >>> layer = untied(Harmonium(np.asarray([[2.0]]), np.ones(1), np.zeros(1)))
    >>> down_field(layer, np.asarray([1.0]))
    array([3.])
    """
    w, b, _, c, visible, hidden = layer
    return visible_field(Harmonium(w, b, c, visible, hidden), h)


def up_field(layer: DirectedLayer, v: Array) -> Array:
    """What units above feel: c + φ(v) r, (..., J) of states below (..., I).

    Examples
    --------
    >>> import numpy as np
    >>> layer = untied(Harmonium(np.asarray([[2.0]]), np.ones(1), np.zeros(1)))
    >>> up_field(layer, np.asarray([1.0]))
    array([2.])
    """
    _, b, r, c, visible, hidden = layer
    return hidden_field(Harmonium(r, b, c, visible, hidden), v)


def log_down(layer: DirectedLayer, v: Array, h: Array) -> Array:
    r"""Log-probability of states below given states above.

    .. math:: \log p(v \mid h) = \sum_i \big[x_i φ(v)_i - e(v_i; 0)\big]
              - \log \sum_{v'} e^{x \cdot φ(v') - e(v'; 0)}, \qquad x = b + w φ(h)

    Parameters
    ----------
    layer : DirectedLayer
    v : array, shape (..., I)
    h : array, shape (..., J)
        With the leading axes of v, or axes that broadcast with them.

    Returns
    -------
    array, shape (...)

    Raises
    ------
    ShapeError, DtypeError, MixedBackendError
        If the arrays do not fit together.

    Examples
    --------
    >>> import numpy as np
    >>> layer = untied(Harmonium(np.zeros((3, 2)), np.zeros(3), np.zeros(2)))
    >>> log_down(layer, np.ones(3), np.ones(2)).round(4)  # 3 log ½
    np.float64(-2.0794)
    """
    return _log_probability(layer.visible, "v", v, down_field(layer, h))


def log_up(layer: DirectedLayer, v: Array, h: Array) -> Array:
    """log q(h | v), (...): as `log_down`, in the fields c + φ(v) r.

    Examples
    --------
    >>> import numpy as np
    >>> layer = untied(Harmonium(np.zeros((3, 2)), np.zeros(3), np.zeros(2)))
    >>> log_up(layer, np.ones(3), np.ones(2)).round(4)
    np.float64(-1.3863)
    """
    return _log_probability(layer.hidden, "h", h, up_field(layer, v))


def log_weight(layers: Sequence[DirectedLayer], top: Harmonium, states: Sequence[Array]) -> Array:
    r"""Logarithm of the model's weight of states over their probability in recognition.

    .. math:: \log \frac{p(v, h^1, \dots, h^n)\, Z}{q(h^1, \dots, h^n \mid v)}
              = \sum_l \big[\log p(h^{l-1} \mid h^l) - \log q(h^l \mid h^{l-1})\big] - F(h^n),
              \qquad h^0 = v

    With states drawn by recognition its mean less log Z is a lower bound of log p(v), and the
    logarithm of the mean of its exponential tends to log p(v) + log Z.

    Parameters
    ----------
    layers : sequence of DirectedLayer
        From below; may be empty.
    top : Harmonium
        Z and F are its own.
    states : sequence of array, shapes (..., I), (..., J), ...
        v and the states of every layer above, the last the top machine's visible units.

    Returns
    -------
    array, shape (...)

    Raises
    ------
    OptionError
        If the states are not one more than the layers.
    ShapeError, DtypeError, MixedBackendError
        If the arrays do not fit together.

    Notes
    -----
    Derivation: :doc:`/derivations/deep_belief`.

    References
    ----------
    Hinton, Osindero & Teh (2006), A fast learning algorithm for deep belief nets.

    Examples
    --------
    >>> import numpy as np
    >>> machine = Harmonium(np.asarray([[2.0]]), np.asarray([0.5]), np.asarray([-2.0]))
    >>> log_weight([], machine, [np.asarray([1.0])]).round(4)  # 0.5 + log 2
    np.float64(1.1931)
    """
    if len(states) != len(layers) + 1:
        raise OptionError(
            f"states: expected {len(layers) + 1}, one more than layers, got {len(states)}"
        )
    weight = -free_energy(top, states[-1])
    for layer, v, h in zip(layers, states[:-1], states[1:], strict=True):
        weight = weight + log_down(layer, v, h) - log_up(layer, v, h)
    return weight


def wake_gradient(layer: DirectedLayer, v: Array, h: Array) -> DirectedGradient:
    r"""Gradient of the mean of log p(v | h) by the weights down and the biases below.

    .. math:: \frac{\partial}{\partial w_{ij}} \langle\log p(v \mid h)\rangle
              = \big\langle \big(φ(v)_i - φ(\langle v\rangle_h)_i\big)\, φ(h)_j \big\rangle

    On states that recognition draws at the data it ascends the bound.

    Parameters
    ----------
    layer : DirectedLayer
    v : array, shape (B, I)
    h : array, shape (B, J)

    Returns
    -------
    DirectedGradient

    Raises
    ------
    ShapeError, DtypeError, MixedBackendError
        If the arrays do not fit together or the batch is empty.

    References
    ----------
    Hinton, Dayan, Frey & Neal (1995), The wake-sleep algorithm for unsupervised neural networks.

    Examples
    --------
    >>> import numpy as np
    >>> layer = untied(Harmonium(np.zeros((1, 1)), np.zeros(1), np.zeros(1)))
    >>> wake_gradient(layer, np.ones((2, 1)), np.asarray([[0.0], [1.0]]))
    DirectedGradient(weights=array([[0.25]]), biases=array([0.5]))
    """
    xp = _expect_batch(layer, v, h)
    error, given = _error(layer.visible, v, down_field(layer, h)), layer.hidden.statistic(h)
    weights = xp.matrix_transpose(error) @ given / float(v.shape[0])
    return DirectedGradient(weights, xp.mean(error, axis=0))


def sleep_gradient(layer: DirectedLayer, v: Array, h: Array) -> DirectedGradient:
    r"""Gradient of the mean of log q(h | v) by the weights up and the biases above.

    .. math:: \frac{\partial}{\partial r_{ij}} \langle\log q(h \mid v)\rangle
              = \big\langle φ(v)_i\, \big(φ(h)_j - φ(\langle h\rangle_v)_j\big) \big\rangle

    On states that the model draws, h and v given h, it brings q(h | v) nearer to p(h | v).

    Parameters
    ----------
    layer : DirectedLayer
    v : array, shape (B, I)
    h : array, shape (B, J)

    Returns
    -------
    DirectedGradient

    Raises
    ------
    ShapeError, DtypeError, MixedBackendError
        If the arrays do not fit together or the batch is empty.

    Examples
    --------
    >>> import numpy as np
    >>> layer = untied(Harmonium(np.zeros((1, 1)), np.zeros(1), np.zeros(1)))
    >>> sleep_gradient(layer, np.ones((2, 1)), np.asarray([[1.0], [1.0]]))
    DirectedGradient(weights=array([[0.5]]), biases=array([0.5]))
    """
    xp = _expect_batch(layer, v, h)
    error, given = _error(layer.hidden, h, up_field(layer, v)), layer.visible.statistic(v)
    weights = xp.matrix_transpose(given) @ error / float(v.shape[0])
    return DirectedGradient(weights, xp.mean(error, axis=0))


def _log_probability(units: Units, name: str, s: Array, x: Array) -> Array:
    """log p(s | x) of a layer in fields."""
    floating(**{name: s}, x=x)
    if s.ndim == 0 or s.shape[-1] != x.shape[-1]:
        raise ShapeError(
            f"{name}: expected shape (..., {x.shape[-1]}) to match the layer, got {tuple(s.shape)}"
        )
    return units.offset(x) - units.energy(s, x) - units.log_partition(x)


def _error(units: Units, s: Array, x: Array) -> Array:
    """φ(s) less its mean in fields."""
    return units.statistic(s - units.mean(x))


def _expect_batch(layer: DirectedLayer, v: Array, h: Array) -> Any:
    """The namespace of a layer and a batch of states."""
    xp = floating(w=layer.w, b=layer.b, r=layer.r, c=layer.c, v=v, h=h)
    expect_ndim("w", layer.w, 2, "(I, J)")
    n_below, n_above = layer.w.shape
    because = f"to match w {tuple(layer.w.shape)}"
    expect_shape("r", layer.r, (n_below, n_above), axes="(I, J)", because=because)
    expect_shape("v", v, (None, n_below), axes="(B, I)", because=because)
    if v.shape[0] == 0:
        raise ShapeError(f"v: expected at least one example, got {tuple(v.shape)}")
    because = f"to match v {tuple(v.shape)} and w {tuple(layer.w.shape)}"
    expect_shape("h", h, (v.shape[0], n_above), axes="(B, J)", because=because)
    return xp
