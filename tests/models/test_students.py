"""Students of a teacher whose distribution is known: they come to have its moments."""

import itertools

import numpy as np
import pytest
from scipy.optimize import minimize

from capsnp.functional import (
    NeuronMixing,
    neuron_free_energy,
    neuron_gradient,
    neuron_hidden_probability,
)
from capsnp.functional.harmonium import Harmonium, cd_gradient, free_energy, hidden_mean
from capsnp.models import RBM, ExpertNeurons

V = np.asarray(list(itertools.product((0.0, 1.0), repeat=4)))
CAPSULES = V.reshape(-1, 2, 2)


def shares(free):
    p = np.exp(np.min(free) - free)
    return p / np.sum(p)


def machine_of(parameters):
    """4 visible and 2 hidden units."""
    w, b, c = np.split(parameters, [8, 12])
    return Harmonium(w.reshape(4, 2), b, c)


def machine_gradients(parameters):
    """Of −F at every visible state, (16, n): a batch of one each, and nothing for the model."""
    machine = machine_of(parameters)
    h = hidden_mean(machine, V)
    found = []
    for v_n, h_n in zip(V[:, None], h[:, None], strict=True):
        w, b, c, _ = cd_gradient(machine, v_n, h_n, 0 * v_n, 0 * h_n)
        found.append(np.concatenate([w.ravel(), b, c]))
    return np.asarray(found)


COEFFICIENTS = np.asarray([[0.7, 1.4], [1.3, 0.6]])


def layer_of(parameters):
    """W (2, 2, 1, 2), c, a and b of two capsules of two neurons and two of one."""
    W, a, b = np.split(parameters, [8, 10])
    return W.reshape(2, 2, 1, 2), COEFFICIENTS, a.reshape(2, 1), b.reshape(2, 2)


def neuron_gradients(parameters):
    W, c, a, _ = layer_of(parameters)
    h = neuron_hidden_probability(CAPSULES, W, c, a)
    found = []
    for v_n, h_n in zip(CAPSULES[:, None], h[:, None], strict=True):
        one = neuron_gradient(v_n, NeuronMixing(h_n, 0 * v_n, 0 * h_n), W, c)
        found.append(np.concatenate([one.W.ravel(), one.a.ravel(), one.b.ravel()]))
    return np.asarray(found)


KINDS = {
    "machine": (lambda at: free_energy(machine_of(at), V), machine_gradients),
    "neurons": (lambda at: neuron_free_energy(CAPSULES, *layer_of(at)), neuron_gradients),
}


@pytest.mark.parametrize("kind", KINDS)
def test_exact_gradients_find_the_teacher(rng, kind):
    """Followed to where they vanish: the same distribution, and with it the same moments."""
    free_energies, gradients = KINDS[kind]
    q = shares(free_energies(1.5 * rng.standard_normal(14)))

    def loss(at):
        free = free_energies(at)
        log_p = -free - np.logaddexp.reduce(-free)
        return -q @ log_p, (np.exp(log_p) - q) @ gradients(at)

    start = 0.5 * rng.standard_normal(14)
    found = minimize(loss, start, jac=True, options={"gtol": 1e-9, "maxiter": 5000})
    p = shares(free_energies(found.x))
    assert np.sum(q * np.log(q / shares(free_energies(start)))) > 0.1
    assert np.sum(q * np.log(q / p)) < 1e-5
    np.testing.assert_allclose(p @ V, q @ V, atol=1e-6)
    np.testing.assert_allclose((V.T * p) @ V, (V.T * q) @ V, atol=1e-3)


@pytest.fixture
def teacher(rng):
    """Rows of bits, each as often as a machine has it, and their moments."""
    machine = machine_of(1.5 * rng.standard_normal(14))
    q = shares(free_energy(machine, V))
    rows = np.repeat(V, np.rint(2000 * q).astype(int), axis=0)
    return rows, rows.T @ rows / len(rows)


@pytest.mark.parametrize("algorithm", ["cd", "pcd", "pt"])
def test_chains_teach_the_moments(teacher, algorithm):
    rows, moments = teacher
    student = RBM(
        2, algorithm=algorithm, k=5 if algorithm == "cd" else 1, n_temperatures=3,
        learning_rate=0.2, n_iter=40, batch_size=200, dtype="float64",
    ).fit(rows)  # fmt: skip
    p = shares(free_energy(student.machine_, V))
    assert np.max(np.abs((V.T * p) @ V - moments)) < 0.03


def test_neurons_learn_the_moments(teacher):
    rows, moments = teacher
    student = ExpertNeurons(
        2, 1, visible="bernoulli", hidden="sample", routing_iterations=1, n_winners=None,
        mixing_steps=5, n_steps=1000, dtype="float64", l2=0.0,
    ).fit(rows.reshape(-1, 2, 2))  # fmt: skip
    p = shares(free_energy(student.machine(), V))
    assert np.max(np.abs((V.T * p) @ V - moments)) < 0.06
