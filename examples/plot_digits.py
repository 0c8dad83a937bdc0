r"""
Figure 1 on small digits
========================

The whole of the paper on scikit-learn's 1,797 digits: an autoencoder learns features, expert
capsules learn which features go together (7), a decoder learns the way back, and then single
capsules draw.

.. math::
    E(x, \|x^{\mathrm{out}}\|) = -\sum_j \log\Big(\Big\|\sum_i c_{ij} W_{ij} x_i\Big\|^2\Big)
    \|x^{\mathrm{out}}_j\|
"""

import os
from pathlib import Path

import numpy as np

from capsnp.datasets import load
from capsnp.functional import length
from capsnp.models import (
    CapsuleDecoder,
    CapsuleGenerator,
    ConvAutoencoder,
    ExpertCapsules,
    MixtureModel,
)
from capsnp.plotting import capsule_grid, reconstructions, save

# %%
# A small model: 32 filters in place of 128, ten capsules in place of twenty. With
# ``CAPSNP_EXAMPLES_QUICK=1`` it is hardly trained, just enough to run through everything. The
# command ``capsnp reproduce`` takes its time.

quick = os.environ.get("CAPSNP_EXAMPLES_QUICK") == "1"
model = CapsuleGenerator(
    ConvAutoencoder(filters=16 if quick else 32, n_steps=20 if quick else 400, batch_size=64),
    ExpertCapsules(
        n_capsules=10,
        routing_iterations=1,
        n_steps=200 if quick else 3000,
        rebalance_steps=100 if quick else 1000,
    ),
    CapsuleDecoder(
        winner_steps=60 if quick else 600,
        settled_steps=20 if quick else 300,
        settled_counts=(1, 3, 10),
    ),
    MixtureModel(n_components=10 if quick else 60, n_principal=40),
)
digits = load("digits")
test = load("digits", split="test")
model.fit(digits.images)

# %%
# An image settles into ten codes of sixteen numbers, and comes back from them. With fewer capsules
# on, less comes back.

shown = test.images[:20]
rebuilt = {}
for n_on in (10, 3, 1):
    codes = model.transform(shown, n_on=n_on)
    images = model.inverse_transform(codes)
    error = np.sum((images - shown) ** 2, axis=(1, 2, 3)).mean()
    print(f"{n_on:2d} capsules on: squared error per image {error:.1f}")
    rebuilt[f"{n_on} on"] = images

rows = reconstructions(
    shown, rebuilt, labels=[str(label) for label in test.labels[:20]],
    title="Test digits, and what ten, three and one capsules keep of them",
)  # fmt: skip
rows

# %%
# Which capsule takes which digit? Winners were balanced in training, so all should be in use.

codes = model.transform(digits.images, inference="route", n_on=1)
winner = length(codes).argmax(axis=1)
print("share of the images:", np.round(np.bincount(winner, minlength=10) / len(winner), 2))
common = [
    np.bincount(digits.labels[winner == j], minlength=10).argmax() if j in winner else "none"
    for j in range(10)
]

# %%
# Now the capsules draw alone: one is on, its code a random direction in the half of the sphere
# that training visits. Below each number stands the digit that the capsule wins most often.

drawn = model.sample(40, domain="half").reshape(4, 10, *digits.images.shape[1:])
figure = capsule_grid(
    np.swapaxes(drawn, 0, 1), labels=[f"for {digit}" for digit in common],
    title="Ten capsules, four random codes each",
)  # fmt: skip
figure

# %%
# Where ``CAPSNP_EXAMPLES_OUT`` names a folder, the pictures are written there.

if folder := os.environ.get("CAPSNP_EXAMPLES_OUT"):
    save(figure, Path(folder) / "plot_digits.png")
    save(rows, Path(folder) / "plot_digits_rebuilt.png")
