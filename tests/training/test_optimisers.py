"""Optimisers against their formulas by loops, against PyTorch, and on every library."""

import numpy as np
import pytest

from capsnp.training.optimisers import Adam, Momentum


def gradients(rng, n=5):
    return [rng.normal(size=(3, 2)) for _ in range(n)]


def test_momentum_by_its_formula(rng, from_host, to_host):
    start, rates = rng.normal(size=(3, 2)), [1.0, 0.5, 0.2, 0.1, 0.05]
    steps = gradients(rng)
    optimiser, w = Momentum(0.9, 0.01), {"w": from_host(start)}
    want, average = start, np.zeros_like(start)
    for gradient, rate in zip(steps, rates, strict=True):
        w = optimiser.update(w, {"w": from_host(gradient)}, rate)
        average = 0.9 * average + 0.1 * (gradient - 0.01 * want)
        want = want + rate * average
    np.testing.assert_allclose(to_host(w["w"]), want, rtol=1e-12)


def test_adam_is_pytorch_s(rng):
    torch = pytest.importorskip("torch")
    start, steps = rng.normal(size=(3, 2)), gradients(rng)
    theirs = torch.tensor(start, requires_grad=True)
    reference = torch.optim.Adam([theirs], lr=0.1)
    ours, optimiser = {"w": start}, Adam()
    for gradient in steps:
        theirs.grad = torch.tensor(gradient)
        reference.step()
        ours = optimiser.update(ours, {"w": gradient}, 0.1)
    np.testing.assert_allclose(ours["w"], theirs.detach().numpy(), rtol=1e-9)


def test_adam_runs_on_every_library(rng, from_host, to_host):
    start, steps = rng.normal(size=(3, 2)), gradients(rng)
    mine, host = Adam(), Adam()
    here, there = {"w": start}, {"w": from_host(start)}
    for gradient in steps:
        here = host.update(here, {"w": gradient}, 0.1)
        there = mine.update(there, {"w": from_host(gradient)}, 0.1)
    np.testing.assert_allclose(to_host(there["w"]), here["w"], rtol=1e-9)


@pytest.mark.parametrize("make", [Momentum, Adam])
def test_inputs_are_left_alone(rng, make):
    start, gradient = rng.normal(size=(3, 2)), rng.normal(size=(3, 2))
    kept = start.copy(), gradient.copy()
    optimiser = make()
    for _ in range(2):
        optimiser.update({"w": start}, {"w": gradient}, 0.1)
    np.testing.assert_array_equal(start, kept[0])
    np.testing.assert_array_equal(gradient, kept[1])
