"""The network of Figure 1: two convolutions, and the same filters transposed.

With A1 and A2 the convolutions by filters 1 (stride 1) and 2 (stride 2), A1ᵀ and A2ᵀ their
adjoints, ℓ the leaky ReLU and m the dropout mask::

    a1 = ℓ(A1 images + bias1)              code   = ℓ(A2 a1 + bias2)           encoder
    d1 = ℓ(A2ᵀ (m code) + decoder_bias2)   logits = A1ᵀ d1 + decoder_bias1     decoder

and the image is the sigmoid of the logits.
"""

from dataclasses import dataclass
from operator import iadd
from typing import NamedTuple

from capsnp.backend import Array, namespace
from capsnp.errors import ShapeError
from capsnp.functional.activations import leaky_relu, sigmoid, softplus
from capsnp.functional.convolution import conv2d_bias_gradient
from capsnp.functional.lowering import Lowering, Size, lowering

WEIGHTS = ("filters1", "filters2", "bias1", "bias2", "decoder_bias2", "decoder_bias1")

STRIDE = 2
"""Of the second convolution."""


class Loss(NamedTuple):
    """Sums over the batch, and the gradient of the cross-entropy's by weight."""

    cross_entropy: Array
    squared_error: Array
    gradient: dict[str, Array]


def code_grid(size: Size, kernel: int) -> Size:
    """Height and width of the code of images of this size.

    Raises
    ------
    ShapeError
        If the images are smaller than the two kernels together.

    Examples
    --------
    >>> code_grid((28, 28), kernel=9)
    (6, 6)
    """
    least = 2 * kernel - 1
    if min(size) < least:
        raise ShapeError(
            f"images: expected height and width of at least {least} for two kernels of {kernel}, "
            f"got {size}"
        )
    return (size[0] - least) // STRIDE + 1, (size[1] - least) // STRIDE + 1


@dataclass(frozen=True)
class Network:
    """Pure functions of weights, for images of one size.

    The weights go in as ``products``, which `products` makes once for many batches.

    Parameters
    ----------
    first, second : Lowering
        How the two convolutions are computed; `create` chooses.
    slope : float
        Of the leaky ReLU below zero.
    """

    first: Lowering
    second: Lowering
    slope: float

    @classmethod
    def create(cls, weights: dict[str, Array], *, size: Size, slope: float) -> "Network":
        """The network for weights and the images' height and width."""
        filters = weights["filters1"]
        kernel, _, channels, n_filters = filters.shape
        hidden = (size[0] - kernel + 1, size[1] - kernel + 1)
        return cls(
            lowering(size, kernel, 1, channels=channels, like=filters),
            lowering(hidden, kernel, STRIDE, channels=n_filters, like=filters),
            slope,
        )

    def products(self, weights: dict[str, Array]) -> dict[str, Array]:
        """The weights with both filters as the factors of matrix products."""
        return weights | {
            "filters1": self.first.from_weight(weights["filters1"]),
            "filters2": self.second.from_weight(weights["filters2"]),
        }

    def encode(self, images: Array, products: dict[str, Array]) -> Array:
        """Images (N, H, W, C) to their code (N, h, w, F), without dropout."""
        w1, w2 = products["filters1"], products["filters2"]
        z1 = self.first.to_codes(self.first.from_images(images) @ w1)
        a1 = leaky_relu(z1 + products["bias1"], slope=self.slope)
        z2 = self.second.to_codes(self.second.from_images(a1) @ w2)
        return leaky_relu(z2 + products["bias2"], slope=self.slope)

    def decode(self, code: Array, products: dict[str, Array]) -> Array:
        """Code (N, h, w, F) to the logits of images (N, H, W, C)."""
        w1, w2 = products["filters1"], products["filters2"]
        u1 = self.second.to_images(self.second.from_codes(code) @ w2.mT)
        d1 = leaky_relu(u1 + products["decoder_bias2"], slope=self.slope)
        u = self.first.to_images(self.first.from_codes(d1) @ w1.mT)
        return u + products["decoder_bias1"]

    def loss_and_gradient(self, images: Array, products: dict[str, Array], mask: Array) -> Loss:
        r"""Bernoulli cross-entropy of the reconstruction, and its gradient by hand.

        .. math:: L = \sum [\log(1 + e^l) - t\, l], \qquad \partial L/\partial l = \sigma(l) - t

        for pixels t and logits l. The filters appear twice, so their gradients have two terms.

        Parameters
        ----------
        images : array, shape (N, H, W, C)
        products : dict of str to array
        mask : array, shape (N, h, w, F)
            What the code is multiplied with: dropout, or ones.

        Returns
        -------
        Loss
        """
        xp = namespace(images=images)
        first, second, slope = self.first, self.second, self.slope
        w1, w2 = products["filters1"], products["filters2"]

        x1 = first.from_images(images)
        a1 = leaky_relu(first.to_codes(x1 @ w1) + products["bias1"], slope=slope)
        x2 = second.from_images(a1)
        code = leaky_relu(second.to_codes(x2 @ w2) + products["bias2"], slope=slope)
        y2 = second.from_codes(mask * code)
        d1 = leaky_relu(second.to_images(y2 @ w2.mT) + products["decoder_bias2"], slope=slope)
        y1 = first.from_codes(d1)
        logits = first.to_images(y1 @ w1.mT) + products["decoder_bias1"]

        error = sigmoid(logits) - images
        e1 = first.from_images(error)
        g_d1 = self._before_relu(first.to_codes(e1 @ w1), d1)
        e2 = second.from_images(g_d1)
        g_code = self._before_relu(mask * second.to_codes(e2 @ w2), code)
        h2 = second.from_codes(g_code)
        g_a1 = self._before_relu(second.to_images(h2 @ w2.mT), a1)
        h1 = first.from_codes(g_a1)
        gradient = {
            "filters1": first.to_weight(iadd(x1.mT @ h1, e1.mT @ y1)),
            "filters2": second.to_weight(iadd(x2.mT @ h2, e2.mT @ y2)),
            "bias1": conv2d_bias_gradient(g_a1),
            "bias2": conv2d_bias_gradient(g_code),
            "decoder_bias2": conv2d_bias_gradient(g_d1),
            "decoder_bias1": conv2d_bias_gradient(error),
        }
        cross_entropy = xp.sum(softplus(logits) - images * logits)
        return Loss(cross_entropy, xp.sum(error * error), gradient)

    def _before_relu(self, gradient: Array, output: Array) -> Array:
        """The gradient for a leaky ReLU's input, whose sign its output has.

        Arithmetic on the mask: `where` on one without a pattern takes NumPy ten times as long.
        """
        xp = namespace(gradient=gradient, output=output)
        positive = xp.astype(output > 0, gradient.dtype)
        return gradient * xp.maximum(positive, float(self.slope))
