# ruff: noqa: ARG005  every function is called alike
"""JAX compiles the functions, which must not look at their arrays' values or places to do so."""

import numpy as np
import pytest

from capsnp import functional as F
from capsnp.backend import get_backend
from capsnp.errors import BackendError

FUNCTIONS = {
    "squash": lambda x, W, c: F.squash(x),
    "unsquash clipped": lambda x, W, c: F.unsquash(x, clip=True),
    "route by cosine over inputs": lambda x, W, c: F.route(x, W).c,
    "route by dot over outputs": lambda x, W, c: (
        F.route(x, W, agreement="dot", normalize="outputs").z
    ),
    "route_vjp by cosine": lambda x, W, c: F.route_vjp(x, W, F.forward(x, W, c)).W,
    "route_vjp by dot over outputs": lambda x, W, c: (
        F.route_vjp(x, W, F.forward(x, W, c), agreement="dot", normalize="outputs").x
    ),
    "route once": lambda x, W, c: F.route(x, W, iterations=1).z,
    "cd_gradient": F.cd_gradient,
    "free_energy": F.free_energy,
    "decoder_gradient": lambda x, W, c: F.decoder_gradient(
        F.forward(x, W, c), x, W.swapaxes(0, 1).mT, c.mT
    ),
    "settle": lambda x, W, c: F.settle(x, W.swapaxes(0, 1).mT, c.mT, max_iter=5).y,
    "conv2d": lambda x, W, c: F.conv2d(x[..., None], W, stride=2),
    "conv2d_transpose": lambda x, W, c: F.conv2d_transpose(x[..., None], W.mT),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_compiled_is_the_same(rng, name):
    try:
        backend = get_backend("jax")
    except BackendError as error:
        pytest.skip(str(error))
    import jax

    x_shape, W_shape = ((2, 6, 6), (3, 3, 1, 2)) if "conv" in name else ((4, 5, 3), (5, 2, 4, 3))
    host = (0.3 * rng.normal(size=x_shape), rng.normal(size=W_shape), rng.uniform(size=(5, 2)))
    with backend.holding("float64"):
        x, W, c = (backend.asarray(array, dtype="float64") for array in host)
        found, expected = jax.jit(FUNCTIONS[name])(x, W, c), FUNCTIONS[name](x, W, c)
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=1e-9, atol=1e-12)
