"""The classifier's network: strided convolutions, a layer of features, a linear layer.

Pure functions of arrays. With ℓ the leaky ReLU, A_k a convolution with stride 2 and F, D matrices::

    a_k = ℓ(A_k a_{k-1} + bias_k)      features = ℓ(F a_K + b)      logits = D features + d

Weights are a dict: ``conv{k}`` (kernel, kernel, C_in, C_out) and ``conv{k}_bias`` for k = 1 ... K,
``features``, ``features_bias``, ``logits``, ``logits_bias``.
"""

from typing import NamedTuple

import numpy as np

from capsnp.backend import Array, namespace
from capsnp.functional import (
    conv2d,
    conv2d_bias_gradient,
    conv2d_input_gradient,
    conv2d_weight_gradient,
    leaky_relu,
    logsumexp,
    softmax,
)

STRIDE = 2
SLOPE = 0.2


class Layers(NamedTuple):
    """Inputs of each convolution and of the features' layer, the features (B, F), logits (B, K)."""

    activations: list[Array]
    features: Array
    logits: Array


class Loss(NamedTuple):
    """Sums over the batch: cross-entropy, right answers, and the cross-entropy's gradient."""

    cross_entropy: Array
    correct: Array
    gradient: dict[str, Array]


def weight_shapes(
    image_shape: tuple[int, ...],
    *,
    filters: tuple[int, ...],
    kernel: int,
    n_features: int,
    n_classes: int,
) -> dict[str, tuple[int, ...]]:
    """Shape of each weight by name, the network's inputs first.

    Examples
    --------
    >>> weight_shapes((28, 28, 1), filters=(16,), kernel=5, n_features=64, n_classes=10)["features"]
    (3136, 64)
    """
    height, width, channels = image_shape
    shapes: dict[str, tuple[int, ...]] = {}
    for k, count in enumerate(filters, start=1):
        shapes |= {f"conv{k}": (kernel, kernel, channels, count), f"conv{k}_bias": (count,)}
        height, width, channels = -(-height // STRIDE), -(-width // STRIDE), count
    flat = height * width * channels
    shapes |= {"features": (flat, n_features), "features_bias": (n_features,)}
    return shapes | {"logits": (n_features, n_classes), "logits_bias": (n_classes,)}


def first_weights(
    shapes: dict[str, tuple[int, ...]], rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Normal weights of variance 2 / fan-in (He 2015), biases 0."""
    return {
        name: np.zeros(shape)
        if name.endswith("_bias")
        else rng.standard_normal(shape) * np.sqrt(2.0 / np.prod(shape[:-1]))
        for name, shape in shapes.items()
    }


def classify(images: Array, weights: dict[str, Array]) -> Layers:
    """All layers of images (B, H, W, C)."""
    xp = namespace(images=images)
    activations = [images]
    for k in _convolutions(weights):
        # a kernel of odd size keeps ceil(H / 2) x ceil(W / 2) places
        z = conv2d(
            activations[-1],
            weights[f"conv{k}"],
            weights[f"conv{k}_bias"],
            stride=STRIDE,
            padding=_padding(weights),
        )
        activations.append(leaky_relu(z, slope=SLOPE))
    flat = xp.reshape(activations[-1], (images.shape[0], -1))
    features = leaky_relu(flat @ weights["features"] + weights["features_bias"], slope=SLOPE)
    return Layers(activations, features, features @ weights["logits"] + weights["logits_bias"])


def loss_and_gradient(
    images: Array, targets: Array, mask: Array, weights: dict[str, Array]
) -> Loss:
    r"""Cross-entropy of the classes, and its gradient by hand.

    .. math:: L = \sum_b [\log \sum_k e^{l_{bk}} - \sum_k t_{bk} l_{bk}],
              \qquad \partial L / \partial l = \mathrm{softmax}(l) - t

    Parameters
    ----------
    images : array, shape (B, H, W, C)
    targets : array, shape (B, K)
        One-hot.
    mask : array, shape (B, F)
        What the features are multiplied with before the last layer: dropout, or ones.
    weights : dict of str to array

    Returns
    -------
    Loss
    """
    xp = namespace(images=images)
    activations, features, _ = classify(images, weights)
    kept = mask * features
    logits = kept @ weights["logits"] + weights["logits_bias"]
    last = activations[-1]
    flat = xp.reshape(last, (last.shape[0], -1))

    g = softmax(logits, axis=1) - targets
    gradient = {"logits": kept.mT @ g, "logits_bias": xp.sum(g, axis=0)}
    g = _through_leaky(mask * (g @ weights["logits"].mT), features)
    gradient |= {"features": flat.mT @ g, "features_bias": xp.sum(g, axis=0)}
    g = xp.reshape(g @ weights["features"].mT, last.shape)
    for k in reversed(_convolutions(weights)):
        below, weight = activations[k - 1], weights[f"conv{k}"]
        where = {"stride": STRIDE, "padding": _padding(weights)}
        g = _through_leaky(g, activations[k])
        gradient[f"conv{k}"] = conv2d_weight_gradient(g, below, weight.shape[:2], **where)
        gradient[f"conv{k}_bias"] = conv2d_bias_gradient(g)
        if k > 1:
            g = conv2d_input_gradient(g, weight, below.shape[1:3], **where)

    cross_entropy = xp.sum(logsumexp(logits, axis=1) - xp.sum(targets * logits, axis=1))
    correct = xp.argmax(logits, axis=1) == xp.argmax(targets, axis=1)
    return Loss(cross_entropy, xp.sum(xp.astype(correct, logits.dtype)), gradient)


def _convolutions(weights: dict[str, Array]) -> range:
    return range(1, (len(weights) - 4) // 2 + 1)


def _padding(weights: dict[str, Array]) -> int:
    return weights["conv1"].shape[0] // 2


def _through_leaky(gradient: Array, output: Array) -> Array:
    """The gradient for a leaky ReLU's input, by its output, which has the input's sign."""
    xp = namespace(gradient=gradient, output=output)
    return xp.where(output > 0, gradient, SLOPE * gradient)
