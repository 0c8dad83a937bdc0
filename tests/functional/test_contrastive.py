"""Algorithm 1, (18) and the rule for U against nested loops, automatic and complex derivatives."""

from itertools import product

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from capsnp.errors import (
    DomainError,
    DtypeError,
    MixedBackendError,
    OptionError,
    ShapeError,
)
from capsnp.functional import _coupling
from capsnp.functional.contrastive import cd_gradient, decoder_gradient, expert_gradient, mix
from capsnp.functional.routing import forward, reverse, route
from capsnp.functional.squash import squash

SIZES = [(3, 5, 2, 4, 3), (2, 3, 4, 5, 2), (1, 1, 1, 1, 1)]  # B, I, P, J, D; J > I and J < I


def layer(rng, size, *, shared):
    """Input capsules, weights and coefficients; the second input capsule is zero."""
    B, I, P, J, D = size
    x, W = squash(rng.normal(size=(B, I, P))), rng.normal(size=(I, J, D, P))
    if I > 1:
        x[:, 1] = 0.0
    return x, W, rng.random(size=(I, J) if shared else (B, I, J))


def decoder(rng, size, *, shared):
    """Codes, features before squash, decoding maps and coefficients."""
    B, I, P, J, D = size
    y, h = squash(rng.normal(size=(B, J, D))), rng.normal(size=(B, I, P))
    return y, h, rng.normal(size=(J, I, P, D)), rng.random(size=(J, I) if shared else (B, J, I))


def squash_vector(v):
    r = np.sqrt(np.sum(v * v))
    return v * r / (1 + r * r)


def squash_capsules(z):
    return np.stack([np.stack([squash_vector(v) for v in capsules]) for capsules in z])


def weighted_by_loops(x, W, c):
    """Σ_i c_ij W_ij x_i."""
    (I, J, D, _), B = W.shape, x.shape[0]
    z = np.zeros((B, J, D))
    for b, i, j in product(range(B), range(I), range(J)):
        z[b, j] += (c[i, j] if c.ndim == 2 else c[b, i, j]) * (W[i, j] @ x[b, i])
    return z


def swapped(W, c):
    """Weights and coefficients of the adjoint."""
    return W.transpose(1, 0, 3, 2), np.swapaxes(c, -1, -2)


def mixing_by_loops(x, W, c, on, steps):
    z = z_model = weighted_by_loops(x, W, c)
    x_out = x_out_model = squash_capsules(z) * on[..., None]
    for _ in range(steps):
        x_in = squash_capsules(weighted_by_loops(x_out_model, *swapped(W, c)))
        z_model = weighted_by_loops(x_in, W, c)
        x_out_model = squash_capsules(z_model) * on[..., None]
    return z, x_out, x_in, z_model, x_out_model


def gradient_by_loops(x, W, c, on, steps):
    z, _, x_in, z_model, _ = mixing_by_loops(x, W, c, on, steps)
    B, I, J = x.shape[0], *W.shape[:2]
    gradient = np.zeros(W.shape)
    for b, i, j in product(range(B), range(I), range(J)):
        data = np.outer(z[b, j], x[b, i]) / (1 + z[b, j] @ z[b, j])
        model = np.outer(z_model[b, j], x_in[b, i]) / (1 + z_model[b, j] @ z_model[b, j])
        weight = c[i, j] if c.ndim == 2 else c[b, i, j]
        gradient[i, j] += 2 * weight * on[b, j] * (data - model) / B
    return gradient


def decoder_by_loops(y, h, U, e, on):
    B, J, I = y.shape[0], *U.shape[:2]
    y = y * on[..., None]
    h_model = weighted_by_loops(y, U, e)
    y_model = squash_capsules(weighted_by_loops(h_model, *swapped(U, e))) * on[..., None]
    gradient = np.zeros(U.shape)
    for b, j, i in product(range(B), range(J), range(I)):
        data = np.outer(h[b, i], y[b, j]) / (1 + h[b, i] @ h[b, i])
        model = np.outer(h_model[b, i], y_model[b, j]) / (1 + h_model[b, i] @ h_model[b, i])
        gradient[j, i] += 2 * (e[j, i] if e.ndim == 2 else e[b, j, i]) * (data - model) / B
    return gradient


def gates(rng, batch, n_capsules):
    """Every gate open, then some shut, the first example's all."""
    on = (rng.random((batch, n_capsules)) < 0.5).astype("float64")
    on[0] = 0.0
    return [np.ones((batch, n_capsules)), on]


# --- against loops ------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shared", [True, False])
def test_algorithm_1_is_the_loops(rng, from_host, to_host, shared, dtype):
    x, W, c = (a.astype(dtype) for a in layer(rng, SIZES[0], shared=shared))
    tolerance = 1e-12 if dtype == "float64" else 1e-5
    for on in gates(rng, x.shape[0], W.shape[1]):
        arrays = from_host(x), from_host(W), from_host(c)
        mixing = mix(*arrays, on=from_host(on, dtype=dtype))
        wide = tuple(a.astype("float64") for a in (x, W, c))
        for name, ours, loops in zip(
            mixing._fields, mixing, mixing_by_loops(*wide, on, 1), strict=True
        ):
            assert to_host(ours).dtype == dtype
            np.testing.assert_allclose(to_host(ours), loops, atol=tolerance, err_msg=name)
        gradient = to_host(cd_gradient(*arrays, on=from_host(on, dtype=dtype)))
        assert gradient.dtype == dtype
        np.testing.assert_allclose(gradient, gradient_by_loops(*wide, on, 1), atol=tolerance)


@pytest.mark.parametrize("steps", [1, 2, 4])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_mixing_steps_are_the_loops(rng, size, shared, steps):
    x, W, c = layer(rng, size, shared=shared)
    for on in gates(rng, x.shape[0], W.shape[1]):
        mixing = mix(x, W, c, steps=steps, on=on)
        for ours, loops in zip(mixing, mixing_by_loops(x, W, c, on, steps), strict=True):
            np.testing.assert_allclose(ours, loops, rtol=1e-11, atol=1e-13)
        gradient = cd_gradient(x, W, c, steps=steps, on=on)
        np.testing.assert_allclose(
            gradient, gradient_by_loops(x, W, c, on, steps), rtol=1e-11, atol=1e-13
        )


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_decoder_rule_is_the_loops_at_other_sizes(rng, size, shared):
    arrays = decoder(rng, size, shared=shared)
    for on in gates(rng, size[0], size[3]):
        gradient = decoder_gradient(*arrays, on=on)
        np.testing.assert_allclose(gradient, decoder_by_loops(*arrays, on), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shared", [True, False])
def test_decoder_rule_is_the_loops(rng, from_host, to_host, shared, dtype):
    arrays = [a.astype(dtype) for a in decoder(rng, SIZES[0], shared=shared)]
    wide = [a.astype("float64") for a in arrays]
    for on in gates(rng, 3, 4):
        gradient = to_host(decoder_gradient(*map(from_host, arrays), on=from_host(on, dtype=dtype)))
        assert gradient.dtype == dtype
        np.testing.assert_allclose(
            gradient, decoder_by_loops(*wide, on), atol=1e-12 if dtype == "float64" else 1e-5
        )


def test_gates_may_be_boolean_or_integer(rng, from_host, to_host):
    x, W, c = layer(rng, SIZES[0], shared=True)
    on = gates(rng, 3, 4)[1]
    expected = cd_gradient(x, W, c, on=on)
    for dtype in ("bool", "int64"):
        gate = from_host(on.astype(dtype))
        gradient = cd_gradient(from_host(x), from_host(W), from_host(c), on=gate)
        np.testing.assert_allclose(to_host(gradient), expected, rtol=1e-11, atol=1e-13)


# --- what the gradients mean --------------------------------------------------------------------


def log_experts(x, W, c):
    """−free energy (10) with c held constant, of complex W too; mean over the batch."""
    terms = "bij,ijdp,bip->bjd" if c.ndim == 3 else "ij,ijdp,bip->bjd"
    z = np.einsum(terms, c, W, x)
    return np.mean(np.sum(np.log(1 + np.sum(z * z, axis=-1)), axis=-1))


@pytest.mark.parametrize("shared", [True, False])
def test_data_term_is_the_gradient_of_minus_the_free_energy(rng, shared):
    """By complex step: the imaginary part of f(W + iε)/ε has no rounding of differences."""
    x, W, c = layer(rng, SIZES[0], shared=shared)
    numeric = np.zeros(W.shape)
    for at in np.ndindex(W.shape):
        shifted = W.astype("complex128")
        shifted[at] += 1e-30j
        numeric[at] = log_experts(x, shifted, c).imag / 1e-30
    mixing = mix(x, W, c)
    model = gradient_of(mixing.x_in, mixing.z_model, c)
    np.testing.assert_allclose(cd_gradient(x, W, c) + model, numeric, rtol=1e-10, atol=1e-14)


def gradient_of(x, z, c):
    terms = "bij,bjd,bip->ijdp" if c.ndim == 3 else "ij,bjd,bip->ijdp"
    w = z / (1 + np.sum(z * z, axis=-1, keepdims=True))
    return 2 / x.shape[0] * np.einsum(terms, c, w, x)


def test_data_term_is_the_automatic_gradient_with_routed_coefficients(rng):
    torch = pytest.importorskip("torch")
    x, W, _ = layer(rng, SIZES[0], shared=True)
    c, _ = route(x, W)
    weights = torch.tensor(W, requires_grad=True)
    z = forward(torch.tensor(x), weights, torch.tensor(np.ascontiguousarray(c)))
    torch.mean(torch.sum(torch.log1p(torch.sum(z * z, dim=-1)), dim=-1)).backward()
    mixing = mix(x, W, c)
    data = cd_gradient(x, W, c) + gradient_of(mixing.x_in, mixing.z_model, c)
    np.testing.assert_allclose(data, weights.grad.numpy(), rtol=1e-10, atol=1e-14)


def test_a_fixed_point_of_mixing_has_no_gradient(rng):
    """Where the rebuilt inputs are the data, both terms are equal."""
    x, W, c = layer(rng, SIZES[0], shared=True)
    for _ in range(400):
        x = squash(reverse(squash(forward(x, 3 * W, c)), 3 * W, c))
    assert np.max(np.abs(x)) > 0.1
    np.testing.assert_allclose(cd_gradient(x, 3 * W, c), 0.0, atol=1e-10)


def test_coefficient_scale_is_a_scale_of_the_weights(rng):
    """Coefficients s·c with weights W learn as c with s·W, s times as far: findings of scale."""
    x, W, c = layer(rng, SIZES[0], shared=False)
    np.testing.assert_allclose(cd_gradient(x, W, 7 * c), 7 * cd_gradient(x, 7 * W, c), rtol=1e-11)


def test_capsules_that_are_off_learn_nothing_and_rebuild_nothing(rng):
    x, W, c = layer(rng, SIZES[0], shared=False)
    on = np.asarray([[1, 0, 1, 0]] * 3, dtype="float64")
    kept = on[0] > 0
    gradient = cd_gradient(x, W, c, on=on)
    np.testing.assert_array_equal(gradient[:, ~kept], 0.0)
    alone = cd_gradient(x, W[:, kept], c[:, :, kept])
    np.testing.assert_allclose(gradient[:, kept], alone, rtol=1e-11, atol=1e-14)
    y, h, U, e = decoder(rng, SIZES[0], shared=False)
    gradient = decoder_gradient(y, h, U, e, on=on)
    np.testing.assert_array_equal(gradient[~kept], 0.0)
    alone = decoder_gradient(y[:, kept], h, U[kept], e[:, kept])
    np.testing.assert_allclose(gradient[kept], alone, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("shared", [True, False])
def test_gradients_are_means_over_examples(rng, shared):
    x, W, c = layer(rng, SIZES[0], shared=shared)
    y, h, U, e = decoder(rng, SIZES[0], shared=shared)
    on = gates(rng, 3, 4)[1]
    one = [slice(b, b + 1) for b in range(3)]
    parts = [cd_gradient(x[b], W, c if shared else c[b], on=on[b]) for b in one]
    np.testing.assert_allclose(cd_gradient(x, W, c, on=on), np.mean(parts, axis=0), rtol=1e-10)
    parts = [decoder_gradient(y[b], h[b], U, e if shared else e[b], on=on[b]) for b in one]
    np.testing.assert_allclose(
        decoder_gradient(y, h, U, e, on=on), np.mean(parts, axis=0), rtol=1e-10, atol=1e-15
    )


def test_capsules_have_no_order(rng):
    x, W, c = layer(rng, SIZES[0], shared=False)
    i, j = rng.permutation(5), rng.permutation(4)
    moved = cd_gradient(x[:, i], W[i][:, j], c[:, i][:, :, j])
    np.testing.assert_allclose(moved, cd_gradient(x, W, c)[i][:, j], rtol=1e-10, atol=1e-14)


def test_shared_coefficients_are_those_of_every_example(rng):
    x, W, c = layer(rng, SIZES[0], shared=True)
    each = np.broadcast_to(c, (3, *c.shape))
    np.testing.assert_allclose(cd_gradient(x, W, each), cd_gradient(x, W, c), rtol=1e-11)


def test_zero_inputs_give_a_zero_gradient(from_host, to_host):
    x, W, c = np.zeros((3, 5, 2)), np.ones((5, 4, 3, 2)), np.ones((5, 4))
    np.testing.assert_array_equal(to_host(cd_gradient(*map(from_host, (x, W, c)))), 0.0)


# --- w(z) ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@given(exponent=st.floats(-1, 1), direction=st.lists(st.floats(-1, 1), min_size=3, max_size=3))
def test_expert_gradient_over_the_whole_range(dtype, exponent, direction):
    info = np.finfo(dtype)
    low, high = np.log2(float(info.smallest_normal)), np.log2(float(info.max)) - 0.01
    scale = 2.0 ** (high * exponent if exponent > 0 else -low * exponent)
    z = np.asarray(direction) * scale
    z = z.astype(dtype).astype("longdouble")
    exact = z / (1 + np.sum(z * z))
    ours = expert_gradient(z.astype(dtype))
    assert ours.dtype == dtype
    atol = 8 * float(info.smallest_subnormal)
    np.testing.assert_allclose(
        ours.astype("longdouble"), exact, rtol=8 * float(info.eps), atol=atol
    )


def test_expert_gradient_on_every_library(rng, from_host, to_host):
    z = rng.normal(size=(4, 3, 5)) * 10.0 ** rng.integers(-3, 3, size=(4, 3, 1))
    exact = z / (1 + np.sum(z * z, axis=-1, keepdims=True))
    np.testing.assert_allclose(to_host(expert_gradient(from_host(z))), exact, rtol=1e-14)
    huge = np.asarray([[3e300, 4e300], [0.0, 0.0]])
    expected = [[3 / 25 / 1e300, 4 / 25 / 1e300], [0.0, 0.0]]
    np.testing.assert_allclose(to_host(expert_gradient(from_host(huge))), expected, rtol=1e-14)


def test_expert_gradient_is_half_a_derivative(rng):
    z = rng.normal(size=4)
    for d in range(4):
        shifted = z.astype("complex128")
        shifted[d] += 1e-30j
        slope = np.log(1 + np.sum(shifted * shifted)).imag / 1e-30
        np.testing.assert_allclose(expert_gradient(z)[d], slope / 2, rtol=1e-13)


# --- errors -------------------------------------------------------------------------------------


def test_arguments_are_left_as_they_were(rng):
    x, W, c = layer(rng, SIZES[0], shared=False)
    before = x.copy(), W.copy(), c.copy()
    cd_gradient(x, W, c, on=np.zeros((3, 4)))
    for array, copy in zip((x, W, c), before, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("function", [mix, cd_gradient])
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"steps": 0}, OptionError, "steps: expected a whole number from 1, got 0"),
        (
            {"on": np.ones((2, 4))},
            ShapeError,
            "on: expected shape (B, J) with J = 5 to match 5 capsules and a batch of 2, got (2, 4)",
        ),
        (
            {"on": np.full((2, 5), 0.5)},
            DomainError,
            "on: expected 0 or 1 everywhere, got another number at (0, 0)",
        ),
    ],
)
def test_wrong_options_are_refused(function, options, error, message):
    with pytest.raises(error) as caught:
        function(np.zeros((2, 3, 4)), np.zeros((3, 5, 2, 4)), np.zeros((3, 5)), **options)
    assert str(caught.value) == message


@pytest.mark.parametrize("function", [mix, cd_gradient])
def test_wrong_shapes_are_refused(function):
    W = np.zeros((3, 5, 2, 4))
    with pytest.raises(ShapeError, match=r"^x: expected shape \(B, I, P\), got \(3, 4\)$"):
        function(np.zeros((3, 4)), W, np.zeros((3, 5)))
    with pytest.raises(ShapeError, match=r"^W: .* with P = 8 to match x \(2, 3, 8\)"):
        function(np.zeros((2, 3, 8)), W, np.zeros((3, 5)))
    with pytest.raises(ShapeError, match=r"^c: .* with J = 5 to match W \(3, 5, 2, 4\)"):
        function(np.zeros((2, 3, 4)), W, np.zeros((3, 4)))


def test_wrong_shapes_are_refused_by_the_decoder_rule():
    y, h, U, e = np.zeros((2, 5, 3)), np.zeros((2, 4, 6)), np.zeros((5, 4, 6, 3)), np.zeros((5, 4))
    with pytest.raises(ShapeError, match=r"^U: .* with P = 7 to match z_in \(2, 4, 7\)"):
        decoder_gradient(y, np.zeros((2, 4, 7)), U, e)
    with pytest.raises(ShapeError, match=r"^x_out: .* with B = 2 to match U .* and a batch of 2"):
        decoder_gradient(np.zeros((3, 5, 3)), h, U, e)
    with pytest.raises(ShapeError, match=r"^e: .* with J = 5, I = 4 to match U \(5, 4, 6, 3\)"):
        decoder_gradient(y, h, U, np.zeros((4, 5)))
    with pytest.raises(ShapeError, match=r"^e: expected shape \(J, I\) or \(B, J, I\), got \(5,\)"):
        decoder_gradient(y, h, U, np.zeros(5))


def test_empty_batches_have_no_mean():
    W, c = np.zeros((3, 5, 2, 4)), np.zeros((3, 5))
    with pytest.raises(ShapeError, match=r"^x: expected at least one example, got \(0, 3, 4\)$"):
        cd_gradient(np.zeros((0, 3, 4)), W, c)
    with pytest.raises(ShapeError, match=r"^x_out: expected at least one example"):
        decoder_gradient(
            np.zeros((0, 3, 4)), np.zeros((0, 5, 2)), np.zeros((3, 5, 2, 4)), np.zeros((3, 5))
        )
    assert mix(np.zeros((0, 3, 4)), W, c).x_in.shape == (0, 3, 4)


def test_two_precisions_and_two_libraries_are_refused(library):
    x, W, c = np.zeros((2, 3, 4)), np.zeros((3, 5, 2, 4)), np.zeros((3, 5))
    error = MixedBackendError if "numpy" not in library.name else DtypeError
    with pytest.raises(error):
        mix(x, library.from_host(W, dtype="float32"), c)
    with pytest.raises(error):
        cd_gradient(x, W, library.from_host(c, dtype="float32"))
    with pytest.raises(error):
        decoder_gradient(x, np.zeros((2, 5, 2)), library.from_host(W, dtype="float32"), c)
    with pytest.raises(DtypeError, match=r"^z: expected float32 or float64, got int64$"):
        expert_gradient(library.from_host(np.zeros((2, 3), dtype="int64")))


@pytest.mark.parametrize("normalize", ["inputs", "outputs"])
def test_known_sums_change_nothing(rng, from_host, to_host, normalize):
    x, W = from_host(0.3 * rng.normal(size=(4, 6, 3))), from_host(rng.normal(size=(6, 2, 5, 3)))
    c, z = route(x, W, normalize=normalize)
    found = to_host(cd_gradient(x, W, c, z, steps=2))
    np.testing.assert_allclose(found, to_host(cd_gradient(x, W, c, steps=2)), rtol=1e-10)


def test_known_sums_are_not_found_again(rng):
    """Sums of zero, whatever x: no data term, and capsules that rebuild nothing."""
    x, W, c = layer(rng, SIZES[0], shared=True)
    np.testing.assert_array_equal(cd_gradient(x, W, c, np.zeros((3, 4, 3))), 0.0)


def test_known_sums_of_another_shape_are_refused(rng):
    x, W, c = rng.normal(size=(4, 6, 3)), rng.normal(size=(6, 2, 5, 3)), np.full((6, 2), 0.5)
    expected = r"z: expected shape \(B, J, D\) with D = 5 to match x \(4, 6, 3\) and W"
    with pytest.raises(ShapeError, match=expected):
        cd_gradient(x, W, c, rng.normal(size=(4, 2, 4)))


@pytest.mark.parametrize("shape", [(7, 6, 3, 5, 4), (5, 3, 6, 4, 5)], ids=["J < I", "J > I"])
@pytest.mark.parametrize("numbers", [1, 50, 90, 300])
def test_blocks_of_capsules_and_planes_change_nothing(rng, monkeypatch, shape, numbers):
    """Several capsules in a block whose planes are cut as well, and every other cut."""
    B, I, J, D, P = shape
    x, W = 0.3 * rng.normal(size=(B, I, P)), rng.normal(size=(I, J, D, P))
    c = rng.uniform(size=(B, I, J))
    h, U, e = rng.normal(size=(B, I, P)), W.transpose(1, 0, 3, 2), c.transpose(0, 2, 1)
    y = rng.normal(size=(B, J, D))

    def found():
        return (
            forward(x, W, c),
            reverse(y, W, c),
            cd_gradient(x, W, c, steps=2),
            decoder_gradient(y, h, U, e),
        )

    whole = found()
    monkeypatch.setattr(_coupling, "_HOST_NUMBERS", numbers)
    monkeypatch.setattr(_coupling, "_HOST_PLANES", numbers)
    for cut, expected in zip(found(), whole, strict=True):
        np.testing.assert_allclose(cut, expected, rtol=1e-11, atol=1e-13)
