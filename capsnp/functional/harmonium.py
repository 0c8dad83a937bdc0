r"""Bipartite machines of any kinds of units: what `rbm` has for Bernoulli units alone.

.. math:: E(v, h) = e(v; b) + e(h; c) - \sum_{ij} φ(v)_i\, w_{ij}\, φ(h)_j

with e and φ of the units (see `units`), so that given one layer the units of the other are
independent, in fields b + Σ_j w_ij φ(h)_j and c + Σ_i φ(v)_i w_ij.

============================  =================================================================
`Harmonium`                   the parameters and the kinds of units
`energy`                      E(v, h)
`free_energy`                 F(v) = −log Σ_h e^{−E(v, h)}; of h: that of the machine `turned`
`hidden_field`                c + φ(v) w; `visible_field`: b + w φ(h)
`hidden_mean`                 ⟨h⟩ given v; `visible_mean`: ⟨v⟩ given h
`draw_hidden`                 h given v, from noise; `draw_visible`: v given h
`gibbs_step`                  h given v, then v given that h, of all chains at once
`statistics`                  averages of −∂E/∂θ
`cd_gradient`                 data minus model, centred if asked for
`independent`                 a machine of the same kinds without weights, to start from
`independent_log_partition`   log Z of such a machine
`tempered`                    the machine between two others, of the same kinds
`exchange_probability`        with which chains of two machines exchange their states
============================  =================================================================

The states of a layer of discrete units are listed by ``machine.visible.states`` and
``machine.hidden.states``, by blocks; ``n_states`` says how many there are.
"""

import operator
from typing import Any, NamedTuple

from capsnp.backend import Array, namespace
from capsnp.functional._checks import expect_shape
from capsnp.functional._machine import (
    Harmonium,
    expect_batch,
    expect_machine,
    times,
)
from capsnp.functional._tempering import (
    independent,
    independent_log_partition,
    tempered,
    turned,
)
from capsnp.functional.units import Gaussian

__all__ = [
    "GibbsStep",
    "Harmonium",
    "HarmoniumGradient",
    "cd_gradient",
    "draw_hidden",
    "draw_visible",
    "energy",
    "exchange_probability",
    "free_energy",
    "gibbs_step",
    "hidden_field",
    "hidden_mean",
    "independent",
    "independent_log_partition",
    "statistics",
    "tempered",
    "turned",
    "visible_field",
    "visible_mean",
]


class GibbsStep(NamedTuple):
    """Where chains are after a step.

    Attributes
    ----------
    v : array, shape (..., I)
    h : array, shape (..., J)
        What v was drawn from.
    """

    v: Array
    h: Array


class HarmoniumGradient(NamedTuple):
    """Derivatives by the parameters, or averages of −∂E/∂θ.

    Attributes
    ----------
    w : array, shape (I, J)
    b : array, shape (I,)
    c : array, shape (J,)
    log_variance : array, shape (I,), or None
        Of Gaussian visible units that have one.
    """

    w: Array
    b: Array
    c: Array
    log_variance: Array | None = None


def energy(machine: Harmonium, v: Array, h: Array) -> Array:
    r"""Energy of visible and hidden states.

    .. math:: E(v, h) = e(v; b) + e(h; c) - \sum_{ij} φ(v)_i\, w_{ij}\, φ(h)_j

    Parameters
    ----------
    machine : Harmonium
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

    Notes
    -----
    Bernoulli units on both sides make it (1). Derivations: :doc:`/derivations/rbm`,
    :doc:`/derivations/units`.

    Examples
    --------
    >>> import numpy as np
    >>> machine = Harmonium(np.asarray([[2.0]]), np.asarray([1.0]), np.zeros(1), Gaussian())
    >>> energy(machine, np.asarray([3.0]), np.asarray([1.0]))  # (3 − 1)²/2 − 3·2·1
    np.float64(-4.0)
    """
    xp = expect_machine(machine, v=v, h=h)
    fields = times(xp, machine.visible.statistic(v), machine.w)
    coupling = xp.sum(fields * machine.hidden.statistic(h), axis=-1)
    return machine.visible.energy(v, machine.b) + machine.hidden.energy(h, machine.c) - coupling


def free_energy(machine: Harmonium, v: Array) -> Array:
    r"""Free energy of visible states: −log p(v) − log Z, hidden states summed out.

    .. math:: F(v) = e(v; b) - \log \sum_h e^{-e(h;\,0)\, +\, φ(h) \cdot (c + φ(v) w)}
              + \mathrm{offset}(c)

    Parameters
    ----------
    machine : Harmonium
        ``turned(machine)`` gives the free energy of hidden states.
    v : array, shape (..., I)

    Returns
    -------
    array, shape (...)

    Raises
    ------
    ShapeError, DtypeError, MixedBackendError
        If the arrays do not fit together.

    Notes
    -----
    Derivation: :doc:`/derivations/units`.

    Examples
    --------
    >>> import numpy as np
    >>> machine = Harmonium(np.asarray([[2.0]]), np.asarray([0.5]), np.asarray([-2.0]))
    >>> free_energy(machine, np.asarray([1.0])).round(4)  # −0.5 − log 2
    np.float64(-1.1931)
    """
    x = hidden_field(machine, v)
    hidden = machine.hidden.log_partition(x) - machine.hidden.offset(machine.c)
    return machine.visible.energy(v, machine.b) - hidden


def hidden_field(machine: Harmonium, v: Array) -> Array:
    """What hidden units feel: c + φ(v) w, (..., J) of visible states (..., I).

    Examples
    --------
    >>> import numpy as np
    >>> machine = Harmonium(np.asarray([[2.0, 3.0]]), np.zeros(1), np.asarray([0.5, 0.0]))
    >>> hidden_field(machine, np.asarray([1.0]))
    array([2.5, 3. ])
    """
    xp = expect_machine(machine, v=v)
    return operator.iadd(times(xp, machine.visible.statistic(v), machine.w), machine.c)


def visible_field(machine: Harmonium, h: Array) -> Array:
    """What visible units feel: b + w φ(h), (..., I) of hidden states (..., J).

    Examples
    --------
    >>> import numpy as np
    >>> machine = Harmonium(np.asarray([[2.0, 3.0]]), np.ones(1), np.zeros(2))
    >>> visible_field(machine, np.asarray([1.0, 1.0]))
    array([6.])
    """
    xp = expect_machine(machine, h=h)
    φ_h = machine.hidden.statistic(h)
    if h.ndim != 2:
        return operator.iadd(times(xp, φ_h, machine.w.T), machine.b)
    # a host reads w faster as it lies than turned
    y = xp.matrix_transpose(machine.w @ xp.matrix_transpose(φ_h))
    return operator.iadd(y, machine.b)


def hidden_mean(machine: Harmonium, v: Array) -> Array:
    """⟨h⟩ given visible states, (..., J) of (..., I); of Bernoulli units their probability.

    Examples
    --------
    >>> import numpy as np
    >>> machine = Harmonium(np.asarray([[2.0]]), np.zeros(1), np.asarray([-2.0]))
    >>> hidden_mean(machine, np.asarray([1.0]))
    array([0.5])
    """
    return machine.hidden.mean(hidden_field(machine, v))


def visible_mean(machine: Harmonium, h: Array) -> Array:
    """⟨v⟩ given hidden states, (..., I) of (..., J).

    Examples
    --------
    >>> import numpy as np
    >>> machine = Harmonium(np.asarray([[2.0]]), np.ones(1), np.zeros(1), Gaussian())
    >>> visible_mean(machine, np.asarray([1.0]))
    array([3.])
    """
    return machine.visible.mean(visible_field(machine, h))


def draw_hidden(machine: Harmonium, v: Array, noise: Array) -> Array:
    """Hidden states (..., J) given visible ones, from noise as ``machine.hidden`` asks for.

    Examples
    --------
    >>> import numpy as np
    >>> machine = Harmonium(np.zeros((1, 2)), np.zeros(1), np.zeros(2))
    >>> draw_hidden(machine, np.ones(1), np.asarray([0.2, 0.7]))
    array([1., 0.])
    """
    return machine.hidden.draw(hidden_field(machine, v), noise)


def draw_visible(machine: Harmonium, h: Array, noise: Array) -> Array:
    """Visible states (..., I) given hidden ones, from noise as ``machine.visible`` asks for.

    Examples
    --------
    >>> import numpy as np
    >>> machine = Harmonium(np.zeros((2, 1)), np.zeros(2), np.zeros(1))
    >>> draw_visible(machine, np.ones(1), np.asarray([0.2, 0.7]))
    array([1., 0.])
    """
    return machine.visible.draw(visible_field(machine, h), noise)


def gibbs_step(
    machine: Harmonium, v: Array, hidden_noise: Array, visible_noise: Array
) -> GibbsStep:
    r"""One Gibbs step of every chain: :math:`h \sim p(h \mid v)`, :math:`v' \sim p(v' \mid h)`.

    Parameters
    ----------
    machine : Harmonium
    v : array, shape (..., I)
        One visible state for each chain.
    hidden_noise : array, shape ``machine.hidden.noise_shape((..., J))``
        Uniform in [0, 1) or normal, as ``machine.hidden.noise`` says.
    visible_noise : array, shape ``machine.visible.noise_shape((..., I))``

    Returns
    -------
    GibbsStep
        ``v`` (..., I) and the ``h`` (..., J) that it was drawn from.

    Examples
    --------
    >>> import numpy as np
    >>> machine = Harmonium(np.asarray([[9.0]]), np.zeros(1), np.zeros(1))
    >>> gibbs_step(machine, np.ones((1, 1)), np.full((1, 1), 0.5), np.full((1, 1), 0.5))
    GibbsStep(v=array([[1.]]), h=array([[1.]]))
    """
    h = draw_hidden(machine, v, hidden_noise)
    return GibbsStep(draw_visible(machine, h, visible_noise), h)


def exchange_probability(first: Harmonium, second: Harmonium, v: Array, u: Array) -> Array:
    r"""Probability with which two chains exchange their states in parallel tempering.

    .. math:: \min\big(1,\, e^{F_1(v) + F_2(u) - F_1(u) - F_2(v)}\big)

    leaves both distributions as they are.

    Parameters
    ----------
    first, second : Harmonium
        Of the same visible units.
    v, u : array, shape (..., I)
        States of chains of the first machine, and of the second.

    Returns
    -------
    array, shape (...)

    References
    ----------
    Desjardins et al. (2010), Tempered Markov chain Monte Carlo for training of restricted
    Boltzmann machines.

    Examples
    --------
    >>> import numpy as np
    >>> hot = Harmonium(np.zeros((1, 1)), np.zeros(1), np.zeros(1))
    >>> cold = Harmonium(np.zeros((1, 1)), np.asarray([2.0]), np.zeros(1))
    >>> exchange_probability(hot, cold, np.asarray([[0.0], [1.0]]), np.asarray([[1.0], [0.0]]))
    array([0.13533528, 1.        ])
    """
    gain = free_energy(first, v) - free_energy(first, u)
    gain = gain + free_energy(second, u) - free_energy(second, v)
    xp = namespace(gain=gain)
    return xp.exp(xp.clip(gain, max=0.0))


# --- gradients --------------------------------------------------------------------------------


def statistics(machine: Harmonium, v: Array, h: Array) -> HarmoniumGradient:
    r"""Averages over a batch of −∂E/∂θ, up to terms in the parameters alone.

    .. math:: \langle φ(v)_i φ(h)_j\rangle, \quad \langle φ(v)_i\rangle, \quad
              \langle φ(h)_j\rangle, \quad
              \Big\langle \frac{(v_i - b_i)^2}{2\sigma_i^2}
              - \frac{v_i}{\sigma_i^2} \sum_j w_{ij} φ(h)_j \Big\rangle

    the last of Gaussian visible units by log σ². All are linear in φ(h), so means of h do.

    Parameters
    ----------
    machine : Harmonium
    v : array, shape (B, I)
    h : array, shape (B, J)
        Hidden states, or their means given v.

    Returns
    -------
    HarmoniumGradient

    Raises
    ------
    ShapeError, DtypeError, MixedBackendError
        If the arrays do not fit together or the batch is empty.

    Examples
    --------
    >>> import numpy as np
    >>> machine = Harmonium(np.zeros((1, 1)), np.zeros(1), np.zeros(1))
    >>> statistics(machine, np.ones((2, 1)), np.full((2, 1), 0.5)).w
    array([[0.5]])
    """
    xp = expect_batch(machine, v, h, "(B, I)", "(B, J)")
    φ_v, φ_h = machine.visible.statistic(v), machine.hidden.statistic(h)
    products = xp.matrix_transpose(φ_v) @ φ_h / float(v.shape[0])
    variance = None
    if _learns_variance(machine):
        square = 0.5 * machine.visible.statistic(xp.mean((v - machine.b) ** 2, axis=0))
        variance = square - xp.sum(machine.w * products, axis=1)
    return HarmoniumGradient(products, xp.mean(φ_v, axis=0), xp.mean(φ_h, axis=0), variance)


def cd_gradient(
    machine: Harmonium,
    v_data: Array,
    h_data: Array,
    v_model: Array,
    h_model: Array,
    *,
    offsets: tuple[Array, Array] | None = None,
) -> HarmoniumGradient:
    r"""Gradient of the log-likelihood with its model term from chains, centred if asked for.

    Without offsets the difference of two `statistics`. With offsets μ (I,) and λ (J,)
    the steepest ascent in the coordinates of the centred energy
    :math:`-(φ(v) - μ)\, w\, (φ(h) - λ) - \dots`, which does not depend on what a unit calls 0:

    .. math:: \Delta w = \langle (φ(v) - μ)(φ(h) - λ)^T \rangle_\mathrm{data}
                       - \langle (φ(v) - μ)(φ(h) - λ)^T \rangle_\mathrm{model}, \quad
              \Delta b = \langle φ(v)\rangle_\mathrm{data} - \langle φ(v)\rangle_\mathrm{model}
                       - \Delta w\, λ, \quad
              \Delta c = \langle φ(h)\rangle_\mathrm{data} - \langle φ(h)\rangle_\mathrm{model}
                       - \Delta w^T μ

    With μ and λ the means over the data it is the centred gradient, with the means of data and
    model averaged the enhanced gradient.

    Parameters
    ----------
    machine : Harmonium
    v_data, h_data : array, shapes (B, I) and (B, J)
        The data, and hidden states or their means given these.
    v_model, h_model : array, shapes (N, I) and (N, J)
        The chains' ends.
    offsets : tuple of array, shapes (I,) and (J,), optional
        μ of φ(v) and λ of φ(h).

    Returns
    -------
    HarmoniumGradient
        The direction that is added.

    Raises
    ------
    ShapeError, DtypeError, MixedBackendError
        If the arrays do not fit together or a batch is empty.

    References
    ----------
    Montavon & Müller (2012), Deep Boltzmann machines and the centering trick; Cho, Raiko & Ilin
    (2011), Enhanced gradient; Melchior, Fischer & Wiskott (2016), How to center deep Boltzmann
    machines.
    Derivation: :doc:`/derivations/units`.

    Examples
    --------
    >>> import numpy as np
    >>> machine = Harmonium(np.zeros((1, 1)), np.zeros(1), np.zeros(1))
    >>> one, half = np.ones((2, 1)), np.full((2, 1), 0.5)
    >>> gradient = cd_gradient(machine, one, half, half, half)
    >>> gradient.w, gradient.b, gradient.c
    (array([[0.25]]), array([0.5]), array([0.]))
    """
    xp = expect_batch(machine, v_data, h_data, "(B, I)", "(B, J)")
    expect_batch(machine, v_model, h_model, "(N, I)", "(N, J)", names=("v_model", "h_model"))
    φ_v, φ_h = machine.visible.statistic, machine.hidden.statistic
    v, v_chain, h, h_chain = φ_v(v_data), φ_v(v_model), φ_h(h_data), φ_h(h_model)
    # the difference of two averages is one sum over both batches
    ones, ones_chain = xp.ones_like(h[:, 0]), xp.ones_like(h_chain[:, 0])
    share = xp.concat([ones / h.shape[0], ones_chain / -h_chain.shape[0]], axis=0)
    right = xp.concat([h, h_chain], axis=0)
    if offsets is not None:
        mu, lam = offsets
        because = f"to match w {tuple(machine.w.shape)}"
        expect_shape("offsets[0]", mu, tuple(machine.b.shape), axes="(I,)", because=because)
        expect_shape("offsets[1]", lam, tuple(machine.c.shape), axes="(J,)", because=because)
        right = right - lam
    left = xp.concat([v, v_chain], axis=0)
    if offsets is not None:
        left = left - mu
    dw = xp.matrix_transpose(left) @ (right * share[:, None])
    db, dc = share @ left, share @ right
    if offsets is not None:
        db, dc = db - dw @ lam, dc - mu @ dw
    variance = None
    if _learns_variance(machine):
        variance = _variance_gradient(xp, machine, v_data, h_data, v_model, h_model)
    return HarmoniumGradient(dw, db, dc, variance)


def _variance_gradient(xp: Any, machine: Harmonium, *states: Array) -> Array:
    """By log σ² of Gaussian visible units, data minus model."""
    v_data, h_data, v_model, h_model = states

    def term(v: Array, h: Array) -> Array:
        fields = times(xp, machine.hidden.statistic(h), machine.w.T)
        return xp.mean(0.5 * (v - machine.b) ** 2 - v * fields, axis=0)

    return machine.visible.statistic(term(v_data, h_data) - term(v_model, h_model))


def _learns_variance(machine: Harmonium) -> bool:
    return isinstance(machine.visible, Gaussian) and machine.visible.log_variance is not None
