"""Arguments of expert neurons: what they have to be."""

from typing import Any, Literal

from capsnp.backend import Array
from capsnp.functional._checks import expect_ndim, expect_option, expect_shape, floating
from capsnp.functional._coupling import expect_layer, expect_weights
from capsnp.functional.units import Bernoulli, Gaussian, Units

Visible = Literal["bernoulli", "gaussian"]
UNITS: dict[str, Units] = {"bernoulli": Bernoulli(), "gaussian": Gaussian()}


def expect_neurons(
    v: Array,
    W: Array,
    c: Array,
    *,
    a: Array | None = None,
    b: Array | None = None,
    visible: Visible = "bernoulli",
) -> Any:
    """The namespace of neurons, weights, coefficients and biases that fit each other."""
    expect_option("visible", visible, UNITS)
    floating(v=v, W=W, c=c, a=a, b=b)
    expect_ndim("v", v, 3, "(B, I, P)")
    expect_weights(W)
    I, _, _, P = W.shape
    because = f"to match W {tuple(W.shape)}"
    expect_shape("v", v, (None, I, P), axes="(B, I, P)", because=because)
    expect_biases(W, a=a, b=b)
    return expect_layer(v, W, c)


def expect_biases(W: Array, *, a: Array | None = None, b: Array | None = None) -> None:
    I, J, D, P = W.shape
    because = f"to match W {tuple(W.shape)}"
    for name, bias, shape, axes in (("a", a, (J, D), "(J, D)"), ("b", b, (I, P), "(I, P)")):
        if bias is not None:
            expect_shape(name, bias, shape, axes=axes, because=because)


def expect_hidden(name: str, h: Array, v: Array, W: Array) -> None:
    floating(v=v, **{name: h})
    expect_shape(
        name,
        h,
        (v.shape[0], *W.shape[1:3]),
        axes="(B, J, D)",
        because=f"to match v {tuple(v.shape)} and W {tuple(W.shape)}",
    )
