"""The layer's work: contrastive divergence, routing, the rule for U."""

from collections.abc import Iterator, Sequence
from typing import Any, get_args

import numpy as np

from capsnp.bench.cases import ROUNDINGS, Case, Contestant
from capsnp.bench.machine import Machine
from capsnp.bench.sides import ITERATIONS, Side, Work, squashed
from capsnp.bench.sizes import LayerSizes
from capsnp.functional.routing import Normalize

COEFFICIENT = 0.17
"""The mean of the decoder's coefficients, as `CapsuleDecoder` has it."""


class Layer:
    """Random capsules and weights of some sizes, the same for every side.

    Parameters
    ----------
    sizes : LayerSizes
    dtype : str
    machine : Machine
    sides : sequence of Side
        capsnp first.
    """

    def __init__(
        self, sizes: LayerSizes, *, dtype: str, machine: Machine, sides: Sequence[Side]
    ) -> None:
        self.sizes, self.dtype, self.machine, self.sides = sizes, dtype, machine, sides

    def cd_step(self) -> Iterator[Case]:
        """A step of contrastive divergence, as a user and as a training takes it."""
        yield self.public_step()
        s = self.sizes
        _, W = layer_data(s, self.dtype)
        h = _normal(1, (s.batch, s.n_in, s.dim_in), self.dtype)
        yield self._case(
            "cd-step",
            "as training takes it",
            [(side, side.training_step(h, held(W)), ("ΔW",)) for side in self.sides],
            self._cost_of_step,
        )

    def public_step(self) -> Case:
        """`route`, then `cd_gradient`, of weights as they come from anywhere."""
        x, W = layer_data(self.sizes, self.dtype)
        return self._case(
            "cd-step",
            "route, then cd_gradient",
            [(side, side.cd_step(x, W), ("ΔW",)) for side in self.sides],
            self._cost_of_step,
        )

    @property
    def _cost_of_step(self) -> tuple[float, float]:
        """Operations, and numbers read and written: routing, the reverse pass, the model's forward
        pass and two gradients; the inputs, W and ΔW."""
        s = self.sizes
        products = s.routing_products(ITERATIONS) + 4
        return products * s.product, s.batch * s.n_in * s.dim_in + 2 * s.weights

    def routing(self) -> Iterator[Case]:
        """Routing alone, by both normalisations and 1 to 3 iterations."""
        s = self.sizes
        x, W = layer_data(s, self.dtype)
        results = s.batch * s.n_in * s.n_out + s.batch * s.n_out * s.dim_out
        for normalize in get_args(Normalize):
            for iterations in (1, 2, 3):
                yield self._case(
                    "routing",
                    f"over {normalize}, {iterations} iteration{'s' * (iterations > 1)}",
                    [
                        (
                            side,
                            side.routing(x, W, iterations=iterations, normalize=normalize),
                            ("c", "z"),
                        )
                        for side in self.sides
                    ],
                    (s.routing_products(iterations) * s.product, x.size + W.size + results),
                )

    def decoder(self) -> Iterator[Case]:
        """A step of the rule for U, its codes given."""
        s = self.sizes
        y, h, U, routed = decoder_data(s, self.dtype)
        uniform = np.full((s.n_out, s.n_in), COEFFICIENT, dtype=self.dtype)
        for name, e in (("shared coefficients", uniform), ("coefficients of examples", routed)):
            yield self._case(
                "decoder",
                name,
                [(side, side.decoder_step(y, h, U, e), ("ΔU",)) for side in self.sides],
                (4 * s.product, y.size + h.size + e.size + 2 * U.size),
            )

    def _case(
        self,
        work: str,
        name: str,
        entries: Sequence[tuple[Side, Work, tuple[str, ...]]],
        cost: tuple[float, float],
    ) -> Case:
        dtype = np.dtype(self.dtype)
        return Case(
            work,
            name,
            str(self.sizes),
            [contestant(*entry) for entry in entries],
            self.machine.floor(*cost, dtype.itemsize),
            ROUNDINGS * float(np.finfo(dtype).eps),
        )


def contestant(side: Side, work: Work, names: tuple[str, ...]) -> Contestant:
    """A side with its work, whose results have names."""

    def results() -> dict[str, np.ndarray]:
        found: Any = work()
        side.finish(found)
        arrays = found if isinstance(found, tuple) else (found,)
        return {name: side.to_host(a) for name, a in zip(names, arrays, strict=True)}

    return Contestant(side.name, lambda: side.finish(work()), results, side.form)


def layer_data(sizes: LayerSizes, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Squashed inputs (B, I, P) and weights (I, J, D, P) as they come from anywhere: in order."""
    x = squashed(_normal(1, (sizes.batch, sizes.n_in, sizes.dim_in), dtype))
    shape = (sizes.n_in, sizes.n_out, sizes.dim_out, sizes.dim_in)
    return x, _normal(0, shape, dtype)


def decoder_data(sizes: LayerSizes, dtype: str) -> tuple[np.ndarray, ...]:
    """Codes (B, J, D), features (B, I, P), U (J, I, P, D) and coefficients (B, J, I)."""
    s = sizes
    y = squashed(_normal(2, (s.batch, s.n_out, s.dim_out), dtype))
    h = _normal(3, (s.batch, s.n_in, s.dim_in), dtype)
    U = (0.1 * _normal(4, (s.n_out, s.n_in, s.dim_in, s.dim_out), dtype)).astype(dtype)
    noise = np.random.default_rng(5).random((s.batch, s.n_out, s.n_in))
    return y, h, U, (2.0 * COEFFICIENT * noise).astype(dtype)


def held(weights: np.ndarray) -> np.ndarray:
    """Weights (I, J, D, P) that lie in memory as (J, D, I, P), as the models hold theirs."""
    lying = np.ascontiguousarray(weights.transpose(1, 2, 0, 3))
    return lying.transpose(2, 0, 1, 3)


def _normal(seed: int, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)
