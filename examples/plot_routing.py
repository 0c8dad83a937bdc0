r"""
Routing by agreement, step by step
==================================

Six parts of an object predict about the same pose for the whole, a seventh predicts another.
A plain mean listens to all alike. Routing by agreement listens again, and more to those who agree
with the sum so far:

.. math::
    c = \mathrm{softmax}(b), \qquad z = \sum_i c_i z_i, \qquad
    b_i \leftarrow b_i + \frac{z_i \cdot z}{\|z_i\| \|z\|}
"""

import os
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from capsnp.functional import length, predictions, route
from capsnp.plotting import COLOURS, save

# %%
# Seven input capsules of two dimensions, one output capsule. The prediction matrices turn each
# part's pose into a pose of the whole: here they are rotations, and the poses are such that the
# first six predictions lie around 30 degrees and the last at 130.

rng = np.random.default_rng(3)
angles = np.radians([10.0, 18.0, 26.0, 34.0, 42.0, 50.0, 130.0])
turns = rng.uniform(0, 2 * np.pi, size=7)
W = np.stack([np.stack([np.cos(turns), -np.sin(turns)]), np.stack([np.sin(turns), np.cos(turns)])])
W = np.moveaxis(W, 2, 0)[:, None]  # (I, J, D, P) = (7, 1, 2, 2)
poses = angles - turns
x = np.stack([np.cos(poses), np.sin(poses)], axis=1)[None]  # (B, I, P) = (1, 7, 2)
arrows = predictions(x, W)[0, :, 0]  # (I, D)
print("predicted angles:", np.degrees(np.arctan2(arrows[:, 1], arrows[:, 0])).round())

# %%
# With one weighting all coefficients are equal and the seventh part pulls like any other. Each
# further weighting takes weight from it.

rounds = np.arange(1, 11)
routed = {r: route(x, W, iterations=int(r)) for r in rounds}
for r in (1, 2, 3, 5, 10):
    c, z = routed[r]
    print(f"{r:2d} weightings: its coefficient {c[0, 6, 0]:.4f}, length of z {length(z)[0, 0]:.3f}")

# %%
# The cosine adds at most 1 to a logit and takes at most 1 away, so with each round the odds of
# agreement against disagreement grow by no more than a factor of e² ≈ 7.4; here, at right angles,
# by about e. The inner product with the squashed sum (Sabour 2017) is smaller, and slower.

slower = [route(x, W, iterations=int(r), agreement="dot").c[0, 6, 0] for r in rounds]

# %%
# Line widths are the coefficients, the weighted sum is black.

figure = Figure(figsize=(14, 3.2), dpi=100, layout="constrained")
figure.suptitle("Routing by agreement turns away from the part that disagrees", fontweight="bold")
panels = figure.subplots(1, 5, width_ratios=[1, 1, 1, 1, 1.25])
for axes, r in zip(panels[:4], (1, 2, 3, 5), strict=True):
    c, z = routed[r].c[0, :, 0], routed[r].z[0, 0]
    for i in range(7):
        style = {"arrowstyle": "-|>", "color": COLOURS[int(i == 6)], "lw": 20 * c[i] + 0.4}
        axes.annotate("", arrows[i], (0, 0), arrowprops={**style, "shrinkA": 0, "shrinkB": 0})
    style = {"arrowstyle": "-|>", "color": "black", "lw": 3, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", z, (0, 0), arrowprops=style)
    axes.set(xlim=(-1.15, 1.15), ylim=(-0.25, 1.2), aspect="equal", xticks=[], yticks=[])
    axes.set_title(f"{r} weighting{'s' * (r > 1)}", fontsize=11)
    axes.set_xlabel(f"sum z (black), ‖z‖ = {length(z)[()]:.2f}", fontsize=10)
panels[0].text(1.1, 1.0, "parts 1 to 6", color=COLOURS[0], ha="right")
panels[0].text(-1.1, 1.0, "part 7", color=COLOURS[1])
shares = [routed[r].c[0, 6, 0] for r in rounds]
panels[4].plot(rounds, shares, color=COLOURS[0], marker="o", label="cosine (the paper)")
panels[4].plot(rounds, slower, color=COLOURS[1], marker="s", label="dot (Sabour 2017)")
panels[4].set(xlabel="weightings", ylabel="coefficient of the seventh part", ylim=(0, None))
panels[4].set_xticks(rounds[1::2])
panels[4].set_title("what is left of it", fontsize=11)
panels[4].legend(frameon=False)
figure

# %%
# Where ``CAPSNP_EXAMPLES_OUT`` names a folder, the picture is written there.

if folder := os.environ.get("CAPSNP_EXAMPLES_OUT"):
    save(figure, Path(folder) / "plot_routing.png")
