"""Deep belief networks: distributions, the bound and both gradients, by enumeration."""

import itertools

import numpy as np
import pytest

from capsnp.errors import DtypeError, OptionError, ShapeError
from capsnp.functional import harmonium
from capsnp.functional.belief import (
    DirectedLayer,
    down_field,
    log_down,
    log_up,
    log_weight,
    sleep_gradient,
    untied,
    up_field,
    wake_gradient,
)
from capsnp.functional.harmonium import Harmonium
from capsnp.functional.units import Categorical, Gaussian

I, J, K = 4, 3, 2
V, H = (np.asarray(list(itertools.product((0.0, 1.0), repeat=n))) for n in (I, J))
PAIRS_V, PAIRS_H = np.repeat(V, len(H), axis=0), np.tile(H, (len(V), 1))
STEP = 1e-30


@pytest.fixture
def parts(rng):
    """w, b, r, c of a layer, and w, b, c of a machine on top."""
    shapes = ((I, J), (I,), (I, J), (J,), (J, K), (J,), (K,))
    return tuple(rng.normal(size=shape) for shape in shapes)


def on(from_host, parts):
    """The network of some parts on a library."""
    arrays = [from_host(part, "float64") for part in parts]
    return DirectedLayer(*arrays[:4]), Harmonium(*arrays[4:])


def log_bernoulli(s, x):
    """Σ log p(s | x), also of complex fields."""
    return np.sum(s * x - np.log(1.0 + np.exp(x)), axis=-1)


def joint(parts):
    """log p(v, h) of all pairs, (V, H), by sums over the machine's hidden states."""
    w, b, _, _, W, B, C = parts
    log_prior = H @ B + np.sum(np.log(1.0 + np.exp(H @ W + C)), axis=1)
    log_prior = log_prior - np.logaddexp.reduce(log_prior)
    return log_bernoulli(V[:, None], (H @ w.T + b)[None]) + log_prior


def posterior(parts):
    """log q(h | v) of all pairs, (V, H)."""
    _, _, r, c, *_ = parts
    return log_bernoulli(H[None], (V @ r + c)[:, None])


def weights(parts, from_host, to_host):
    """`log_weight` of all pairs, (V, H)."""
    layer, top = on(from_host, parts)
    found = log_weight([layer], top, [from_host(PAIRS_V), from_host(PAIRS_H)])
    return to_host(found).reshape(len(V), len(H))


def log_partition(parts):
    _, _, _, _, W, B, C = parts
    return np.logaddexp.reduce(H @ B + np.sum(np.log(1.0 + np.exp(H @ W + C)), axis=1))


def test_weight_is_the_ratio_of_both_distributions(parts, from_host, to_host):
    expected = joint(parts) + log_partition(parts) - posterior(parts)
    np.testing.assert_allclose(weights(parts, from_host, to_host), expected, rtol=1e-12)


def test_two_directed_layers_are_both_counted(parts, rng, from_host, to_host):
    layer, top = on(from_host, parts)
    extra = tuple(rng.normal(size=shape) for shape in ((2, I), (2,), (2, I), (I,)))
    below = DirectedLayer(*(from_host(part, "float64") for part in extra))
    u = rng.integers(0, 2, (len(PAIRS_V), 2)).astype("float64")
    states = [from_host(s) for s in (u, PAIRS_V, PAIRS_H)]
    w, b, r, c = extra
    ratio = log_bernoulli(u, PAIRS_V @ w.T + b) - log_bernoulli(PAIRS_V, u @ r + c)
    expected = ratio.reshape(len(V), len(H)) + weights(parts, from_host, to_host)
    found = to_host(log_weight([below, layer], top, states)).reshape(len(V), len(H))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_mean_weight_is_below_the_likelihood_and_above_by_the_divergence(parts, from_host, to_host):
    log_q, log_p = posterior(parts), np.logaddexp.reduce(joint(parts), axis=1)
    bound = np.sum(np.exp(log_q) * weights(parts, from_host, to_host), axis=1)
    bound -= log_partition(parts)
    assert np.all(bound < log_p - 1e-3)
    true = joint(parts) - log_p[:, None]
    divergence = np.sum(np.exp(log_q) * (log_q - true), axis=1)
    np.testing.assert_allclose(log_p - bound, divergence, rtol=1e-10)


def test_transposed_weights_on_top_keep_the_likelihood(parts, from_host, to_host):
    """A machine, cut into a directed layer below its own other side."""
    w, b, c = (from_host(part, "float64") for part in (parts[0], parts[1], parts[3]))
    machine = Harmonium(w, b, c)
    states = [from_host(PAIRS_V), from_host(PAIRS_H)]
    found = to_host(log_weight([untied(machine)], harmonium.turned(machine), states))
    free = to_host(harmonium.free_energy(machine, from_host(PAIRS_V)))
    np.testing.assert_allclose(found, -free, rtol=1e-12)  # whatever h is: the bound is tight


def test_a_better_machine_on_top_raises_the_bound_by_what_it_gains(parts, from_host, to_host):
    """Learning on what recognition draws raises the mean bound, and log p at least to it."""
    w, b, c = parts[0], parts[1], parts[3]
    machine = Harmonium(*(from_host(part, "float64") for part in (w, b, c)))
    data = np.asarray([0.0] * 3 + [0.5] + [0.0] * 11 + [0.5])  # two visible states, equally often
    log_q = log_bernoulli(H[None], (V @ w + c)[:, None])
    seen = data @ np.exp(log_q)  # the mean of q(h | v)

    def mean_bound(top):
        states = [from_host(PAIRS_V), from_host(PAIRS_H)]
        found = to_host(log_weight([untied(machine)], top, states)).reshape(len(V), len(H))
        log_z = np.logaddexp.reduce(-to_host(harmonium.free_energy(top, from_host(H))))
        return data @ np.sum(np.exp(log_q) * found, axis=1) - log_z

    top = harmonium.turned(machine)
    free = to_host(harmonium.free_energy(machine, from_host(V)))
    bounds = [data @ (-free) - np.logaddexp.reduce(-free)]
    for _ in range(20):
        F = -to_host(harmonium.free_energy(top, from_host(H)))
        change = seen - np.exp(F - np.logaddexp.reduce(F))  # data minus model, of each state h
        on_top = to_host(harmonium.hidden_mean(top, from_host(H)))
        W, B, C = (to_host(part) for part in top[:3])
        W, B = W + 0.2 * (H * change[:, None]).T @ on_top, B + 0.2 * change @ H
        top = Harmonium(*(from_host(p, "float64") for p in (W, B, C + 0.2 * change @ on_top)))
        bounds.append(mean_bound(top))
    assert np.all(np.diff(bounds) > 0)
    network = (w, b, w, c, *(to_host(part) for part in top[:3]))
    log_p = np.logaddexp.reduce(joint(network), axis=1)
    assert data @ log_p > bounds[-1] > bounds[0]


def complex_steps(function, part):
    """Gradient of a function of one array."""
    gradient = np.zeros(part.shape)
    for index in np.ndindex(part.shape):
        moved = part.astype(complex)
        moved[index] += 1j * STEP
        gradient[index] = np.imag(function(moved)) / STEP
    return gradient


@pytest.mark.parametrize("place", [0, 1])
def test_wake_gradient_ascends_the_bound(parts, rng, from_host, to_host, place):
    """All states weighted by data times q: against complex steps of the bound."""
    data = rng.dirichlet(np.ones(len(V)))
    shares = data[:, None] * np.exp(posterior(parts))

    def bound(moved):
        w, b = (moved if k == place else parts[k] for k in (0, 1))
        return np.sum(shares * log_bernoulli(V[:, None], (H @ w.T + b)[None]))

    found = expected_over(wake_gradient, parts, shares, from_host, to_host)[place]
    np.testing.assert_allclose(found, complex_steps(bound, parts[place]), atol=1e-13)


@pytest.mark.parametrize("place", [2, 3])
def test_sleep_gradient_nears_the_posterior(parts, from_host, to_host, place):
    """All states weighted by the model: against complex steps of the mean of log q."""
    shares = np.exp(joint(parts))

    def fit(moved):
        r, c = (moved if k == place else parts[k] for k in (2, 3))
        return np.sum(shares * log_bernoulli(H[None], (V @ r + c)[:, None]))

    found = expected_over(sleep_gradient, parts, shares, from_host, to_host)[place - 2]
    np.testing.assert_allclose(found, complex_steps(fit, parts[place]), atol=1e-13)


def expected_over(gradient, parts, shares, from_host, to_host):
    """A gradient's mean over all pairs of states with their shares, one pair a batch."""
    layer, _ = on(from_host, parts)
    total = [0.0, 0.0]
    for v, h, share in zip(PAIRS_V, PAIRS_H, shares.ravel(), strict=True):
        found = gradient(layer, from_host(v[None]), from_host(h[None]))
        total = [t + share * to_host(g) for t, g in zip(total, found, strict=True)]
    return total


def test_gradients_of_a_batch_are_means(parts, from_host, to_host):
    layer, _ = on(from_host, parts)
    v, h = from_host(PAIRS_V[:6]), from_host(PAIRS_H[:6])
    for gradient in (wake_gradient, sleep_gradient):
        whole = gradient(layer, v, h)
        each = [gradient(layer, v[k : k + 1, :], h[k : k + 1, :]) for k in range(6)]
        for name in ("weights", "biases"):
            mean = np.mean([to_host(getattr(g, name)) for g in each], axis=0)
            np.testing.assert_allclose(to_host(getattr(whole, name)), mean, atol=1e-14)


def test_other_units_below(rng, from_host, to_host):
    """Densities of Gaussian units and probabilities of categories, by their formulas."""
    w, b, h = rng.normal(size=(I, J)), rng.normal(size=I), H[5]
    log_variance = rng.normal(size=I)
    x, v = w @ h + b, rng.normal(size=I)
    layer = untied(
        Harmonium(
            *(from_host(part, "float64") for part in (w, b, np.zeros(J))),
            Gaussian(from_host(log_variance)),
        )
    )
    variance = np.exp(log_variance)
    scaled = (w / 1.0) @ h + b
    expected = -0.5 * np.sum((v - scaled) ** 2 / variance + np.log(2 * np.pi * variance))
    found = float(to_host(log_down(layer, from_host(v), from_host(h))))
    assert found == pytest.approx(expected, rel=1e-12)
    found = wake_gradient(layer, from_host(v[None]), from_host(h[None])).biases
    np.testing.assert_allclose(to_host(found), (v - x) / variance, rtol=1e-12)

    layer = untied(
        Harmonium(*(from_host(part, "float64") for part in (w, b, np.zeros(J))), Categorical(2))
    )
    one_hot = np.asarray([1.0, 0.0, 0.0, 1.0])
    found = float(to_host(log_down(layer, from_host(one_hot), from_host(h))))
    total = np.logaddexp.reduce(x.reshape(2, 2), axis=1)
    assert found == pytest.approx(float(one_hot @ x - total.sum()), rel=1e-12)


def test_fields_are_those_of_either_direction(parts, from_host, to_host):
    layer, _ = on(from_host, parts)
    w, b, r, c, *_ = parts
    np.testing.assert_allclose(to_host(down_field(layer, from_host(H))), H @ w.T + b, rtol=1e-12)
    np.testing.assert_allclose(to_host(up_field(layer, from_host(V))), V @ r + c, rtol=1e-12)
    found = to_host(log_up(layer, from_host(V[:8]), from_host(H)))
    np.testing.assert_allclose(found, np.diagonal(posterior(parts)), rtol=1e-12)


def test_bad_input(parts, from_host):
    layer, top = on(from_host, parts)
    v, h = from_host(V[:2]), from_host(H[:2])
    with pytest.raises(OptionError, match="states: expected 2, one more than layers, got 1"):
        log_weight([layer], top, [v])
    with pytest.raises(ShapeError, match=r"v: expected shape \(\.\.\., 4\) .* got \(2, 3\)"):
        log_down(layer, h, h)
    with pytest.raises(ShapeError, match=r"h: expected shape \(B, J\) with B = 2"):
        wake_gradient(layer, v, h[:1, :])
    with pytest.raises(ShapeError, match="v: expected at least one example"):
        sleep_gradient(layer, v[:0, :], h[:0, :])
    with pytest.raises(DtypeError, match="v: expected float64 as w has, got float32"):
        wake_gradient(layer, from_host(V[:2], "float32"), h)
