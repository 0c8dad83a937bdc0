"""The log-likelihood through the routing against automatic and finite derivatives."""

import math

import numpy as np
import pytest

from capsnp.functional import free_energy, route
from capsnp.verification import Balls
from capsnp.verification.routed import routed_score, routed_score_gradient, sobol_points

I, J, D, P = 3, 2, 2, 2
ROUTING = [
    {"iterations": iterations, "agreement": agreement, "normalize": normalize}
    for iterations in (1, 2, 3)
    for agreement in ("cosine", "dot")
    for normalize in ("inputs", "outputs")
]


@pytest.fixture
def x(rng):
    return Balls(I, P).uniform(5, rng)


@pytest.fixture
def W(rng):
    return 2.0 * rng.normal(size=(I, J, D, P))


@pytest.mark.parametrize("routing", ROUTING)
def test_score_is_that_of_the_librarys_routing(x, W, routing):
    c = route(x, W, **routing).c
    np.testing.assert_allclose(routed_score(x, W, **routing), -free_energy(x, W, c), rtol=1e-12)


@pytest.mark.parametrize("routing", ROUTING)
def test_score_gradient_is_automatic_differentiation_through_routing(x, W, routing):
    torch = pytest.importorskip("torch")
    weights, data = torch.tensor(W, requires_grad=True), torch.tensor(x)
    score = -free_energy(data, weights, route(data, weights, **routing).c)
    gradient = routed_score_gradient(x, W, **routing)
    for b in range(len(x)):
        (expected,) = torch.autograd.grad(score[b], weights, retain_graph=True)
        np.testing.assert_allclose(gradient[b], expected.numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("routing", ROUTING[-4:])
def test_score_gradient_is_the_finite_difference(x, W, routing):
    gradient, h = routed_score_gradient(x, W, **routing), 1e-5
    for place in np.ndindex(W.shape):
        shift = np.zeros_like(W)
        shift[place] = h
        both = [-free_energy(x, V, route(x, V, **routing).c) for V in (W + shift, W - shift)]
        np.testing.assert_allclose(
            gradient[:, *place], (both[0] - both[1]) / (2 * h), rtol=1e-6, atol=1e-7
        )


def test_zero_capsules_are_no_harm(x, W):
    x[0] = 0.0
    x[1, 0] = 0.0
    np.testing.assert_allclose(routed_score(x, W), -free_energy(x, W, route(x, W).c), rtol=1e-12)
    gradient = routed_score_gradient(x, W)
    assert np.all(np.isfinite(gradient))
    assert not gradient[0].any()
    assert not gradient[1, 0].any()


def test_points_are_uniform_in_balls(W):
    points = np.stack([sobol_points(W, 256, 0, k) for k in range(8)])
    assert np.all(np.linalg.norm(points, axis=-1) < 1)
    flat = points.reshape(8, 256, I * P)
    for a, b in np.ndindex(I * P, I * P):
        means = np.mean(flat[..., a] * flat[..., b], axis=1)
        error = means.std() / math.sqrt(7)
        expected = 1 / (P + 2) if a == b else 0.0
        assert abs(means.mean() - expected) < 6 * error + 1e-4
