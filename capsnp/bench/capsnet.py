"""Routing with its gradient: what a capsule network that learns from labels does in each step."""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from capsnp.bench.cases import ROUNDINGS, Case
from capsnp.bench.layers import contestant, layer_data
from capsnp.bench.machine import Machine
from capsnp.bench.memory import Peak, measure_peaks
from capsnp.bench.pytorch import PyTorch
from capsnp.bench.sides import ITERATIONS, Ours, Side, Work
from capsnp.bench.sizes import LayerSizes
from capsnp.bench.timing import interleave
from capsnp.functional import route_vjp, route_with_record

CASE = "routing, forward and backward"
SCALE = 0.1
"""Of the weights: predictions are short, as a network's at the start."""


def gradient_data(sizes: LayerSizes, dtype: str) -> tuple[np.ndarray, ...]:
    """Inputs (B, I, P), weights (I, J, D, P) and a cotangent (B, J, D)."""
    x, W = layer_data(sizes, dtype)
    g = np.random.default_rng(6).standard_normal((sizes.batch, sizes.n_out, sizes.dim_out))
    return x, (SCALE * W).astype(dtype), g.astype(dtype)


def gradient_work(side: Ours | PyTorch, *hosts: np.ndarray) -> Work:
    """The sums and both gradients, forward and backward."""
    if isinstance(side, Ours):
        x, W, g = (side.backend.asarray(host, dtype=side.dtype) for host in hosts)
        return functools.partial(_ours, x, W, g)
    from capsnp.bench.torch_capsnet import gradient_of

    function = gradient_of(side.form, compiled=side.compiled)
    return functools.partial(function, *map(side.tensor, hosts), ITERATIONS)


def _ours(x: Any, W: Any, g: Any) -> tuple[Any, ...]:
    rule: dict[str, Any] = {
        "iterations": ITERATIONS,
        "agreement": "dot",
        "normalize": "outputs",
    }
    routing, record = route_with_record(x, W, **rule)
    return (routing.z, *route_vjp(x, W, g, record=record, **rule))


def gradient_cases(
    sizes: LayerSizes, *, dtype: str, machine: Machine, sides: Sequence[Ours | PyTorch]
) -> Iterator[Case]:
    """Routing forward and backward."""
    data = gradient_data(sizes, dtype)
    names = ("z", "the gradient in x", "the gradient in W")
    results = 2 * data[0].size + 2 * data[1].size + 2 * data[2].size
    yield Case(
        "capsnet",
        CASE,
        str(sizes),
        [contestant(side, gradient_work(side, *data), names) for side in sides],
        machine.floor(
            sizes.gradient_products(ITERATIONS) * sizes.product, results, np.dtype(dtype).itemsize
        ),
        ROUNDINGS * float(np.finfo(dtype).eps),
    )


def gradient_peaks(
    sizes: LayerSizes, *, dtype: str, sides: Sequence[Side], threads: int, rounds: int
) -> list[Peak]:
    """The peaks of memory."""
    eager = [side for side in sides if not (isinstance(side, PyTorch) and side.compiled)]
    taking_part = gradient_sides(sizes, dtype, eager, 1)
    return measure_peaks(
        taking_part, sizes, dtype=dtype, threads=threads, rounds=rounds, work="capsnet", case=CASE
    )


def gradient_sides(
    sizes: LayerSizes, dtype: str, sides: Sequence[Side], rounds: int
) -> list[Ours | PyTorch]:
    """capsnp and PyTorch, as it runs and compiled, each in its fastest form."""
    data = gradient_data(sizes, dtype)

    def fastest(side: PyTorch) -> PyTorch:
        from capsnp.bench.torch_capsnet import FORMS

        written = {form: side.written(form) for form in FORMS}
        calls = {form: gradient_work(written[form], *data) for form in FORMS}
        times = interleave(calls, rounds=rounds)
        return written[min(times, key=lambda form: times[form].median)]

    return [
        fastest(side) if isinstance(side, PyTorch) else side
        for side in sides
        if isinstance(side, Ours | PyTorch)
    ]
