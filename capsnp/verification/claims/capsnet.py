"""Beyond the paper: the capsule network of Sabour, Frosst and Hinton (2017), as a whole."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from capsnp.functional.routings import ROUTINGS
from capsnp.models._capsnet_network import Network, Shapes
from capsnp.models._capsnet_parts import criterion_of, norm_of, router_of
from capsnp.verification.claims._by_hand import slopes
from capsnp.verification.claims.activations import ROUNDINGS
from capsnp.verification.claims.convolutions import Geometry, convolved
from capsnp.verification.claims.routing_gradients import sums
from capsnp.verification.lab import Lab
from capsnp.verification.ledger import Checks, claim

Weights = dict[str, np.ndarray]

B, KERNEL, ITERATIONS, SHARE = 2, 2, 2, 0.1
SHAPES = Shapes((5, 5, 1), KERNEL, 3, 2, 2, 2, 3, (3, 4))
FIRST = Geometry((5, 5), (KERNEL, KERNEL))
SECOND = Geometry(FIRST.out, (KERNEL, KERNEL), stride=(2, 2))
OPTIONS = {"iterations": ITERATIONS, "agreement": "dot", "normalize": "outputs"}


class Trained(NamedTuple):
    """Images, targets and weights, with what the network makes of them."""

    images: np.ndarray
    targets: np.ndarray
    weights: Weights
    classes: float
    squared_error: float
    gradient: Weights


def trained(lab: Lab) -> Iterator[Trained]:
    """Random problems for the network, which runs on the backend."""
    shapes = SHAPES.weights()
    for _ in lab.cases(1):
        images, targets = lab.uniform(B, *SHAPES.image), np.eye(2)
        weights = {name: lab.normal(*shape, scale=0.6) for name, shape in shapes.items()}

        def computed(images: Any, targets: Any, *arrays: Any) -> tuple:
            named = dict(zip(shapes, arrays, strict=True))
            network = Network.create(
                named,
                size=SHAPES.image[:2],
                layout="channels",
                norm=norm_of("sabour", "exact"),
                router=router_of(ROUTINGS["dynamic"], OPTIONS, "full"),
                criterion=criterion_of("margin", 2),
                reconstruction=SHARE,
            )
            loss = network.loss_and_gradient(images, targets, network.products(named))
            gradient = tuple(loss.gradient[name] for name in shapes)
            return loss.classes, loss.squared_error, gradient

        classes, error, gradient = lab.run(computed, images, targets, *weights.values())
        named = dict(zip(shapes, gradient, strict=True))
        yield Trained(images, targets, weights, classes, error, named)


def losses(images: np.ndarray, targets: np.ndarray, w: Weights) -> tuple[complex, complex]:
    """Margin loss and squared error in scalar formulas, analytic in the weights."""

    def relu(a: np.ndarray) -> np.ndarray:
        return np.where(a.real > 0, a, 0.0)

    def squashed(z: np.ndarray) -> np.ndarray:
        r = np.sqrt(np.sum(z * z, axis=-1, keepdims=True))
        return z * r / (1.0 + r * r)

    a = relu(convolved(FIRST, images, w["filters1"]) + w["bias1"])
    maps = convolved(SECOND, a, w["filters2"]) + w["bias2"]
    x = squashed(maps.reshape(B, -1, SHAPES.primary_dim))
    u = np.einsum("ijdp,bip->bijd", w["W"], x)
    v = squashed(sums(u, ITERATIONS, "dot", "outputs"))
    lengths = np.sqrt(np.sum(v * v, axis=-1))
    short, long = relu(0.9 - lengths), relu(lengths - 0.1)
    margin = np.sum(targets * short**2 + 0.5 * (1.0 - targets) * long**2)
    h = (v * targets[:, :, None]).reshape(B, -1)
    for name in ("dense1", "dense2"):
        h = relu(h @ w[name] + w[f"{name}_bias"])
    pixels = 1.0 / (1.0 + np.exp(-(h @ w["dense3"] + w["dense3_bias"])))
    return margin, np.sum((pixels - images.reshape(B, -1)) ** 2)


PATH = 4.0 * (
    math.prod(SHAPES.weights()["filters2"][:3])
    + ITERATIONS * (SHAPES.n_primary + SHAPES.capsule_dim + SHAPES.primary_dim)
    + sum(SHAPES.hidden or ())
    + 4 * ROUNDINGS
)
"""Roundings on the way through all layers and back, with room for cancellation."""


@claim(
    "(N1), (N2)",
    "capsnet",
    "The capsule network's loss is its margin loss and the squared error of what its decoder "
    "rebuilds from the capsule of the class",
    function="Network.loss_and_gradient",
    method="nested loops and the formulas as printed",
)
def capsnet_loss_by_loops(lab: Lab) -> Checks:
    for images, targets, weights, classes, squared_error, _ in trained(lab):
        for actual, expected in zip(
            (classes, squared_error), losses(images, targets, weights), strict=True
        ):
            yield lab.near(actual, float(expected.real), terms=PATH)


@claim(
    "(N3), (N4)",
    "capsnet",
    "The capsule network's backward pass is the gradient of its loss for every weight, through "
    "every weighting of its routing",
    function="Network.loss_and_gradient",
    method="complex steps through nested loops and scalar formulas",
)
def capsnet_gradient_by_complex_step(lab: Lab) -> Checks:
    for images, targets, weights, _, _, gradient in trained(lab):
        expected = {}
        for name in weights:

            def loss(w: np.ndarray, name=name, all_of=weights, t=targets, y=images) -> complex:
                margin, error = losses(y, t, all_of | {name: w})
                return margin + SHARE * error

            expected[name] = slopes(loss, weights[name])
        largest = max(float(np.max(np.abs(slope))) for slope in expected.values())
        for name, slope in expected.items():
            yield lab.near(gradient[name], slope, magnitude=largest, terms=PATH)
