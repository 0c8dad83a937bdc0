r"""How biased the gradients of contrastive divergence are, on models small enough to be exact.

The gradient of the mean log-likelihood is a mean over the data less a mean over the model. Every
estimator here has the first exactly and puts something else for the second:

- *cd*: the ends of chains of k Gibbs steps that start at the data;
- *pcd*: chains that are k steps further at each update, from where they were at the last one;
- *pt*: those of parallel tempering, which exchange their states with chains of hotter machines;
- *mixing*: no noise at all. For expert capsules it is Algorithm 1's mixing by dynamic routing, k
  times; for a bipartite machine the same with means in place of states.

Everything runs in NumPy on the host, in float64.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from capsnp.backend import get_backend
from capsnp.errors import OptionError, ShapeError
from capsnp.functional import cd_gradient
from capsnp.functional._checks import expect_count, expect_option, expect_range
from capsnp.functional.harmonium import (
    Harmonium,
    exchange_probability,
    free_energy,
    gibbs_step,
    hidden_mean,
    independent,
    tempered,
    turned,
    visible_mean,
)
from capsnp.functional.units import DiscreteUnits, Units
from capsnp.models._chains import Noise
from capsnp.verification.exact import ExactCapsules

Estimator = Literal["cd", "pcd", "pt", "mixing"]
ESTIMATORS: tuple[Estimator, ...] = get_args(Estimator)

PERSISTENT = ("pcd", "pt")
"""Estimators whose chains live through the training."""

MOST_STATES = 2**20
"""States that are listed for the exact gradient."""


@dataclass(frozen=True)
class GradientBias:
    """Estimates of one gradient, of which the exact value is known.

    Attributes
    ----------
    exact : array, shape (n,)
        The gradient in all parameters, one after the other.
    estimates : array, shape (R, n)
        Independent estimates, each from a batch of all data.
    """

    exact: np.ndarray
    estimates: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """Of the estimates, (n,)."""
        return np.mean(self.estimates, axis=0)

    @property
    def length(self) -> float:
        """Of the exact gradient."""
        return float(np.linalg.norm(self.exact))

    def bias(self) -> tuple[float, float]:
        r"""Length of the bias, and its standard error.

        .. math:: \|\langle\hat g\rangle - g\|^2 \approx \frac{1}{R(R-1)}
                  \sum_{r \ne s} (\hat g_r - g) \cdot (\hat g_s - g)

        which has no bias itself; 0 where noise makes it negative. The error is by leaving out one
        estimate at a time; 0 where there is but one.
        """
        errors = self.estimates - self.exact
        n = len(errors)
        if n == 1:
            return float(np.linalg.norm(errors)), 0.0
        total, squares = np.sum(errors, axis=0), np.sum(errors * errors, axis=1)
        pairs = total @ total - np.sum(squares)
        square = pairs / (n * (n - 1))
        if n == 2:
            return float(np.sqrt(max(square, 0.0))), float("nan")
        without = (pairs - 2.0 * (errors @ total - squares)) / ((n - 1) * (n - 2))
        stderr = np.sqrt((n - 1) / n * np.sum((without - np.mean(without)) ** 2))
        bias = np.sqrt(max(square, 0.0))
        return float(bias), float(np.sqrt(bias * bias + stderr) - bias)

    def spread(self) -> float:
        """Root of the trace of one estimate's covariance; 0 where there is but one."""
        if len(self.estimates) == 1:
            return 0.0
        return float(np.sqrt(np.sum(np.var(self.estimates, axis=0, ddof=1))))

    def cosine(self) -> float:
        """Between the estimates' mean and the gradient."""
        mean = self.mean
        return float(mean @ self.exact / (np.linalg.norm(mean) * self.length))


def gradient_bias(
    model: Harmonium | ExactCapsules,
    data: np.ndarray,
    estimator: Estimator = "cd",
    *,
    k: int = 1,
    at: Iterable[int] = (0,),
    learning_rate: float = 0.1,
    n_repeats: int = 100,
    n_temperatures: int = 5,
    random_state: int = 0,
) -> dict[int, GradientBias]:
    """Compare an estimator's gradients with the exact one, at the start and through training.

    The model is trained by the exact gradient, so that all estimators are asked at the same
    parameters; persistent chains live through this training, k steps at each update.

    Parameters
    ----------
    model : Harmonium or ExactCapsules
        On the host. A layer of discrete units whose states can be listed makes a machine exact.
    data : array, shape (N, I) or (N, I, P)
    estimator : {"cd", "pcd", "pt", "mixing"}
        Expert capsules have "mixing" alone: their conditionals are not sampled.
    k : int
        Gibbs steps, or times that Algorithm 1's reverse and forward pass are run, from 1.
    at : iterable of int
        Steps of the training, from 0, at which gradients are compared.
    learning_rate : float
        Of the training.
    n_repeats : int
        Independent estimates, each from N chains.
    n_temperatures : int
        Of "pt", from 2: evenly spaced β from 0 to 1.
    random_state : int

    Returns
    -------
    dict of int to GradientBias
        By step.

    Raises
    ------
    OptionError
        If an option is unknown or out of range, or the model too large to be exact.
    ShapeError, DtypeError, DomainError
        If the data do not fit the model.

    Examples
    --------
    >>> from capsnp.functional.harmonium import Harmonium
    >>> rng = np.random.default_rng(0)
    >>> data = rng.integers(0, 2, (20, 1)) * np.ones((20, 4))
    >>> machine = Harmonium(rng.normal(0, 0.5, (4, 3)), np.zeros(4), np.zeros(3))
    >>> cd1, cd20 = (gradient_bias(machine, data, k=k)[0].bias()[0] for k in (1, 20))
    >>> cd1 > 3 * cd20
    True
    """
    expect_option("estimator", estimator, ESTIMATORS)
    expect_count("k", k)
    expect_count("n_repeats", n_repeats)
    expect_count("n_temperatures", n_temperatures, minimum=2)
    expect_count("random_state", random_state, minimum=0)
    expect_range("learning_rate", learning_rate, 0.0)
    steps = sorted(set(at))
    for step in steps:
        expect_count("at", step, minimum=0)
    if not steps:
        raise OptionError("at: expected at least one step, got none")
    if isinstance(model, ExactCapsules):
        if estimator != "mixing":
            raise OptionError(f"estimator: expected 'mixing' of expert capsules, got {estimator!r}")
        return _of_capsules(model, np.asarray(data, dtype=float), k, steps, learning_rate)
    machine, data = _in_double(model), np.asarray(data, dtype=float)
    _expect_data(machine, data)
    chains = _chains(estimator, machine, data, k, n_repeats, n_temperatures, random_state)
    found = {}
    for step in range(steps[-1] + 1):
        data_term = _statistics(machine, data[None])
        exact = data_term[0] - model_statistics(machine)
        if step in steps or estimator in PERSISTENT:
            model_terms = chains(machine)
        if step in steps:
            found[step] = GradientBias(exact, data_term - model_terms)
        machine = _moved(machine, learning_rate * exact)
    return found


def model_statistics(machine: Harmonium) -> np.ndarray:
    """The model's mean of −∂E/∂(w, b, c), one after the other, by listing one layer's states.

    Raises
    ------
    OptionError
        If neither layer has at most `MOST_STATES` states to list.
    """
    _, b, c, visible, hidden = machine
    few_visible = _count(visible, len(b)) <= _count(hidden, len(c))
    listed = _states(machine if few_visible else turned(machine))
    if few_visible:
        v, h, energies = listed, hidden_mean(machine, listed), free_energy(machine, listed)
    else:
        v, h, energies = visible_mean(machine, listed), listed, free_energy(turned(machine), listed)
    p = np.exp(np.min(energies) - energies)
    p = p / np.sum(p)
    φ_v, φ_h = visible.statistic(v), hidden.statistic(h)
    return np.concatenate([((φ_v.T * p) @ φ_h).ravel(), p @ φ_v, p @ φ_h])


# --- what stands for the model ----------------------------------------------------------------

Chains = Callable[[Harmonium], np.ndarray]
"""From the machine as it is now to R estimates of the model's term, (R, n)."""


def _chains(
    estimator: Estimator,
    machine: Harmonium,
    data: np.ndarray,
    k: int,
    n_repeats: int,
    n_temperatures: int,
    random_state: int,
) -> Chains:
    rng = np.random.default_rng(random_state)
    start = np.broadcast_to(data, (n_repeats, *data.shape))
    if estimator == "mixing":
        return lambda machine: _mixed(machine, data[None], k)
    if estimator == "cd":
        return lambda machine: _statistics(machine, _walk(machine, start, k, rng))
    betas = (1.0,) if estimator == "pcd" else tuple(np.linspace(0.0, 1.0, n_temperatures))
    base = independent(machine)
    states = [start] * len(betas)

    def persistent(machine: Harmonium) -> np.ndarray:
        ladder = [tempered(machine, float(beta), base) for beta in betas]
        for _ in range(k):
            states[:] = [_walk(hot, v, 1, rng) for hot, v in zip(ladder, states, strict=True)]
            exchange(ladder, states, rng)
        return _statistics(machine, states[-1])

    return persistent


def _walk(machine: Harmonium, v: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """Chains v (R, N, I) after k Gibbs steps."""
    noise = Noise(get_backend("numpy"), "float64", rng).for_states
    layers = ((machine.hidden, len(machine.c)), (machine.visible, len(machine.b)))
    for _ in range(k):
        drawn = (noise(units, (*v.shape[:-1], size)) for units, size in layers)
        v = gibbs_step(machine, v, *drawn).v
    return v


def exchange(ladder: list[Harmonium], states: list[np.ndarray], rng: np.random.Generator) -> None:
    """Exchange states of neighbours with the probability that keeps both distributions."""
    for low in range(len(ladder) - 1):
        v, u = states[low : low + 2]
        accept = exchange_probability(ladder[low], ladder[low + 1], v, u)
        swap = rng.random(accept.shape) < accept
        states[low] = np.where(swap[..., None], u, v)
        states[low + 1] = np.where(swap[..., None], v, u)


def _mixed(machine: Harmonium, v: np.ndarray, k: int) -> np.ndarray:
    for _ in range(k):
        v = visible_mean(machine, hidden_mean(machine, v))
    return _statistics(machine, v)


def _statistics(machine: Harmonium, v: np.ndarray) -> np.ndarray:
    """Means of −∂E/∂(w, b, c) over each batch of v (R, N, I): (R, n)."""
    φ_v = machine.visible.statistic(v)
    φ_h = machine.hidden.statistic(hidden_mean(machine, v))
    products = np.swapaxes(φ_v, 1, 2) @ φ_h / v.shape[1]
    parts = [products.reshape(len(v), -1), np.mean(φ_v, axis=1), np.mean(φ_h, axis=1)]
    return np.concatenate(parts, axis=1)


# --- machines and capsules ---------------------------------------------------------------------


def _of_capsules(
    model: ExactCapsules, x: np.ndarray, k: int, steps: list[int], learning_rate: float
) -> dict[int, GradientBias]:
    """Algorithm 1 with frozen coefficients beside the exact (18)."""
    found = {}
    for step in range(steps[-1] + 1):
        exact = model.gradient(x)
        if step in steps:
            mixing = cd_gradient(x, model.W, model.c, steps=k)
            found[step] = GradientBias(exact.ravel(), mixing.reshape(1, -1))
        model = ExactCapsules(model.W + learning_rate * exact, model.c)
    return found


def _in_double(machine: Harmonium) -> Harmonium:
    w, b, c = (np.asarray(array, dtype=float) for array in machine[:3])
    return machine._replace(w=w, b=b, c=c)


def _moved(machine: Harmonium, step: np.ndarray) -> Harmonium:
    """The machine with a step (n,) added to w, b and c."""
    n_visible, n_hidden = machine.w.shape
    w, b, c = np.split(step, [n_visible * n_hidden, n_visible * n_hidden + n_visible])
    return machine._replace(
        w=machine.w + w.reshape(machine.w.shape), b=machine.b + b, c=machine.c + c
    )


def _count(units: Units, size: int) -> float:
    return units.n_states(size) if isinstance(units, DiscreteUnits) else np.inf


def _states(machine: Harmonium) -> np.ndarray:
    """All visible states."""
    w, b, c, visible, hidden = machine
    if not isinstance(visible, DiscreteUnits) or visible.n_states(len(b)) > MOST_STATES:
        raise OptionError(
            f"model: expected a layer with at most {MOST_STATES:,} states to list, got "
            f"{len(b)} {visible.name} and {len(c)} {hidden.name} units"
        )
    return visible.states(len(b), 0, visible.n_states(len(b)), like=w)


def _expect_data(machine: Harmonium, data: np.ndarray) -> None:
    if data.ndim != 2 or data.shape[1] != len(machine.b) or not len(data):
        raise ShapeError(f"data: expected shape (N, {len(machine.b)}), got {data.shape}")
    machine.visible.expect_states("data", data)
