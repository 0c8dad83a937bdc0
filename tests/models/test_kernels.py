"""Chains as they run in training, sent once from the exact distribution."""

import itertools

import numpy as np
import pytest

from capsnp.backend import get_backend
from capsnp.functional.harmonium import Harmonium
from capsnp.models import _chains
from capsnp.models._chains import Noise, Persistent, Tempered
from capsnp.verification import check_stationarity

I, J, T = 3, 2, 3
V, H = (np.asarray(list(itertools.product((0.0, 1.0), repeat=n))) for n in (I, J))
LADDERS = np.asarray(list(itertools.product(range(len(H)), repeat=T)))
"""Numbers of the hidden states of all temperatures, (4^3, 3)."""


@pytest.fixture
def parameters(rng):
    """w, b, c and the biases of the machine at β = 0."""
    return 2 * rng.standard_normal((I, J)), *(rng.standard_normal(n) for n in (I, J, I))


def log_p(h, w, b, c):
    """Of hidden states (N, J), up to a constant, visible states added up."""
    return np.log(np.sum(np.exp(h @ c + (V @ b)[:, None] + V @ w @ h.T), axis=0))


def joint(states, w, b, c, b0):
    """Of hidden states (N, T, J) at β = 0, ½ and 1."""
    betas = np.linspace(0.0, 1.0, T)
    machines = [(beta * w, beta * b + (1 - beta) * b0, beta * c) for beta in betas]
    return sum(log_p(states[:, t], *machine) for t, machine in enumerate(machines))


def tempered_step(parameters, count):
    w, b, c, b0 = parameters

    def kernel(states, rng):
        chains = Tempered(np.moveaxis(states, 1, 0), b0)
        chains.count = count  # even pairs and odd pairs exchange in turns
        noise = Noise(get_backend("numpy"), "float64", rng)
        chains.advance(Harmonium(w, b, c), np.zeros((len(states), I)), noise, 1)
        return np.stack(chains.h, axis=1)

    return kernel


@pytest.mark.parametrize("count", [0, 1])
def test_tempered_chains_keep_the_joint_of_all_temperatures(parameters, count):
    kernel, density = tempered_step(parameters, count), lambda states: joint(states, *parameters)
    assert check_stationarity(kernel, density, H[LADDERS], n_samples=100_000).stationary


@pytest.mark.parametrize("count", [0, 1])
def test_exchange_without_a_choice_is_noticed(parameters, count, monkeypatch):
    monkeypatch.setattr(_chains, "exchange_probability", lambda _one, _two, v, _u: 1 + 0 * v[:, 0])
    kernel, density = tempered_step(parameters, count), lambda states: joint(states, *parameters)
    assert not check_stationarity(kernel, density, H[LADDERS]).stationary


def test_kept_chains_keep_the_distribution(parameters):
    w, b, c, _ = parameters

    def kernel(states, rng):
        chains = Persistent(states)
        noise = Noise(get_backend("numpy"), "float64", rng)
        chains.advance(Harmonium(w, b, c), np.zeros((len(states), I)), noise, 2)
        return chains.h

    assert check_stationarity(kernel, lambda h: log_p(h, w, b, c), H).stationary
    assert not check_stationarity(kernel, lambda h: log_p(h, w, b, c + 1), H).stationary
