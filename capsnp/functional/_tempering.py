"""Machines that come from another: with layers exchanged, without weights, between two."""

from dataclasses import replace

from capsnp.backend import Array, namespace
from capsnp.functional._checks import expect_range
from capsnp.functional._machine import Harmonium, expect_like, expect_machine
from capsnp.functional.units import Gaussian, Units


def turned(machine: Harmonium) -> Harmonium:
    """The machine with its layers exchanged: E(h, v) is what E(v, h) was.

    Examples
    --------
    >>> import numpy as np
    >>> from capsnp.functional.harmonium import free_energy
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
    expect_machine(machine)
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
    Derivation: :doc:`/derivations/units`.

    Examples
    --------
    >>> import numpy as np
    >>> machine = Harmonium(np.asarray([[2.0]]), np.asarray([1.0]), np.asarray([4.0]))
    >>> tempered(machine, 0.25)[:3]
    (array([[0.5]]), array([1.]), array([1.]))
    """
    expect_range("beta", beta, 0, 1)
    base = independent(machine) if base is None else base
    expect_like(machine, base)
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
