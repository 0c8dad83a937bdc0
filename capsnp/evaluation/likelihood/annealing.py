r"""log Z between two ends: importance sampling along tempered machines, up and down.

Chains go up from samples of a base whose log Z_0 is known, through machines at
:math:`0 = β_0 < \dots < β_K = 1`, and down from samples of the machine itself:

.. math:: \log w = \sum_{k=1}^{K} \log\frac{f_{β_k}(v_k)}{f_{β_{k-1}}(v_k)}, \qquad
          E_\mathrm{up}[w] = \frac{Z}{Z_0}, \qquad E_\mathrm{down}[w^{-1}] = \frac{Z_0}{Z}

where v_k has made a reversible step at β_{k−1} on the way up, at β_k on the way down. The logarithm
of a mean is below the mean's logarithm on average, so chains up give a lower end and chains down an
upper one. Bennett's ratio of both needs no equilibrium but that of the starts; between neighbours,
step by step, it also needs chains that keep up.
"""

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from capsnp.backend import Array, backend_of, namespace
from capsnp.blocks import map_blocks, slices
from capsnp.errors import DivergenceError, OptionError
from capsnp.evaluation.likelihood.paths import Draw, Noise, Path, base_of, path_of
from capsnp.evaluation.likelihood.results import LogPartition
from capsnp.evaluation.likelihood.weights import (
    bennett,
    effective_sample_size,
    log_mean_error,
    log_mean_exp,
)
from capsnp.functional._checks import expect_count, expect_shape, floating
from capsnp.functional.harmonium import Harmonium, independent_log_partition
from capsnp.models._chains import blocks_of_chains
from capsnp.models._room import expect_room_for_chains
from capsnp.training.progress import track

N_PILOT = 100
"""Steps of the chains that find where temperatures are needed."""

STRETCH = 50
"""Steps between two looks at the progress."""


class Annealed(NamedTuple):
    """Chains that went all the way.

    Attributes
    ----------
    steps : numpy.ndarray, shape (K, N)
        log f_β_k − log f_β_{k−1} of each chain, in the order of β.
    states : array, shape (N, I)
        Where the chains are at the end.
    """

    steps: np.ndarray
    states: Array

    @property
    def log_weights(self) -> np.ndarray:
        """log w, shape (N,)."""
        return np.sum(self.steps, axis=0)


def annealed_log_partition(
    machine: Harmonium,
    *,
    start: Array | None = None,
    base: Harmonium | None = None,
    temperatures: int | Sequence[float] = 1000,
    n_chains: int = 100,
    burn_in: int = 100,
    random_state: int = 0,
    verbose: bool = False,
) -> LogPartition:
    """Logarithm of the partition function in a bracket, with Bennett's estimate inside.

    Parameters
    ----------
    machine : Harmonium
        Of any kinds of units.
    start : array, shape (N, I), optional
        Visible states near which the machine is likely, such as data: the chains down start at
        `n_chains` of them, after the burn-in. By default they start where the chains up end, drawn
        by their weights; then no chain sees what the chains up missed, and `LogPartition.problems`
        says so.
    base : Harmonium, optional
        A machine of the same kinds without weights; by default one near to `start`.
    temperatures : int or sequence of float
        How many β, ends included, to place such that the steps of log w have one spread; or the β
        themselves, rising from 0 to 1.
    n_chains : int
        In each direction.
    burn_in : int
        Gibbs steps of the machine before the chains go down.
    random_state : int
    verbose : bool
        Show the progress.

    Returns
    -------
    LogPartition

    Raises
    ------
    OptionError
        If a number is out of its range, or the base has weights.
    DomainError
        If a row of `start` is no visible state.
    ShapeError, DtypeError, MixedBackendError
        If the arrays do not fit together.
    MemoryLimitError
        If so many chains do not fit into memory.
    DivergenceError
        If a weight is not finite.

    References
    ----------
    Neal (2001), *Annealed importance sampling*; Salakhutdinov & Murray (2008), *On the quantitative
    analysis of deep belief networks*; Burda, Grosse & Salakhutdinov (2015), *Accurate and
    conservative estimates of MRF log-likelihood using reverse annealing*.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> machine = Harmonium(rng.normal(size=(9, 5)), rng.normal(size=9), rng.normal(size=5))
    >>> found = annealed_log_partition(machine, temperatures=300)
    >>> from capsnp.evaluation.likelihood import exact_log_partition
    >>> abs(found.value - exact_log_partition(machine).value) < 0.05
    True
    """
    expect_count("n_chains", n_chains, minimum=2)
    expect_count("burn_in", burn_in, minimum=0)
    expect_count("random_state", random_state, minimum=0)
    began = time.perf_counter()
    expect_room_for_chains("n_chains", n_chains, machine, backend_of(machine.w))
    if start is not None:
        _expect_start(machine, start)
    base = base_of(machine, start) if base is None else base
    _expect_base(base)
    path = path_of(machine, base)
    seeds = _seeds(random_state)
    if isinstance(temperatures, int):
        expect_count("temperatures", temperatures, minimum=2)
        betas = place_temperatures(path, temperatures, n_chains, Noise(machine, seeds[0]))
    else:
        betas = _given(temperatures)
    up = anneal_up(path, betas, n_chains, Noise(machine, seeds[1]), verbose=verbose)
    noise = Noise(machine, seeds[2])
    rng = np.random.default_rng(seeds[3])
    v = _pick(start, n_chains, rng) if start is not None else _resample(up, rng)
    v = _walk(path, v, noise, burn_in, _at_one, "burn-in", verbose)
    down = anneal_down(path, betas, v, noise, verbose=verbose)
    log_z0 = float(independent_log_partition(base))
    w_up, w_down = up.log_weights, down.log_weights
    both, neighbours = bennett(w_up, w_down), bennett(up.steps, down.steps)
    return LogPartition(
        value=log_z0 + both.value,
        lower=log_z0 + float(log_mean_exp(w_up)),
        upper=log_z0 - float(log_mean_exp(-w_down)),
        stderr=both.stderr,
        method="annealing",
        n_temperatures=len(betas),
        n_chains=n_chains,
        seconds=time.perf_counter() - began,
        lower_stderr=log_mean_error(w_up),
        upper_stderr=log_mean_error(-w_down),
        lower_ess=effective_sample_size(w_up),
        upper_ess=effective_sample_size(-w_down),
        neighbours=log_z0 + neighbours.value,
        neighbours_stderr=neighbours.stderr,
        start="chains" if start is None else "given",
    )


def anneal_up(
    path: Path, betas: np.ndarray, n_chains: int, noise: Draw, *, verbose: bool = False
) -> Annealed:
    """Chains from samples of the base to β = 1.

    Parameters
    ----------
    path : Path
    betas : numpy.ndarray, shape (K + 1,)
        From 0 to 1.
    n_chains : int
    noise : callable
    verbose : bool

    Returns
    -------
    Annealed
    """
    v = path.start(n_chains, noise)
    steps = np.empty((len(betas) - 1, n_chains))
    to_host = backend_of(v).to_host

    def step(crew: _Crew, k: int) -> Array:
        low, high = float(betas[k]), float(betas[k + 1])
        steps[k, crew.rows] = to_host(crew.path.log_ratio(crew.v, low, high))
        return crew.path.step(crew.v, high, crew.noise)

    v = _walk(path, v, noise, len(steps), step, "annealing up", verbose)
    return Annealed(_finite(steps, betas), v)


def anneal_down(
    path: Path, betas: np.ndarray, v: Array, noise: Draw, *, verbose: bool = False
) -> Annealed:
    """Chains from samples v (N, I) of the machine to the base: the way up, reversed.

    Parameters
    ----------
    path : Path
    betas : numpy.ndarray, shape (K + 1,)
        From 0 to 1.
    v : array, shape (N, I)
    noise : callable
    verbose : bool

    Returns
    -------
    Annealed
    """
    steps = np.empty((len(betas) - 1, v.shape[0]))
    to_host = backend_of(v).to_host

    def step(crew: _Crew, n: int) -> Array:
        k = len(steps) - 1 - n
        low, high = float(betas[k]), float(betas[k + 1])
        v = crew.path.step(crew.v, high, crew.noise)
        steps[k, crew.rows] = to_host(crew.path.log_ratio(v, low, high))
        return v

    v = _walk(path, v, noise, len(steps), step, "annealing down", verbose)
    return Annealed(_finite(steps, betas), v)


@dataclass
class _Crew:
    """Chains that go together: their path, where they are, their noise, which of all they are."""

    path: Path
    v: Array
    noise: Draw
    rows: slice


def _walk(
    path: Path,
    v: Array,
    noise: Draw,
    n_steps: int,
    step: Callable[[_Crew, int], Array],
    what: str,
    verbose: bool,
) -> Array:
    """Chains after so many steps, in blocks, each on its thread; they meet for the progress."""
    blocks = blocks_of_chains(path.machine, v.shape[0])
    if len(blocks) == 1 or not isinstance(noise, Noise):
        crews = [_Crew(path, v, noise, slice(0, v.shape[0]))]
    else:
        noises = noise.split(len(blocks))
        crews = [
            _Crew(path.again(), v[rows, :], own, rows)
            for rows, own in zip(blocks, noises, strict=True)
        ]

    def go_on(crew: _Crew, stretch: slice) -> None:
        for n in range(stretch.start, stretch.stop):
            crew.v = step(crew, n)

    for stretch in track(slices(n_steps, STRETCH), what, quiet=not verbose):
        map_blocks(functools.partial(go_on, stretch=stretch), crews, parallel=True)
    if len(crews) == 1:
        return crews[0].v
    return namespace(v=v).concat([crew.v for crew in crews], axis=0)


def _at_one(crew: _Crew, _: int) -> Array:
    return crew.path.step(crew.v, 1.0, crew.noise)


def place_temperatures(path: Path, n: int, n_chains: int, noise: Draw) -> np.ndarray:
    r"""Inverse temperatures between which log w spreads alike.

    Pilot chains on an even grid tell the deviation s(β) of :math:`\partial\log f_β / \partial β`.
    The β are even in

    .. math:: 0.9\, \frac{\int_0^β s}{\int_0^1 s} + 0.1\, β

    so each step of log w has nearly the same variance, and by that the weights of one step the same
    effective sample size.

    Parameters
    ----------
    path : Path
    n : int
        At least 2.
    n_chains : int
    noise : callable
        No other chain's: `Noise` of its own seed.

    Returns
    -------
    numpy.ndarray, shape (n,)
        From 0 to 1.
    """
    grid = np.linspace(0.0, 1.0, N_PILOT + 1)
    pilot = anneal_up(path, grid, n_chains, noise)
    spread = np.std(pilot.steps, axis=1, ddof=1)
    if not np.any(spread):
        return np.linspace(0.0, 1.0, n)
    length = np.concatenate([[0.0], np.cumsum(spread) / np.sum(spread)])
    betas = np.interp(np.linspace(0.0, 1.0, n), 0.9 * length + 0.1 * grid, grid)
    betas[[0, -1]] = 0.0, 1.0
    return betas


def _seeds(random_state: int) -> list[int]:
    """Of the pilot, of the chains up, of those down and of their start."""
    return [int(seed) for seed in np.random.SeedSequence(random_state).generate_state(4)]


def _given(temperatures: Sequence[float]) -> np.ndarray:
    betas = np.asarray(temperatures, dtype=np.float64)
    rising = betas.ndim == 1 and len(betas) >= 2 and np.all(np.diff(betas) > 0)
    if not rising or betas[0] != 0.0 or betas[-1] != 1.0:
        raise OptionError(
            f"temperatures: expected a number of them, or β that rise from 0 to 1, "
            f"got {temperatures!r}"
        )
    return betas


def _pick(start: Array, n_chains: int, rng: np.random.Generator) -> Array:
    """As many rows, none twice while there are enough."""
    n = start.shape[0]
    rows = rng.choice(n, n_chains, replace=n < n_chains)
    return _rows(start, rows)


def _resample(up: Annealed, rng: np.random.Generator) -> Array:
    weights = np.exp(up.log_weights - np.max(up.log_weights))
    chosen = rng.choice(len(weights), len(weights), p=weights / weights.sum())
    return _rows(up.states, chosen)


def _rows(v: Array, rows: np.ndarray) -> Array:
    return namespace(v=v).take(v, backend_of(v).asarray(rows), axis=0)


def _expect_start(machine: Harmonium, start: Array) -> None:
    floating(w=machine.w, start=start)
    because = f"to match w {tuple(machine.w.shape)}"
    expect_shape("start", start, (None, machine.w.shape[0]), axes="(N, I)", because=because)
    expect_count("rows of start", start.shape[0])
    machine.visible.expect_states("start", start)


def _expect_base(base: Harmonium) -> None:
    if bool(namespace(w=base.w).any(base.w != 0)):
        raise OptionError("base: expected a machine without weights, got weights other than 0")


def _finite(steps: np.ndarray, betas: np.ndarray) -> np.ndarray:
    bad = ~np.all(np.isfinite(steps), axis=1)
    if np.any(bad):
        k = int(np.argmax(bad))
        raise DivergenceError(
            f"annealing: expected finite weights, got others between β = {betas[k]:.4g} and "
            f"{betas[k + 1]:.4g}"
        )
    return steps
