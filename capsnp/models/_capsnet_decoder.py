r"""The decoder of `CapsNet`: three dense layers from capsules to pixels, with its gradient by hand.

.. math:: h_1 = \mathrm{relu}(v D_1 + d_1), \quad h_2 = \mathrm{relu}(h_1 D_2 + d_2), \quad
          \hat y = σ(h_2 D_3 + d_3)
"""

from collections.abc import Mapping

from capsnp.backend import Array, namespace
from capsnp.functional.activations import relu, sigmoid

LAYERS = ("dense1", "dense2", "dense3")


def decoder_shapes(
    n_inputs: int, hidden: tuple[int, int], n_pixels: int
) -> dict[str, tuple[int, ...]]:
    """Shape of each weight by name.

    Examples
    --------
    >>> decoder_shapes(160, (512, 1024), 784)["dense2"]
    (512, 1024)
    """
    widths = (n_inputs, *hidden, n_pixels)
    shapes: dict[str, tuple[int, ...]] = {}
    for name, n_in, n_out in zip(LAYERS, widths[:-1], widths[1:], strict=True):
        shapes |= {name: (n_in, n_out), f"{name}_bias": (n_out,)}
    return shapes


def decoded(v: Array, weights: Mapping[str, Array]) -> tuple[Array, Array, Array]:
    """Both hidden layers and the pixels (B, H W C), in (0, 1), of rows v (B, J D)."""
    h1 = relu(v @ weights["dense1"] + weights["dense1_bias"])
    h2 = relu(h1 @ weights["dense2"] + weights["dense2_bias"])
    return h1, h2, sigmoid(h2 @ weights["dense3"] + weights["dense3_bias"])


def decoder_gradient(
    v: Array, layers: tuple[Array, Array, Array], g: Array, weights: Mapping[str, Array]
) -> tuple[Array, dict[str, Array]]:
    """Gradient for v and for each weight of ⟨g, pixels⟩, from what `decoded` returned."""
    xp = namespace(v=v, g=g)
    h1, h2, pixels = layers
    g = g * pixels * (1.0 - pixels)
    gradient: dict[str, Array] = {}
    for name, below in (("dense3", h2), ("dense2", h1), ("dense1", v)):
        gradient |= {name: below.mT @ g, f"{name}_bias": xp.sum(g, axis=0)}
        g = g @ weights[name].mT
        if name != "dense1":
            g = g * xp.astype(below > 0, g.dtype)
    return g, gradient
