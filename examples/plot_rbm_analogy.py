r"""
A capsule is a hidden neuron whose input is log‖z‖²
===================================================

A restricted Boltzmann machine turns a hidden neuron on with probability σ(a), where a is its
weighted input. The paper's step from neurons to capsules is one identity:

.. math:: \frac{\|z\|^2}{1 + \|z\|^2} = \sigma(\log \|z\|^2)

Put :math:`\log\|z_j\|^2` for :math:`a_j`, and the energy, the conditionals and the free energy of
the one become those of the other.
"""

import itertools
import os
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from capsnp.functional import (
    energy,
    firing_probability,
    forward,
    free_energy,
    length,
    rbm_energy,
    rbm_free_energy,
    rbm_hidden_probability,
    sigmoid,
    softplus,
)
from capsnp.plotting import COLOURS, save

# %%
# A small layer of each kind: five inputs, four hidden units. The capsules have three dimensions.

rng = np.random.default_rng(0)
I, J = 5, 4
v, w = rng.integers(0, 2, size=(60, I)).astype(float), rng.normal(size=(I, J))
b, bias = np.zeros(I), rng.normal(size=J)
x = rng.normal(size=(60, I, 3)) / 3
W, c = (
    rng.normal(size=(I, J, 3, 3)) * np.asarray([0.2, 0.6, 1.5, 4.0])[:, None, None],
    np.ones((I, J)),
)

# %%
# Each unit's input: a for neurons, log‖z‖² for capsules, which any real number can be too.

a = v @ w + bias
z = forward(x, W, c)
log_z2 = 2 * np.log(length(z))
print("neurons: ", np.allclose(rbm_hidden_probability(v, w, bias), sigmoid(a)))
print("capsules:", np.allclose(firing_probability(z), sigmoid(log_z2)))

# %%
# The free energies (10) are sums of the same softplus.

neurons, capsules = -rbm_free_energy(v, w, b, bias), -free_energy(x, W, c)
print("neurons: ", np.allclose(neurons, softplus(a).sum(axis=1)))
print("capsules:", np.allclose(capsules, softplus(log_z2).sum(axis=1)))

# %%
# Both follow from the energies (1) and (7) by summing over all 2⁴ states of the hidden units, here
# for the first example of each.

states = np.asarray(list(itertools.product([0.0, 1.0], repeat=J)))  # (16, J)


def first(array):
    """The first example, once for each state."""
    return np.repeat(array[:1], len(states), axis=0)


for name, minus_energy, probability, minus_free in (
    ("neurons: ", -rbm_energy(first(v), states, w, b, bias), sigmoid(a[0]), neurons[0]),
    ("capsules:", -energy(first(x), states, W, c), firing_probability(z)[0], capsules[0]),
):
    weights = np.exp(minus_energy)
    on = weights @ states / weights.sum()
    print(name, np.allclose(np.log(weights.sum()), minus_free), np.allclose(on, probability))

# %%
# So all points lie on one curve, neurons and capsules alike. What capsules add is z itself: its
# direction, which the energy does not see and the gradient does.

figure = Figure(figsize=(12, 4.2), dpi=100, layout="constrained")
figure.suptitle("Neurons and capsules on the same two curves", fontweight="bold")
chances, parts = figure.subplots(1, 2)
line = np.linspace(-7, 7, 300)
for axes, curve, ylabel in (
    (chances, sigmoid, "probability of being on"),
    (parts, softplus, "part of log P(x) + log Z"),
):
    axes.plot(line, curve(line), color="black", linewidth=1, label=curve.__name__)
    axes.set(xlabel="input of the unit:  a  or  log‖z‖²", ylabel=ylabel, xlim=(-7, 7))
    axes.grid(color="0.85")
dots = {"linestyle": "none", "alpha": 0.6, "markersize": 6}
chances.plot(a.ravel(), rbm_hidden_probability(v, w, bias).ravel(), "o", color=COLOURS[0],
             label="neurons, σ(a)", **dots)  # fmt: skip
chances.plot(log_z2.ravel(), firing_probability(z).ravel(), "^", color=COLOURS[1],
             label="capsules, ‖z‖² / (1 + ‖z‖²)", **dots)  # fmt: skip
parts.plot(a.ravel(), np.log1p(np.exp(a)).ravel(), "o", color=COLOURS[0],
           label="neurons, log(1 + exp a)", **dots)  # fmt: skip
parts.plot(log_z2.ravel(), np.log1p(length(z) ** 2).ravel(), "^", color=COLOURS[1],
           label="capsules, log(1 + ‖z‖²)", **dots)  # fmt: skip
for axes in (chances, parts):
    axes.legend(frameon=False, loc="upper left")
figure

# %%
# Where ``CAPSNP_EXAMPLES_OUT`` names a folder, the picture is written there.

if folder := os.environ.get("CAPSNP_EXAMPLES_OUT"):
    save(figure, Path(folder) / "plot_rbm_analogy.png")
