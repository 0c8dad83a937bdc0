r"""The network of `CapsNet`, forward and backward by hand.

With A1 and A2 convolutions by filters 1 (stride 1) and 2 (stride 2), both without padding::

    a = relu(A1 images + bias1)        x = squash(capsules of (A2 a + bias2))     (B, I, P)
    z = route(x, W)                    v = squash(z)                              (B, J, D)

The lengths of v are for the classes; the decoder rebuilds the image from v with all capsules but
one set to zero.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from array_api_compat import is_numpy_namespace

from capsnp.backend import Array, namespace
from capsnp.blocks import map_blocks, slices
from capsnp.functional.activations import relu
from capsnp.functional.convolution import conv2d_bias_gradient
from capsnp.functional.lowering import Lowering, Size, lowering
from capsnp.models._capsnet_decoder import decoded, decoder_gradient, decoder_shapes
from capsnp.models._convolutional import STRIDE, code_grid

Layout = Literal["channels", "pixels"]
TOGETHER = 32
"""Output channels of the second convolution whose gradient is formed at a time."""

ROUTING = "routing."
"""Before the names of the routing's own parameters among the weights."""


class Norm(NamedTuple):
    """Squash and length, each with the gradient of its product with a cotangent."""

    squash: Callable[[Array], Array]
    squash_vjp: Callable[[Array, Array], Array]
    length: Callable[[Array], Array]
    length_vjp: Callable[[Array, Array], Array]


class Criterion(NamedTuple):
    """Loss (B,) of lengths and targets (B, J), and its gradient for the lengths."""

    loss: Callable[[Array, Array], Array]
    gradient: Callable[[Array, Array], Array]


class Router(NamedTuple):
    """``route(x, W, **own)`` to z (B, J, D) and a record, ``back(x, W, g, record, **own)``.

    The gradient that goes back is a mapping by "x", "W" and the names of the routing's own
    parameters.
    """

    route: Callable[..., tuple[Array, Any]]
    back: Callable[..., Mapping[str, Array]]


class Loss(NamedTuple):
    """Sums over the batch, and the gradient of the loss by weight."""

    classes: Array
    squared_error: Array
    correct: Array
    gradient: dict[str, Array]


class Part(NamedTuple):
    """The loss of a block of examples, and the factors of what its gradient lacks.

    The second convolution's gradient by frequency is larger than all else, so it is formed once for
    all blocks.
    """

    loss: Loss
    patches: Array
    maps: Array


class Shapes(NamedTuple):
    """Sizes of a network.

    Parameters
    ----------
    image : tuple of int
        (H, W, C).
    kernel, filters, channels, primary_dim : int
        The second convolution has ``channels * primary_dim`` channels.
    n_classes, capsule_dim : int
        J and D.
    hidden : tuple of int or None
        Widths of the decoder's two hidden layers; None is a network without a decoder.
    """

    image: tuple[int, int, int]
    kernel: int
    filters: int
    channels: int
    primary_dim: int
    n_classes: int
    capsule_dim: int
    hidden: tuple[int, int] | None

    @property
    def grid(self) -> Size:
        """Height and width of the primary capsules' grid."""
        return code_grid(self.image[:2], self.kernel)

    @property
    def n_primary(self) -> int:
        """I, the primary capsules."""
        return math.prod(self.grid) * self.channels

    def weights(self) -> dict[str, tuple[int, ...]]:
        """Shape of each weight but the routing's own.

        Examples
        --------
        >>> sizes = Shapes((28, 28, 1), 9, 256, 32, 8, 10, 16, None)
        >>> sizes.weights()["W"]
        (1152, 10, 16, 8)
        """
        k, P = self.kernel, self.primary_dim
        J, D = self.n_classes, self.capsule_dim
        shapes: dict[str, tuple[int, ...]] = {
            "filters1": (k, k, self.image[2], self.filters),
            "bias1": (self.filters,),
            "filters2": (k, k, self.filters, self.channels * P),
            "bias2": (self.channels * P,),
            "W": (self.n_primary, J, D, P),
        }
        if self.hidden is not None:
            shapes |= decoder_shapes(J * D, self.hidden, math.prod(self.image))
        return shapes


@dataclass(frozen=True)
class Network:
    """Pure functions of weights, for images of one size.

    The weights go in as ``products``, which `products` makes once for many batches.

    Parameters
    ----------
    first, second : Lowering
        How the two convolutions are computed; `create` chooses.
    primary_dim : int
    layout : {"channels", "pixels"}
        What a primary capsule is made of: channels at one place, or neighbouring pixels of one
        channel.
    norm, router, criterion
        Squash, routing and loss.
    reconstruction : float
        What the rebuilt image's squared error is multiplied with; 0 is a network without a decoder.
    """

    first: Lowering
    second: Lowering
    primary_dim: int
    layout: Layout
    norm: Norm
    router: Router
    criterion: Criterion
    reconstruction: float

    @classmethod
    def create(cls, weights: Mapping[str, Array], *, size: Size, **parts: Any) -> "Network":
        """The network for weights, the images' height and width, and the other fields."""
        filters = weights["filters1"]
        kernel, _, channels, n_filters = filters.shape
        hidden = (size[0] - kernel + 1, size[1] - kernel + 1)
        return cls(
            lowering(size, kernel, 1, channels=channels, like=filters),
            lowering(hidden, kernel, STRIDE, channels=n_filters, like=filters),
            weights["W"].shape[3],
            **parts,
        )

    def products(self, weights: Mapping[str, Array]) -> dict[str, Array]:
        """The weights with both filters as the factors of matrix products."""
        return dict(weights) | {
            "filters1": self.first.from_weight(weights["filters1"]),
            "filters2": self.second.from_weight(weights["filters2"]),
        }

    def inputs(self, images: Array, products: Mapping[str, Array]) -> Array:
        """Images (B, H, W, C) to primary capsules x (B, I, P)."""
        x1 = self.first.from_images(images)
        a = relu(self.first.to_codes(x1 @ products["filters1"]) + products["bias1"])
        x2 = self.second.from_images(a)
        maps = self.second.to_codes(x2 @ products["filters2"]) + products["bias2"]
        return self.norm.squash(self._capsules(maps))

    def capsules(self, images: Array, products: Mapping[str, Array]) -> Array:
        """Images (B, H, W, C) to class capsules v (B, J, D)."""
        x = self.inputs(images, products)
        z, _ = self.router.route(x, products["W"], **routing_parameters(products))
        return self.norm.squash(z)

    def rebuild(self, v: Array, mask: Array, products: Mapping[str, Array]) -> Array:
        """Pixels (B, H W C) of class capsules of which a mask (B, J) keeps some."""
        return decoded(_masked(v, mask), products)[-1]

    def loss_and_gradient(
        self, images: Array, targets: Array, *arguments: Any, **more: Any
    ) -> Loss:
        """`part` of all examples, whole."""
        return self.joined([self.part(images, targets, *arguments, **more)])

    def joined(self, parts: Sequence[Part]) -> Loss:
        """The sum of parts, with the second convolution's gradient."""
        losses = [part.loss for part in parts]
        gradient = {
            name: sum(loss.gradient[name] for loss in losses) for name in losses[0].gradient
        }
        gradient["filters2"] = self._second_gradient(
            *(_joined(arrays) for arrays in zip(*(part[1:] for part in parts), strict=True))
        )
        return Loss(
            sum(loss.classes for loss in losses),
            sum(loss.squared_error for loss in losses),
            sum(loss.correct for loss in losses),
            gradient,
        )

    def _second_gradient(self, patches: Array, maps: Array) -> Array:
        """Of the second convolution's filters; on a host some output channels at a time.

        Then a thread's products by frequency stay small: 148 * 1024 numbers for each channel.
        """
        xp = namespace(maps=maps)
        on_host, channels = is_numpy_namespace(xp), maps.shape[-1]
        found = map_blocks(
            lambda some: self.second.to_weight(patches.mT @ maps[..., some]),
            slices(channels, TOGETHER if on_host else channels),
            parallel=on_host,
        )
        return _joined(found, axis=3)

    def part(
        self,
        images: Array,
        targets: Array,
        products: Mapping[str, Array],
        *,
        mask: Array | None = None,
        originals: Array | None = None,
    ) -> Part:
        r"""Loss of the classes and the rebuilt image, and its gradient by hand.

        .. math:: L = \sum_b \Big[ \ell(\|v_{b1}\|, …, \|v_{bJ}\|; t_b)
                  + ρ \sum_p (\hat y_{bp} - y_{bp})^2 \Big]

        Parameters
        ----------
        images : array, shape (B, H, W, C)
        targets : array, shape (B, J)
            1 for each class that is there, else 0.
        products : dict of str to array
        mask : array, shape (B, J), optional
            Capsules that the image is rebuilt from; by default the targets.
        originals : array, shape (B, H, W, C), optional
            What is to be rebuilt; by default the images.

        Returns
        -------
        Part
            Right is an example whose longest capsule is a target.

        Notes
        -----
        Derivation: :doc:`/derivations/capsnet`.
        """
        xp = namespace(images=images, targets=targets)
        first, second, norm = self.first, self.second, self.norm
        w1, w2, W, own = (
            products["filters1"],
            products["filters2"],
            products["W"],
            routing_parameters(products),
        )
        mask = targets if mask is None else mask
        originals = images if originals is None else originals

        x1 = first.from_images(images)
        a = relu(first.to_codes(x1 @ w1) + products["bias1"])
        x2 = second.from_images(a)
        maps = second.to_codes(x2 @ w2) + products["bias2"]
        s = self._capsules(maps)
        x = norm.squash(s)
        z, record = self.router.route(x, W, **own)
        v = norm.squash(z)
        lengths = norm.length(v)

        g_v = norm.length_vjp(v, self.criterion.gradient(lengths, targets))
        squared_error, g_masked, gradient = self._rebuilding(v, mask, originals, products)
        if g_masked is not None:
            g_v = g_v + g_masked
        routed = dict(self.router.back(x, W, norm.squash_vjp(z, g_v), record, **own))
        g_maps = self._maps(norm.squash_vjp(s, routed.pop("x")), tuple(maps.shape))
        h2 = second.from_codes(g_maps)
        g_a = second.to_images(h2 @ w2.mT) * xp.astype(a > 0, a.dtype)
        gradient |= {
            "filters1": first.to_weight(x1.mT @ first.from_codes(g_a)),
            "bias1": conv2d_bias_gradient(g_a),
            "bias2": conv2d_bias_gradient(g_maps),
            "W": routed.pop("W"),
        }
        gradient |= {f"{ROUTING}{name}": value for name, value in routed.items()}
        classes = xp.sum(self.criterion.loss(lengths, targets))
        loss = Loss(classes, squared_error, _right(xp, lengths, targets), gradient)
        return Part(loss, x2, h2)

    def _rebuilding(
        self, v: Array, mask: Array, originals: Array, products: Mapping[str, Array]
    ) -> tuple[Array, Array | None, dict[str, Array]]:
        """Squared error of the rebuilt images, gradient for v, gradient by the decoder's weight."""
        xp = namespace(v=v)
        if not self.reconstruction:
            return xp.sum(v[:0, ...]), None, {}
        flat = _masked(v, mask)
        layers = decoded(flat, products)
        error = layers[-1] - xp.reshape(originals, layers[-1].shape)
        g, gradient = decoder_gradient(flat, layers, 2.0 * self.reconstruction * error, products)
        return xp.sum(error * error), xp.reshape(g, v.shape) * mask[:, :, None], gradient

    def _capsules(self, maps: Array) -> Array:
        """Maps (B, h, w, channels) to capsules (B, I, P)."""
        xp = namespace(maps=maps)
        if self.layout == "pixels":
            maps = xp.permute_dims(maps, (0, 3, 1, 2))  # (B, channels, h, w)
        return xp.reshape(maps, (maps.shape[0], -1, self.primary_dim))

    def _maps(self, capsules: Array, shape: tuple[int, ...]) -> Array:
        """Capsules (B, I, P) back to maps of this shape (B, h, w, channels)."""
        xp = namespace(capsules=capsules)
        if self.layout == "channels":
            return xp.reshape(capsules, shape)
        n, rows, columns, channels = shape
        return xp.permute_dims(xp.reshape(capsules, (n, channels, rows, columns)), (0, 2, 3, 1))


def routing_parameters(products: Mapping[str, Array]) -> dict[str, Array]:
    """The routing's own parameters."""
    return {
        name.removeprefix(ROUTING): value
        for name, value in products.items()
        if name.startswith(ROUTING)
    }


def _joined(arrays: Sequence[Array], axis: int = -2) -> Array:
    """In one array along an axis, by default that of a convolution's places."""
    return arrays[0] if len(arrays) == 1 else namespace(first=arrays[0]).concat(arrays, axis=axis)


def _masked(v: Array, mask: Array) -> Array:
    """Capsules (B, J, D), those outside the mask zero, as rows (B, J D)."""
    return namespace(v=v, mask=mask).reshape(v * mask[:, :, None], (v.shape[0], -1))


def _right(xp: Any, lengths: Array, targets: Array) -> Array:
    """Examples whose longest capsule is a target."""
    best = xp.argmax(lengths, axis=1, keepdims=True)
    return xp.sum(xp.take_along_axis(targets, best, axis=1))
