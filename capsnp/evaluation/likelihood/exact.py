"""log Z by listing every state of one layer."""

import math
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
from array_api_compat import device

from capsnp.backend import Array, backend_of, namespace
from capsnp.blocks import map_blocks, slices
from capsnp.errors import OptionError
from capsnp.evaluation.likelihood.machines import Capsules, Model, as_dtype
from capsnp.evaluation.likelihood.results import LogPartition
from capsnp.functional._checks import expect_count
from capsnp.functional.harmonium import Harmonium, free_energy, turned
from capsnp.functional.units import Bernoulli, DiscreteUnits
from capsnp.training.progress import track

MOST_STATES = 2**25
"""That are listed unless more is asked for: seconds for most machines."""

_BLOCK_NUMBERS = 2**18  # in a block of fields: about what a core's cache holds
_ROUNDS = 64  # of blocks, between which progress is shown
_FAR = 300.0  # a field whose exponential may be multiplied by another's
_LOG_LARGEST = 600.0  # of a product of factors


def exact_log_partition(
    model: Model, *, n_most: int = MOST_STATES, verbose: bool = False
) -> LogPartition:
    r"""Logarithm of the partition function, by all states of the layer that has fewer.

    .. math:: Z = \sum_h e^{-F(h)} \quad\text{or}\quad \sum_v e^{-F(v)}

    in float64, in blocks of states, of which a running largest and a running sum are kept.

    Parameters
    ----------
    model : Harmonium or ExactCapsules
        A machine with a layer of Bernoulli or categorical units, or a small product of capsules
        with frozen coefficients, of which Z is a polynomial: by the moments of the ball, or by a
        cubature rule that is exact for it.
    n_most : int
        Refuse to list more states.
    verbose : bool
        Show the progress.

    Returns
    -------
    LogPartition

    Raises
    ------
    OptionError
        If there are more states than `n_most`, or no layer has states to list.
    ShapeError, DtypeError, MixedBackendError
        If the machine's arrays do not fit together.

    Examples
    --------
    >>> machine = Harmonium(np.zeros((40, 3)), np.zeros(40), np.zeros(3))
    >>> found = exact_log_partition(machine)
    >>> round(found.value, 4), found.method  # 43 log 2
    (29.8053, 'exact')
    >>> large = Harmonium(np.zeros((80, 60)), np.zeros(80), np.zeros(60))
    >>> exact_log_partition(large)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    capsnp.errors.OptionError: n_most: expected at least the 2^60 states of 60 hidden ...
    """
    expect_count("n_most", n_most)
    began = time.perf_counter()
    if isinstance(model, Capsules):
        value = model.log_partition()
    else:
        machine, n_states = _smaller_layer_visible(model, n_most)
        with backend_of(machine.w).holding("float64"):
            value = _log_sum(as_dtype(machine, "float64"), n_states, verbose)
    seconds = time.perf_counter() - began
    return LogPartition(value, value, value, 0.0, "exact", seconds=seconds)


def can_enumerate(model: Any, n_most: int = MOST_STATES) -> bool:
    """Whether `exact_log_partition` takes the model."""
    if isinstance(model, Capsules):
        return True
    return min((n for _, n in _layers(model)), default=math.inf) <= n_most


def _layers(machine: Harmonium) -> Iterator[tuple[Harmonium, int]]:
    """Machines that have a layer with states to list in the visible place, and their number."""
    for each in (turned(machine), machine):
        if isinstance(each.visible, DiscreteUnits):
            yield each, each.visible.n_states(each.w.shape[0])


def _smaller_layer_visible(machine: Harmonium, n_most: int) -> tuple[Harmonium, int]:
    free_energy(machine, 0.0 * machine.b)  # the machine fits together
    layers = list(_layers(machine))
    if not layers:
        raise OptionError(
            f"model: expected a layer of bernoulli or categorical units, got "
            f"{machine.visible.name} and {machine.hidden.name} units: use annealed_log_partition"
        )
    smaller, n_states = min(layers, key=lambda layer: layer[1])
    if n_states > n_most:
        side = "hidden" if smaller.w.shape != machine.w.shape else "visible"
        size, units = smaller.w.shape[0], smaller.visible
        states = f"2^{math.log2(n_states):.4g}"
        raise OptionError(
            f"n_most: expected at least the {states} states of {size} {side} {units.name} units, "
            f"got {n_most}: use annealed_log_partition, or raise n_most"
        )
    return smaller, n_states


def _log_sum(machine: Harmonium, n_states: int, verbose: bool) -> float:
    """log Σ_v e^{−F(v)} over all visible states of a machine."""
    minus_free = _by_products(machine) or _by_free_energy(machine)
    many = max(1, 2 ** int(math.log2(max(1, _BLOCK_NUMBERS // max(machine.w.shape)))))
    blocks = slices(n_states, many)
    numpy = isinstance(machine.w, np.ndarray)
    to_host = backend_of(machine.w).to_host

    def peak_and_sum(block: slice) -> tuple[float, float]:
        values = to_host(minus_free(block.start, block.stop))
        peak = float(values.max())
        return peak, float(np.exp(values - peak).sum())

    found: list[tuple[float, float]] = []
    rounds = slices(len(blocks), -(-len(blocks) // _ROUNDS))
    for some in track(rounds, "states", quiet=not verbose):
        found += map_blocks(peak_and_sum, blocks[some], parallel=numpy)
    peak = max(high for high, _ in found)
    return peak + math.log(math.fsum(total * math.exp(high - peak) for high, total in found))


def _by_free_energy(machine: Harmonium) -> Callable[[int, int], Array]:
    units = cast(DiscreteUnits, machine.visible)

    def minus_free(start: int, stop: int) -> Array:
        states = units.states(machine.w.shape[0], start, stop, like=machine.w)
        return -free_energy(machine, states)

    return minus_free


def _by_products(machine: Harmonium) -> Callable[[int, int], Array] | None:
    r"""The same for Bernoulli units without an exponential for each state and unit.

    The first units of a state are the same in all of a block, the last run through the same states
    in every block, so that :math:`e^{x_j}` of the fields is a product of one factor for each, and

    .. math:: \sum_j \log(1 + e^{x_j}) = \log \prod_j (1 + e^{x_j})

    needs a logarithm for a group of units at a time. None if a factor could leave float64's range.
    """
    units = machine.visible
    if not isinstance(units, Bernoulli) or not isinstance(machine.hidden, Bernoulli):
        return None
    xp, place = namespace(w=machine.w), device(machine.w)
    size, n_hidden = machine.w.shape
    reach = xp.sum(xp.abs(machine.w), axis=0) + xp.abs(machine.c)
    largest = float(xp.max(reach))
    if largest > _FAR:
        return None
    chunk = max(1, min(n_hidden, int(_LOG_LARGEST / (largest + math.log(2.0)))))
    n_groups = -(-n_hidden // chunk)

    def padded(factors: Array) -> Array:
        """With zeros for units that there are not, to make up whole groups."""
        more = (n_groups * chunk - n_hidden, *factors.shape[1:])
        return xp.concat([factors, xp.zeros(more, dtype=factors.dtype, device=place)], axis=0)

    tables: dict[int, tuple[Array, Array]] = {}

    def table(n_last: int) -> tuple[Array, Array]:
        """e^{φ(v) w} (J, S) and b·v (S,) of all states of the last units."""
        if n_last not in tables:
            w, b = machine.w[size - n_last :, :], machine.b[size - n_last :]
            states = units.states(n_last, 0, 2**n_last, like=machine.w)
            factors = xp.exp(xp.matrix_transpose(xp.matmul(states, w)))
            tables[n_last] = padded(factors), xp.matmul(states, b)
        return tables[n_last]

    def minus_free(start: int, stop: int) -> Array:
        n_last = (stop - start).bit_length() - 1
        first = units.states(size, start, start + 1, like=machine.w)[0, :]
        factors, bias = table(n_last)
        own = padded(xp.exp(machine.c + xp.matmul(first, machine.w)))
        terms = xp.reshape(1.0 + own[:, None] * factors, (chunk, n_groups, -1))
        logs = xp.sum(xp.log(xp.prod(terms, axis=0)), axis=0)
        return logs + bias + xp.sum(first * machine.b)

    return minus_free
