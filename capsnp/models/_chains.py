"""Where a gradient's model term comes from: chains at the data, kept, or tempered."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
from array_api_compat import is_numpy_array

from capsnp.backend import Array, Backend, namespace
from capsnp.blocks import map_blocks, slices
from capsnp.functional._coupling import in_order
from capsnp.functional.harmonium import (
    Harmonium,
    exchange_probability,
    hidden_field,
    independent,
    tempered,
    turned,
    visible_field,
)
from capsnp.functional.units import Units

CHAINS = 50
"""At least so many go through a machine together: fewer leave its products slow."""

LONG = 20
"""Steps of a sweep whose chains have threads of their own: in a short one, between the products of
a step of learning, these would wait for those of BLAS, which look for work a while longer."""

_WORTH_THREADS = 2**22
"""Multiplications of a product; with fewer, threads cost more than they save."""

ADAPT_EVERY = 20
"""Steps between two settings of the temperatures."""

FORGETTING = 0.05
"""Share of the newest step in an exchange rate."""


class Noise:
    """Bulk noise for units, in a dtype, from one generator.

    Parameters
    ----------
    backend : Backend
    dtype : {"float32", "float64"}
    rng : generator
        With `random` and `standard_normal`.
    """

    def __init__(self, backend: Backend, dtype: str, rng: Any) -> None:
        self.backend, self.dtype, self.rng = backend, dtype, rng

    def for_states(self, units: Units, shape: tuple[int, ...]) -> Array:
        """What `Units.draw` takes for states of a shape."""
        draw = self.rng.random if units.noise == "uniform" else self.rng.standard_normal
        return self.backend.asarray(draw(units.noise_shape(shape), dtype=self.dtype))

    def uniform(self, n: int) -> Array:
        """Of shape (n,)."""
        return self.backend.asarray(self.rng.random(n, dtype=self.dtype))

    def split(self, n: int) -> "list[Noise]":
        """As many of their own, seeded by the next numbers of this one; itself where n = 1."""
        if n == 1:
            return [self]
        seeds = self.rng.integers(2**63, size=n)
        return [Noise(self.backend, self.dtype, self.backend.rng(int(seed))) for seed in seeds]


def blocks_of_chains(machine: Harmonium, n: int) -> list[slice]:
    """Of n chains, those that go through a machine together: on a host each block has a thread.

    No chain asks for another, so threads that have their own meet at the end alone.
    """
    if not is_numpy_array(machine.w) or CHAINS * machine.w.size < _WORTH_THREADS:
        return [slice(0, n)]
    return slices(n, -(-n // max(1, n // CHAINS)))


def way_back(machine: Harmonium) -> Harmonium:
    """`turned`, with weights that lie in order, for many products of few rows with them."""
    back = turned(machine)
    return back._replace(w=in_order(namespace(w=back.w), back.w))


def sweep(machine: Harmonium, h: Array, noise: Noise, k: int) -> tuple[Array, Array]:
    """Visible states (N, I) after k Gibbs steps from hidden ones, and the hidden fields there."""
    blocks, back = [slice(0, h.shape[0])], None
    if k >= LONG:
        blocks, back = blocks_of_chains(machine, h.shape[0]), way_back(machine)

    def walk(part: tuple[slice, Noise]) -> tuple[Array, Array]:
        rows, own = part
        v, x = _visit(machine, back, h[rows, ...], own)
        for _ in range(k - 1):
            states = machine.hidden.draw(x, own.for_states(machine.hidden, tuple(x.shape)))
            v, x = _visit(machine, back, states, own)
        return v, x

    parts = map_blocks(walk, zip(blocks, noise.split(len(blocks)), strict=True), parallel=True)
    if len(parts) == 1:
        return parts[0]
    v, x = zip(*parts, strict=True)
    xp = namespace(h=h)
    return xp.concat(v, axis=0), xp.concat(x, axis=0)


def _visit(
    machine: Harmonium, back: Harmonium | None, h: Array, noise: Noise
) -> tuple[Array, Array]:
    """Visible states drawn given hidden ones, and the hidden fields there."""
    y = visible_field(machine, h) if back is None else hidden_field(back, h)
    v = machine.visible.draw(y, noise.for_states(machine.visible, tuple(y.shape)))
    return v, hidden_field(machine, v)


class Ends(NamedTuple):
    """Ends of the chains.

    Attributes
    ----------
    v : array, shape (N, I)
    h : array, shape (N, J)
        Means given v.
    """

    v: Array
    h: Array


class Chains(Protocol):
    """What gives the model term of a step."""

    def advance(self, machine: Harmonium, h_data: Array, noise: Noise, k: int) -> Ends:
        """Run k Gibbs steps; `h_data` are hidden states drawn at the data."""

    def samples(self, machine: Harmonium, noise: Noise) -> Array:
        """Hidden states at the chains' ends, (N, J)."""

    def state(self, to_host: Callable[[Array], np.ndarray]) -> dict[str, np.ndarray]:
        """All that is needed to go on."""

    def restore(self, state: Mapping[str, np.ndarray], to_device: Callable[[Any], Array]) -> None:
        """Go back to a `state`."""


class FromData:
    """Contrastive divergence: every step's chains start at its data.

    Attributes
    ----------
    field : array, shape (N, J), or None
        Of hidden units at the ends of the last step's.
    """

    field: Any = None

    def advance(self, machine: Harmonium, h_data: Array, noise: Noise, k: int) -> Ends:
        v, self.field = sweep(machine, h_data, noise, k)
        return Ends(v, machine.hidden.mean(self.field))

    def samples(self, machine: Harmonium, noise: Noise) -> Array:
        shape = tuple(self.field.shape)
        return machine.hidden.draw(self.field, noise.for_states(machine.hidden, shape))

    def state(self, to_host: Callable[[Array], np.ndarray]) -> dict[str, np.ndarray]:
        return {} if self.field is None else {"field": to_host(self.field)}

    def restore(self, state: Mapping[str, np.ndarray], to_device: Callable[[Any], Array]) -> None:
        self.field = to_device(np.array(state["field"])) if "field" in state else None


class Persistent:
    """Persistent contrastive divergence: chains go on from step to step.

    Parameters
    ----------
    h : array, shape (N, J)
        Hidden states to start from.

    References
    ----------
    Younes (1989); Tieleman (2008), Training restricted Boltzmann machines using approximations to
    the likelihood gradient.
    """

    def __init__(self, h: Array) -> None:
        self.h = h

    def advance(self, machine: Harmonium, h_data: Array, noise: Noise, k: int) -> Ends:  # noqa: ARG002
        v, x = sweep(machine, self.h, noise, k)
        self.h = machine.hidden.draw(x, noise.for_states(machine.hidden, tuple(x.shape)))
        return Ends(v, machine.hidden.mean(x))

    def samples(self, machine: Harmonium, noise: Noise) -> Array:  # noqa: ARG002
        return self.h

    def state(self, to_host: Callable[[Array], np.ndarray]) -> dict[str, np.ndarray]:
        return {"chains": to_host(self.h)}

    def restore(self, state: Mapping[str, np.ndarray], to_device: Callable[[Any], Array]) -> None:
        self.h = to_device(state["chains"])


class Tempered:
    r"""Parallel tempering: persistent chains at several β, neighbours of which exchange states.

    Even pairs and odd pairs exchange in turns, by `exchange_probability`. The β lie so that all
    pairs refuse alike, by interpolation of the refusals added up along β.

    Parameters
    ----------
    h : array, shape (T, N, J)
        Hidden states to start from, the hottest first.
    b : array, shape (I,)
        Visible biases of the machine at β = 0.

    Attributes
    ----------
    betas : numpy.ndarray, shape (T,)
        From 0 to 1.
    exchange_rates : numpy.ndarray, shape (T - 1,)
        Moving averages of the probability above.

    References
    ----------
    Desjardins et al. (2010), Tempered Markov chain Monte Carlo for training of restricted
    Boltzmann machines; Syed et al. (2022), Non-reversible parallel tempering.
    """

    def __init__(self, h: Array, b: Array) -> None:
        self.b = b
        self.h = [h[t, ...] for t in range(h.shape[0])]
        self.betas = np.linspace(0.0, 1.0, len(self.h))
        self.exchange_rates = np.full(len(self.h) - 1, 0.5)
        self.count = 0

    def advance(self, machine: Harmonium, h_data: Array, noise: Noise, k: int) -> Ends:  # noqa: ARG002
        base = independent(machine, self.b)
        ladder = [tempered(machine, float(beta), base) for beta in self.betas]
        v = [sweep(m, h, noise, k)[0] for m, h in zip(ladder, self.h, strict=True)]
        for t in range(self.count % 2, len(v) - 1, 2):
            v[t], v[t + 1] = self._exchange(ladder, v, t, noise)
        self.count += 1
        if self.count % ADAPT_EVERY == 0:
            self.betas = spread(self.betas, self.exchange_rates)
        fields = [hidden_field(m, states) for m, states in zip(ladder, v, strict=True)]
        self.h = [
            machine.hidden.draw(x, noise.for_states(machine.hidden, tuple(x.shape))) for x in fields
        ]
        return Ends(v[-1], machine.hidden.mean(fields[-1]))

    def _exchange(
        self, ladder: list[Harmonium], v: list[Array], t: int, noise: Noise
    ) -> tuple[Array, Array]:
        """States of two neighbours, exchanged in some of the chains."""
        xp = noise.backend.xp
        accept = exchange_probability(ladder[t], ladder[t + 1], v[t], v[t + 1])
        rate = float(xp.mean(accept))
        self.exchange_rates[t] += FORGETTING * (rate - self.exchange_rates[t])
        swapped = (noise.uniform(accept.shape[0]) < accept)[:, None]
        return xp.where(swapped, v[t + 1], v[t]), xp.where(swapped, v[t], v[t + 1])

    def samples(self, machine: Harmonium, noise: Noise) -> Array:  # noqa: ARG002
        return self.h[-1]

    def state(self, to_host: Callable[[Array], np.ndarray]) -> dict[str, np.ndarray]:
        return {
            "chains": np.stack([to_host(h) for h in self.h]),
            "betas": self.betas,
            "exchange_rates": self.exchange_rates,
            "base": to_host(self.b),
            "exchanges": np.asarray(self.count),
        }

    def restore(self, state: Mapping[str, np.ndarray], to_device: Callable[[Any], Array]) -> None:
        self.h = [to_device(h) for h in state["chains"]]
        self.betas, self.exchange_rates = state["betas"], np.array(state["exchange_rates"])
        self.b, self.count = to_device(state["base"]), int(state["exchanges"])


def spread(betas: np.ndarray, exchange_rates: np.ndarray) -> np.ndarray:
    """β from 0 to 1 between which refusals are alike, if refusals add up along β.

    Parameters
    ----------
    betas : numpy.ndarray, shape (T,)
        Increasing.
    exchange_rates : numpy.ndarray, shape (T - 1,)

    Examples
    --------
    >>> spread(np.asarray([0.0, 0.5, 1.0]), np.asarray([0.4, 0.8])).round(3)
    array([0.   , 0.333, 1.   ])
    """
    refused = np.cumsum(np.maximum(1.0 - exchange_rates, 1e-3))
    refused = np.concatenate([[0.0], refused])
    return np.interp(np.linspace(0.0, refused[-1], len(betas)), refused, betas)
