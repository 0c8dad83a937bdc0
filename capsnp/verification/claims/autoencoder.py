"""Section 4.1 and Figure 1: the convolutional autoencoder."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from capsnp.functional.convolution import conv2d, conv2d_transpose
from capsnp.models._convolutional import Network, code_grid
from capsnp.verification.claims._by_hand import slopes
from capsnp.verification.claims.activations import ROUNDINGS
from capsnp.verification.claims.convolutions import Geometry, N, convolved, transposed
from capsnp.verification.lab import Lab
from capsnp.verification.ledger import Checks, claim

Weights = dict[str, np.ndarray]

SIZE, KERNEL, FILTERS, SLOPE = (7, 8), 3, 2, 0.2
FIRST = Geometry(SIZE, (KERNEL, KERNEL))
SECOND = Geometry((5, 6), (KERNEL, KERNEL), stride=(2, 2))
SHAPES = {
    "filters1": (KERNEL, KERNEL, 1, FILTERS),
    "filters2": (KERNEL, KERNEL, FILTERS, FILTERS),
    "bias1": (FILTERS,),
    "bias2": (FILTERS,),
    "decoder_bias2": (FILTERS,),
    "decoder_bias1": (1,),
}
"""A network like that of Figure 1; horizontally its second convolution drops a column."""


class Autoencoding(NamedTuple):
    """Images, weights and a dropout mask, with what the network makes of them."""

    images: np.ndarray
    weights: Weights
    mask: np.ndarray
    cross_entropy: float
    squared_error: float
    gradient: Weights


def autoencoding(lab: Lab) -> Iterator[Autoencoding]:
    """Random problems for the network, which runs on the backend."""
    for _ in lab.cases(1):
        images = lab.uniform(N, *SIZE, 1)
        weights = {name: lab.normal(*shape, scale=0.4) for name, shape in SHAPES.items()}
        mask = lab.round(lab.bits(N, *SECOND.out, FILTERS) / 0.8)

        def computed(images: Any, mask: Any, *arrays: Any) -> tuple:
            named = dict(zip(SHAPES, arrays, strict=True))
            network = Network.create(named, size=SIZE, slope=SLOPE)
            loss = network.loss_and_gradient(images, network.products(named), mask)
            gradient = tuple(loss.gradient[name] for name in SHAPES)
            return loss.cross_entropy, loss.squared_error, gradient

        entropy, error, gradient = lab.run(computed, images, mask, *weights.values())
        named = dict(zip(SHAPES, gradient, strict=True))
        yield Autoencoding(images, weights, mask, entropy, error, named)


def rebuilt(images: np.ndarray, weights: Weights, mask: np.ndarray, slope: float) -> np.ndarray:
    """The logits of the network of Figure 1, in nested loops."""

    def leaky(x: np.ndarray) -> np.ndarray:
        return np.where(x.real > 0, x, slope * x)

    w1, w2 = weights["filters1"], weights["filters2"]
    hidden = leaky(convolved(FIRST, images, w1) + weights["bias1"])
    code = leaky(convolved(SECOND, hidden, w2) + weights["bias2"])
    hidden = leaky(transposed(SECOND, mask * code, w2) + weights["decoder_bias2"])
    return transposed(FIRST, hidden, w1) + weights["decoder_bias1"]


PATH = 2 * (KERNEL**2 + 1 + 3 * (KERNEL**2 * FILTERS + 1)) + 2 * ROUNDINGS
"""Roundings on the way through four layers and back.

They add up like random numbers, at most to the square root of this; the rest is for cancellation,
of which numbers of random signs have as much.
"""


@claim(
    "§4.1",
    "4.1",
    "The autoencoder's loss is Σ −t log σ(l) − (1 − t) log(1 − σ(l)), its squared error "
    "Σ (σ(l) − t)²",
    function="Network.loss_and_gradient",
    method="nested loops, and the cross-entropy as printed in textbooks",
)
def autoencoder_loss_by_loops(lab: Lab) -> Checks:
    for images, weights, mask, cross_entropy, squared_error, _ in autoencoding(lab):
        logits = rebuilt(images, weights, mask, SLOPE)
        entropies, errors = [], []
        for t, logit in zip(images.flat, logits.flat, strict=True):
            on = 1 / (1 + math.exp(-logit))
            entropies.append(-t * math.log(on) - (1 - t) * math.log(1 - on))
            errors.append((on - t) ** 2)
        for actual, each in ((cross_entropy, entropies), (squared_error, errors)):
            yield lab.near(actual, math.fsum(each), terms=PATH / 2 + images.size)


@claim(
    "§4.1",
    "4.1",
    "The autoencoder's backward pass is the gradient of its loss for every weight, tied filters "
    "in both places",
    function="Network.loss_and_gradient",
    method="complex steps through nested loops",
)
def autoencoder_gradient_by_complex_step(lab: Lab) -> Checks:
    for images, weights, mask, _, _, gradient in autoencoding(lab):
        expected = {}
        for name in weights:

            def loss(w: np.ndarray, name=name, weights=weights, mask=mask, t=images) -> complex:
                logits = rebuilt(t, weights | {name: w}, mask, SLOPE)
                return np.sum(np.log(1 + np.exp(logits)) - t * logits)

            expected[name] = slopes(loss, weights[name])
        largest = max(np.max(np.abs(slope)) for slope in expected.values())
        for name, slope in expected.items():
            yield lab.near(gradient[name], slope, magnitude=largest, terms=PATH)


@claim(
    "§4.1",
    "4.1",
    "28 × 28 images become 20 × 20 × 128, then 6 × 6 × 128 = 576 capsules of 8, and the transposed "
    "filters lead back to 28 × 28 with an output padding of 1",
    function="conv2d, conv2d_transpose, code_grid",
    method="counting the places of a window, and shapes of what is computed",
)
def sizes_of_figure_1(lab: Lab) -> Checks:
    for _ in lab.cases(1):
        first, second = Geometry((28, 28), (9, 9)), Geometry((20, 20), (9, 9), stride=(2, 2))
        yield lab.true(first.out == second.size, "20 × 20")
        yield lab.true(second.out == (6, 6) == code_grid((28, 28), kernel=9), "6 × 6")
        yield lab.true(math.prod(second.out) * 128 == 576 * 8, "576 capsules of 8")
        yield lab.true(second.output_padding == (1, 1), "output padding 1")
        filters1, filters2 = lab.normal(9, 9, 1, 128), lab.normal(9, 9, 128, 128)
        hidden = lab.run(conv2d, lab.uniform(1, 28, 28, 1), filters1)
        yield lab.true(hidden.shape == (1, 20, 20, 128), "the first layer")
        code = lab.run(conv2d, hidden, filters2, stride=2)
        yield lab.true(code.shape == (1, 6, 6, 128), "the code")
        back = lab.run(conv2d_transpose, code, filters2, stride=2, output_padding=1)
        yield lab.true(back.shape == hidden.shape, "the second layer transposed")
        yield lab.true(np.all(back[:, :19, :19]), "without the output padding 19 × 19")
        yield lab.true(not np.any(back[:, 19:]) and not np.any(back[:, :, 19:]), "which is 0")
        images = lab.run(conv2d_transpose, back, filters1)
        yield lab.true(images.shape == (1, 28, 28, 1), "the first layer transposed")
