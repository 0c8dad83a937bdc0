"""The network of Figure 1: two convolutions, and the same filters transposed.

Pure functions of arrays. With A1 and A2 the convolutions by filters 1 (stride 1) and 2 (stride 2),
A1ᵀ and A2ᵀ their adjoints, ℓ the leaky ReLU and m the dropout mask::

    a1 = ℓ(A1 images + bias1)    code   = ℓ(A2 a1 + bias2)              encoder
    d1 = ℓ(A2ᵀ (m code) + decoder_bias2)   logits = A1ᵀ d1 + decoder_bias1   decoder

and the image is the sigmoid of the logits. Weights are a dict of these names.
"""

from typing import NamedTuple

from capsnp.backend import Array, namespace
from capsnp.errors import ShapeError
from capsnp.functional.activations import leaky_relu, sigmoid, softplus
from capsnp.functional.convolution import (
    conv2d,
    conv2d_bias_gradient,
    conv2d_input_gradient,
    conv2d_transpose,
    conv2d_transpose_input_gradient,
    conv2d_transpose_weight_gradient,
    conv2d_weight_gradient,
)

WEIGHTS = ("filters1", "filters2", "bias1", "bias2", "decoder_bias2", "decoder_bias1")

STRIDE = 2
"""Of the second convolution."""


class Encoded(NamedTuple):
    """The two layers' outputs: hidden (N, H1, W1, F), code (N, H2, W2, F)."""

    hidden: Array
    code: Array


class Decoded(NamedTuple):
    """The decoder's layers: hidden (N, H1, W1, F), logits (N, H, W, C)."""

    hidden: Array
    logits: Array


class Loss(NamedTuple):
    """Sums over the batch, and the gradient of the cross-entropy's."""

    cross_entropy: Array
    squared_error: Array
    gradient: dict[str, Array]


def grid(height: int, width: int, kernel: int) -> tuple[int, int]:
    """Height and width of the code of images of this size.

    Raises
    ------
    ShapeError
        If the images are smaller than the two kernels together.

    Examples
    --------
    >>> grid(28, 28, kernel=9)
    (6, 6)
    """
    least = 2 * kernel - 1
    if min(height, width) < least:
        raise ShapeError(
            f"images: expected height and width of at least {least} for two kernels of {kernel}, "
            f"got {(height, width)}"
        )
    return (height - least) // STRIDE + 1, (width - least) // STRIDE + 1


def encode(images: Array, weights: dict[str, Array], *, slope: float) -> Encoded:
    """Images (N, H, W, C) to their code (N, H2, W2, F), without dropout."""
    hidden = leaky_relu(conv2d(images, weights["filters1"], weights["bias1"]), slope=slope)
    code = conv2d(hidden, weights["filters2"], weights["bias2"], stride=STRIDE)
    return Encoded(hidden, leaky_relu(code, slope=slope))


def decode(
    code: Array, weights: dict[str, Array], *, size: tuple[int, int], slope: float
) -> Decoded:
    """Code (N, H2, W2, F) to the logits of images of height and width `size`."""
    kernel = weights["filters1"].shape[0]
    # what the strided convolution dropped at the bottom and the right
    more = ((size[0] - 2 * kernel + 1) % STRIDE, (size[1] - 2 * kernel + 1) % STRIDE)
    hidden = conv2d_transpose(
        code, weights["filters2"], weights["decoder_bias2"], stride=STRIDE, output_padding=more
    )
    hidden = leaky_relu(hidden, slope=slope)
    return Decoded(hidden, conv2d_transpose(hidden, weights["filters1"], weights["decoder_bias1"]))


def loss_and_gradient(
    images: Array, weights: dict[str, Array], mask: Array, *, slope: float
) -> Loss:
    r"""Bernoulli cross-entropy of the reconstruction, and its gradient by hand.

    .. math:: L = \sum [\log(1 + e^{l}) - t\, l], \qquad \partial L / \partial l = \sigma(l) - t

    for pixels t and logits l. The filters appear twice, so their gradients have two terms.

    Parameters
    ----------
    images : array, shape (N, H, W, C)
    weights : dict of str to array
    mask : array, shape (N, H2, W2, F)
        What the code is multiplied with: dropout, or ones.
    slope : float
        Of the leaky ReLU.

    Returns
    -------
    Loss
    """
    xp = namespace(images=images)
    size, kernel = images.shape[1:3], weights["filters1"].shape[:2]
    a1, code = encode(images, weights, slope=slope)
    dropped = mask * code
    d1, logits = decode(dropped, weights, size=size, slope=slope)

    error = sigmoid(logits) - images  # for the logits
    g_d1 = conv2d_transpose_input_gradient(error, weights["filters1"])
    g_d1 = _leaky(g_d1, d1, slope)
    g_code = conv2d_transpose_input_gradient(g_d1, weights["filters2"], stride=STRIDE)
    g_code = _leaky(mask * g_code, code, slope)
    g_a1 = conv2d_input_gradient(g_code, weights["filters2"], a1.shape[1:3], stride=STRIDE)
    g_a1 = _leaky(g_a1, a1, slope)
    gradient = {
        "filters1": conv2d_weight_gradient(g_a1, images, kernel)
        + conv2d_transpose_weight_gradient(error, d1, kernel),
        "filters2": conv2d_weight_gradient(g_code, a1, kernel, stride=STRIDE)
        + conv2d_transpose_weight_gradient(g_d1, dropped, kernel, stride=STRIDE),
        "bias1": conv2d_bias_gradient(g_a1),
        "bias2": conv2d_bias_gradient(g_code),
        "decoder_bias2": conv2d_bias_gradient(g_d1),
        "decoder_bias1": conv2d_bias_gradient(error),
    }
    cross_entropy = xp.sum(softplus(logits) - images * logits)
    return Loss(cross_entropy, xp.sum(error * error), gradient)


def _leaky(gradient: Array, output: Array, slope: float) -> Array:
    """The gradient for a leaky ReLU's input, by its output, which has the input's sign."""
    xp = namespace(gradient=gradient, output=output)
    return xp.where(output > 0, gradient, float(slope) * gradient)
