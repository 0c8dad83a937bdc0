"""Machines between a base and a machine, and chains along them."""

from collections.abc import Callable
from typing import Any

import numpy as np

from capsnp.backend import Array, Backend, backend_of, namespace
from capsnp.functional.harmonium import (
    Harmonium,
    draw_visible,
    free_energy,
    gibbs_step,
    hidden_field,
    independent,
    tempered,
)
from capsnp.functional.units import Categorical, DiscreteUnits, Gaussian, Units
from capsnp.models._chains import way_back

Draw = Callable[[Units, tuple[int, ...]], Array]
"""Noise for states of some units and of a shape."""


class Noise:
    """Noise for the units of a machine, from one seed, in the machine's dtype.

    Parameters
    ----------
    machine : Harmonium
    seed : int
    """

    def __init__(self, machine: Harmonium, seed: int) -> None:
        self._machine = machine
        self._backend: Backend = backend_of(machine.w)
        self._dtype = str(machine.w.dtype).rsplit(".", 1)[-1]
        self._rng = self._backend.rng(seed)

    def __call__(self, units: Units, shape: tuple[int, ...]) -> Array:
        """For states of a shape."""
        draw = self._rng.random if units.noise == "uniform" else self._rng.standard_normal
        noise = draw(units.noise_shape(shape), dtype=np.dtype(self._dtype))
        return self._backend.asarray(noise)

    def split(self, n: int) -> "list[Noise]":
        """As many of their own, seeded by the next numbers of this one."""
        return [Noise(self._machine, int(seed)) for seed in self._rng.integers(2**63, size=n)]


class Path:
    r"""Machines :math:`f_β(v) = e^{-F_β(v)}` from a base at β = 0 to a machine at β = 1.

    Parameters
    ----------
    machine, base : Harmonium
        Of the same kinds; the base has no weights.
    """

    def __init__(self, machine: Harmonium, base: Harmonium) -> None:
        self.machine, self.base = machine, base
        self._between: dict[float, Harmonium] = {}

    def again(self) -> "Path":
        """The same path, for other chains on another thread."""
        return type(self)(self.machine, self.base)

    def at(self, beta: float) -> Harmonium:
        """The machine between."""
        if beta not in self._between:
            if len(self._between) > 2:
                self._between.clear()
            self._between[beta] = tempered(self.machine, beta, self.base)
        return self._between[beta]

    def start(self, n_chains: int, noise: Draw) -> Array:
        """Independent samples (N, I) of the base."""
        h = namespace(c=self.base.c).broadcast_to(0.0 * self.base.c, (n_chains, *self.base.c.shape))
        return draw_visible(self.base, h, noise(self.base.visible, (n_chains, *self.base.b.shape)))

    def log_ratio(self, v: Array, low: float, high: float) -> Array:
        """The logarithm of f_high/f_low at states v (N, I), shape (N,)."""
        return free_energy(self.at(low), v) - free_energy(self.at(high), v)

    def step(self, v: Array, beta: float, noise: Draw) -> Array:
        """A Gibbs step of each chain, which leaves f_β as it is."""
        machine = self.at(beta)
        hidden = noise(machine.hidden, (*v.shape[:-1], *machine.c.shape))
        return gibbs_step(machine, v, hidden, noise(machine.visible, v.shape)).v


class LinearPath(Path):
    """The same where no unit is Gaussian: fields are linear in β, so one product serves all β."""

    _v: Array | None = None
    _x: Array | None = None

    def __init__(self, machine: Harmonium, base: Harmonium) -> None:
        super().__init__(machine, base)
        self._back = way_back(machine)

    def _field(self, v: Array) -> Array:
        """That of hidden units at β = 1; kept, for a step follows a weight at the same states."""
        if self._v is not v:
            self._v, self._x = v, hidden_field(self.machine, v)
        return self._x

    def _hidden_field(self, v: Array, beta: float) -> Array:
        return beta * self._field(v) + (1.0 - beta) * self.base.c

    def log_ratio(self, v: Array, low: float, high: float) -> Array:
        units = self.machine.visible
        apart = units.energy(v, self.base.b - self.machine.b)
        if not isinstance(units, DiscreteUnits):
            apart = units.energy(v, self.base.b) - units.energy(v, self.machine.b)
        log_partition = self.machine.hidden.log_partition
        hidden = log_partition(self._hidden_field(v, high)) - log_partition(
            self._hidden_field(v, low)
        )
        return (high - low) * apart + hidden

    def step(self, v: Array, beta: float, noise: Draw) -> Array:
        machine, base = self.machine, self.base
        x = self._hidden_field(v, beta)
        h = machine.hidden.draw(x, noise(machine.hidden, x.shape))
        y = beta * hidden_field(self._back, h) + (1.0 - beta) * base.b
        return machine.visible.draw(y, noise(machine.visible, y.shape))


def path_of(machine: Harmonium, base: Harmonium) -> Path:
    """The path between, by the faster way that there is."""
    gaussian = isinstance(machine.visible, Gaussian) or isinstance(machine.hidden, Gaussian)
    return Path(machine, base) if gaussian else LinearPath(machine, base)


def base_of(machine: Harmonium, rows: Array | None) -> Harmonium:
    r"""A machine without weights, near to rows of visible states.

    Its biases are the log odds (Bernoulli), the log shares (categorical) or the means (Gaussian,
    with the rows' variances where the machine has variances) of the rows and of one more row of
    what has no preference. Without rows, or for other units, they are the machine's.

    Parameters
    ----------
    machine : Harmonium
    rows : array, shape (N, I), optional

    Returns
    -------
    Harmonium
    """
    units = machine.visible
    if rows is None:
        return independent(machine)
    xp: Any = namespace(rows=rows)
    n = float(rows.shape[0])
    mean = xp.mean(rows, axis=0)
    if isinstance(units, Gaussian):
        base = independent(machine, mean)
        if units.log_variance is None:
            return base
        own = xp.exp(units.log_variance)
        spread = (n * xp.mean((rows - mean) ** 2, axis=0) + own) / (n + 1.0)
        return base._replace(visible=Gaussian(xp.log(spread)))
    if isinstance(units, Categorical):
        share = (n * mean + 1.0 / units.n_categories) / (n + 1.0)
        return independent(machine, xp.log(share))
    if isinstance(units, DiscreteUnits):
        on = (n * mean + 0.5) / (n + 1.0)
        return independent(machine, xp.log(on) - xp.log1p(-on))
    return independent(machine)
