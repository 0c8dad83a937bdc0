"""Routing, the weighted sum (3) and its reverse against nested loops written from the paper."""

import math
import tracemalloc
from itertools import product

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from capsnp.errors import DtypeError, MixedBackendError, OptionError, ShapeError
from capsnp.functional import _agreement, _coupling
from capsnp.functional.routing import forward, predictions, reverse, route

OPTIONS = list(product(("cosine", "dot"), ("inputs", "outputs")))
SIZES = [(3, 5, 2, 4, 3), (2, 3, 4, 5, 2), (1, 1, 1, 1, 1)]  # B, I, P, J, D; J > I and J < I
TOLERANCE = {"float32": {"rtol": 2e-5, "atol": 2e-6}, "float64": {"rtol": 1e-12, "atol": 1e-13}}


def layer(rng, size, dtype="float64"):
    """Input capsules and weights; the second input capsule and one weight block are zero."""
    B, I, P, J, D = size
    x, W = rng.normal(size=(B, I, P)), rng.normal(size=(I, J, D, P))
    if I > 1:
        x[:, 1] = 0.0
        W[-1, 0] = 0.0
    return x.astype(dtype), W.astype(dtype)


def coefficients(rng, size, *, shared, dtype="float64"):
    B, I, _, J, _ = size
    return rng.random(size=(I, J) if shared else (B, I, J)).astype(dtype)


def predictions_by_loops(x, W):
    (B, I, P), (_, J, D, _) = x.shape, W.shape
    z = np.zeros((B, I, J, D))
    for b, i, j, d, p in product(range(B), range(I), range(J), range(D), range(P)):
        z[b, i, j, d] += float(W[i, j, d, p]) * float(x[b, i, p])
    return z


def forward_by_loops(x, W, c):
    B, I, J = x.shape[0], W.shape[0], W.shape[1]
    votes = predictions_by_loops(x, W)
    z = np.zeros((B, J, W.shape[2]))
    for b, i, j in product(range(B), range(I), range(J)):
        z[b, j] += (c[i, j] if c.ndim == 2 else c[b, i, j]) * votes[b, i, j]
    return z


def reverse_by_loops(x_out, W, c):
    (I, J, D, P), B = W.shape, x_out.shape[0]
    x = np.zeros((B, I, P))
    for b, i, j, d, p in product(range(B), range(I), range(J), range(D), range(P)):
        weight = c[i, j] if c.ndim == 2 else c[b, i, j]
        x[b, i, p] += weight * W[i, j, d, p] * x_out[b, j, d]
    return x


def norm(v):
    return math.sqrt(sum(float(number) ** 2 for number in v))


def agreement_by_loops(vote, z, agreement):
    inner = sum(float(u) * float(v) for u, v in zip(vote, z, strict=True))
    if agreement == "dot":
        return inner * norm(z) / (1.0 + norm(z) ** 2)
    return 0.0 if norm(vote) == 0 or norm(z) == 0 else inner / (norm(vote) * norm(z))


def route_by_loops(x, W, iterations, agreement, normalize):
    votes = predictions_by_loops(x, W)
    B, I, J, D = votes.shape
    logits, c = np.zeros((B, I, J)), np.zeros((B, I, J))
    for step in range(iterations):
        for b, i, j in product(range(B), range(I), range(J)):
            rivals = logits[b, :, j] if normalize == "inputs" else logits[b, i, :]
            c[b, i, j] = math.exp(logits[b, i, j]) / sum(math.exp(v) for v in rivals)
        z = np.zeros((B, J, D))
        for b, i, j in product(range(B), range(I), range(J)):
            z[b, j] += c[b, i, j] * votes[b, i, j]
        if step < iterations - 1:
            for b, i, j in product(range(B), range(I), range(J)):
                logits[b, i, j] += agreement_by_loops(votes[b, i, j], z[b, j], agreement)
    return c, z


# --- predictions, forward, reverse --------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", SIZES)
def test_predictions_are_the_loops(rng, from_host, to_host, size, dtype):
    x, W = layer(rng, size, dtype)
    votes = to_host(predictions(from_host(x), from_host(W)))
    assert votes.dtype == dtype
    np.testing.assert_allclose(votes, predictions_by_loops(x, W), **TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("size", SIZES[:2])
def test_forward_and_reverse_are_the_loops(rng, from_host, to_host, size, shared, dtype):
    x, W = layer(rng, size, dtype)
    c = coefficients(rng, size, shared=shared, dtype=dtype)
    x_out = rng.normal(size=(size[0], size[3], size[4])).astype(dtype)
    z = to_host(forward(from_host(x), from_host(W), from_host(c)))
    back = to_host(reverse(from_host(x_out), from_host(W), from_host(c)))
    assert z.dtype == back.dtype == dtype
    np.testing.assert_allclose(z, forward_by_loops(x, W, c), **TOLERANCE[dtype])
    np.testing.assert_allclose(back, reverse_by_loops(x_out, W, c), **TOLERANCE[dtype])


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_reverse_is_the_adjoint_of_forward(rng, size, shared):
    x, W = layer(rng, size)
    c = coefficients(rng, size, shared=shared)
    z = forward(x, W, c)
    x_out = rng.normal(size=z.shape)
    np.testing.assert_allclose(np.sum(z * x_out), np.sum(x * reverse(x_out, W, c)), rtol=1e-12)


def test_coefficients_need_not_sum_to_one(rng):
    x, W = layer(rng, SIZES[0])
    c = coefficients(rng, SIZES[0], shared=False)
    np.testing.assert_allclose(forward(x, W, 400 * c), 400 * forward(x, W, c), rtol=1e-12)


@pytest.mark.parametrize("shared", [True, False])
def test_weights_may_lie_in_memory_in_any_order(rng, shared):
    x, W = layer(rng, SIZES[0])
    c = coefficients(rng, SIZES[0], shared=shared)
    held = np.ascontiguousarray(W.transpose(1, 2, 0, 3)).transpose(2, 0, 1, 3)
    late = np.ascontiguousarray(x.transpose(1, 2, 0)).transpose(2, 0, 1)
    np.testing.assert_allclose(forward(late, held, c), forward(x, W, c), rtol=1e-13)
    z = forward(x, W, c)
    np.testing.assert_allclose(reverse(z, held, c), reverse(z, W, c), rtol=1e-13)
    np.testing.assert_allclose(route(late, held).c, route(x, W).c, rtol=1e-13)


# --- route --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("agreement", "normalize"), OPTIONS)
@pytest.mark.parametrize("iterations", [1, 3])
def test_route_is_the_loops(rng, from_host, to_host, iterations, agreement, normalize):
    x, W = layer(rng, SIZES[0])
    c, z = route(
        from_host(x), from_host(W), iterations=iterations, agreement=agreement, normalize=normalize
    )
    c_loops, z_loops = route_by_loops(x, W, iterations, agreement, normalize)
    np.testing.assert_allclose(to_host(c), c_loops, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(to_host(z), z_loops, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(("agreement", "normalize"), OPTIONS)
@pytest.mark.parametrize("iterations", [2, 5])
@pytest.mark.parametrize("size", SIZES)
def test_route_is_the_loops_at_other_sizes(rng, size, iterations, agreement, normalize):
    x, W = layer(rng, size)
    c, z = route(x, W, iterations=iterations, agreement=agreement, normalize=normalize)
    c_loops, z_loops = route_by_loops(x, W, iterations, agreement, normalize)
    np.testing.assert_allclose(c, c_loops, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(z, z_loops, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(("agreement", "normalize"), OPTIONS)
def test_route_keeps_single_precision(rng, from_host, to_host, agreement, normalize):
    x, W = layer(rng, SIZES[0], "float32")
    c, z = route(from_host(x), from_host(W), agreement=agreement, normalize=normalize)
    assert to_host(c).dtype == to_host(z).dtype == "float32"
    c_loops, z_loops = route_by_loops(x, W, 3, agreement, normalize)
    np.testing.assert_allclose(to_host(c), c_loops, **TOLERANCE["float32"])
    np.testing.assert_allclose(to_host(z), z_loops, **TOLERANCE["float32"])


@pytest.mark.parametrize(("normalize", "share"), [("inputs", 1 / 5), ("outputs", 1 / 4)])
def test_one_weighting_is_uniform(rng, normalize, share):
    x, W = layer(rng, SIZES[0])
    c, z = route(x, W, iterations=1, normalize=normalize)
    np.testing.assert_array_equal(c, np.full((3, 5, 4), share))
    np.testing.assert_allclose(z, forward(x, W, c), rtol=1e-12)


@pytest.mark.parametrize("normalize", ["inputs", "outputs"])
def test_one_weighting_keeps_single_precision(rng, from_host, to_host, normalize):
    x, W = layer(rng, SIZES[0], "float32")
    c, z = route(from_host(x), from_host(W), iterations=1, normalize=normalize)
    assert to_host(c).dtype == to_host(z).dtype == "float32"


def test_one_weighting_stays_on_its_device(rng):
    strict = pytest.importorskip("array_api_strict")
    device = strict.Device("device1")
    c, z = route(*(strict.asarray(a, device=device) for a in layer(rng, SIZES[0])), iterations=1)
    assert c.device == z.device == device


@pytest.mark.parametrize("iterations", [1, 3])
@pytest.mark.parametrize(("agreement", "normalize"), OPTIONS)
def test_last_coefficients_weigh_the_returned_sum(rng, agreement, normalize, iterations):
    x, W = layer(rng, SIZES[0])
    c, z = route(x, W, iterations=iterations, agreement=agreement, normalize=normalize)
    np.testing.assert_allclose(z, forward(x, W, c), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(np.sum(c, axis=1 if normalize == "inputs" else 2), 1.0, rtol=1e-13)
    assert np.all(c > 0)


@pytest.mark.parametrize(("agreement", "normalize"), OPTIONS)
@pytest.mark.parametrize("block_size", [1, 2, 3, 4, 100])
def test_block_size_changes_nothing(rng, agreement, normalize, block_size):
    x, W = layer(rng, SIZES[0])
    options = {"agreement": agreement, "normalize": normalize}
    whole = route(x, W, **options)
    c, z = route(x, W, block_size=block_size, **options)
    np.testing.assert_allclose(c, whole.c, rtol=1e-12)
    np.testing.assert_allclose(z, whole.z, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("normalize", ["inputs", "outputs"])
def test_blocks_are_cut_alike_by_every_library(rng, from_host, to_host, normalize):
    x, W = layer(rng, SIZES[0])
    c, z = route(from_host(x), from_host(W), normalize=normalize, block_size=2)
    whole = route(x, W, normalize=normalize)
    np.testing.assert_allclose(to_host(c), whole.c, rtol=1e-11)
    np.testing.assert_allclose(to_host(z), whole.z, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(("agreement", "normalize"), OPTIONS)
def test_default_blocks_change_nothing(rng, monkeypatch, agreement, normalize):
    size = (7, 5, 2, 4, 3)
    x, W = layer(rng, size)
    options = {"agreement": agreement, "normalize": normalize}
    whole = route(x, W, **options)
    monkeypatch.setattr(_coupling, "_HOST_NUMBERS", 15)
    monkeypatch.setattr(_coupling, "_HOST_PLANES", 15)
    monkeypatch.setattr(_coupling, "_MIN_EXAMPLES", 2)
    monkeypatch.setattr(_agreement, "_PREDICTIONS", 40)
    c, z = route(x, W, **options)
    np.testing.assert_allclose(c, whole.c, rtol=1e-12)
    np.testing.assert_allclose(z, whole.z, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("normalize", ["inputs", "outputs"])
def test_a_block_of_predictions_is_all_that_is_held(rng, monkeypatch, normalize):
    sizes = []
    sum_of_products = _agreement.sum_of_products

    def watched(xp, predictions, *arguments):
        sizes.append(predictions.size)
        return sum_of_products(xp, predictions, *arguments)

    monkeypatch.setattr(_agreement, "sum_of_products", watched)
    x, W = rng.normal(size=(128, 96, 2)), rng.normal(size=(96, 40, 8, 2))
    route(x, W, normalize=normalize)
    assert sum(sizes) == 128 * 96 * 40 * 8
    assert max(sizes) <= 2**19


@pytest.mark.parametrize(("normalize", "B", "J"), [("inputs", 2, 16), ("outputs", 16, 2)])
def test_smaller_blocks_hold_less_in_memory(rng, monkeypatch, normalize, B, J):
    monkeypatch.setenv("CAPSNP_NUM_THREADS", "1")  # each thread holds a block
    x, W = rng.normal(size=(B, 32, 4)), rng.normal(size=(32, J, 8, 4))

    def peak(block_size):
        tracemalloc.start()
        route(x, W, normalize=normalize, block_size=block_size)
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return held

    peak(1), peak(16)  # what is made once for all calls
    assert peak(1) < 0.4 * peak(16)


@pytest.mark.parametrize("agreement", ["cosine", "dot"])
def test_output_capsules_route_alone_over_inputs(rng, agreement):
    x, W = layer(rng, SIZES[0])
    whole = route(x, W, agreement=agreement)
    for j in range(W.shape[1]):
        alone = route(x, W[:, j : j + 1], agreement=agreement)
        np.testing.assert_allclose(alone.c, whole.c[:, :, j : j + 1], rtol=1e-12)
        np.testing.assert_allclose(alone.z, whole.z[:, j : j + 1], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("agreement", "normalize"), OPTIONS)
def test_examples_route_alone(rng, agreement, normalize):
    x, W = layer(rng, SIZES[0])
    options = {"agreement": agreement, "normalize": normalize}
    whole = route(x, W, **options)
    for b in range(x.shape[0]):
        alone = route(x[b : b + 1], W, **options)
        np.testing.assert_allclose(alone.c, whole.c[b : b + 1], rtol=1e-12)
        np.testing.assert_allclose(alone.z, whole.z[b : b + 1], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("iterations", [1, 3])
@pytest.mark.parametrize(("agreement", "normalize"), OPTIONS)
def test_capsules_have_no_order(rng, agreement, normalize, iterations):
    x, W = layer(rng, SIZES[0])
    inputs, outputs = rng.permutation(x.shape[1]), rng.permutation(W.shape[1])
    options = {"agreement": agreement, "normalize": normalize, "iterations": iterations}
    c, z = route(x, W, **options)
    moved = route(x[:, inputs], W[inputs][:, outputs], **options)
    np.testing.assert_allclose(moved.c, c[:, inputs][:, :, outputs], rtol=1e-12)
    np.testing.assert_allclose(moved.z, z[:, outputs], rtol=1e-12, atol=1e-14)


@given(angle=st.floats(0, 6.28), axis=st.integers(1, 2))
def test_cosine_coefficients_do_not_see_rotations(angle, axis):
    rng = np.random.default_rng(0)
    x, W = layer(rng, (3, 5, 3, 4, 3))
    R = np.eye(3)
    R[np.ix_([0, axis], [0, axis])] = [
        [math.cos(angle), -math.sin(angle)],
        [math.sin(angle), math.cos(angle)],
    ]
    c, z = route(x, W)
    turned = route(x, R @ W)
    np.testing.assert_allclose(turned.c, c, rtol=1e-10)
    np.testing.assert_allclose(turned.z, z @ R.T, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("normalize", ["inputs", "outputs"])
@pytest.mark.parametrize(
    ("dtype", "x_scale", "W_scale"),
    [
        ("float32", 2.0**-60, 2.0**-40),
        ("float32", 2.0**100, 2.0**15),
        ("float32", 2.0**-100, 2.0**120),
        ("float32", 2.0**110, 2.0**-110),
        ("float64", 2.0**-500, 2.0**-480),
        ("float64", 2.0**900, 2.0**100),
    ],
)
def test_cosine_coefficients_do_not_see_the_size_of_vectors(
    rng, from_host, to_host, normalize, dtype, x_scale, W_scale
):
    x, W = layer(rng, SIZES[0], dtype)
    c, z = route(x, W, normalize=normalize)
    scaled = route(
        from_host((x * x_scale).astype(dtype)),
        from_host((W * W_scale).astype(dtype)),
        normalize=normalize,
    )
    np.testing.assert_allclose(to_host(scaled.c), c, **TOLERANCE[dtype])
    expected = (z.astype("float64") * x_scale * W_scale).astype(dtype)
    size = float(np.max(np.abs(expected)))
    np.testing.assert_allclose(to_host(scaled.z) / size, expected / size, **TOLERANCE[dtype])


@pytest.mark.parametrize(("dtype", "far"), [("float32", 2.0**120), ("float64", 2.0**1015)])
def test_cosine_coefficients_do_not_see_the_size_of_any_one_capsule(
    rng, from_host, to_host, dtype, far
):
    """A short one beside a long one that predicts along the same direction."""
    x, W = (np.abs(a) + 0.5 for a in layer(rng, SIZES[0], dtype))
    x[:, 1], W[1] = x[:, 0], W[0]
    for short_x, short_W in ((1 / far, 1.0), (1.0, 1 / far)):
        one_x, one_W = x.copy(), W.copy()
        one_x[:, 1] *= x.dtype.type(short_x)
        one_W[1] *= x.dtype.type(short_W)
        got = to_host(route(from_host(one_x), from_host(one_W), iterations=2).c)
        np.testing.assert_allclose(got[:, 1], got[:, 0], rtol=2e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_each_vector_is_brought_to_a_size_of_one_without_rounding(library, rng, dtype):
    info = np.finfo(dtype)
    sizes = 2.0 ** np.arange(info.minexp, info.maxexp - 1, dtype="float64")
    host = rng.uniform(-1, 1, (len(sizes), 3)).astype(dtype)
    host[:, 1] = rng.uniform(1, 2, len(sizes))  # the largest
    host[::5, 2] = 0.0
    got = _agreement.sized(library.xp, library.from_host(host * sizes[:, None], dtype), axis=1)
    normal = np.abs(host * sizes[:, None]) >= info.smallest_normal  # the others are rounded here
    np.testing.assert_array_equal(library.to_host(got)[normal], host[normal])
    assert not np.any(library.to_host(got)[::5, 2])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ends_of_the_range_are_brought_closer_to_one(library, dtype):
    info = np.finfo(dtype)
    small = info.smallest_normal if library.name == "jax" else info.smallest_subnormal
    ends = np.asarray([[0, small], [info.max, 1], [0, 0]], dtype=dtype)
    got = library.to_host(_agreement.sized(library.xp, library.from_host(ends), axis=1))
    assert small * 2.0**100 < got[0, 1] < 2
    assert 1 <= got[1, 0] < 4
    np.testing.assert_array_equal(got[:, 0] == 0, [True, False, True])


@pytest.mark.parametrize(("dtype", "small"), [("float32", 2.0**-80), ("float64", 2.0**-700)])
def test_cosine_of_a_prediction_much_shorter_than_its_factors(dtype, small):
    x = np.asarray([[[1.0, small], [1.0, 1.0], [0.0, 1.0]]], dtype=dtype)
    W = np.asarray([[[[0.0, 1.0], [0.0, 1.0]]], [[[0.0, 1.0], [0.0, 1.0]]], [[[0, 0], [0, 1.0]]]])
    c = route(x, W.astype(dtype), iterations=2).c[0, :, 0]
    np.testing.assert_allclose(c[0], c[1], rtol=1e-6)  # both predict along (1, 1)
    assert c[2] < c[1]


@pytest.mark.parametrize(("agreement", "normalize"), OPTIONS)
def test_zero_inputs_and_weights_route_uniformly(from_host, to_host, agreement, normalize):
    for x, W in [
        (np.zeros((3, 5, 2)), np.ones((5, 4, 3, 2))),
        (np.ones((3, 5, 2)), np.zeros((5, 4, 3, 2))),
    ]:
        c, z = route(from_host(x), from_host(W), agreement=agreement, normalize=normalize)
        share = 1 / 5 if normalize == "inputs" else 1 / 4
        np.testing.assert_allclose(to_host(c), share, rtol=1e-14)
        np.testing.assert_array_equal(to_host(z), np.zeros((3, 4, 3)))


def test_opposed_predictions_agree_with_nothing():
    """z_j = 0 although the predictions are not: the cosine is 0, and so it stays."""
    x = np.asarray([[[1.0], [-1.0]]])
    c, z = route(x, np.ones((2, 1, 3, 1)), iterations=4)
    np.testing.assert_array_equal(c, np.full((1, 2, 1), 0.5))
    np.testing.assert_array_equal(z, np.zeros((1, 1, 3)))


def test_predictions_that_cancel_agree_with_nothing(rng):
    """W_ij x_i = 0 exactly, while x_i·(W_ijᵀ z_j) is rounding noise: no cosine comes of it."""
    for _ in range(20):  # the noise may happen to be zero
        a, b = rng.integers(1, 99, size=(2, 16)).astype("float64")
        blind = np.stack([a, b, a + b], axis=-1)
        x = np.stack([[1.0, 1.0, -1.0], rng.normal(size=3), rng.normal(size=3)])[None]
        W = np.stack([blind, rng.normal(size=(16, 3)), rng.normal(size=(16, 3))])[:, None]
        np.testing.assert_array_equal(predictions(x, W)[0, 0, 0], 0.0)
        c, _ = route(x, W, iterations=2)
        c_loops, _ = route_by_loops(x, W, 2, "cosine", "inputs")
        np.testing.assert_allclose(c, c_loops, rtol=1e-12)


def test_predictions_lost_to_rounding_still_agree_by_a_cosine(rng, from_host, to_host):
    """W_ij x_i cancels but for rounding noise, which no agreement above 1 may come of."""
    a, b = rng.normal(size=(2, 5, 16))
    blind = np.stack([a, b, -(a + b)], axis=-1)
    W = np.stack([blind, np.zeros_like(blind), rng.normal(size=blind.shape)])
    x = rng.normal(size=(100, 3, 3))
    x[:, 0] = x[:, 0, :1]
    c = to_host(route(from_host(x), from_host(W), iterations=2).c)
    cosine = np.log(c[:, 0] / c[:, 1])  # the second input predicts zero, and agrees by 0
    assert -1 - 1e-12 < np.min(cosine) < -0.9
    assert 0.9 < np.max(cosine) < 1 + 1e-12


def test_large_logits_do_not_overflow():
    x = np.asarray([[[1e3, 0.0], [0.0, 1e3]]])
    W = np.broadcast_to(np.eye(2) * [[1e3], [1.0]], (2, 1, 2, 2))
    c, _ = route(x, W, agreement="dot", iterations=4)
    np.testing.assert_allclose(c[0, :, 0], [1.0, 0.0], atol=1e-300)


@pytest.mark.parametrize("iterations", [1, 3])
@pytest.mark.parametrize("normalize", ["inputs", "outputs"])
def test_an_empty_batch_stays_empty(from_host, to_host, normalize, iterations):
    x, W = from_host(np.zeros((0, 3, 4))), from_host(np.ones((3, 5, 2, 4)))
    c, z = route(x, W, normalize=normalize, iterations=iterations)
    assert to_host(c).shape == (0, 3, 5)
    assert to_host(z).shape == (0, 5, 2)
    assert to_host(forward(x, W, c)).shape == (0, 5, 2)
    assert to_host(reverse(z, W, c)).shape == (0, 3, 4)


def test_arguments_are_left_as_they_were(rng):
    x, W = layer(rng, SIZES[0])
    c = coefficients(rng, SIZES[0], shared=False)
    before = x.copy(), W.copy(), c.copy()
    route(x, W)
    reverse(forward(x, W, c), W, c)
    for array, copy in zip((x, W, c), before, strict=True):
        np.testing.assert_array_equal(array, copy)


# --- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"iterations": 0}, "iterations: expected a whole number from 1, got 0"),
        ({"iterations": 2.0}, "iterations: expected a whole number from 1, got 2.0"),
        ({"agreement": "sine"}, "agreement: expected 'cosine', 'dot' or 'scaled', got 'sine'"),
        ({"normalize": "both"}, "normalize: expected 'inputs' or 'outputs', got 'both'"),
        ({"logits": "mean"}, "logits: expected 'example' or 'batch', got 'mean'"),
        (
            {"squash": "flat"},
            "squash: expected 'sabour', 'efficient', 'rational', 'power', 'tempered' or 'ball', "
            "got 'flat'",
        ),
        ({"block_size": 0}, "block_size: expected a whole number from 1, got 0"),
    ],
)
def test_options_outside_their_list_are_refused(options, message):
    with pytest.raises(OptionError) as caught:
        route(np.zeros((2, 3, 4)), np.zeros((3, 5, 2, 4)), **options)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("x_shape", "W_shape", "message"),
    [
        ((3, 4), (3, 5, 2, 4), "x: expected shape (B, I, P), got (3, 4)"),
        (
            (100, 576, 8),
            (576, 20, 16, 4),
            "W: expected shape (I, J, D, P) with P = 8 to match x (100, 576, 8), "
            "got (576, 20, 16, 4)",
        ),
        (
            (2, 3, 4),
            (2, 5, 2, 4),
            "W: expected shape (I, J, D, P) with I = 3 to match x (2, 3, 4), got (2, 5, 2, 4)",
        ),
        (
            (2, 3, 4),
            (3, 0, 2, 4),
            "W: expected shape (I, J, D, P) with no empty axis, got (3, 0, 2, 4)",
        ),
    ],
)
@pytest.mark.parametrize("function", [route, predictions])
def test_shapes_that_do_not_fit_are_refused(function, x_shape, W_shape, message):
    with pytest.raises(ShapeError) as caught:
        function(np.zeros(x_shape), np.zeros(W_shape))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("c_shape", "message"),
    [
        ((3,), "c: expected shape (I, J) or (B, I, J), got (3,)"),
        ((5, 3), "c: expected shape (I, J) with I = 3, J = 5 to match W (3, 5, 2, 4), got (5, 3)"),
        (
            (4, 3, 5),
            "c: expected shape (B, I, J) with B = 2 to match W (3, 5, 2, 4) and a batch of 2, "
            "got (4, 3, 5)",
        ),
    ],
)
def test_coefficients_that_do_not_fit_are_refused(c_shape, message):
    W, c = np.zeros((3, 5, 2, 4)), np.zeros(c_shape)
    for call in (forward, reverse):
        x = np.zeros((2, 3, 4) if call is forward else (2, 5, 2))
        with pytest.raises(ShapeError) as caught:
            call(x, W, c)
        assert str(caught.value) == message


def test_output_capsules_that_do_not_fit_are_refused():
    with pytest.raises(ShapeError, match=r"^x_out: .* with D = 2 to match W \(3, 5, 2, 4\)"):
        reverse(np.zeros((2, 5, 3)), np.zeros((3, 5, 2, 4)), np.zeros((3, 5)))
    with pytest.raises(ShapeError, match=r"^x_out: expected shape \(B, J, D\), got \(5, 2\)$"):
        reverse(np.zeros((5, 2)), np.zeros((3, 5, 2, 4)), np.zeros((3, 5)))


def test_two_precisions_and_two_libraries_are_refused(library):
    x, W, c = np.zeros((2, 3, 4)), np.zeros((3, 5, 2, 4)), np.zeros((3, 5))
    other = library.from_host(W, dtype="float32")
    error = MixedBackendError if "numpy" not in library.name else DtypeError
    for call in (predictions, route):
        with pytest.raises(error):
            call(x, other)
    with pytest.raises(error):
        forward(x, W, library.from_host(c, dtype="float32"))
    with pytest.raises(error):
        reverse(np.zeros((2, 5, 2)), other, c)
    with pytest.raises(DtypeError, match=r"^x: expected float32 or float64, got int64$"):
        route(library.from_host(np.zeros((2, 3, 4), dtype="int64")), library.from_host(W))
