"""Section 2.2, (3): predictions, their weighted sums, and the reverse pass."""

from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from capsnp.functional.routing import forward, predictions, reverse
from capsnp.verification.claims._by_hand import Layer, inner, turned, weighted_sums
from capsnp.verification.lab import Lab
from capsnp.verification.ledger import Checks, claim

B, D, P = 2, 4, 6
LAYERS = ((5, 3), (3, 5))
"""Numbers I and J of input and output capsules: more of either."""


def layers(lab: Lab, n: int, *, whole: bool = False) -> Iterator[Layer]:
    """Layers of either shape with shared coefficients or each example's own.

    Numbers are Gaussian, or small and whole with coefficients in sixteenths.
    """
    for case in lab.cases(n):
        I, J = LAYERS[case % 2]
        shape_c = (I, J) if case // 2 % 2 else (B, I, J)
        if whole:
            x, W, c = (
                lab.rng.integers(-9, 10, shape).astype(float)
                for shape in ((B, I, P), (I, J, D, P), shape_c)
            )
            yield Layer(x, W, c / 16.0)
        else:
            c = lab.coefficients(*shape_c, axis=-2)
            yield Layer(lab.normal(B, I, P), lab.normal(I, J, D, P), c)


@claim(
    "§2.2",
    "2.2",
    "z_{j|i} = W_ij x_i",
    function=predictions,
    method="nested loops over examples, capsules and their dimensions",
)
def predictions_by_loops(lab: Lab) -> Checks:
    for x, W, _ in layers(lab, 4):
        expected, magnitude = np.zeros((2, B, *W.shape[:3]))
        for n, i, j, d in np.ndindex(expected.shape):
            for p in range(P):
                expected[n, i, j, d] += W[i, j, d, p] * x[n, i, p]
                magnitude[n, i, j, d] += abs(W[i, j, d, p] * x[n, i, p])
        yield lab.near(lab.run(predictions, x, W), expected, magnitude=magnitude, terms=2 * P)


@claim(
    "(3)",
    "2.2",
    "z_j = Σ_i c_ij W_ij x_i",
    function=forward,
    method="nested loops over examples, capsules and their dimensions",
)
def forward_by_loops(lab: Lab) -> Checks:
    for layer in layers(lab, 4):
        yield lab.near(
            lab.run(forward, *layer),
            weighted_sums(*layer),
            magnitude=weighted_sums(*map(np.abs, layer)),
            terms=2 * max(map(max, LAYERS)) * P,
        )


@claim(
    "(3)",
    "2.2",
    "z_j = Σ_i c_ij W_ij x_i, to the last digit where no rounding is needed",
    function=forward,
    method="exact fractions of whole x and W and c in sixteenths",
)
def forward_in_fractions(lab: Lab) -> Checks:
    for layer in layers(lab, 4, whole=True):
        exact = Layer(*(np.vectorize(Fraction, otypes=[object])(array) for array in layer))
        off = np.max(np.abs(lab.run(forward, *layer) - weighted_sums(*exact).astype(float)))
        yield lab.below(off, 0.0, "every sum is a number of sixteenths")


@claim(
    "(3)",
    "2.2",
    "The reverse pass Σ_j c_ij W_ijᵀ x_j, with the same c and W, is the adjoint of (3): "
    "⟨forward(x), y⟩ = ⟨x, reverse(y)⟩",
    function="reverse, forward",
    method="nested loops, and inner products summed without rounding",
)
def reverse_is_adjoint(lab: Lab) -> Checks:
    for layer in layers(lab, 4):
        y = lab.normal(B, layer.W.shape[1], D)
        back = lab.run(reverse, y, layer.W, layer.c)
        terms = 2.0 * max(map(max, LAYERS)) * P
        maps = turned(layer.W, layer.c)
        magnitude = weighted_sums(np.abs(y), *map(np.abs, maps))
        yield lab.near(back, weighted_sums(y, *maps), magnitude=magnitude, terms=terms)
        there = lab.run(forward, *layer)
        yield lab.near(
            inner(there, y),
            inner(layer.x, back),
            magnitude=np.sum(np.abs(layer.x) * magnitude),
            terms=2 * terms,
        )
