"""What a run will take, from its shapes alone: numbers, memory, disk, time.

Time is the arithmetic of each stage over the rate at which this machine multiplies matrices,
times the share of that rate that the stage was measured to reach: right to a factor of two.
"""

import math
import time
from typing import NamedTuple

import numpy as np

from capsnp.backend import Backend, get_backend
from capsnp.reproduce.memory import features_of, memory
from capsnp.reproduce.settings import Settings
from capsnp.reproduce.shapes import Shapes, shapes_of

# Share of the rate of large matrix products that each part reaches, as measured. The autoencoder's
# bilinear convolutions do fewer operations than are counted here; routing is bound by memory.
_EFFICIENCY = {
    "autoencoder": 0.8,
    "features": 0.9,
    "capsules": 0.14,
    "codes": 0.14,
    "decoder": 0.5,
    "settling": 0.6,
    "mixture": 0.2,
}


class Estimate(NamedTuple):
    """What a run will take.

    Attributes
    ----------
    memory : dict of str to int
        Bytes at the peak of each stage, libraries and all; without pages of mapped files.
    disk : int
        Bytes in the run's folder.
    operations : dict of str to float
        Floating-point operations by stage.
    seconds : dict of str to float
        Time by stage.
    """

    memory: dict[str, int]
    disk: int
    operations: dict[str, float]
    seconds: dict[str, float]


def estimate(settings: Settings, image: tuple[int, int, int], n: int, n_test: int) -> Estimate:
    """What a run on n training images (H, W, C) will take, with n_test images to test.

    Raises
    ------
    ShapeError
        As `shapes_of`.
    """
    shapes = shapes_of(settings, image)
    itemsize = 8 if settings["dtype"] == "float64" else 4
    weights = itemsize * (shapes.autoencoder + shapes.W + shapes.U)
    mixture = settings.table("mixture")
    gaussians = 4 * mixture["n_components"] * mixture["n_principal"] ** 2
    operations = _operations(settings, shapes, n)
    rate = matmul_rate(get_backend(settings["backend"]), settings["dtype"])
    return Estimate(
        memory=memory(settings, shapes, n, n_test),
        disk=features_of(settings, shapes, n) + 8 * weights + gaussians,
        operations=operations,
        seconds={stage: work / rate / _EFFICIENCY[stage] for stage, work in operations.items()},
    )


def _operations(settings: Settings, shapes: Shapes, n: int) -> dict[str, float]:
    ae, dec, caps = settings.table("autoencoder"), settings.table("decoder"), settings.layer
    mixture = settings.table("mixture")
    (height, width, channels), (rows, columns) = shapes.image, shapes.grid
    F, k = ae["filters"], ae["kernel"]
    first = (height - k + 1) * (width - k + 1) * k * k * channels * F
    encode = 2.0 * (first + rows * columns * k * k * F * F)
    numbers = shapes.J * shapes.D
    layer = 2.0 * shapes.I * shapes.P * numbers  # one image through W or U
    passes = _passes(caps["routing_iterations"])
    on = 1.0 if caps["n_winners"] is None else caps["n_winners"] / shapes.J
    mixing = 3.0 + 2.0 * caps["mixing_steps"]  # the data, each mixing's two passes, two gradients
    settled = 0.5 * dec["settled_steps"] * dec["batch_size"] * dec["settling_steps_training"]
    return {
        "autoencoder": 6.0 * encode * ae["n_steps"] * ae["batch_size"],
        "features": encode * n,
        "capsules": layer
        * (caps["n_steps"] * caps["batch_size"] * (passes + mixing * on) + n * passes),
        "codes": layer * n * passes,
        "decoder": layer * 5.0 * (dec["winner_steps"] + dec["settled_steps"]) * dec["batch_size"],
        "settling": 2.0 * numbers**2 * (settled + n * dec["settling_steps"]) + 3.0 * layer * n,
        "mixture": 2.0
        * n
        * mixture["max_iter"]
        * mixture["n_components"]
        * mixture["n_principal"] ** 2,
    }


def _passes(iterations: int) -> float:
    """Products with W of one routing: each weighting, and its agreement there and back."""
    return 1.0 + 3.0 * (iterations - 1)


def matmul_rate(backend: Backend, dtype: str) -> float:
    """Floating-point operations per second of products of matrices of 1,024 numbers a side."""
    side = 1024
    host = np.random.default_rng(0).standard_normal((side, side))
    a = backend.asarray(host, dtype=dtype)
    backend.to_host(a @ a)  # the first call sets things up
    fastest = math.inf
    for _ in range(5):
        started = time.perf_counter()
        backend.to_host((a @ a)[0, 0:1])
        fastest = min(fastest, time.perf_counter() - started)
    return 2.0 * side**3 / fastest


def readable_seconds(seconds: float) -> str:
    """A time in the unit that suits it.

    Examples
    --------
    >>> readable_seconds(42), readable_seconds(600)
    ('42 s', '10 min')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 100 else f"{minutes / 60:.1f} h"
