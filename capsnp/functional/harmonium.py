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

from dataclasses import replace
from typing import Any, NamedTuple

from capsnp.backend import Array, namespace
from capsnp.errors import OptionError, ShapeError
from capsnp.functional._checks import (
    expect_min_ndim,
    expect_ndim,
    expect_range,
    expect_shape,
    floating,
)
from capsnp.functional.units import Bernoulli, Gaussian, Units


class Harmonium(NamedTuple):
    """Parameters of a bipartite machine.

    Attributes
    ----------
    w : array, shape (I, J)
    b : array, shape (I,)
        Visible biases.
    c : array, shape (J,)
        Hidden biases.
    visible, hidden : Units
        Gaussian units hold their variances themselves.

    References
    ----------
    Welling, Rosen-Zvi & Hinton (2005), Exponential family harmoniums.
    """

    w: Array
    b: Array
    c: Array
    visible: Units = Bernoulli()
    hidden: Units = Bernoulli()


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
    Bernoulli units on both sides make it (1). Derivation: :doc:`/derivations/rbm`.

    Examples
    --------
    >>> import numpy as np
    >>> machine = Harmonium(np.asarray([[2.0]]), np.asarray([1.0]), np.zeros(1), Gaussian())
    >>> energy(machine, np.asarray([3.0]), np.asarray([1.0]))  # (3 − 1)²/2 − 3·2·1
    np.float64(-4.0)
    """
    xp = _expect_machine(machine, v=v, h=h)
    fields = _times(xp, machine.visible.statistic(v), machine.w)
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
    xp = _expect_machine(machine, v=v)
    return _times(xp, machine.visible.statistic(v), machine.w) + machine.c


def visible_field(machine: Harmonium, h: Array) -> Array:
    """What visible units feel: b + w φ(h), (..., I) of hidden states (..., J).

    Examples
    --------
    >>> import numpy as np
    >>> machine = Harmonium(np.asarray([[2.0, 3.0]]), np.ones(1), np.zeros(2))
    >>> visible_field(machine, np.asarray([1.0, 1.0]))
    array([6.])
    """
    xp = _expect_machine(machine, h=h)
    return _times(xp, machine.hidden.statistic(h), machine.w.T) + machine.b


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
    xp = _expect_batch(machine, v, h, "(B, I)", "(B, J)")
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

    Examples
    --------
    >>> import numpy as np
    >>> machine = Harmonium(np.zeros((1, 1)), np.zeros(1), np.zeros(1))
    >>> one, half = np.ones((2, 1)), np.full((2, 1), 0.5)
    >>> gradient = cd_gradient(machine, one, half, half, half)
    >>> gradient.w, gradient.b, gradient.c
    (array([[0.25]]), array([0.5]), array([0.]))
    """
    xp = _expect_batch(machine, v_data, h_data, "(B, I)", "(B, J)")
    _expect_batch(machine, v_model, h_model, "(N, I)", "(N, J)", names=("v_model", "h_model"))
    φ_v, φ_h = machine.visible.statistic, machine.hidden.statistic
    v, v_chain, h, h_chain = φ_v(v_data), φ_v(v_model), φ_h(h_data), φ_h(h_model)
    db = xp.mean(v, axis=0) - xp.mean(v_chain, axis=0)
    dc = xp.mean(h, axis=0) - xp.mean(h_chain, axis=0)
    if offsets is not None:
        mu, lam = offsets
        because = f"to match w {tuple(machine.w.shape)}"
        expect_shape("offsets[0]", mu, tuple(machine.b.shape), axes="(I,)", because=because)
        expect_shape("offsets[1]", lam, tuple(machine.c.shape), axes="(J,)", because=because)
        v, v_chain, h, h_chain = v - mu, v_chain - mu, h - lam, h_chain - lam
    # one product for both terms
    left = xp.concat([v / float(v.shape[0]), v_chain / -float(v_chain.shape[0])], axis=0)
    dw = xp.matrix_transpose(left) @ xp.concat([h, h_chain], axis=0)
    variance = None
    if _learns_variance(machine):
        variance = _variance_gradient(xp, machine, v_data, h_data, v_model, h_model)
    if offsets is not None:
        db, dc = db - dw @ lam, dc - mu @ dw
    return HarmoniumGradient(dw, db, dc, variance)


def _variance_gradient(xp: Any, machine: Harmonium, *states: Array) -> Array:
    """By log σ² of Gaussian visible units, data minus model."""
    v_data, h_data, v_model, h_model = states

    def term(v: Array, h: Array) -> Array:
        fields = _times(xp, machine.hidden.statistic(h), machine.w.T)
        return xp.mean(0.5 * (v - machine.b) ** 2 - v * fields, axis=0)

    return machine.visible.statistic(term(v_data, h_data) - term(v_model, h_model))


# --- other machines ---------------------------------------------------------------------------


def turned(machine: Harmonium) -> Harmonium:
    """The machine with its layers exchanged: E(h, v) is what E(v, h) was.

    Examples
    --------
    >>> import numpy as np
    >>> machine = Harmonium(np.asarray([[2.0]]), np.asarray([0.5]), np.asarray([-2.0]))
    >>> free_energy(turned(machine), np.asarray([1.0])).round(4)
    np.float64(-0.5789)
    """
    w, b, c, visible, hidden = machine
    return Harmonium(namespace(w=w).matrix_transpose(w), c, b, hidden, visible)


def independent(machine: Harmonium, b: Array | None = None) -> Harmonium:
    """A machine of the same kinds whose units are independent: visible biases alone.

    Parameters
    ----------
    machine : Harmonium
    b : array, shape (I,), optional
        By default the machine's; the log odds or means of the data make a closer start.

    Returns
    -------
    Harmonium
        `independent_log_partition` is its log Z.

    Examples
    --------
    >>> import numpy as np
    >>> independent(Harmonium(np.ones((1, 1)), np.ones(1), np.ones(1))).w
    array([[0.]])
    """
    b = machine.b if b is None else b
    return machine._replace(w=0.0 * machine.w, b=b, c=0.0 * machine.c)


def independent_log_partition(machine: Harmonium) -> Array:
    r"""log Z of a machine whose weights are 0; its weights are not looked at.

    .. math:: \log Z_0 = \sum_i \log \int e^{-e(v_i;\,b_i)}\,dv_i
                       + \sum_j \log \int e^{-e(h_j;\,c_j)}\,dh_j

    Parameters
    ----------
    machine : Harmonium

    Returns
    -------
    array, shape ()

    Examples
    --------
    >>> import numpy as np
    >>> machine = Harmonium(np.zeros((3, 2)), np.zeros(3), np.zeros(2))
    >>> independent_log_partition(machine).round(4)  # 5 log 2
    np.float64(3.4657)
    """
    _expect_machine(machine)
    layers = ((machine.visible, machine.b), (machine.hidden, machine.c))
    return sum(units.log_partition(bias) - units.offset(bias) for units, bias in layers)


def tempered(machine: Harmonium, beta: float, base: Harmonium | None = None) -> Harmonium:
    r"""The machine whose energy is (1 − β) that of a base and β that of a machine.

    .. math:: E_β(v, h) = (1 - β)\, E_0(v, h) + β\, E(v, h) + \mathrm{const}(β)

    Its kinds of units are theirs, so it has free energies and chains like any other: what annealed
    importance sampling and parallel tempering walk along. The constant belongs to Gaussian units
    and is 0 at both ends.

    Parameters
    ----------
    machine : Harmonium
    beta : float
        In [0, 1].
    base : Harmonium, optional
        Of the same kinds and sizes; by default ``independent(machine)``.

    Returns
    -------
    Harmonium
        The base at β = 0, the machine at β = 1.

    Raises
    ------
    OptionError
        If β lies outside [0, 1], or the kinds differ.
    ShapeError, DtypeError, MixedBackendError
        If the sizes, dtypes or libraries differ.

    References
    ----------
    Salakhutdinov & Murray (2008), On the quantitative analysis of deep belief networks.

    Examples
    --------
    >>> import numpy as np
    >>> machine = Harmonium(np.asarray([[2.0]]), np.asarray([1.0]), np.asarray([4.0]))
    >>> tempered(machine, 0.25)[:3]
    (array([[0.5]]), array([1.]), array([1.]))
    """
    expect_range("beta", beta, 0, 1)
    base = independent(machine) if base is None else base
    _expect_like(machine, base)
    beta = float(beta)
    (w0, b0, c0), (w1, b1, c1) = base[:3], machine[:3]
    if not isinstance(machine.visible, Gaussian) and not isinstance(machine.hidden, Gaussian):
        return machine._replace(
            w=_between(w0, w1, beta), b=_between(b0, b1, beta), c=_between(c0, c1, beta)
        )
    visible, old_v, new_v = _gaussian_between(base.visible, machine.visible, beta)
    hidden, old_h, new_h = _gaussian_between(base.hidden, machine.hidden, beta)
    return Harmonium(
        (1.0 - beta) * _scaled(w0, old_v, old_h) + beta * _scaled(w1, new_v, new_h),
        (1.0 - beta) * _scaled(b0, old_v) + beta * _scaled(b1, new_v),
        (1.0 - beta) * _scaled(c0, old_h) + beta * _scaled(c1, new_h),
        visible,
        hidden,
    )


def _between(old: Array, new: Array, beta: float) -> Array:
    return (1.0 - beta) * old + beta * new


def _gaussian_between(
    old: Units, new: Units, beta: float
) -> tuple[Units, Array | None, Array | None]:
    """Units whose precision lies between, and σ² over the variance of each end; None is 1."""
    if not isinstance(old, Gaussian) or not isinstance(new, Gaussian):
        return new, None, None
    if old.log_variance is None or new.log_variance is None:
        return new, None, None
    xp = namespace(old=old.log_variance, new=new.log_variance)
    apart = new.log_variance - old.log_variance
    log_precision_ratio = xp.log((1.0 - beta) * xp.exp(apart) + beta)  # of theirs to the new one's
    return (
        replace(new, log_variance=new.log_variance - log_precision_ratio),
        xp.exp(apart - log_precision_ratio),
        xp.exp(-log_precision_ratio),
    )


def _scaled(parameter: Array, rows: Array | None, columns: Array | None = None) -> Array:
    """A parameter times what belongs to its rows, and to its columns."""
    if rows is not None:
        parameter = parameter * (rows[:, None] if parameter.ndim == 2 else rows)
    return parameter if columns is None else parameter * columns


# --- checks -----------------------------------------------------------------------------------


def _learns_variance(machine: Harmonium) -> bool:
    return isinstance(machine.visible, Gaussian) and machine.visible.log_variance is not None


def _times(xp: Any, s: Array, w: Array) -> Array:
    """Σ_i s_i w_ij: (..., I) and (I, J) to (..., J)."""
    return xp.tensordot(s, w, axes=1)


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


def _expect_machine(machine: Harmonium, *, v: Array | None = None, h: Array | None = None) -> Any:
    """The namespace of a machine and states that fit it."""
    w, b, c = machine[:3]
    xp = floating(w=w, b=b, c=c, v=v, h=h)
    expect_ndim("w", w, 2, "(I, J)")
    because = f"to match w {tuple(w.shape)}"
    for letter, bias, states, size in (("I", b, v, w.shape[0]), ("J", c, h, w.shape[1])):
        bias_name, name = ("b", "v") if letter == "I" else ("c", "h")
        expect_shape(bias_name, bias, (size,), axes=f"({letter},)", because=because)
        if states is None:
            continue
        expect_min_ndim(name, states, 1, f"(..., {letter})")
        if states.shape[-1] != size:
            raise ShapeError(
                f"{name}: expected shape (..., {letter}) with {letter} = {size} {because}, "
                f"got {tuple(states.shape)}"
            )
    return xp


def _expect_batch(
    machine: Harmonium,
    v: Array,
    h: Array,
    v_axes: str,
    h_axes: str,
    names: tuple[str, str] = ("v", "h"),
) -> Any:
    """The namespace of a machine and a batch of states."""
    xp = floating(w=machine.w, **dict(zip(names, (v, h), strict=True)))
    because = f"to match w {tuple(machine.w.shape)}"
    expect_ndim("w", machine.w, 2, "(I, J)")
    expect_shape(names[0], v, (None, machine.w.shape[0]), axes=v_axes, because=because)
    if v.shape[0] == 0:
        raise ShapeError(f"{names[0]}: expected at least one example, got {tuple(v.shape)}")
    because = f"to match {names[0]} {tuple(v.shape)} and w {tuple(machine.w.shape)}"
    expect_shape(names[1], h, (v.shape[0], machine.w.shape[1]), axes=h_axes, because=because)
    return xp


def _expect_like(machine: Harmonium, base: Harmonium) -> None:
    """Raise unless two machines have the same kinds and sizes."""
    _expect_machine(machine)
    floating(machine=machine.w, base=base.w)
    for name in ("visible", "hidden"):
        wanted, got = getattr(machine, name), getattr(base, name)
        if not _alike(wanted, got):
            raise OptionError(f"base.{name}: expected units like {wanted}, got {got}")
    because = "as the machine has"
    for name, axes in (("w", "(I, J)"), ("b", "(I,)"), ("c", "(J,)")):
        shape = tuple(getattr(machine, name).shape)
        expect_shape(f"base.{name}", getattr(base, name), shape, axes=axes, because=because)


def _alike(one: Units, other: Units) -> bool:
    if isinstance(one, Gaussian) and isinstance(other, Gaussian):
        return (one.log_variance is None) == (other.log_variance is None)
    return one == other
