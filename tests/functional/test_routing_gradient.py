"""The gradient through routing against PyTorch's automatic differentiation, and its properties."""

import tracemalloc
from itertools import product

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from capsnp.errors import OptionError, ShapeError
from capsnp.functional import (
    _coupling,
    _routing_backward,
    route,
    route_vjp,
    route_with_record,
)
from capsnp.functional.squashes import SQUASHES

RULES = list(product(("cosine", "dot", "scaled"), ("inputs", "outputs"), ("example", "batch")))
GRADIENTS = ("full", "last", "frozen")
X, W_SHAPE, G = (3, 5, 2), (5, 4, 3, 2), (3, 4, 3)  # B, I, P, J, D = 3, 5, 2, 4, 3


def problem(rng, scale=1.0):
    return rng.normal(size=X), scale * rng.normal(size=W_SHAPE), rng.normal(size=G)


LAWS = {
    "sabour": lambda n: n**2 / (1 + n**2),
    "rational": lambda n: n / (1 + n),
    "efficient": lambda n: 1 - (-n).exp(),
}


def torch_sums(torch, x, W, iterations, agreement, normalize, logits, gradient, squash="sabour"):
    """Routing in PyTorch, with what `gradient` holds constant cut off."""
    u = torch.einsum("ijdp,bip->bijd", W, x)
    axis = 1 if normalize == "inputs" else 2
    b = torch.zeros(u.shape[:3], dtype=u.dtype)
    for _ in range(iterations - 1):
        z = (torch.softmax(b, dim=axis)[..., None] * u).sum(1)
        if gradient == "last":
            z, b = z.detach(), b.detach()
        r = z.norm(dim=2, keepdim=True)
        if agreement == "cosine":
            added = (u / u.norm(dim=3, keepdim=True) * (z / r)[:, None]).sum(3)
        else:
            added = (u * (z / r * LAWS[squash](r))[:, None]).sum(3)
            added = added / u.shape[3] ** 0.5 if agreement == "scaled" else added
        b = b + (added.mean(0, keepdim=True) if logits == "batch" else added)
    c = torch.softmax(b, dim=axis)
    return ((c.detach() if gradient == "frozen" else c)[..., None] * u).sum(1)


def torch_gradients(x, W, g, options):
    torch = pytest.importorskip("torch")
    x, W = (torch.tensor(a, requires_grad=True) for a in (x, W))
    z = torch_sums(torch, x, W, **options)
    (z * torch.tensor(g)).sum().backward()
    return z.detach().numpy(), x.grad.numpy(), W.grad.numpy()


@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize(("agreement", "normalize", "logits"), RULES)
def test_gradients_are_those_of_automatic_differentiation(
    rng, agreement, normalize, logits, gradient
):
    x, W, g = problem(rng)
    rule = {"agreement": agreement, "normalize": normalize, "logits": logits}
    for iterations in (1, 2, 4):
        rule["iterations"] = iterations
        z, dx, dW = torch_gradients(x, W, g, rule | {"gradient": gradient})
        np.testing.assert_allclose(route(x, W, **rule).z, z, rtol=1e-10, atol=1e-12)
        found = route_vjp(x, W, g, gradient=gradient, **rule)
        np.testing.assert_allclose(found.x, dx, rtol=1e-10, atol=1e-11)
        np.testing.assert_allclose(found.W, dW, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("logits", ["example", "batch"])
@pytest.mark.parametrize("squash", ["efficient", "rational"])
def test_squashes_of_other_laws_are_differentiated_too(rng, squash, logits):
    x, W, g = problem(rng)
    rule = {"agreement": "dot", "normalize": "outputs", "logits": logits, "squash": squash}
    options = rule | {"iterations": 3, "gradient": "full"}
    z, dx, dW = torch_gradients(x, W, g, options)
    np.testing.assert_allclose(route(x, W, **rule).z, z, rtol=1e-10)
    found, record = route_vjp(x, W, g, **options), route_with_record(x, W, **rule)[1]
    np.testing.assert_allclose(found.x, dx, rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(found.W, dW, rtol=1e-10, atol=1e-11)
    again = route_vjp(x, W, g, record=record, **rule | {"squash": SQUASHES[squash]})
    np.testing.assert_array_equal(again.W, found.W)


@pytest.mark.parametrize(
    ("dtype", "agreement", "normalize"),
    [
        ("float32", "cosine", "outputs"),
        ("float64", "cosine", "inputs"),
        ("float64", "scaled", "outputs"),
    ],
)
def test_every_library_finds_the_same(rng, from_host, to_host, dtype, agreement, normalize):
    arrays = [a.astype(dtype) for a in problem(rng)]
    options = {"agreement": agreement, "normalize": normalize}
    found = route_vjp(*(from_host(a) for a in arrays), **options)
    expected = route_vjp(*(a.astype("float64") for a in arrays), **options)
    tolerance = {"float32": 1e-5, "float64": 1e-12}[dtype]
    for ours, theirs in zip(found, expected, strict=True):
        assert to_host(ours).dtype == dtype
        size = np.max(np.abs(theirs))
        np.testing.assert_allclose(to_host(ours) / size, theirs / size, atol=tolerance)


def test_shared_logits_on_every_library(rng, from_host, to_host):
    arrays = problem(rng)
    found = route_vjp(*(from_host(a) for a in arrays), logits="batch")
    for ours, theirs in zip(found, route_vjp(*arrays, logits="batch"), strict=True):
        np.testing.assert_allclose(to_host(ours), theirs, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(
    ("agreement", "normalize"), [("cosine", "inputs"), ("dot", "outputs"), ("scaled", "inputs")]
)
def test_shared_logits_are_those_of_each_where_all_examples_are_alike(rng, agreement, normalize):
    x, W, g = problem(rng)
    x[1:], g[1:] = x[0], g[0]
    options = {"agreement": agreement, "normalize": normalize}
    own, shared = route(x, W, **options), route(x, W, logits="batch", **options)
    assert shared.c.shape == own.c.shape
    np.testing.assert_allclose(shared.c, own.c, rtol=1e-12)
    for of_own, of_shared in zip(
        route_vjp(x, W, g, **options), route_vjp(x, W, g, logits="batch", **options), strict=True
    ):
        np.testing.assert_allclose(of_shared, of_own, rtol=1e-11, atol=1e-12)


def test_examples_have_their_own_gradients_unless_logits_are_shared(rng):
    x, W, g = problem(rng)
    alone = route_vjp(x[:1], W, g[:1])
    np.testing.assert_allclose(route_vjp(x, W, g).x[:1], alone.x, rtol=1e-12, atol=1e-13)
    shared = route_vjp(x, W, g, logits="batch")
    assert np.max(np.abs(shared.x[:1] - alone.x)) > 1e-3
    each = [route_vjp(x[[b]], W, g[[b]]).W for b in range(3)]
    np.testing.assert_allclose(route_vjp(x, W, g).W, sum(each), rtol=1e-11, atol=1e-12)


# --- blocks and records ---------------------------------------------------------------------------


@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize("normalize", ["inputs", "outputs"])
@pytest.mark.parametrize("agreement", ["cosine", "dot"])
def test_blocks_change_nothing(rng, monkeypatch, agreement, normalize, gradient):
    x, W, g = rng.normal(size=(7, 5, 2)), rng.normal(size=W_SHAPE), rng.normal(size=(7, 4, 3))
    options = {"agreement": agreement, "normalize": normalize, "gradient": gradient}
    whole = route_vjp(x, W, g, **options)
    monkeypatch.setattr(_coupling, "_HOST_NUMBERS", 15)
    monkeypatch.setattr(_coupling, "_HOST_PLANES", 15)
    monkeypatch.setattr(_coupling, "_HOST_EXAMPLES", 15)
    monkeypatch.setattr(_coupling, "_MIN_EXAMPLES", 2)
    monkeypatch.setattr(_routing_backward, "_HOST_NUMBERS", 100)
    monkeypatch.setattr(_routing_backward, "HOST_THREADS", 1)
    monkeypatch.setattr(_routing_backward, "_PARTS", 2)
    for cut, kept in zip(route_vjp(x, W, g, **options), whole, strict=True):
        np.testing.assert_allclose(cut, kept, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("iterations", [1, 3])
@pytest.mark.parametrize("logits", ["example", "batch"])
def test_a_record_changes_nothing(rng, iterations, logits):
    x, W, g = problem(rng)
    options = {"agreement": "dot", "iterations": iterations, "logits": logits}
    found, record = route_with_record(x, W, **options)
    for ours, theirs in zip(found, route(x, W, **options), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    plain = route_vjp(x, W, g, **options)
    for _ in range(2):  # it can be used again
        for ours, theirs in zip(route_vjp(x, W, g, record=record, **options), plain, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_a_record_is_what_the_gradient_is_taken_from(rng):
    x, W, g = problem(rng)
    record = route_with_record(x, W)[1]
    other = route_with_record(rng.normal(size=X), W)[1]
    found, expected = (route_vjp(x, W, g, record=kept).x for kept in (other, record))
    assert np.max(np.abs(found - expected)) > 1e-3


def test_predictions_are_never_held(rng, monkeypatch):
    monkeypatch.setenv("CAPSNP_NUM_THREADS", "1")  # each thread holds a block
    x, W, g = (rng.normal(size=size) for size in ((64, 64, 2), (64, 16, 64, 2), (64, 16, 64)))
    route_vjp(x[:1], W, g[:1])  # what is made once for all calls
    tracemalloc.start()
    route_vjp(x, W, g, agreement="dot")
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert held < 0.6 * 8 * 64 * 64 * 16 * 64


# --- properties -----------------------------------------------------------------------------------


@given(hnp.arrays("float64", G, elements=st.floats(-4, 4)), st.sampled_from(["inputs", "outputs"]))
def test_cosine_routing_is_of_degree_one(g, normalize):
    """Coefficients do not see sizes, so ⟨∂x, x⟩ = ⟨∂W, W⟩ = ⟨g, z⟩ by Euler's theorem."""
    x, W, _ = problem(np.random.default_rng(1))
    expected = np.sum(g * route(x, W, normalize=normalize).z)
    found = route_vjp(x, W, g, normalize=normalize)
    np.testing.assert_allclose(np.sum(found.x * x), expected, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(np.sum(found.W * W), expected, rtol=1e-11, atol=1e-11)


@given(hnp.arrays("float64", G, elements=st.floats(-4, 4)), st.sampled_from(GRADIENTS))
def test_gradients_are_linear_in_the_cotangent(g, gradient):
    x, W, other = problem(np.random.default_rng(1))
    options = {"agreement": "dot", "normalize": "outputs", "gradient": gradient}
    both, first, second = (route_vjp(x, W, h, **options) for h in (2.0 * g - other, g, other))
    for together, a, b in zip(both, first, second, strict=True):
        np.testing.assert_allclose(together, 2.0 * a - b, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_one_weighting_has_one_gradient(rng, gradient):
    x, W, g = problem(rng)
    found = route_vjp(x, W, g, iterations=1, gradient=gradient, normalize="outputs")
    np.testing.assert_allclose(found.x, np.einsum("ijdp,bjd->bip", W, g) / 4, rtol=1e-12)
    np.testing.assert_allclose(found.W, np.einsum("bjd,bip->ijdp", g, x) / 4, rtol=1e-12)


@pytest.mark.parametrize("logits", ["example", "batch"])
@pytest.mark.parametrize("agreement", ["cosine", "dot"])
@pytest.mark.parametrize("zero", ["inputs", "weights", "one of each", "sums"])
def test_zero_capsules_have_finite_gradients(rng, agreement, logits, zero):
    x, W, g = problem(rng)
    if zero == "inputs":
        x = 0.0 * x
    elif zero == "weights":
        W = 0.0 * W
    elif zero == "sums":
        x[:, 1:], W[1:] = 0.0, 0.0
        x[:, 1], W[1] = x[:, 0], -W[0]
    else:
        x[:, 1], W[-1, 0] = 0.0, 0.0
    for array in route_vjp(x, W, g, agreement=agreement, logits=logits):
        assert np.all(np.isfinite(array))


@pytest.mark.parametrize(
    ("dtype", "x_scale", "W_scale"),
    [
        ("float32", 2.0**-60, 2.0**-40),
        ("float32", 2.0**100, 2.0**-90),
        ("float32", 2.0**-80, 2.0**90),
        ("float64", 2.0**-480, 2.0**-500),
    ],
)
def test_gradients_of_cosines_do_not_see_the_size_of_vectors(rng, dtype, x_scale, W_scale):
    """z is of degree one in x and in W, and so their gradients of degree one in each other."""
    x, W, g = (a.astype(dtype) for a in problem(rng))
    x[:, 1], W[-1, 0] = 0.0, 0.0
    found = route_vjp((x * x_scale).astype(dtype), (W * W_scale).astype(dtype), g)
    expected = route_vjp(x, W, g)
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(found.x / W_scale, expected.x, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(found.W / x_scale, expected.W, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("normalize", ["inputs", "outputs"])
def test_large_logits_have_finite_gradients(rng, normalize):
    x, W, g = problem(rng, scale=1e4)
    for array in route_vjp(x, W, g, agreement="dot", normalize=normalize):
        assert np.all(np.isfinite(array))


@pytest.mark.parametrize("logits", ["example", "batch"])
def test_an_empty_batch_has_a_zero_gradient(from_host, to_host, logits):
    x, W, g = from_host(np.zeros((0, 3, 4))), from_host(np.ones((3, 5, 2, 4))), np.zeros((0, 5, 2))
    found = route_vjp(x, W, from_host(g), logits=logits)
    assert to_host(found.x).shape == (0, 3, 4)
    np.testing.assert_array_equal(to_host(found.W), np.zeros((3, 5, 2, 4)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gradient": "first"}, "gradient: expected 'full', 'last' or 'frozen', got 'first'"),
        ({"iterations": 0}, "iterations: expected a whole number from 1, got 0"),
        (
            {"record": route_with_record(np.zeros(X), np.zeros(W_SHAPE), agreement="dot")[1]},
            "record: expected one of routing with (3, 'cosine', 'inputs', 'example', 'sabour'), "
            "got (3, 'dot', 'inputs', 'example', 'sabour')",
        ),
        ({"squash": "flat"}, "squash: expected 'sabour', "),
        ({"logits": "mean"}, "logits: expected 'example' or 'batch', got 'mean'"),
    ],
)
def test_options_outside_their_list_are_refused(options, message):
    with pytest.raises(OptionError) as caught:
        route_vjp(np.zeros(X), np.zeros(W_SHAPE), np.zeros(G), **options)
    assert str(caught.value).startswith(message)


def test_a_cotangent_that_does_not_fit_is_refused():
    with pytest.raises(ShapeError) as caught:
        route_vjp(np.zeros(X), np.zeros(W_SHAPE), np.zeros((3, 4, 2)))
    assert str(caught.value) == (
        "g: expected shape (B, J, D) with D = 3 to match x (3, 5, 2) and W (5, 4, 3, 2), "
        "got (3, 4, 2)"
    )
