"""Ways to route: gradients against automatic differentiation, loops, orders, zeros."""

import itertools
import math

import numpy as np
import pytest

from capsnp.errors import DtypeError, OptionError, ShapeError
from capsnp.functional import length, predictions, route, squash
from capsnp.functional.routings import ROUTINGS, predictions_vjp
from capsnp.testing import check_adjoint, check_routing

SHAPES = [(2, 5, 3, 4, 3), (1, 1, 2, 2, 3), (2, 3, 1, 2, 1), (2, 4, 3, 1, 2)]
"""B, I, J, D, P: also one input, one output, one dimension."""

OPTIONS = {
    "dynamic": {"iterations": 3, "agreement": "dot", "normalize": "outputs"},
    "leaky": {"iterations": 3},
    "kmeans": {"iterations": 3, "temperature": 0.5},
    "em": {"iterations": 3, "inverse_temperature": 0.7, "prior_votes": 0.5, "prior_variance": 0.1},
    "self-attention": {},
    "inverted-dot-product": {"iterations": 3},
}
RULES = list(ROUTINGS.values())


def by_name(value):
    return getattr(value, "name", None)


def problem(rng, rule, sizes):
    """Input capsules, maps, and learned parameters away from their first values."""
    B, I, J, D, P = sizes
    x = squash(rng.standard_normal((B, I, P)))
    W = rng.standard_normal((I, J, D, P))
    learned = {
        name: first.value + 0.3 * rng.standard_normal(first.shape)
        for name, first in rule.initial(I, J, D).items()
    }
    return x, W, learned


# --- the same in torch, term by term ----------------------------------------------------------


def torch_route(torch, name, x, W, options, learned):
    """z of a rule from its formulas, for automatic differentiation."""
    u = torch.einsum("ijdp,bip->bijd", W, x)
    B, I, J, D = u.shape
    r = options.get("iterations", 1)
    if name == "self-attention":
        A = torch.einsum("bijd,bkjd->bjik", u, u) / math.sqrt(D)
        c = torch.softmax(A.sum(dim=2).transpose(1, 2), dim=2) + learned["prior"]
        return torch.einsum("bij,bijd->bjd", c, u)
    if name == "em":
        return torch_em(torch, x, u, options, learned)
    b, z = torch.zeros((B, I, J), dtype=u.dtype), None
    for t in range(r):
        if t > 0:
            b = torch_logits(torch, name, u, z, b, options, learned)
        if name == "leaky":
            c = torch.softmax(torch.cat([torch.zeros((B, I, 1), dtype=u.dtype), b], 2), 2)[..., 1:]
        else:
            c = torch.softmax(b, dim=2)
        z = torch.einsum("bij,bijd->bjd", c, u)
    return z


def torch_logits(torch, name, u, z, before, options, learned):
    n = torch.linalg.vector_norm(z, dim=2, keepdim=True)
    if name in ("leaky", "dynamic"):
        return before + torch.einsum("bijd,bjd->bij", u, z * n / (1 + n**2))
    if name == "kmeans":
        return torch.einsum("bijd,bjd->bij", u, z / n) / options["temperature"]
    D = z.shape[2]
    if D > 1:
        z = torch.nn.functional.layer_norm(z, (D,), eps=0.0)
    return torch.einsum("bijd,bjd->bij", u, learned["gain"] * z * (D > 1) + learned["bias"])


def torch_em(torch, x, u, options, learned):
    B, I, J, _ = u.shape
    a = torch.linalg.vector_norm(x, dim=2)
    nu, tau = options["prior_votes"], options["prior_variance"]
    c = torch.full((B, I, J), 1 / J, dtype=u.dtype)
    mu = v = s = None
    for t in range(options["iterations"]):
        if t > 0:
            far = ((u - mu[:, None]) ** 2 / v[:, None] + torch.log(2 * math.pi * v[:, None])).sum(3)
            weights = torch.sigmoid(s)[:, None] * torch.exp(-far / 2)
            c = weights / weights.sum(dim=2, keepdim=True)
        R = c * a[..., None]
        S = R.sum(dim=1)
        mu = torch.einsum("bij,bijd->bjd", R, u) / S[..., None]
        q = (R[..., None] * (u - mu[:, None]) ** 2).sum(dim=1)
        v = (q + nu * tau) / (S + nu)[..., None]
        cost = ((learned["beta_u"][:, None] + torch.log(torch.sqrt(v / tau))) * S[..., None]).sum(2)
        s = options["inverse_temperature"] * (1 - 0.95 ** (t + 1)) * (learned["beta_a"] - cost)
    n = torch.linalg.vector_norm(mu, dim=2, keepdim=True)
    return torch.exp(s / 2)[..., None] * mu / n


@pytest.mark.parametrize("sizes", SHAPES, ids=str)
@pytest.mark.parametrize("rule", RULES, ids=by_name)
def test_gradients_are_those_of_automatic_differentiation(rng, rule, sizes):
    torch = pytest.importorskip("torch")
    x, W, learned = problem(rng, rule, sizes)
    options = OPTIONS[rule.name]
    g = rng.standard_normal((sizes[0], sizes[2], sizes[3]))
    there = {
        name: torch.tensor(array, requires_grad=True)
        for name, array in {"x": x, "W": W, **learned}.items()
    }
    parameters = {name: there[name] for name in learned}
    z = torch_route(torch, rule.name, there["x"], there["W"], options, parameters)
    found = rule.route(x, W, **options, **learned)
    np.testing.assert_allclose(found.z, z.detach().numpy(), rtol=1e-12, atol=1e-13)
    wanted = torch.autograd.grad(z, list(there.values()), torch.tensor(g), allow_unused=True)
    gradient = rule.vjp(x, W, g, **options, **learned)
    assert list(gradient) == list(there)
    for name, expected in zip(there, wanted, strict=True):
        expected = np.zeros(there[name].shape) if expected is None else expected.numpy()
        size = max(1.0, np.max(np.abs(expected)))
        np.testing.assert_allclose(
            gradient[name], expected, rtol=0, atol=1e-10 * size, err_msg=name
        )


# --- every library ----------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES, ids=by_name)
def test_libraries_agree(library, rng, rule):
    x, W, learned = problem(rng, rule, SHAPES[0])
    options = OPTIONS[rule.name] | ({} if rule.name == "self-attention" else {"iterations": 2})
    g = rng.standard_normal((2, 3, 4))
    dtype = "float32" if library.name in ("torch", "numpy-read-only") else "float64"
    rtol = 1e-4 if dtype == "float32" else 1e-10
    here = {k: library.from_host(v, dtype=dtype) for k, v in {"x": x, "W": W, "g": g}.items()}
    kept = {k: library.from_host(v, dtype=dtype) for k, v in learned.items()}
    found = rule.route(here["x"], here["W"], **options, **kept)
    expected = rule.route(x, W, **options, **learned)
    for got, wanted in zip(found, expected, strict=True):
        got = library.to_host(got)
        assert got.dtype == dtype
        np.testing.assert_allclose(got, wanted, rtol=rtol, atol=rtol)
    if library.name == "jax":
        return  # what it would compile for the way back has been compiled by now
    found = rule.vjp(here["x"], here["W"], here["g"], **options, **kept)
    for name, wanted in rule.vjp(x, W, g, **options, **learned).items():
        got = library.to_host(found[name])
        assert got.dtype == dtype
        np.testing.assert_allclose(got, wanted, rtol=rtol, atol=rtol * max(1, np.max(abs(wanted))))


@pytest.mark.parametrize("rule", RULES, ids=by_name)
def test_device_stays(rng, rule):
    """The strict library has devices that are as apart as two GPUs are."""
    strict = pytest.importorskip("array_api_strict")
    device = strict.Device("device1")
    x, W, learned = problem(rng, rule, SHAPES[0])
    g = strict.asarray(rng.standard_normal((2, 3, 4)), device=device)
    x, W = (strict.asarray(array, device=device) for array in (x, W))
    learned = {name: strict.asarray(value, device=device) for name, value in learned.items()}
    gradient = rule.vjp(x, W, g, **learned)
    for array in (*rule.route(x, W, **learned), *gradient.values()):
        assert array.device == device


# --- invariants -------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES, ids=by_name)
def test_neither_inputs_nor_outputs_nor_examples_have_an_order(rng, rule):
    x, W, learned = problem(rng, rule, (3, 5, 4, 3, 2))
    options = OPTIONS[rule.name]
    c, z = rule.route(x, W, **options, **learned)
    g = rng.standard_normal(z.shape)
    gradient = rule.vjp(x, W, g, **options, **learned)
    b, i, j = np.asarray([2, 0, 1]), rng.permutation(5), rng.permutation(4)
    moved = {"prior": lambda p: p[i][:, j], "beta_u": lambda p: p[j], "beta_a": lambda p: p[j]}
    learned = {name: moved.get(name, lambda p: p)(value) for name, value in learned.items()}
    arguments = x[b][:, i], W[i][:, j]
    found = rule.route(*arguments, **options, **learned)
    np.testing.assert_allclose(found.c, c[b][:, i][:, :, j], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.z, z[b][:, j], rtol=1e-9, atol=1e-12)
    again = rule.vjp(*arguments, g[b][:, j], **options, **learned)
    np.testing.assert_allclose(again["x"], gradient["x"][b][:, i], rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(again["W"], gradient["W"][i][:, j], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("rule", RULES, ids=by_name)
@pytest.mark.parametrize("zero", ["x", "W", "both", "one input", "one output"])
def test_zero_capsules_and_zero_maps_are_finite(rng, rule, zero):
    x, W, learned = problem(rng, rule, (2, 3, 2, 4, 3))
    if zero in ("x", "both"):
        x = 0 * x
    if zero in ("W", "both"):
        W = 0 * W
    if zero == "one input":
        x[:, 1] = 0
    if zero == "one output":
        W[:, 1] = 0
    options = OPTIONS[rule.name]
    with np.errstate(all="raise", under="ignore"):
        found = rule.route(x, W, **options, **learned)
        gradient = rule.vjp(x, W, np.ones_like(found.z), **options, **learned)
    for array in (*found, *gradient.values()):
        assert np.all(np.isfinite(array))


@pytest.mark.parametrize("rule", RULES, ids=by_name)
def test_an_empty_batch_routes_nothing(rule):
    x, W = np.zeros((0, 3, 2)), np.ones((3, 2, 4, 2))
    c, z = rule.route(x, W)
    assert c.shape == (0, 3, 2)
    assert z.shape == (0, 2, 4)
    gradient = rule.vjp(x, W, z)
    np.testing.assert_array_equal(gradient["W"], 0 * W)
    assert {name: gradient[name].shape for name in rule.initial(3, 2, 4)} == {
        name: first.shape for name, first in rule.initial(3, 2, 4).items()
    }


@pytest.mark.parametrize("name", ["kmeans", "em", "self-attention"])
def test_what_routing_by_agreement_keeps(name):
    """Of EM the coefficients alone: its z is no weighted sum."""
    rule = ROUTINGS[name].route
    fn = (lambda x, W: rule(x, W).c) if name == "em" else rule
    first = None if name == "self-attention" else (lambda x, W: rule(x, W, iterations=1).c)
    check_routing(fn, first=first, normalize="outputs", examples=10)


@pytest.mark.parametrize("rule", RULES, ids=by_name)
def test_first_values_are_the_defaults(rng, rule):
    x, W, _ = problem(rng, rule, SHAPES[0])
    first = {name: np.full(*one) for name, one in rule.initial(5, 3, 4).items()}
    for got, wanted in zip(rule.route(x, W, **first), rule.route(x, W), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-13)


def test_predictions_vjp_is_the_adjoint_for_both_arguments(rng):
    x, W = rng.standard_normal((2, 3, 4)), rng.standard_normal((3, 5, 2, 4))
    check_adjoint(
        lambda x: predictions(x, W), lambda g: predictions_vjp(x, W, g)[0], x.shape, examples=5
    )
    check_adjoint(
        lambda W: predictions(x, W), lambda g: predictions_vjp(x, W, g)[1], W.shape, examples=5
    )


# --- each rule --------------------------------------------------------------------------------


def test_leaky_shares_are_those_of_a_further_output_that_predicts_nothing(rng):
    """Dynamic routing with one more output whose votes are zero."""
    x, W, _ = problem(rng, ROUTINGS["leaky"], SHAPES[0])
    more = np.concatenate([W, 0 * W[:, :1]], axis=1)
    options = {"iterations": 3, "agreement": "dot", "normalize": "outputs"}
    expected = route(x, more, **options)
    found = ROUTINGS["leaky"].route(x, W, iterations=3)
    np.testing.assert_allclose(found.c, expected.c[..., :-1], rtol=1e-12)
    np.testing.assert_allclose(found.z, expected.z[:, :-1], rtol=1e-12, atol=1e-14)
    assert np.all(np.sum(found.c, axis=2) < 1)


def test_leaky_logits_far_below_and_far_above_stay_right():
    x = np.ones((1, 2, 1))
    W = 40.0 * np.asarray([[1.0, 1.0], [1.0, -3.0]])[..., None, None]
    c = ROUTINGS["leaky"].route(x, W, iterations=3).c
    assert np.all(np.isfinite(c))
    np.testing.assert_allclose(c[0], np.eye(2), atol=1e-12)


def test_each_round_of_kmeans_lowers_the_free_energy(rng):
    T = 0.3
    x, W, _ = problem(rng, ROUTINGS["kmeans"], (4, 6, 3, 4, 3))
    u = predictions(x, W)
    before = None
    for iterations in range(1, 7):
        c, z = ROUTINGS["kmeans"].route(x, W, iterations=iterations, temperature=T)
        # with the best centre s = z/‖z‖, Σ c u·s = ‖z‖
        F = -np.sum(length(z), axis=1) + T * np.sum(c * np.log(c), axis=(1, 2))
        assert before is None or np.all(before + 1e-12 >= F)
        before = F
    s = z / length(z)[..., None]
    other = np.sum(u * s[:, None], axis=3) / T
    other = np.exp(other - np.max(other, axis=2, keepdims=True))
    other /= np.sum(other, axis=2, keepdims=True)
    after = np.sum(other * (T * np.log(other) - np.sum(u * s[:, None], 3)), axis=(1, 2))
    assert np.all(after <= F + 1e-12)


def test_em_raises_the_likelihood_that_it_is_named_for(rng):
    """With equal activations, the log-posterior of the mixture never falls."""
    B, I, J, D = 1, 8, 2, 3
    x = np.full((B, I, 1), 0.7)
    W = rng.standard_normal((I, J, D, 1)) / 0.7
    nu, tau = 2.0, 0.3
    options = {"inverse_temperature": 2.0**-20, "prior_votes": nu, "prior_variance": tau}
    u, before = predictions(x, W)[0], -math.inf
    for iterations in range(1, 8):
        c = ROUTINGS["em"].route(x, W, iterations=iterations, **options).c[0]
        R = 0.7 * c
        S = R.sum(axis=0)
        mu = np.einsum("ij,ijd->jd", R, u) / S[:, None]
        v = (np.einsum("ij,ijd->jd", R, (u - mu) ** 2) + nu * tau) / (S + nu)[:, None]
        log_p = -0.5 * np.sum(np.log(v) + (u - mu) ** 2 / v, axis=2)
        evidence = 0.7 * np.sum(np.log(np.sum(np.exp(log_p), axis=1)))
        evidence -= 0.5 * nu * np.sum(np.log(v) + tau / v)
        assert evidence >= before - 1e-6
        before = evidence


def test_the_squashed_length_in_em_is_the_activation(rng):
    rule = ROUTINGS["em"]
    x, W, learned = problem(rng, rule, SHAPES[0])
    options = {"iterations": 1, "inverse_temperature": 2.0, "prior_variance": 0.01}
    z = rule.route(x, W, **options, **learned).z
    u, a = predictions(x, W), length(x)
    for b, j in itertools.product(range(2), range(3)):
        R = a[b] / 3
        S = R.sum()
        mu = R @ u[b, :, j] / S
        v = (R @ (u[b, :, j] - mu) ** 2 + 0.01) / (S + 1)
        cost = S * np.sum(learned["beta_u"][j] + np.log(np.sqrt(v / 0.01)))
        activation = 1 / (1 + np.exp(-2.0 * 0.05 * (learned["beta_a"][j] - cost)))
        np.testing.assert_allclose(length(squash(z[b, j])), activation, rtol=1e-10)
        np.testing.assert_allclose(z[b, j] / length(z[b, j]), mu / length(mu), rtol=1e-10)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_em_with_votes_that_agree_exactly_or_certainties_beyond_rounding_is_finite(dtype):
    x, W = np.ones((1, 1, 1), dtype), np.ones((1, 2, 3, 1), dtype)  # one input: no variance
    options = {"inverse_temperature": 1e6, "prior_variance": 2.0**-20}
    g = np.ones((1, 2, 3), dtype)
    for sign in (1, -1):
        beta = {"beta_u": np.full(2, sign * 1e3, dtype)}
        with np.errstate(all="raise", under="ignore"):
            found = ROUTINGS["em"].route(x, W, **options, **beta)
            gradient = ROUTINGS["em"].vjp(x, W, g, **options, **beta)
        assert all(np.all(np.isfinite(array)) for array in (*found, *gradient.values()))
        np.testing.assert_allclose(length(squash(found.z)), sign < 0, atol=1e-6)


def test_poses_do_not_see_the_length_of_their_sum(rng):
    """Normalisation: votes that all grow alike leave the poses, and z grows with them."""
    x, W, _ = problem(rng, ROUTINGS["inverted-dot-product"], SHAPES[0])
    W = W / 1e3  # so that coefficients stay nearly equal
    small, large = (ROUTINGS["inverted-dot-product"].route(x, k * W, iterations=2) for k in (1, 2))
    np.testing.assert_allclose(small.c, 1 / 3, rtol=1e-2)
    np.testing.assert_allclose(large.z, 2 * small.z, rtol=2e-2, atol=1e-4)
    logits = [np.log(found.c / found.c[..., :1]) for found in (small, large)]
    np.testing.assert_allclose(logits[1], 2 * logits[0], rtol=1e-8, atol=1e-12)


# --- arguments --------------------------------------------------------------------------------

x, W, g = np.zeros((2, 3, 4)), np.zeros((3, 5, 2, 4)), np.zeros((2, 5, 2))


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("leaky", {"iterations": 0}, OptionError, "iterations: expected a whole number from 1"),
        ("leaky", {"squash": "relu"}, OptionError, "squash: expected 'sabour', 'efficient', "),
        ("kmeans", {"temperature": 0}, OptionError, "temperature: expected a number from 0.00097"),
        ("em", {"prior_votes": 0}, OptionError, "prior_votes: expected a number from"),
        ("em", {"beta_u": g}, ShapeError, "beta_u: expected shape (J,) with J = 5, got (2, 5, 2)"),
        (
            "self-attention",
            {"prior": g[0]},
            ShapeError,
            "prior: expected shape (I, J) with I = 3, J = 5, got (5, 2)",
        ),
        (
            "inverted-dot-product",
            {"gain": g[0, 0].astype("float32")},
            DtypeError,
            "gain: expected float64 as x has, got float32",
        ),
    ],
)
def test_wrong_arguments_are_named(name, options, error, message):
    for call in (
        lambda: ROUTINGS[name].route(x, W, **options),
        lambda: ROUTINGS[name].vjp(x, W, g, **options),
    ):
        with pytest.raises(error) as caught:
            call()
        assert str(caught.value).startswith(message)


@pytest.mark.parametrize("rule", RULES, ids=by_name)
def test_a_cotangent_of_another_shape_is_named(rule):
    with pytest.raises(ShapeError, match=r"^g: expected shape \(B, J, D\) with D = 2 to match"):
        rule.vjp(x, W, np.zeros((2, 5, 3)))
