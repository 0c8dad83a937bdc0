"""How well a machine predicts each unit from the others: scores that need no log Z."""

from capsnp.backend import Array
from capsnp.blocks import slices
from capsnp.errors import OptionError
from capsnp.functional._checks import floating
from capsnp.functional.activations import logsumexp, softplus
from capsnp.functional.harmonium import Harmonium, hidden_field, visible_field
from capsnp.functional.units import Bernoulli, Categorical, Gaussian

_HELD = 2**20
"""Numbers of fields, one for each row, each changed unit and each hidden unit, held at a time."""


def pseudo_log_likelihood(machine: Harmonium, v: Array) -> Array:
    r"""Log-probability of each visible unit given all others, summed over the units.

    .. math:: \sum_i \log p(v_i \mid v_{-i}), \qquad
              p(v_i = 1 \mid v_{-i}) = \sigma\big(F(v_i = 0, v_{-i}) - F(v_i = 1, v_{-i})\big)

    All units are looked at, none is drawn. Of categorical units a group is what is predicted.

    Parameters
    ----------
    machine : Harmonium
        With Bernoulli or categorical visible units.
    v : array, shape (B, I)
        A number p between 0 and 1 counts as a share p of ones, in place and beside others.

    Returns
    -------
    array, shape (B,)
        In nats, at most 0.

    Raises
    ------
    OptionError
        If the visible units are Gaussian: see `hyvarinen_score`.
    ShapeError, DtypeError, MixedBackendError
        If the arrays do not fit together.

    References
    ----------
    Besag (1975), Statistical analysis of non-lattice data.

    Examples
    --------
    >>> import numpy as np
    >>> machine = Harmonium(np.zeros((3, 2)), np.zeros(3), np.zeros(2))
    >>> pseudo_log_likelihood(machine, np.asarray([[0.0, 1.0, 1.0]])).round(4)  # 3 log ½
    array([-2.0794])
    """
    units = machine.visible
    if not isinstance(units, Bernoulli | Categorical):
        raise OptionError(f"machine.visible: expected discrete units, got {units.name} units")
    fields = hidden_field(machine, v)
    K = units.n_categories if isinstance(units, Categorical) else 1
    n_units, J = v.shape[1] // K, machine.w.shape[1]
    parts = []
    for rows in slices(v.shape[0], max(1, _HELD // (n_units * K * J))):
        held = max(1, _HELD // ((rows.stop - rows.start) * K * J))
        parts.append(
            sum(
                _predicted(machine, v[rows, :], fields[rows, :], slice(K * u.start, K * u.stop), K)
                for u in slices(n_units, held)
            )
        )
    return floating(v=v).concat(parts, axis=0)


def _predicted(machine: Harmonium, v: Array, fields: Array, block: slice, K: int) -> Array:
    """Log-probability of some units of each row, (B,)."""
    xp = floating(v=v)
    w, b, v = machine.w[block, :], machine.b[block], v[:, block]
    if K == 1:
        without = fields[:, None, :] - v[:, :, None] * w  # (B, U, J)
        gain = machine.hidden.log_partition(without + w) - machine.hidden.log_partition(without)
        log_odds = b + gain
        return xp.sum(v * log_odds - softplus(log_odds), axis=1)
    B, size = v.shape
    shape = (B, size // K, K)
    own = xp.reshape(v[:, :, None] * w, (*shape, w.shape[1]))
    without = fields[:, None, :] - xp.sum(own, axis=2)  # (B, U, J)
    chosen = without[:, :, None, :] + xp.reshape(w, (size // K, K, w.shape[1]))
    log_share = xp.reshape(b, (size // K, K)) + machine.hidden.log_partition(chosen)
    groups = xp.reshape(v, shape)
    weight = xp.sum(groups, axis=2)  # 1, but for rounding
    return xp.sum(xp.sum(groups * log_share, axis=2) - weight * logsumexp(log_share), axis=1)


def hyvarinen_score(machine: Harmonium, v: Array) -> Array:
    r"""Score of the slope and curvature of log p(v), for Gaussian visible units.

    .. math:: -\sum_i \sigma_i^2 \Big( \frac{\partial^2 \log p}{\partial v_i^2}
              + \tfrac12 \Big(\frac{\partial \log p}{\partial v_i}\Big)^2 \Big)

    Its mean over data is largest for the distribution that they come from, and log Z does not
    enter. The factors σ² make it free of the features' units.

    Parameters
    ----------
    machine : Harmonium
        With Gaussian visible units.
    v : array, shape (B, I)

    Returns
    -------
    array, shape (B,)
        The larger, the better; not in nats.

    Raises
    ------
    OptionError
        If the visible units are not Gaussian.
    ShapeError, DtypeError, MixedBackendError
        If the arrays do not fit together.

    References
    ----------
    Hyvärinen (2005), Estimation of non-normalized statistical models by score matching.

    Examples
    --------
    >>> import numpy as np
    >>> machine = Harmonium(np.zeros((1, 1)), np.zeros(1), np.zeros(1), Gaussian())
    >>> hyvarinen_score(machine, np.asarray([[0.0], [2.0]]))
    array([ 1., -1.])
    """
    units = machine.visible
    if not isinstance(units, Gaussian):
        raise OptionError(f"machine.visible: expected gaussian units, got {units.name} units")
    xp = floating(v=v)
    x = hidden_field(machine, v)
    slope = visible_field(machine, machine.hidden.mean(x)) - v  # σ² times that of log p
    spread = machine.hidden.variance(x) @ xp.matrix_transpose(machine.w**2)
    return xp.sum(1.0 - units.statistic(spread + 0.5 * slope**2), axis=1)
