"""EM routing: output capsules as Gaussian clusters of votes, switched on where votes are dense."""

import math
from typing import Any, NamedTuple

from capsnp.backend import Array
from capsnp.functional._checks import expect_count, expect_range
from capsnp.functional._coupling import expect_layer
from capsnp.functional._polar import or_one, polar, range_of, unit
from capsnp.functional.activations import log_sigmoid, sigmoid, softmax
from capsnp.functional.routing import Routing
from capsnp.functional.routings._votes import (
    even,
    expect_cotangent,
    expect_parameter,
    outer,
    routing,
    softmax_pull,
    unit_vjp,
    votes,
    votes_vjp,
    weigh,
)
from capsnp.functional.squash import length, length_vjp

SMALLEST = 2.0**-20
"""Of what the prior of the variances consists of."""


def em_route(
    x: Array,
    W: Array,
    *,
    iterations: int = 3,
    inverse_temperature: float = 0.02,
    prior_votes: float = 1.0,
    prior_variance: float = 1e-4,
    beta_u: Array | None = None,
    beta_a: Array | None = None,
) -> Routing:
    r"""Routing by expectation-maximisation.

    Each output capsule is a Gaussian with mean :math:`\mu_j` and variances :math:`v_{jd}`. Inputs
    vote :math:`u_{ij} = W_{ij} x_i` and count as much as they are active,
    :math:`R_{ij} = c_{ij} \|x_i\|`. The M-step, with :math:`S_j = \sum_i R_{ij}`, is

    .. math::
        \mu_j = \frac{1}{S_j} \sum_i R_{ij} u_{ij}, \qquad
        v_{jd} = \frac{\nu \tau^2 + \sum_i R_{ij} (u_{ijd} - \mu_{jd})^2}{\nu + S_j}

    .. math::
        s_j = \lambda_t \Big( \beta_{a,j} - S_j \sum_d \big( \beta_{u,j}
            + \tfrac12 \log (v_{jd}/\tau^2) \big) \Big)

    with the activation :math:`a_j = \sigma(s_j)`, and the E-step is

    .. math::
        c_{ij} = \mathrm{softmax}_j \Big( \log a_j - \tfrac12 \sum_d
            \Big( \log v_{jd} + \frac{(u_{ijd} - \mu_{jd})^2}{v_{jd}} \Big) \Big)

    Parameters
    ----------
    x : array, shape (B, I, P)
        Input capsules; their lengths are their activations.
    W : array, shape (I, J, D, P)
        Prediction maps.
    iterations : int
        M-steps, from 1; E-steps between them.
    inverse_temperature : float
        λ of the schedule λ_t = λ (1 − 0.95^t), t = 1 …, above 0.
    prior_votes, prior_variance : float
        ν and τ², above 0: variances are those that would be if ν further votes of variance τ² had
        been seen, the maximum a posteriori with an inverse-gamma prior.
    beta_u, beta_a : array, shape (J,), optional
        Learned: the cost of describing a vote whose variance is the prior's, and what an
        activation is worth. Zeros by default.

    Returns
    -------
    Routing
        ``c`` (B, I, J) of the last M-step, summing to 1 over J, and ``z`` (B, J, D), which is not
        their weighted sum: its direction is that of μ_j and its length is :math:`e^{s_j/2}`, so
        that the length of ``squash(z)`` is the activation. Zero where μ_j is.

    Raises
    ------
    OptionError
        If an option is out of its range.
    ShapeError, DtypeError, MixedBackendError
        If the arrays do not fit each other.

    Notes
    -----
    The paper's β_u is β_u − ½ log τ² here, so that the first value 0 switches outputs neither all
    on nor all off. The paper has no prior, ν = 0. Where all votes for an output agree in a
    dimension, with one input already, the variance is then 0, its logarithm infinite, and the next
    E-step 0/0; public programs add a small number in one or several places. With the prior it is
    ν τ²/(ν + S_j). An output without any vote has μ_j = 0 and v = τ². :math:`|s_j|` is cut at the
    logarithm of the largest number, far beyond where the activation rounds to 0 or 1. Squared
    votes must be finite. The length of another squash than Sabour's is not the activation.

    References
    ----------
    Hinton, Sabour and Frosst (2018), Matrix capsules with EM routing, procedure 1.
    Derivation: :doc:`/derivations/routings`.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.full((1, 4, 1), 0.9)
    >>> W = np.asarray([[1.0, 1.0], [1.1, -0.5], [0.9, 0.2], [-1.0, 0.2]])[..., None, None]
    >>> c, z = em_route(x, W, iterations=4, inverse_temperature=1.0, prior_variance=0.1)
    >>> c[0].T.round(2)
    array([[0.98, 0.93, 0.58, 0.  ],
           [0.02, 0.07, 0.42, 1.  ]])
    """
    xp = _expect(x, W, beta_u, beta_a)
    steps = _Steps(iterations, inverse_temperature, prior_votes, prior_variance)
    steps.expect()
    found = _m_steps(xp, votes(xp, x, W), length(x), steps, beta_u, beta_a)
    last = found[-1]
    s = xp.clip(last.s, min=-_limit(xp, x), max=_limit(xp, x))
    z = unit(xp, last.mean, polar(xp, last.mean, 2)) * xp.exp(0.5 * s)[..., None]
    return routing(xp, last.c, z)


def em_route_vjp(
    x: Array,
    W: Array,
    g: Array,
    *,
    iterations: int = 3,
    inverse_temperature: float = 0.02,
    prior_votes: float = 1.0,
    prior_variance: float = 1e-4,
    beta_u: Array | None = None,
    beta_a: Array | None = None,
) -> dict[str, Array]:
    """Gradient of ⟨g, em_route(x, W).z⟩ through every step.

    Parameters
    ----------
    x, W, iterations, inverse_temperature, prior_votes, prior_variance, beta_u, beta_a
        As for `em_route`.
    g : array, shape (B, J, D)
        Cotangent of z.

    Returns
    -------
    dict of array
        "x", "W", "beta_u" and "beta_a", of their shapes, whether or not the last two are given.
        Zero through what has no derivative: the length of a zero input, the direction of a zero
        mean, an s_j that is cut.

    Raises
    ------
    OptionError, ShapeError, DtypeError, MixedBackendError
        As from `em_route`.

    Examples
    --------
    >>> import numpy as np
    >>> x, W, g = np.ones((1, 1, 1)), np.ones((1, 1, 1, 1)), np.ones((1, 1, 1))
    >>> em_route_vjp(x, W, g, iterations=1)["beta_a"].round(5)
    array([0.0005])
    """
    xp = _expect(x, W, beta_u, beta_a)
    steps = _Steps(iterations, inverse_temperature, prior_votes, prior_variance)
    steps.expect()
    expect_cotangent(g, x, W)
    u, a = votes(xp, x, W), length(x)
    found = _m_steps(xp, u, a, steps, beta_u, beta_a)
    back = _Backward(xp, u, a, steps, xp.zeros_like(W[0, :, 0, 0]))
    back.from_result(found[-1], g)
    for t in range(iterations - 1, -1, -1):
        dc = back.through_m_step(t, found[t])
        if t > 0:
            back.through_e_step(found[t - 1], softmax_pull(xp, found[t].c, dc))
    gradient = votes_vjp(xp, x, W, back.u)
    gradient["x"] = gradient["x"] + length_vjp(x, back.a)
    return gradient | {"beta_u": back.beta_u, "beta_a": back.beta_a}


class _Steps(NamedTuple):
    n: int
    inverse_temperature: float
    prior_votes: float
    prior_variance: float

    def expect(self) -> None:
        expect_count("iterations", self.n)
        expect_range("inverse_temperature", self.inverse_temperature, SMALLEST)
        expect_range("prior_votes", self.prior_votes, SMALLEST)
        expect_range("prior_variance", self.prior_variance, SMALLEST)

    def sharpness(self, t: int) -> float:
        """λ of the M-step t, from 0."""
        return self.inverse_temperature * (1.0 - 0.95 ** (t + 1))


class _MStep(NamedTuple):
    c: Array
    """(B, J, I), from which it was made."""
    total: Array
    """S (B, J)."""
    mean: Array
    """μ (B, J, D)."""
    variance: Array
    """v (B, J, D)."""
    cost: Array
    """Σ_d (β_u + ½ log v/τ²) (B, J), of one vote."""
    s: Array
    """(B, J)."""


def _m_steps(
    xp: Any, u: Array, a: Array, steps: _Steps, beta_u: Array | None, beta_a: Array | None
) -> list[_MStep]:
    found: list[_MStep] = []
    c = even(xp, u, 1.0 / u.shape[1])
    for t in range(steps.n):
        if t > 0:
            c = _e_step(xp, u, found[-1])
        R = c * a[:, None, :]
        total = xp.sum(R, axis=2)
        mean = weigh(xp, R, u) / or_one(xp, total)[..., None]
        off = u - mean[:, :, None, :]
        spread = weigh(xp, R, off * off)
        share = steps.prior_votes * steps.prior_variance
        variance = (spread + share) / (total + steps.prior_votes)[..., None]
        cost = 0.5 * xp.sum(xp.log(variance / steps.prior_variance), axis=2)
        cost = cost if beta_u is None else cost + u.shape[3] * beta_u
        gain = -total * cost if beta_a is None else beta_a - total * cost
        found.append(_MStep(c, total, mean, variance, cost, steps.sharpness(t) * gain))
    return found


def _e_step(xp: Any, u: Array, at: _MStep) -> Array:
    off = u - at.mean[:, :, None, :]
    far = weigh_dimensions(xp, off * off, 1.0 / at.variance)
    height = log_sigmoid(at.s) - 0.5 * xp.sum(xp.log(at.variance), axis=2)
    return softmax(height[..., None] - 0.5 * far, axis=1)


def weigh_dimensions(xp: Any, squares: Array, weights: Array) -> Array:
    """Σ_d of (B, J, I, D) times (B, J, D) as (B, J, I)."""
    return xp.squeeze(squares @ weights[..., None], axis=3)


class _Backward:
    """Cotangents, from the result back; those of one step's mean, variance and s in between."""

    def __init__(self, xp: Any, u: Array, a: Array, steps: _Steps, zero_J: Array) -> None:
        self._xp, self._votes, self._active, self._steps = xp, u, a, steps
        self.u, self.a = xp.zeros_like(u), xp.zeros_like(a)
        self.beta_u = self.beta_a = zero_J
        self._log_determinant: Array | float = 0.0  # ½ Σ_d log v, where an E-step uses it

    def from_result(self, last: _MStep, g: Array) -> None:
        """Through z = e^{s/2} μ/‖μ‖."""
        xp = self._xp
        limit = _limit(xp, g)
        size = xp.exp(0.5 * xp.clip(last.s, min=-limit, max=limit))[..., None]
        inside = xp.astype(xp.abs(last.s) <= limit, g.dtype)
        direction = unit(xp, last.mean, polar(xp, last.mean, 2))
        self._mean = unit_vjp(xp, last.mean, g * size)
        self._variance = xp.zeros_like(last.variance)
        self._s = inside * 0.5 * xp.sum(g * direction * size, axis=2)

    def through_e_step(self, at: _MStep, db: Array) -> None:
        """From the cotangent (B, J, I) of the logits to that of the step `at` before."""
        xp = self._xp
        off = self._votes - at.mean[:, :, None, :]
        pulled = db[..., None] * off / at.variance[:, :, None, :]
        self.u = self.u - pulled
        self._mean = xp.sum(pulled, axis=2)
        self._variance = 0.5 * weigh(xp, db, off * off) / at.variance / at.variance
        together = xp.sum(db, axis=2)
        self._s = together * sigmoid(-at.s)
        self._log_determinant = -together

    def through_m_step(self, t: int, at: _MStep) -> Array:
        """The cotangent (B, J, I) of the coefficients that the step was made from."""
        xp, D = self._xp, self._votes.shape[3]
        ds = self._steps.sharpness(t) * self._s
        self.beta_a = self.beta_a + xp.sum(ds, axis=0)
        self.beta_u = self.beta_u - D * xp.sum(ds * at.total, axis=0)
        d_log = self._log_determinant - ds * at.total
        self._log_determinant = 0.0
        d_variance = self._variance + 0.5 * d_log[..., None] / at.variance
        d_spread = d_variance / (at.total + self._steps.prior_votes)[..., None]
        d_mean = self._mean / or_one(xp, at.total)[..., None]
        off = self._votes - at.mean[:, :, None, :]
        R = at.c * self._active[:, None, :]
        self.u = self.u + outer(R, d_mean) + 2.0 * outer(R, d_spread) * off
        dR = weigh_dimensions(xp, off * off, d_spread) + weigh_dimensions(xp, off, d_mean)
        d_total = -ds * at.cost - xp.sum(d_spread * at.variance, axis=2)
        dR = dR + d_total[..., None]
        self.a = self.a + xp.sum(dR * at.c, axis=1)
        return dR * self._active[:, None, :]


def _limit(xp: Any, like: Array) -> float:
    """Where |s| is cut: e^{s/2} and its square are finite."""
    return math.log(range_of(xp, like.dtype).largest)


def _expect(x: Array, W: Array, beta_u: Array | None, beta_a: Array | None) -> Any:
    xp = expect_layer(x, W)
    for name, value in (("beta_u", beta_u), ("beta_a", beta_a)):
        expect_parameter(name, value, x, (W.shape[1],), axes="(J,)")
    return xp
