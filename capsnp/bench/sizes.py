"""Sizes of the work, and how many multiplications its formulas have."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from capsnp.errors import OptionError
from capsnp.models._convolutional import STRIDE, code_grid


@dataclass(frozen=True)
class LayerSizes:
    """A batch, I input capsules of dimension P and J output capsules of dimension D.

    Examples
    --------
    >>> str(LayerSizes(100, 576, 8, 20, 16))
    '100 × 576×8 → 20×16'
    """

    batch: int
    n_in: int
    dim_in: int
    n_out: int
    dim_out: int

    def __str__(self) -> str:
        return f"{self.batch} × {self.n_in}×{self.dim_in} → {self.n_out}×{self.dim_out}"

    @property
    def product(self) -> int:
        """Operations of W with every example's capsules once, two for each multiplication."""
        return 2 * self.batch * self.weights

    @property
    def weights(self) -> int:
        """Numbers in W."""
        return self.n_in * self.dim_in * self.n_out * self.dim_out

    @property
    def predictions(self) -> int:
        """Numbers in all predictions W_ij x_i."""
        return self.batch * self.n_in * self.n_out * self.dim_out

    def routing_products(self, iterations: int) -> int:
        """Products of W with capsules in routing by cosine: weightings, agreements, lengths.

        With one iteration nothing agrees and no lengths are needed.
        """
        return 1 if iterations == 1 else 2 * iterations

    def gradient_products(self, iterations: int) -> int:
        """Products of W with capsules in routing by inner products, forward and backward.

        Weightings and agreements forward, two for each of these agreements backward, and both
        gradients.
        """
        return 2 * iterations - 1 + 2 * (iterations - 1) + 2

    def doubled(self, axis: str, times: int) -> "LayerSizes":
        """From a quarter of one size, doubled so many times."""
        return replace(self, **{axis: max(1, getattr(self, axis) // 4) * 2**times})


@dataclass(frozen=True)
class ImageSizes:
    """A batch of square images of one channel, and the autoencoder's filters.

    Examples
    --------
    >>> str(ImageSizes(128, 28, 128, 9))
    '128 × 28×28×1, 128 filters of 9×9'
    """

    batch: int
    side: int
    filters: int
    kernel: int

    def __str__(self) -> str:
        return (
            f"{self.batch} × {self.side}×{self.side}×1, "
            f"{self.filters} filters of {self.kernel}×{self.kernel}"
        )

    @property
    def hidden(self) -> int:
        """Height and width after the first convolution."""
        return self.side - self.kernel + 1

    @property
    def grid(self) -> int:
        """Height and width of the code."""
        return code_grid((self.side, self.side), self.kernel)[0]

    @property
    def output_padding(self) -> int:
        """Rows that the second convolution, with its stride, does not reach."""
        return (self.hidden - self.kernel) % STRIDE

    @property
    def step_operations(self) -> int:
        """Operations of a step's convolutions as they stand, two for each multiplication.

        The first convolution is computed 5 times (encoder, decoder, one gradient of features, two
        of the filters), the second 6 times (one gradient of features more).
        """
        taps = self.kernel**2
        first = self.batch * self.hidden**2 * taps * self.filters
        second = self.batch * self.grid**2 * taps * self.filters**2
        return 2 * (5 * first + 6 * second)

    @property
    def weights(self) -> int:
        """Numbers in both filters."""
        return self.kernel**2 * (self.filters + self.filters**2)


@dataclass(frozen=True)
class MachineSizes:
    """A batch, I visible and J hidden units, and how many steps are timed at once.

    Examples
    --------
    >>> str(MachineSizes(100, 784, 500, 60))
    '60 steps of 100 × 784 → 500'
    """

    batch: int
    visible: int
    hidden: int
    steps: int

    def __str__(self) -> str:
        return f"{self.steps} steps of {self.batch} × {self.visible} → {self.hidden}"

    @property
    def operations(self) -> int:
        """Of 5 products with w a step: to hidden units, back, there again, and 2 gradients."""
        return self.steps * 5 * 2 * self.batch * self.visible * self.hidden

    @property
    def numbers(self) -> int:
        """In the rows, and in w as it is read and written."""
        return self.steps * self.batch * self.visible + 2 * self.visible * self.hidden


@dataclass(frozen=True)
class NetworkSizes:
    """A batch of square images of one channel, and a capsule network.

    Examples
    --------
    >>> sizes = NetworkSizes(128, 28, 256, 9, 32, 8, 10, 16, (512, 1024))
    >>> str(sizes), str(sizes.routing)
    ('128 × 28×28×1 → 1152×8 → 10×16', '128 × 1152×8 → 10×16')
    """

    batch: int
    side: int
    filters: int
    kernel: int
    channels: int
    dim_in: int
    n_out: int
    dim_out: int
    hidden: tuple[int, int]

    def __str__(self) -> str:
        r = self.routing
        return (
            f"{self.batch} × {self.side}×{self.side}×1 → {r.n_in}×{r.dim_in} → "
            f"{self.n_out}×{self.dim_out}"
        )

    @property
    def grid(self) -> int:
        """Height and width of the primary capsules' grid."""
        return code_grid((self.side, self.side), self.kernel)[0]

    @property
    def routing(self) -> LayerSizes:
        """From the primary capsules to the classes'."""
        n_in = self.grid**2 * self.channels
        return LayerSizes(self.batch, n_in, self.dim_in, self.n_out, self.dim_out)

    @property
    def dense(self) -> int:
        """Weights of the decoder."""
        widths = (self.n_out * self.dim_out, *self.hidden, self.side**2)
        return sum(a * b for a, b in itertools.pairwise(widths))

    @property
    def weights(self) -> int:
        """Numbers in filters, W and the decoder."""
        maps = self.channels * self.dim_in
        filters = self.kernel**2 * self.filters * (1 + maps)
        return filters + self.routing.weights + self.dense

    @property
    def step_operations(self) -> int:
        """Operations of a step's products as they stand, two for each multiplication.

        The first convolution is computed twice (no gradient of the images), the second and the
        decoder three times.
        """
        taps, maps = self.kernel**2, self.channels * self.dim_in
        first = (self.side - self.kernel + 1) ** 2 * taps * self.filters
        second = self.grid**2 * taps * self.filters * maps
        routing = self.routing.gradient_products(3) * self.routing.product
        return 2 * self.batch * (2 * first + 3 * second + 3 * self.dense) + routing


@dataclass(frozen=True)
class Sizes:
    """The sizes of every work.

    Attributes
    ----------
    name : str
    layer : LayerSizes
        Of contrastive divergence, routing and the decoder.
    images : ImageSizes
        Of the autoencoder.
    scaled : LayerSizes
        Of the scaling: each axis from a quarter of this to eight times as much.
    machine : MachineSizes
        Of the restricted Boltzmann machine.
    network : NetworkSizes
        Of the capsule network.
    rounds : int
        Turns of each contestant, unless asked for otherwise.
    pipeline : mapping
        Settings of the run whose stages are timed.
    """

    name: str
    layer: LayerSizes
    images: ImageSizes
    scaled: LayerSizes
    machine: MachineSizes
    network: NetworkSizes
    rounds: int
    pipeline: Mapping[str, Any] = field(default_factory=dict)


_TINY_RUN = {
    "limit": 120,
    "autoencoder.filters": 8,
    "autoencoder.n_steps": 4,
    "autoencoder.batch_size": 16,
    "capsules.n_capsules": 4,
    "capsules.capsule_dim": 6,
    "capsules.n_steps": 6,
    "capsules.rebalance_steps": 5,
    "decoder.winner_steps": 4,
    "decoder.settled_steps": 3,
    "decoder.settling_steps": 5,
    "decoder.settling_steps_training": 3,
    "mixture.n_components": 4,
    "mixture.n_principal": 10,
    "evaluation.n_images": 80,
    "evaluation.classifier_steps": 10,
}

PAPER = LayerSizes(100, 576, 8, 20, 16)

SIZES = {
    size.name: size
    for size in (
        Sizes(
            "small",
            LayerSizes(16, 48, 4, 5, 6),
            ImageSizes(8, 16, 8, 5),
            LayerSizes(16, 48, 4, 8, 6),
            MachineSizes(16, 48, 20, 4),
            NetworkSizes(8, 12, 8, 3, 4, 4, 5, 6, (16, 24)),
            3,
            _TINY_RUN,
        ),
        Sizes(
            "paper",
            PAPER,
            ImageSizes(128, 28, 128, 9),
            PAPER,
            MachineSizes(100, 784, 500, 60),
            NetworkSizes(128, 28, 256, 9, 32, 8, 10, 16, (512, 1024)),
            15,
        ),
        Sizes(
            "large",
            LayerSizes(400, 1152, 8, 40, 16),
            ImageSizes(512, 28, 128, 9),
            LayerSizes(200, 1152, 8, 20, 16),
            MachineSizes(100, 784, 2000, 60),
            NetworkSizes(512, 28, 256, 9, 32, 8, 10, 16, (512, 1024)),
            7,
            {"preset": "default"},
        ),
    )
}


def sizes_of(name: str) -> Sizes:
    """Sizes by their name.

    Raises
    ------
    OptionError
        If there are none of that name.
    """
    if name not in SIZES:
        raise OptionError(f"sizes: expected one of {', '.join(SIZES)}, got {name!r}")
    return SIZES[name]
