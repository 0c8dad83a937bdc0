r"""
How biased is contrastive divergence?
=====================================

The gradient of the log-likelihood is a mean over the data less a mean over the model, and the
second is what nobody can compute. Contrastive divergence takes chains that start at the data;
persistent chains go on from where they were; Hauser's mixing by dynamic routing has no chance in
it at all, one pass back to the inputs and forth. On models small enough to be exact the
difference to the gradient is a number.
"""

import os
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from capsnp.functional.harmonium import Harmonium
from capsnp.plotting import COLOURS, save
from capsnp.verification import ExactCapsules, GradientBias, gradient_bias

AT = (0, 3, 10, 30, 100)
"""Steps of the training, by the exact gradient, at which all are asked."""

# %%
# A restricted Boltzmann machine of nine visible and six hidden units, and 100 images of three by
# three pixels: bars or stripes, of which one pixel in twenty is wrong. Its 64 hidden states are
# listed for the exact gradient. Every estimate comes from 100 chains, 60 times anew.

rng = np.random.default_rng(0)
lines = rng.integers(0, 2, (100, 3, 1)) * np.ones((1, 1, 3))
bars = np.where(rng.random((100, 1, 1)) < 0.5, lines, lines.transpose(0, 2, 1)).reshape(100, 9)
images = np.abs(bars - (rng.random(bars.shape) < 0.05))
machine = Harmonium(rng.normal(0, 0.1, (9, 6)), np.zeros(9), np.zeros(6))

found = {}
for name, estimator, k in (
    ("CD-1", "cd", 1),
    ("CD-10", "cd", 10),
    ("persistent chains", "pcd", 1),
    ("parallel tempering", "pt", 1),
    ("mixing by means", "mixing", 1),
):
    found[name] = gradient_bias(
        machine, images, estimator, k=k, at=AT, learning_rate=2.0, n_repeats=60
    )

print("Bias (and spread of one estimate) over the length of the gradient")
print("step               ", *(f"{step:>13d}" for step in AT))
for name, by_step in found.items():
    cells = (
        f"{b.bias()[0] / b.length:6.2f} ({b.spread() / b.length:4.2f})" for b in by_step.values()
    )
    print(f"{name:19s}", *cells)

# %%
# More steps of a chain make less bias, and cost what they cost. In the middle of the training,
# when the weights are large and the chains slow:

ks = (1, 2, 5, 10, 20)
by_k = {
    name: {
        k: gradient_bias(
            machine, images, estimator, k=k, at=(100,), learning_rate=2.0, n_repeats=60
        )[100]
        for k in ks
    }
    for name, estimator in (("CD-k", "cd"), ("k times mixing by means", "mixing"))
}

# %%
# Expert capsules: four inputs of two dimensions, three outputs of three, coefficients frozen at
# the same number s. Algorithm 1 mixes by one pass of its own. With the paper's s = 1/I the
# outputs are short, the rebuilt inputs shorter, and the model's term is next to nothing; with s =
# 1 it is not.

angle = rng.uniform(0, 2 * np.pi, 100)[:, None] + np.asarray([0.0, 0.5, 1.0, 1.5])
x = 0.8 * np.stack([np.cos(angle), np.sin(angle)], axis=-1)  # (100, 4, 2)
W = rng.normal(0, 0.1, (4, 3, 3, 2))
capsules = {
    f"s = {name}, {k} mixing": gradient_bias(
        ExactCapsules(W, np.full((4, 3), s)), x, "mixing", k=k, at=AT, learning_rate=0.5 / s
    )
    for name, s in (("1/4", 0.25), ("1", 1.0))
    for k in (1, 10)
}
for name, by_step in capsules.items():
    cells = (f"{b.bias()[0] / b.length:6.2f} ({b.cosine():5.2f})" for b in by_step.values())
    print(f"{name:19s}", *cells)


# %%
# The picture: the bias beside the length of the gradient itself, in grey. What lies above the
# grey line is no longer a gradient with an error but an error.


def draw(axes: Axes, curves: dict[str, dict[int, GradientBias]], title: str, label: str) -> None:
    """Bias over steps or over k, with two standard errors."""
    first = next(iter(curves.values()))
    places = range(len(first))
    axes.plot(places, [b.length for b in first.values()], color="0.6", linewidth=4, alpha=0.5)
    for colour, (name, by_step) in zip(COLOURS, curves.items(), strict=False):
        values, errors = np.asarray([b.bias() for b in by_step.values()]).T
        axes.errorbar(places, np.maximum(values, 1e-3), 2 * errors, color=colour, label=name)
    axes.set_yscale("log")
    axes.set_ylim(bottom=3e-3)
    axes.set_xticks(places, [str(step) for step in first])
    axes.set(title=title, xlabel=label)
    axes.legend(fontsize=8)


figure = Figure(figsize=(13, 4.2), layout="constrained")
left, middle, right = figure.subplots(1, 3)
draw(left, found, "Machine: bias", "step of the training")
draw(middle, by_k, "Machine: bias at step 100", "k")
draw(right, capsules, "Expert capsules: bias of mixing", "step of the training")

# %%
# Where ``CAPSNP_EXAMPLES_OUT`` names a folder, the picture is written there.

if folder := os.environ.get("CAPSNP_EXAMPLES_OUT"):
    save(figure, Path(folder) / "plot_gradient_bias.png")
