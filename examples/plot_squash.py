r"""
Squash: a length becomes a probability
======================================

A capsule says two things with one vector: *what* it sees by its direction, and *whether* it sees
it by its length. Squash (4) keeps the direction and brings the length into [0, 1):

.. math:: \mathrm{squash}(z) = \frac{\|z\|^2}{1 + \|z\|^2} \frac{z}{\|z\|}
"""

import os
from pathlib import Path

import numpy as np

from capsnp.functional import firing_probability, length, squash, unsquash
from capsnp.plotting import save, squash_curves

# %%
# Three capsules: a short, a middling and a long one. Their directions stay.

z = np.asarray([[0.03, 0.04], [0.6, 0.8], [30.0, 40.0]])
x = squash(z)
print("lengths before:", length(z))
print("lengths after: ", length(x).round(6))
print("directions are the same:", np.allclose(z / length(z)[:, None], x / length(x)[:, None]))

# %%
# The length after squash is the probability that the capsule is on (12), (13).

print("probability of being on:", firing_probability(z).round(6))

# %%
# Unsquash (6) is the way back, as the logit is for the sigmoid. Lengths are computed scaled, so
# that nothing overflows or vanishes on the way. A length just below 1 has few digits left in which
# to say how sure it is: that is the limit of the number, not of the function.

for size in (1e-150, 1e-3, 1.0, 1e6):
    there_and_back = unsquash(squash(np.asarray([0.6 * size, 0.8 * size])))
    print(f"length {size:g} comes back as {length(there_and_back)[()]:.6g}")

# %%
# A capsule of length 1 would need an infinite z. That is an error, unless one asks to clip.

try:
    unsquash(np.asarray([[0.0, 0.5], [0.6, 0.8]]))
except ValueError as error:
    print("ValueError:", error)

# %%
# The picture adds what decides learning: in the gradient (18) z enters as z / (1 + ‖z‖²). That
# weight is largest at length 1. A capsule that is off teaches nothing, and neither does one that
# is sure.

figure = squash_curves()
figure

# %%
# Where ``CAPSNP_EXAMPLES_OUT`` names a folder, the picture is written there.

if folder := os.environ.get("CAPSNP_EXAMPLES_OUT"):
    save(figure, Path(folder) / "plot_squash.png")
