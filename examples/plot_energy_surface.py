r"""
The energy surface of two capsules
==================================

Summing the energy (7) over capsules that are on or off leaves the free energy (10), and with it
the probability of an input:

.. math:: F(x) = -\sum_j \log(1 + \|z_j\|^2), \qquad P(x) = \frac{1}{Z} \prod_j (1 + \|z_j\|^2)

One factor per capsule: a product of experts. With one input capsule of two dimensions it can be
drawn whole.
"""

import os
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from capsnp.functional import firing_probability, forward, free_energy
from capsnp.plotting import save

# %%
# Input capsules are squashed, so they live in the unit disc: everywhere else P(x) is 0. (Without
# that base measure the product could not be normalised.) The first expert looks along one axis,
# the second along another.

side = np.linspace(-1, 1, 401)
points = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 1, 2)  # (B, I, P)
inside = np.linalg.norm(points[:, 0], axis=1) < 1
first = np.asarray([[3.0, 0.0], [0.0, 0.6]])
second = 2.5 * np.asarray([[0.5, 0.87], [0.17, -0.1]])
W = np.stack([first, second])[None]  # (I, J, D, P) = (1, 2, 2, 2)
c = np.ones((1, 2))

# %%
# The chance of each expert to be on, and minus the free energy of both, which is log P(x) + log Z.

on = firing_probability(forward(points, W, c))  # (B, J)
log_density = -free_energy(points, W, c)

# %%
# How large is Z? For one expert there is a closed form: its average of 1 + ‖z‖² over the unit ball
# of P dimensions is 1 + ‖cW‖² / (P + 2). The grid agrees.

for j in range(2):
    density = np.exp(-free_energy(points, W[:, j : j + 1], c[:, j : j + 1]))
    closed = 1 + np.sum(W[0, j] ** 2) / (2 + 2)
    print(
        f"expert {j + 1}: mean over the disc {density[inside].mean():.4f}, closed form {closed:.4f}"
    )

# %%
# Two experts are no sum of two: an input is likely only where neither objects.

density = np.exp(log_density)
print("most likely input:", points[np.where(inside, density, 0).argmax(), 0].round(2))

figure = Figure(figsize=(14, 4.6), dpi=100, layout="constrained")
figure.suptitle("Two experts and their product over the unit disc", fontweight="bold")
panels = figure.subplots(1, 3)
maps = [
    ("first expert on", on[:, 0], "P(on)", np.linspace(0, 1, 11)),
    ("second expert on", on[:, 1], "P(on)", np.linspace(0, 1, 11)),
    ("minus the free energy of both", log_density, "log P(x) + log Z", 12),
]
for axes, (title, values, label, levels) in zip(panels, maps, strict=True):
    shown = np.where(inside, values, np.nan).reshape(side.size, side.size)
    filled = axes.contourf(side, side, shown, levels=levels, cmap="cividis")
    axes.contour(side, side, shown, levels=filled.levels, colors="white", linewidths=0.4)
    axes.add_patch(Circle((0, 0), 1, fill=False, edgecolor="black"))
    axes.set(title=title, xlabel="$x_1$", ylabel="$x_2$", aspect="equal")
    figure.colorbar(filled, ax=axes, label=label, shrink=0.75)
figure

# %%
# Where ``CAPSNP_EXAMPLES_OUT`` names a folder, the picture is written there.

if folder := os.environ.get("CAPSNP_EXAMPLES_OUT"):
    save(figure, Path(folder) / "plot_energy_surface.png")
