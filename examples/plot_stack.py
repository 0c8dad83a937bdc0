r"""
Capsules on capsules
====================

Expert capsules take in features and give out codes, which are lengths and directions again: so the
codes of one layer can be the features of the next.

.. math::
    z_k = \sum_j c_{jk} W_{jk}\, y_j, \qquad y_j = \mathrm{squash}(z_j), \qquad
    z_j = \sum_i c_{ij} W_{ij}\, x_i

Each layer is trained on what the one below says of the data, one after the other. What does the
second one buy?
"""

import os
from pathlib import Path

import numpy as np

from capsnp.datasets import load
from capsnp.evaluation import linear_probe, relative_error
from capsnp.functional import length
from capsnp.models import (
    CapsuleDecoder,
    CapsuleLayer,
    CapsuleStack,
    ConvAutoencoder,
    ExpertCapsules,
    MixtureModel,
)
from capsnp.plotting import capsule_grid, save, stack_diagram

# %%
# An autoencoder turns the digits into 144 input capsules of eight numbers. On them stand 20
# capsules, and 10 on these. A layer is a pair: experts, which compete for images and route, and a
# decoder, against which codes settle. The fewer the inputs, the larger the coefficients have to be:
# their scale goes as one over the root of the number of inputs. (``CAPSNP_EXAMPLES_QUICK=1`` hardly
# trains at all.)

quick = os.environ.get("CAPSNP_EXAMPLES_QUICK") == "1"
experts = {"n_steps": 60 if quick else 1500, "rebalance_steps": 20 if quick else 1000}
decoder = {"winner_steps": 20 if quick else 400, "settled_steps": 20 if quick else 400}
if quick:
    decoder["settling_steps"] = 30
digits, test = load("digits"), load("digits", split="test")
autoencoder = ConvAutoencoder(filters=32, n_steps=20 if quick else 400, batch_size=64)
features = autoencoder.fit(digits.images).transform(digits.images)
new = autoencoder.transform(test.images)

stack = CapsuleStack(
    [
        (
            "first",
            CapsuleLayer(
                ExpertCapsules(20, routing_iterations=1, **experts), CapsuleDecoder(**decoder)
            ),
        ),
        (
            "second",
            CapsuleLayer(
                ExpertCapsules(10, coefficient_scale=3.8, **experts),
                CapsuleDecoder(coefficient_scale=0.9, settled_counts=(1, 3, 10), **decoder),
            ),
        ),
    ],
    MixtureModel(n_components=10 if quick else 40, n_principal=40),
).fit(features)

# %%
# 1,152 numbers become 320 and then 160. What is left of the features, of what each layer was given,
# and of the digit's name?

codes, seen = stack.codes(new), stack.codes(features)
flat = autoencoder.transform(digits.images).mean(axis=0)
for (name, _), y, trained in zip(stack.layers_, codes, seen, strict=True):
    rebuilt = stack.inverse_transform(y, layer=name)
    error = relative_error(new - flat, rebuilt - flat)
    probe = linear_probe(trained, digits.labels, y, test.labels)
    print(f"{name:6} layer: {y[0].size} numbers, error {error:.3f}, linear probe {probe:.3f}")

# %%
# Which way does an image take? Each line is as wide as what an input adds to the sum of the capsule
# above it.

figure = stack_diagram(
    stack.connections(new[:1]), grid=autoencoder.grid_, image=test.images[0],
    title=f"Routing through two layers of capsules: a test image of a {test.labels[0]}",
)  # fmt: skip
figure

# %%
# And what does a single capsule of the top draw? Its code is a random direction in the half of the
# sphere that training visits, taken down through both layers.

drawn = autoencoder.inverse_transform(stack.sample(40, "half"))
won = np.argmax(length(stack.layers_[1][1].experts_.transform(codes[0])), axis=1)
common = [np.bincount(test.labels[won == k], minlength=10).argmax() for k in range(10)]
rows = capsule_grid(
    np.swapaxes(drawn.reshape(4, 10, *drawn.shape[1:]), 0, 1),
    labels=[f"for {digit}" for digit in common],
    title="Ten capsules of the second layer, four random codes each",
)
rows

# %%
# Where ``CAPSNP_EXAMPLES_OUT`` names a folder, the pictures are written there.

if folder := os.environ.get("CAPSNP_EXAMPLES_OUT"):
    save(figure, Path(folder) / "plot_stack.png")
    save(rows, Path(folder) / "plot_stack_capsules.png")
