"""Chains of a machine, step by step."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from capsnp.backend import Array
from capsnp.functional.harmonium import Harmonium, draw_hidden, visible_field
from capsnp.models import RBM
from capsnp.models._chains import Noise
from capsnp.models._room import expect_room_for_chains


class Walk(NamedTuple):
    """Where chains are.

    Attributes
    ----------
    v : array, shape (N, I)
        Visible states, drawn.
    mean : array, shape (N, I)
        What they were drawn from: means given the hidden states; of the first, the states.
    """

    v: Array
    mean: Array


def walk(
    machine: Harmonium,
    noise: Noise,
    *,
    n_steps: int,
    v: Array | None = None,
    h: Array | None = None,
) -> Iterator[Walk]:
    """Gibbs sampling step by step from visible or hidden states, the start first.

    From hidden states the first visible ones are drawn without a step.
    """
    if v is None:
        v, mean = _down(machine, h, noise)
    else:
        mean = v
    yield Walk(v, mean)
    shape = (v.shape[0], machine.w.shape[1])
    for _ in range(n_steps):
        h = draw_hidden(machine, v, noise.for_states(machine.hidden, shape))
        v, mean = _down(machine, h, noise)
        yield Walk(v, mean)


def _down(machine: Harmonium, h: Array, noise: Noise) -> tuple[Array, Array]:
    field = visible_field(machine, h)
    drawn = noise.for_states(machine.visible, tuple(field.shape))
    return machine.visible.draw(field, drawn), machine.visible.mean(field)


def walk_from_training(model: RBM, n: int, *, n_steps: int, seed: int) -> Iterator[Walk]:
    """`walk` of n chains that go on from those of the training, in turns.

    Raises
    ------
    MemoryLimitError
        If so many do not fit into memory.
    """
    expect_room_for_chains("n", n, model.machine_, model._backend)
    start = model.h_samples_
    rows = model._backend.asarray(np.arange(n) % start.shape[0])
    h = model._backend.xp.take(start, rows, axis=0)
    return walk(model.machine_, model._noise(seed), n_steps=n_steps, h=h)
