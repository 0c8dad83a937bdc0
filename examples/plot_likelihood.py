r"""
A likelihood between two ends
=============================

A restricted Boltzmann machine gives an image v the probability :math:`e^{-F(v)} / Z`, where Z is a
sum over all states. With 16 hidden neurons it can be listed. Here it is, beside what annealed
importance sampling says with few and with many temperatures, going up and going down.
"""

import os
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from capsnp.datasets import load
from capsnp.evaluation.likelihood import annealed_log_partition, binarize, log_likelihood
from capsnp.functional.harmonium import Harmonium, cd_gradient, gibbs_step, hidden_mean
from capsnp.plotting import COLOURS, save

quick = bool(os.environ.get("CAPSNP_EXAMPLES_QUICK"))

# %%
# Images of digits, black or white, and a machine whose first biases are those of the pixels alone.

train, test = (binarize(load("digits", split=split).images) for split in ("train", "test"))
rows = train.rows
mean = rows.mean(axis=0)
rng = np.random.default_rng(0)
machine = Harmonium(
    0.01 * rng.standard_normal((rows.shape[1], 16), dtype=np.float32),
    np.log(mean + 0.01) - np.log(1.01 - mean),
    np.zeros(16, dtype=np.float32),
)

# %%
# Persistent contrastive divergence: a hundred chains that go on from step to step.

n_steps, v = 500 if quick else 20_000, rows[:100]
for step in range(n_steps):
    batch = rows[rng.choice(len(rows), 100, replace=False)]
    noise = [rng.random((100, size), dtype=np.float32) for size in (16, rows.shape[1])]
    v = gibbs_step(machine, v, *noise).v
    h, h_chain = hidden_mean(machine, batch), hidden_mean(machine, v)
    gradient = cd_gradient(machine, batch, h, v, h_chain, offsets=(mean, h.mean(axis=0)))
    rate = 0.1 * (1 - step / n_steps)
    machine = Harmonium(
        *(old + rate * new for old, new in zip(machine[:3], gradient[:3], strict=True))
    )

exact = log_likelihood(machine, test)
print("test images:", exact)

# %%
# The same without listing. Chains up overrate the images, chains down underrate them, and the more
# temperatures there are, the closer they meet. Bars are two standard errors.

counts = (10, 30, 100) if quick else (10, 30, 100, 300, 1000, 3000)
log_z = [annealed_log_partition(machine, start=rows, temperatures=n, n_chains=50) for n in counts]
ends = {
    "chains up: at most": [(each.lower, each.lower_stderr) for each in log_z],
    "chains down: at least": [(each.upper, each.upper_stderr) for each in log_z],
    "Bennett, of both": [(each.value, each.stderr) for each in log_z],
}
score = exact.value + exact.partition.value  # what log Z is subtracted from

figure = Figure(figsize=(9, 4.5), dpi=100, layout="constrained")
axes = figure.subplots()
for shift, (label, values), colour, marker in zip(
    (0.97, 1.03, 1.0), ends.items(), COLOURS, "v^o", strict=False
):
    log_zs, errors = np.asarray(values).T
    axes.errorbar(
        shift * np.asarray(counts), score - log_zs, 2 * errors, marker=marker, color=colour,
        capsize=3, label=label,
    )  # fmt: skip
axes.axhline(exact.value, color="black", linewidth=1, label="listed: all 2¹⁶ states")
axes.set(
    xscale="log",
    xlabel="temperatures",
    ylabel="log-likelihood of a test image, nats",
    title="The likelihood lies between",
)
axes.grid(color="0.85")
axes.legend(frameon=False)
figure

# %%
# Where ``CAPSNP_EXAMPLES_OUT`` names a folder, the picture is written there.

if folder := os.environ.get("CAPSNP_EXAMPLES_OUT"):
    save(figure, Path(folder) / "plot_likelihood.png")
