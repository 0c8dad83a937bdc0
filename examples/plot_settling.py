r"""
Settled codes: explaining away
==============================

One pass of a layer asks every capsule on its own how well it fits. Capsules that draw alike all
say yes, and together they draw the same thing several times over. Settling lets them explain the
features away from each other: it finds the one minimiser of

.. math:: \tfrac12 \|h - V^\top y\|^2 + \lambda \sum_j \Phi(\|y_j\|)

by mirror descent, with squash as the mirror map (beyond the paper).
"""

import os
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from capsnp.functional import forward, length, settle, squash
from capsnp.plotting import COLOURS, save

# %%
# Six capsules of two dimensions decode to twelve feature capsules of four. Capsules 0 and 1 draw
# almost the same, and so do 2 and 3.

rng = np.random.default_rng(1)
J, D, I, P = 6, 2, 12, 4
U = rng.normal(size=(J, I, P, D)) / 2
U[1] = 0.9 * U[0] + 0.3 * U[1]
U[3] = 0.9 * U[2] + 0.3 * U[3]
e = np.ones((J, I))

# %%
# Features that capsules 0 and 4 drew together.

drawn = np.zeros((1, J, D))
drawn[0, 0], drawn[0, 4] = (0.5, 0.6), (-0.6, 0.2)
h = forward(drawn, U, e)  # (B, I, P)

# %%
# One pass: each capsule's least-squares answer as if it were alone, cut to the unit ball. Capsule 1
# takes part for what it shares with capsule 0.


def alone(h):
    """The code of each capsule that fits best by itself, and inside the unit ball."""
    V = np.moveaxis(U, 3, 1).reshape(J, D, I * P)
    answers = [np.linalg.lstsq(V[j].T, h.reshape(len(h), -1).T, rcond=None)[0].T for j in range(J)]
    answers = np.stack(answers, axis=1)
    lengths = length(answers)[..., None]
    return answers * np.minimum(1, 0.99 / np.maximum(lengths, 1e-9))


one_pass = alone(h)
settled = settle(h, U, e, strength=0.05, max_iter=300)
print("drawn   ", length(drawn)[0].round(2))
print("one pass", length(one_pass)[0].round(2))
print("settled ", length(settled.y)[0].round(2))

# %%
# How far from the optimum after each step? The residual ‖Vh − VVᵀy − λz‖ is zero there and nowhere
# else, so it says when to stop. Momentum gets there sooner.

steps = np.unique(np.geomspace(1, 300, 40).astype(int))
residual = {
    momentum: [
        settle(h, U, e, strength=0.05, momentum=momentum, max_iter=int(n)).residual[0]
        for n in steps
    ]
    for momentum in (0.0, 0.9)
}

# %%
# The same for 200 feature vectors, each drawn by one to three capsules at random lengths: how much
# of the features is missed or drawn too much?

on = rng.random((200, J)).argsort(axis=1) < rng.integers(1, 4, size=(200, 1))
codes = squash(rng.normal(size=(200, J, D)) * 1.5) * on[..., None]
features = forward(codes, U, e)


def relative_error(y):
    missing = features - forward(y, U, e)
    return np.sum(missing**2, axis=(1, 2)) / np.sum(features**2, axis=(1, 2))


errors = {
    "one pass": relative_error(alone(features)),
    "settled": relative_error(settle(features, U, e, strength=0.05, max_iter=300).y),
}
for name, error in errors.items():
    print(f"{name}: median relative error {np.median(error):.3g}")

# %%
# Left: the lengths of the codes. Middle: the way to the optimum. Right: the errors, sorted.

figure = Figure(figsize=(14, 4), dpi=100, layout="constrained")
figure.suptitle("Settling: capsules explain the features away from each other", fontweight="bold")
bars, way, sorted_errors = figure.subplots(1, 3)
for n, (name, y) in enumerate([("drawn", drawn), ("one pass", one_pass), ("settled", settled.y)]):
    colour = ("black", COLOURS[1], COLOURS[0])[n]
    bars.bar(np.arange(J) + 0.27 * (n - 1), length(y)[0], width=0.25, color=colour, label=name)
bars.set(xlabel="capsule", ylabel="length of its code", ylim=(0, 1.2), yticks=[0, 0.5, 1])
bars.legend(frameon=False, ncols=3, loc="upper center")
for n, (momentum, values) in enumerate(residual.items()):
    way.loglog(
        steps, values, color=COLOURS[(2, 4)[n]], marker="os"[n], label=f"momentum {momentum}"
    )
way.set(xlabel="steps", ylabel="residual ‖Vh − VVᵀy − λz‖")
way.legend(frameon=False)
for n, (name, error) in enumerate(errors.items()):
    colour = (COLOURS[1], COLOURS[0])[n]
    sorted_errors.semilogy(np.sort(error), color=colour, label=name)
sorted_errors.set(xlabel="feature vectors, sorted", ylabel="relative squared error")
sorted_errors.legend(frameon=False)
figure

# %%
# Where ``CAPSNP_EXAMPLES_OUT`` names a folder, the picture is written there.

if folder := os.environ.get("CAPSNP_EXAMPLES_OUT"):
    save(figure, Path(folder) / "plot_settling.png")
